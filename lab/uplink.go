package lab

import (
	"fmt"
	"net"
	"net/netip"
	"slices"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
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

// FlapWAN takes the router's WAN device down for a while, and brings it up with the
// addresses and default routes it had.
func (l *Lab) FlapWAN(down time.Duration) error {
	old, err := l.Router.globals(RouterWAN)
	if err != nil {
		return err
	}
	err = l.Router.onLink(RouterWAN, func(link netlink.Link) error {
		if err := netlink.LinkSetDown(link); err != nil {
			return err
		}
		time.Sleep(down)
		if err := netlink.LinkSetUp(link); err != nil {
			return err
		}
		for i := range old {
			if old[i].IP.To4() == nil { // IPv4's has stayed
				old[i].Flags = unix.IFA_F_NODAD
				if err := netlink.AddrReplace(link, &old[i]); err != nil {
					return err
				}
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("take the uplink down: %w", err)
	}
	p := l.pairs()[1]
	if err := l.Router.route("0.0.0.0/0", p.b4, RouterWAN); err != nil {
		return err
	}
	return l.Router.route("::/0", p.b6, RouterWAN)
}

// SetMetric puts in the place of the router's default routes by WAN others with
// another metric.
func (l *Lab) SetMetric(n int) error {
	p := l.pairs()[1]
	for _, f := range []struct {
		dst, via string
		family   int
	}{{"0.0.0.0/0", p.b4, unix.AF_INET}, {"::/0", p.b6, unix.AF_INET6}} {
		err := l.Router.onLink(RouterWAN, func(link netlink.Link) error {
			dst, err := netlink.ParseIPNet(f.dst)
			if err != nil {
				return err
			}
			old, err := netlink.RouteListFiltered(f.family, &netlink.Route{LinkIndex: link.Attrs().Index, Dst: dst}, netlink.RT_FILTER_OIF|netlink.RT_FILTER_DST)
			if err != nil {
				return err
			}
			gw, _, err := net.ParseCIDR(f.via)
			if err != nil {
				return err
			}
			if err := netlink.RouteAdd(&netlink.Route{LinkIndex: link.Attrs().Index, Dst: dst, Gw: gw, Priority: n}); err != nil {
				return err
			}
			for _, r := range old {
				if err := netlink.RouteDel(&netlink.Route{LinkIndex: r.LinkIndex, Dst: dst, Priority: r.Priority}); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return fmt.Errorf("give the default route metric %d: %w", n, err)
		}
	}
	return nil
}

// SetWAN6 gives the router another IPv6 address on WAN, as a provider does who hands
// out another prefix: those it has are deprecated first, and go only with drop.
func (l *Lab) SetWAN6(v6 netip.Addr, drop func()) error {
	old, err := l.Router.globals(RouterWAN)
	if err != nil {
		return err
	}
	old = slices.DeleteFunc(old, func(a netlink.Addr) bool { return a.IP.To4() != nil })
	each := func(f func(netlink.Link, *netlink.Addr) error) error {
		return l.Router.onLink(RouterWAN, func(link netlink.Link) error {
			for i := range old {
				if err := f(link, &old[i]); err != nil {
					return err
				}
			}
			return nil
		})
	}
	err = l.Router.configure(RouterWAN, netip.PrefixFrom(v6, 64).String())
	if err == nil {
		err = each(func(link netlink.Link, a *netlink.Addr) error {
			a.PreferedLft, a.ValidLft, a.Flags = 0, 7200, unix.IFA_F_NODAD
			return netlink.AddrReplace(link, a)
		})
	}
	if err == nil {
		drop()
		err = each(netlink.AddrDel)
	}
	if err != nil {
		return fmt.Errorf("readdress the uplink to %v: %w", v6, err)
	}
	return nil
}

// onLink calls f for a device, inside h.
func (h *Host) onLink(dev string, f func(netlink.Link) error) error {
	return h.Do(func() error {
		link, err := netlink.LinkByName(dev)
		if err != nil {
			return err
		}
		return f(link)
	})
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
