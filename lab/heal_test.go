package lab

import (
	"errors"
	"net"
	"slices"
	"testing"
	"time"

	"b4/route"

	"github.com/google/nftables"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// houseFirewall is a firewall whose loss shows: both families are masqueraded.
var houseFirewall = Firewall{Masq4: true, Masq6: true}

// Whatever others do to tables, rules, routes and devices, b4's table stays as it
// is, blocked sites soon open again, and what is under way goes on where the
// kernel alone would let it. To no other table b4 adds a rule.
func TestHeals(t *testing.T) {
	t.Parallel()
	engines(t, func(t *testing.T, engine string) {
		t.Parallel()
		l := build(t, Options{Firewall: &houseFirewall})
		alone := othersRules(t, l)
		d := launchB4D(t, l, configure(engine))
		d.moved = true
		openNow(t, l, "the start")
		if with := othersRules(t, l); len(alone) == 0 || !slices.Equal(alone, with) {
			t.Errorf("the firewall's rules are %v, and were %v", with, alone)
		}
		under := underWay(l)
		idle := newSession(t, l, Request{Host: Blocked})
		before := chains(t, l)
		ended := false
		for _, a := range accidents {
			if a.tun && engine != "tun" {
				continue
			}
			if a.cuts && !ended {
				ended = true
				if err := under.end(); err != nil {
					t.Error("under way:", err)
				}
			}
			if err := a.do(l); err != nil {
				t.Fatalf("%s: %v", a.what, err)
			}
			followed(t, l, d, ofTUN(engine, "masqueraded as 198.51.100.2; IPv6 masqueraded as 2001:db8:f::2"), a.what)
			if after := chains(t, l); !slices.Equal(before, after) {
				t.Errorf("after %s the chains are %v, and were %v", a.what, after, before)
			}
			if err := idle.page(); err != nil && !a.cuts {
				t.Errorf("after %s an idle connection: %v", a.what, err)
			}
		}
	})
}

// An accident is what another program may do.
type accident struct {
	what string
	tun  bool // to what leads into the TUN
	cuts bool // what is under way: the kernel's NAT is gone for a moment, or the device was
	do   func(*Lab) error
}

var accidents = []accident{
	{what: "fw4 reload", do: func(l *Lab) error { return l.SetFirewall(houseFirewall) }},
	{what: "ip rule flush", tun: true, do: func(l *Lab) error { return l.Router.flushRules() }},
	{what: "ip route flush of b4's table", tun: true, do: func(l *Lab) error { return l.Router.flushTable(route.DefaultTable) }},
	{what: "ip addr flush of the TUN", tun: true, do: func(l *Lab) error {
		return l.Router.onLink("b4tun0", func(link netlink.Link) error {
			addrs, err := netlink.AddrList(link, netlink.FAMILY_ALL)
			for i := range addrs {
				err = errors.Join(err, netlink.AddrDel(link, &addrs[i]))
			}
			return err
		})
	}},
	{what: "nft flush ruleset, and fw4 start", cuts: true, do: func(l *Lab) error {
		return errors.Join(l.nft(func(c *nftables.Conn) { c.FlushRuleset() }), l.SetFirewall(houseFirewall))
	}},
	{what: "fw4 stop, which deletes each table, and start", cuts: true, do: func(l *Lab) error {
		err := l.nft(func(c *nftables.Conn) { c.DelTable(&nftables.Table{Family: nftables.TableFamilyINet, Name: "b4"}) })
		if !errors.Is(err, unix.EPERM) {
			return errors.Join(errors.New("b4's table may be deleted"), err)
		}
		err = l.nft(func(c *nftables.Conn) { c.DelTable(&nftables.Table{Family: nftables.TableFamilyINet, Name: "fw4"}) })
		time.Sleep(300 * time.Millisecond) // long enough for b4d to see that nothing is masqueraded
		return errors.Join(err, l.SetFirewall(houseFirewall))
	}},
	{what: "network restart", cuts: true, do: func(l *Lab) error {
		return errors.Join(l.Router.flushRules(), l.FlapWAN(200*time.Millisecond))
	}},
}

// nft is one transaction of nftables by another program, in the router.
func (l *Lab) nft(f func(*nftables.Conn)) error {
	return l.Router.Do(func() error {
		c, err := nftables.New()
		if err != nil {
			return err
		}
		f(c)
		return c.Flush()
	})
}

// flushRules removes all rules but the kernel's own.
func (h *Host) flushRules() error {
	return h.Do(func() error {
		for _, family := range []int{unix.AF_INET, unix.AF_INET6} {
			rules, err := netlink.RuleList(family)
			if err != nil {
				return err
			}
			for _, r := range rules {
				if r.Protocol == unix.RTPROT_KERNEL {
					continue
				}
				r.Family = family
				if err := netlink.RuleDel(&r); err != nil {
					return err
				}
			}
		}
		return nil
	})
}

// flushTable removes the routes of a table.
func (h *Host) flushTable(table int) error {
	return h.Do(func() error {
		for _, family := range []int{unix.AF_INET, unix.AF_INET6} {
			routes, err := netlink.RouteListFiltered(family, &netlink.Route{Table: table}, netlink.RT_FILTER_TABLE)
			if err != nil {
				return err
			}
			for _, r := range routes {
				if r.Dst == nil {
					r.Dst = &net.IPNet{IP: net.IPv4zero, Mask: net.CIDRMask(0, 32)}
					if family == unix.AF_INET6 {
						r.Dst = &net.IPNet{IP: net.IPv6zero, Mask: net.CIDRMask(0, 128)}
					}
				}
				if err := netlink.RouteDel(&r); err != nil {
					return err
				}
			}
		}
		return nil
	})
}
