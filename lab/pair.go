package lab

import (
	"fmt"

	"github.com/vishvananda/netlink"
)

// A pair is two devices that are joined, and their addresses. The first host's
// default route is by it.
type pair struct {
	a      *Host
	aDev   string
	b      *Host
	bDev   string
	a4, b4 string
	a6, b6 string
}

// pairs lists those of the lab.
func (l *Lab) pairs() []pair {
	lan := pair{l.Client, "eth0", l.Router, RouterLAN, "192.168.1.2/24", "192.168.1.1/24", "2001:db8:1::2/64", "2001:db8:1::1/64"}
	wan := pair{l.Router, RouterWAN, l.Censor, "access", "198.51.100.2/24", "198.51.100.1/24", "2001:db8:f::2/64", "2001:db8:f::1/64"}
	if l.opts.Direct {
		wan.b, wan.bDev = l.Server, "eth0"
		return []pair{lan, wan}
	}
	return []pair{lan, wan,
		{l.Server, "eth0", l.Core, "hosting", "203.0.113.2/24", "203.0.113.1/24", "2001:db8:3::2/64", "2001:db8:3::1/64"}}
}

// lay makes a pair of devices and gives them their addresses and route.
func (l *Lab) lay(p pair) error {
	if err := veth(p.a, p.aDev, p.b, p.bDev, l.opts.Direct); err != nil {
		return err
	}
	if err := p.a.configure(p.aDev, p.a4, p.a6); err != nil {
		return err
	}
	if err := p.b.configure(p.bDev, p.b4, p.b6); err != nil {
		return err
	}
	if err := p.a.route("0.0.0.0/0", p.b4, p.aDev); err != nil {
		return err
	}
	return p.a.route("::/0", p.b6, p.aDev)
}

// veth joins two hosts by a pair of devices, with or without their offloads.
func veth(a *Host, aDev string, b *Host, bDev string, offloads bool) error {
	err := a.Do(func() error {
		return netlink.LinkAdd(&netlink.Veth{
			LinkAttrs:     netlink.LinkAttrs{Name: aDev},
			PeerName:      bDev,
			PeerNamespace: netlink.NsFd(int(b.ns.Fd())),
		})
	})
	if err != nil {
		return fmt.Errorf("join %s to %s: %w", a.Name, b.Name, err)
	}
	for _, e := range []struct {
		h   *Host
		dev string
	}{{a, aDev}, {b, bDev}} {
		if !offloads {
			if err := e.h.Do(func() error { return offloadsOff(e.dev) }); err != nil {
				return err
			}
		}
		// Both ends are up before either has an address: IPv6 would wait a
		// second for the carrier.
		if err := e.h.configure(e.dev); err != nil {
			return err
		}
		// The first question for a neighbour is now and then lost; the
		// next follows after this instead of a second, for three as usual.
		const every, times = "20", "150"
		if err := e.h.Sysctl("net/ipv6/neigh/"+e.dev+"/retrans_time_ms", every); err != nil {
			return err
		}
		if err := e.h.Sysctl("net/ipv6/neigh/"+e.dev+"/mcast_solicit", times); err != nil {
			return err
		}
	}
	return nil
}
