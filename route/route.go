// Package route leads marked packets into the TUN: for each family one address,
// one default route in a table of its own, and one rule ahead of those that
// choose an uplink. Where a gateway is given, one more table and rule lead what
// b4 sends by raw socket there. The main table, and whatever else others have,
// is never changed.
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
	// has 2022 and wg-quick 51820. The table behind it is for the gateway.
	DefaultTable = 25140

	// Pref is our rule's priority in both families. It is ahead of those that
	// choose an uplink (mwan3 from 1001, tailscale 5210, sing-box 9000,
	// netifd 10000, pbr up to 30000, main 32766), for what is steered has
	// been chosen, and of a VRF's (1000). It is behind IPsec's (220,
	// strongSwan's): that takes what it wants first. A rule of another that
	// names no priority gets one ahead of all but the first rule, as ever:
	// below ours then (fib_default_rule_pref). The rule for the gateway is
	// the next; no packet has both marks.
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
	Marks      mark.Set     // a packet with Steer goes to the TUN, one with Injected to the gateway
	Table      uint32       // DefaultTable, or another that is free; with a gateway, the one behind it too
	Device     string       // the TUN, which is there and is up
	V4, V6     netip.Prefix // its own addresses, one in each wanted family, with their networks' lengths
	IPv4, IPv6 bool         // wanted families; none is nothing at all

	// Out is the device of the gateways, which is there and is up. Without
	// a gateway it is not asked for.
	Out string
	// Gateway4 and Gateway6 are where packets with Injected leave to that
	// were sent for Out, or for no device in particular; those for another
	// device, and all of a family whose gateway is the zero Addr, go as
	// other programs' routes say. A gateway need not be on a connected
	// network. IPv6's may be link-local; its zone is Out, and stays unsaid.
	Gateway4, Gateway6 netip.Addr
}

// A State is what Plan wants of the kernel; nil is nothing at all.
type State struct {
	names    Links // the devices alone
	families []family
}

// A family stands whole or not at all. It has one route and one rule into the
// TUN, and another pair where there is a gateway.
type family struct {
	addr   Addr
	routes []Route
	rules  []Rule
}

func (f family) v6() bool { return f.addr.Prefix.Addr().Is6() }

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
	// ErrNoDevice is wrapped where the TUN, or the gateway's device, is not
	// there or is down.
	ErrNoDevice = errors.New("no such device, or it is down")
	// ErrTaken is wrapped where another program has a table of ours.
	ErrTaken = errors.New("another program's")
)

func plan(c Config, l Links) (*State, error) {
	if err := c.check(); err != nil {
		return nil, err
	}
	if !c.IPv4 && !c.IPv6 {
		return nil, nil
	}
	dev, err := l.up(c.Device)
	if err != nil {
		return nil, err
	}
	s := &State{names: Links{Devices: l.Devices}}
	for _, v6 := range c.families() {
		f, err := c.family(v6, dev.Index, l)
		if err != nil {
			return nil, err
		}
		s.families = append(s.families, f)
	}
	return s, nil
}

func (l Links) up(name string) (Device, error) {
	dev, ok := l.Device(name)
	if !ok || !dev.Up {
		return dev, fmt.Errorf("device %s: %w", name, ErrNoDevice)
	}
	return dev, nil
}

func (c *Config) check() error {
	switch {
	case !single(c.Marks.Steer):
		return fmt.Errorf("mark %#x: want one bit", c.Marks.Steer)
	case system(c.Table):
		return tableError(c.Table)
	case c.IPv4 && !c.V4.Addr().Is4():
		return fmt.Errorf("address %v: want an IPv4 one", c.V4)
	case c.IPv6 && (!c.V6.Addr().Is6() || c.V6.Addr().Is4In6()):
		return fmt.Errorf("address %v: want an IPv6 one", c.V6)
	}
	for _, v6 := range c.families() {
		if g := c.gateway(v6); g.IsValid() {
			if err := c.checkGateway(g, v6); err != nil {
				return fmt.Errorf("gateway %v: %w", g, err)
			}
		}
	}
	return nil
}

