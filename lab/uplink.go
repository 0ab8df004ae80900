package lab

import (
	"fmt"
	"net/netip"
	"slices"

	"github.com/vishvananda/netlink"
)

// SetWAN gives the router other addresses on WAN in place of those it has, as a
// provider does: IPv4's goes with its default route before the new one comes,
// IPv6's goes when the new one is there. They must be of the networks
// 198.51.100.0/24 and 2001:db8:f::/64, and not those that WAN has.
func (l *Lab) SetWAN(v4, v6 netip.Addr) error {
	old, err := l.Router.globals(RouterWAN)
	if err != nil {
		return err
	}
	for _, a := range []netip.Prefix{netip.PrefixFrom(v6, 64), netip.PrefixFrom(v4, 24)} {
		if a.Addr().Is6() {
			err = l.Router.configure(RouterWAN, a.String())
		}
		for i := range old {
			if (old[i].IP.To4() != nil) == a.Addr().Is4() && err == nil {
				err = l.Router.Do(func() error { return netlink.AddrDel(nil, &old[i]) })
			}
		}
		if a.Addr().Is4() && err == nil {
			if err = l.Router.configure(RouterWAN, a.String()); err == nil {
				err = l.Router.route("0.0.0.0/0", l.pairs()[1].b4, RouterWAN)
			}
		}
		if err != nil {
			return fmt.Errorf("readdress the uplink to %v: %w", a, err)
		}
	}
	return nil
}

// globals are a device's addresses of both families but the link-local ones.
func (h *Host) globals(dev string) (all []netlink.Addr, err error) {
	err = h.Do(func() error {
		link, err := netlink.LinkByName(dev)
		if err != nil {
			return err
		}
		all, err = netlink.AddrList(link, netlink.FAMILY_ALL)
		return err
	})
	return slices.DeleteFunc(all, func(a netlink.Addr) bool { return a.IP.IsLinkLocalUnicast() }), err
}

// CutWAN deletes the router's WAN device with all that hangs on it.
func (l *Lab) CutWAN() error {
	return l.Router.Do(func() error {
		link, err := netlink.LinkByName(RouterWAN)
		if err != nil {
			return err
		}
		return netlink.LinkDel(link)
	})
}

// MendWAN makes the WAN device that CutWAN has deleted anew.
func (l *Lab) MendWAN() error {
	if err := l.lay(l.pairs()[1]); err != nil {
		return err
	}
	return l.Censor.route("2001:db8:1::/64", "2001:db8:f::2/64", "access")
}

// SetMTU sets the MTU of both ends of the router's WAN.
func (l *Lab) SetMTU(n int) error {
	for _, e := range []struct {
		h   *Host
		dev string
	}{{l.Router, RouterWAN}, {l.Censor, "access"}} {
		err := e.h.Do(func() error {
			link, err := netlink.LinkByName(e.dev)
			if err != nil {
				return err
			}
			return netlink.LinkSetMTU(link, n)
		})
		if err != nil {
			return fmt.Errorf("set the MTU of %s to %d: %w", e.dev, n, err)
		}
	}
	return nil
}

// MTU is a device's, in bytes.
func (h *Host) MTU(dev string) (n int, err error) {
	err = h.Do(func() error {
		link, err := netlink.LinkByName(dev)
		if err == nil {
			n = link.Attrs().MTU
		}
		return err
	})
	return n, err
}
