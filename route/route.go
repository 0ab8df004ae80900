// Package route leads marked packets into the TUN: for each family one address,
// one default route in a table of its own, and one rule ahead of those that
// choose an uplink. The main table, and whatever else others have, is never
// changed.
//
// What stands in the kernel is the only record: each route and rule of ours
// carries our [Protocol], so [Conn.Reconcile] needs no memory of what an
// earlier b4d did, and [Cleanup] no state at all. The kernel removes addresses
// and routes together with the TUN, however b4d ends. It does not remove the
// rules: they lead to an empty table then, so packets go on to the next rule,
// as without b4.
package route

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"

	"b4/mark"

	"golang.org/x/sys/unix"
)

const (
	// Protocol marks routes and rules as ours: "b" in ASCII. Not in iproute2's
	// rt_protos, nor in those of FRR, BIRD, systemd-networkd or OVN.
	Protocol = 98

	// DefaultTable is "b4" in ASCII. Up to 255 it is crowded: every TPROXY
	// recipe takes 100 (passwall, xray, ss-rules), mwan3 counts from 1,
	// tailscale has 52, strongSwan 220. Beyond, pbr counts from 256, sing-box
	// has 2022 and wg-quick 51820.
	DefaultTable = 25140

	// Pref is our rule's priority in both families. It is ahead of those that
	// choose an uplink (mwan3 from 1001, tailscale 5210, sing-box 9000,
	// netifd 10000, pbr up to 30000, main 32766), for what is steered has
	// been chosen, and of a VRF's (1000). It is behind IPsec's (220,
	// strongSwan's): that takes what it wants first. A rule of another that
	// names no priority gets one ahead of all but the first rule, as ever:
	// below ours then (fib_default_rule_pref).
	Pref = 900

	// metric6 is what the kernel gives an IPv6 route that names none
	// (IP6_RT_PRIO_USER). 0 would stand for it.
	metric6 = 1024

	// addrFlags: nobody else is on the link who could have the address, and
	// its network is not to get a route in the main table.
	addrFlags = unix.IFA_F_NODAD | unix.IFA_F_NOPREFIXROUTE
)

// Config is what the routes depend on.
type Config struct {
	Marks      mark.Set     // a packet with Steer goes to the TUN
	Table      uint32       // DefaultTable, or another that is free
	Device     string       // the TUN, which is there and is up
	V4, V6     netip.Prefix // its own addresses, one in each wanted family, with their networks' lengths
	IPv4, IPv6 bool         // wanted families; none is nothing at all
}

// A State is what Plan wants of the kernel; nil is nothing at all.
type State struct {
	device   string
	families []family
}

// A family stands whole or not at all.
type family struct {
	addr  Addr
	route Route
	rule  Rule
}

func (f family) v6() bool { return f.rule.V6 }

// Plan returns what c wants, given what there is. It is pure. The error says
// what is not there yet or is another's; the wrapped [ErrNoDevice] and
// [ErrTaken] tell these.
func Plan(c Config, l Links) (*State, error) {
	s, err := plan(c, l)
	if err != nil {
		return nil, fmt.Errorf("plan routes: %w", err)
	}
	return s, nil
}

var (
	// ErrNoDevice is wrapped where the TUN is not there or is down.
	ErrNoDevice = errors.New("no such device, or it is down")
	// ErrTaken is wrapped where another program has the table.
	ErrTaken = errors.New("another program's")
)

func plan(c Config, l Links) (*State, error) {
	if err := c.check(); err != nil {
		return nil, err
	}
	if !c.IPv4 && !c.IPv6 {
		return nil, nil
	}
	dev, ok := l.Device(c.Device)
	if !ok || !dev.Up {
		return nil, fmt.Errorf("device %s: %w", c.Device, ErrNoDevice)
	}
	s := &State{device: c.Device}
	for _, v6 := range c.families() {
		f, err := c.family(v6, dev.Index, l)
		if err != nil {
			return nil, err
		}
		s.families = append(s.families, f)
	}
	return s, nil
}

func (c *Config) check() error {
	switch m := c.Marks.Steer; {
	case m == 0 || m&(m-1) != 0:
		return fmt.Errorf("mark %#x: want one bit", m)
	case c.Table == unix.RT_TABLE_UNSPEC || c.Table >= unix.RT_TABLE_COMPAT && c.Table <= unix.RT_TABLE_LOCAL:
		return fmt.Errorf("route table %d is the system's: set option route_table to a free number, as %d", c.Table, DefaultTable)
	case c.IPv4 && !c.V4.Addr().Is4():
		return fmt.Errorf("address %v: want an IPv4 one", c.V4)
	case c.IPv6 && (!c.V6.Addr().Is6() || c.V6.Addr().Is4In6()):
		return fmt.Errorf("address %v: want an IPv6 one", c.V6)
	}
	return nil
}

func (c *Config) families() (v6 []bool) {
	if c.IPv4 {
		v6 = append(v6, false)
	}
	if c.IPv6 {
		v6 = append(v6, true)
	}
	return v6
}

// family is what c wants in one family, on the device with the given index.
func (c *Config) family(v6 bool, index int32, l Links) (f family, err error) {
	if err := c.taken(v6, l); err != nil {
		return f, err
	}
	f.addr = Addr{Index: index, Prefix: c.V4, Flags: addrFlags}
	f.route = Route{Dst: defaults[0], Table: c.Table, Type: unix.RTN_UNICAST, Scope: unix.RT_SCOPE_LINK, Protocol: Protocol, Index: index, plain: true}
	if v6 {
		f.addr.Prefix = c.V6
		f.route.Dst, f.route.Scope, f.route.Metric = defaults[1], unix.RT_SCOPE_UNIVERSE, metric6
	}
	f.rule = Rule{
		V6: v6, Pref: Pref, Action: unix.FR_ACT_TO_TBL, Table: c.Table,
		Mark: c.Marks.Steer, Mask: c.Marks.Steer, Protocol: Protocol, plain: true,
	}
	return f, nil
}

// defaults are the destinations of a default route, IPv4's first.
var defaults = [2]netip.Prefix{netip.PrefixFrom(netip.IPv4Unspecified(), 0), netip.PrefixFrom(netip.IPv6Unspecified(), 0)}

// taken asks whether another program uses our table.
func (c *Config) taken(v6 bool, l Links) error {
	what := ""
	for _, r := range l.Routes {
		if r.Table == c.Table && r.V6() == v6 && r.Protocol != Protocol {
			what = "route " + r.text(l)
		}
	}
	for _, r := range l.Rules {
		if r.Table == c.Table && r.V6 == v6 && r.Action == unix.FR_ACT_TO_TBL && r.Protocol != Protocol {
			what = "rule " + r.String()
		}
	}
	if what == "" {
		return nil
	}
	return fmt.Errorf("route table %d is %w (%s): set option route_table to a free number", c.Table, ErrTaken, what)
}

// String is what `ip addr`, `ip route show table all` and `ip rule` print, for
// each family.
func (s *State) String() string {
	if s == nil {
		return ""
	}
	var b strings.Builder
	for _, f := range s.families {
		l := Links{Devices: []Device{{Index: f.route.Index, Name: s.device}}}
		fmt.Fprintf(&b, "# IPv%d\n", 4+2*index(f.v6()))
		fmt.Fprintf(&b, "%s\n%s\n%v\n", f.addr.text(s.device), f.route.text(l), f.rule)
	}
	return b.String()
}