func (c *Config) checkGateway(g netip.Addr, v6 bool) error {
	switch {
	case g.Is6() != v6 || g.Is4In6():
		return fmt.Errorf("want an IPv%d address", 4+2*index(v6))
	case g.Zone() != "" || g.IsUnspecified() || g.IsMulticast() || g.IsLoopback():
		return errors.New("want the address of a router")
	case c.Out == "":
		return errors.New("want the device that leads there: set option out")
	case !single(c.Marks.Injected):
		return fmt.Errorf("mark %#x: want one bit", c.Marks.Injected)
	case system(c.Table + 1):
		return tableError(c.Table + 1)
	}
	return nil
}

func single(mark uint32) bool { return mark != 0 && mark&(mark-1) == 0 }

// system tells the tables that the kernel has by itself.
func system(table uint32) bool {
	return table == unix.RT_TABLE_UNSPEC || table >= unix.RT_TABLE_COMPAT && table <= unix.RT_TABLE_LOCAL
}

func tableError(table uint32) error {
	return fmt.Errorf("route table %d is the system's: set option route_table to a free number, as %d", table, DefaultTable)
}

// gateway is the zero Addr where there is none.
func (c *Config) gateway(v6 bool) netip.Addr {
	if v6 {
		return c.Gateway6
	}
	return c.Gateway4
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
	f.addr = Addr{Index: index, Prefix: c.V4, Flags: addrFlags}
	in := Route{Dst: defaults[0], Table: c.Table, Type: unix.RTN_UNICAST, Scope: unix.RT_SCOPE_LINK, Protocol: Protocol, Index: index, plain: true}
	if v6 {
		f.addr.Prefix = c.V6
		in.Dst, in.Scope, in.Metric = defaults[1], unix.RT_SCOPE_UNIVERSE, metric6
	}
	if err := f.add(in, Pref, c.Marks.Steer, l); err != nil {
		return f, err
	}
	g := c.gateway(v6)
	if !g.IsValid() {
		return f, nil
	}
	dev, err := l.up(c.Out)
	if err != nil {
		return f, err
	}
	// Onlink wherever the gateway is: so the route does not depend on which
	// addresses the uplink has just now.
	out := in
	out.Table, out.Scope, out.Index, out.Gateway, out.Onlink = c.Table+1, unix.RT_SCOPE_UNIVERSE, dev.Index, g, true
	return f, f.add(out, Pref+1, c.Marks.Injected, l)
}

// add adds r, and a rule that leads there.
func (f *family) add(r Route, pref, mark uint32, l Links) error {
	if err := taken(r.Table, f.v6(), l); err != nil {
		return err
	}
	f.routes = append(f.routes, r)
	f.rules = append(f.rules, Rule{
		V6: f.v6(), Pref: pref, Action: unix.FR_ACT_TO_TBL, Table: r.Table,
		Mark: mark, Mask: mark, Protocol: Protocol, plain: true,
	})
	return nil
}

// defaults are the destinations of a default route, IPv4's first.
var defaults = [2]netip.Prefix{netip.PrefixFrom(netip.IPv4Unspecified(), 0), netip.PrefixFrom(netip.IPv6Unspecified(), 0)}

// taken asks whether another program uses a table.
func taken(table uint32, v6 bool, l Links) error {
	what := ""
	for _, r := range l.Routes {
		if r.Table == table && r.V6() == v6 && r.Protocol != Protocol {
			what = "route " + r.text(l)
		}
	}
	for _, r := range l.Rules {
		if r.Table == table && r.V6 == v6 && r.Action == unix.FR_ACT_TO_TBL && r.Protocol != Protocol {
			what = "rule " + r.String()
		}
	}
	if what == "" {
		return nil
	}
	return fmt.Errorf("route table %d is %w (%s): set option route_table to a free number", table, ErrTaken, what)
}

// String is what `ip addr`, `ip route show table all` and `ip rule` print, for
// each family.
func (s *State) String() string {
	if s == nil {
		return ""
	}
	var b strings.Builder
	for _, f := range s.families {
		fmt.Fprintf(&b, "# IPv%d\n%s\n", 4+2*index(f.v6()), strings.Join(s.lines(f), "\n"))
	}
	return b.String()
}

func (s *State) lines(f family) []string {
	all := []string{f.addr.text(s.names.name(f.addr.Index))}
	for _, r := range f.routes {
		all = append(all, r.text(s.names))
	}
	for _, r := range f.rules {
		all = append(all, r.String())
	}
	return all
}
