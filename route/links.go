package route

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"b4/rtnl"

	"golang.org/x/sys/unix"
)

// Links is a snapshot of what the kernel has.
type Links struct {
	Devices []Device
	Addrs   []Addr
	// Routes are the default routes of all tables, those with our [Protocol],
	// and of each table but the system's (main, local, default) at least one.
	Routes []Route
	Rules  []Rule // in the order in which the kernel asks them
}

// Device finds a device by its name.
func (l Links) Device(name string) (Device, bool) {
	i := slices.IndexFunc(l.Devices, func(d Device) bool { return d.Name == name })
	if i < 0 {
		return Device{}, false
	}
	return l.Devices[i], true
}

func (l Links) name(index int32) string {
	i := slices.IndexFunc(l.Devices, func(d Device) bool { return d.Index == index })
	if i < 0 {
		return fmt.Sprintf("if%d", index)
	}
	return l.Devices[i].Name
}

// A Device is one network device.
type Device struct {
	Index int32
	Name  string
	MTU   int // bytes
	Up    bool

	// What IPv6's choice of a source asks of the device's sysctls.
	temporary bool // prefer temporary addresses: use_tempaddr is 2
	ownAddrs  bool // use_oif_addrs_only: never another device's
}

// An Addr is one address of a device.
type Addr struct {
	Index  int32        // the device's
	Prefix netip.Prefix // the address, with its network's length
	Peer   netip.Addr   // at the other end, which the network is of then; else the zero Addr
	Scope  uint8        // unix.RT_SCOPE_UNIVERSE is global
	Flags  uint32       // unix.IFA_F_…
}

func (a Addr) same(b Addr) bool { return a.Index == b.Index && a.Prefix == b.Prefix }

// text is a's line in `ip addr`. The label of an IPv4 address is dev.
func (a Addr) text(dev string) string {
	if a.Prefix.Addr().Is4() {
		return fmt.Sprintf("inet %v scope global noprefixroute %s", a.Prefix, dev)
	}
	return fmt.Sprintf("inet6 %v scope global nodad noprefixroute", a.Prefix)
}

// A Route is one route. Of one with several next hops, Index is 0 and Gateway
// the zero Addr.
type Route struct {
	Dst      netip.Prefix // 0.0.0.0/0 or ::/0 is a default route
	Src      netip.Prefix // for packets from there only; the zero Prefix is for all
	Table    uint32
	Metric   uint32
	Type     uint8 // unix.RTN_UNICAST and the like
	Scope    uint8
	Protocol uint8
	Index    int32 // the device's
	Gateway  netip.Addr
	Onlink   bool // the gateway is taken to be on the device's link

	plain bool   // says nothing that the fields above do not
	raw   string // as the kernel told it, of ours alone
}

// V6 tells the family.
func (r Route) V6() bool { return r.Dst.Addr().Is6() }

func (r Route) same(o Route) bool {
	r.raw, o.raw = "", ""
	return r == o
}

// text is r's line in `ip route show table all`.
func (r Route) text(l Links) string {
	var b strings.Builder
	if t := typeNames[r.Type]; t != "" {
		b.WriteString(t + " ")
	}
	if r.Dst.Bits() == 0 {
		b.WriteString("default")
	} else {
		b.WriteString(r.Dst.String())
	}
	if r.Src.IsValid() {
		fmt.Fprintf(&b, " from %v", r.Src)
	}
	if r.Gateway.IsValid() {
		fmt.Fprintf(&b, " via %v", r.Gateway)
	}
	if r.Index != 0 {
		b.WriteString(" dev " + l.name(r.Index))
	}
	fmt.Fprintf(&b, " table %d proto %d", r.Table, r.Protocol)
	if r.Scope == unix.RT_SCOPE_LINK {
		b.WriteString(" scope link")
	}
	if r.Metric != 0 {
		fmt.Fprintf(&b, " metric %d", r.Metric)
	}
	if r.Onlink {
		b.WriteString(" onlink")
	}
	if r.V6() {
		b.WriteString(" pref medium")
	}
	return b.String()
}

var typeNames = map[uint8]string{
	unix.RTN_LOCAL: "local", unix.RTN_BLACKHOLE: "blackhole", unix.RTN_UNREACHABLE: "unreachable",
	unix.RTN_PROHIBIT: "prohibit", unix.RTN_THROW: "throw",
}

// A Rule is one rule.
type Rule struct {
	V6         bool
	Pref       uint32
	Action     uint8 // unix.FR_ACT_TO_TBL and the like
	Table      uint32
	Mark, Mask uint32
	Protocol   uint8

	plain bool   // asks for nothing that the fields above do not
	raw   string // as the kernel told it, of ours alone
}

func (r Rule) same(o Rule) bool {
	r.raw, o.raw = "", ""
	return r == o
}

// String is r's line in `ip rule`, with "..." for what is not known of it.
func (r Rule) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%d:\tfrom all", r.Pref)
	if !r.plain {
		b.WriteString(" ...")
	}
	if r.Mask == ^uint32(0) {
		fmt.Fprintf(&b, " fwmark %#x", r.Mark)
	} else if r.Mask != 0 {
		fmt.Fprintf(&b, " fwmark %#x/%#x", r.Mark, r.Mask)
	}
	if r.Action == unix.FR_ACT_TO_TBL {
		fmt.Fprintf(&b, " lookup %d", r.Table)
	}
	fmt.Fprintf(&b, " proto %d", r.Protocol)
	return b.String()
}

// everyones is the protocol of no route.
const everyones = unix.RTPROT_UNSPEC

// readLinks takes the snapshot, with routes of one protocol only, or everyone's.
func readLinks(c *rtnl.Conn, protocol uint8) (l Links, err error) {
	if l.Devices, err = rtnl.Dump(c, unix.RTM_GETLINK, unix.AF_UNSPEC, parseDevice); err != nil {
		return l, fmt.Errorf("list devices: %w", err)
	}
	if l.Addrs, err = rtnl.Dump(c, unix.RTM_GETADDR, unix.AF_UNSPEC, parseAddr); err != nil {
		return l, fmt.Errorf("list addresses: %w", err)
	}
	for _, family := range []uint8{unix.AF_INET, unix.AF_INET6} {
		routes, err := rtnl.DumpRoutes(c, family, protocol, func(rs []Route, m rtnl.Message) []Route {
			return parseRoute(rs, family, m)
		})
		if err != nil {
			return l, fmt.Errorf("list routes: %w", err)
		}
		l.Routes = append(l.Routes, routes...)
	}
	if l.Rules, err = rtnl.Dump(c, unix.RTM_GETRULE, unix.AF_UNSPEC, parseRule); err != nil {
		return l, fmt.Errorf("list rules: %w", explain(err))
	}
	return l, nil
}

// attrs hands over each attribute of b; it returns false if b is cut short.
func attrs(b []byte, each func(typ uint16, value []byte)) bool {
	for len(b) > 0 {
		typ, value, rest, ok := rtnl.CutAttr(b)
		if !ok {
			return false
		}
		each(typ, value)
		b = rest
	}
	return true
}

// number is an attribute's 32 bits; of anything shorter, 0.
func number(value []byte) uint32 {
	if len(value) < 4 {
		return 0
	}
	return binary.NativeEndian.Uint32(value)
}

func octet(value []byte) uint8 {
	if len(value) < 1 {
		return 0
	}
	return value[0]
}

// parseDevice appends the device that RTM_NEWLINK describes (struct ifinfomsg,
// then attributes). Like its fellows below it appends nothing for any other
// message, and for one that is cut short.
func parseDevice(ds []Device, m rtnl.Message) []Device {
	if m.Type != unix.RTM_NEWLINK || len(m.Body) < unix.SizeofIfInfomsg {
		return ds
	}
	d := Device{Index: int32(number(m.Body[4:])), Up: number(m.Body[8:])&unix.IFF_UP != 0}
	ok := attrs(m.Body[unix.SizeofIfInfomsg:], func(typ uint16, value []byte) {
		switch typ {
		case unix.IFLA_IFNAME:
			d.Name = rtnl.CString(value)
		case unix.IFLA_MTU:
			d.MTU = int(number(value))
		case unix.IFLA_AF_SPEC:
			d.temporary, d.ownAddrs = settings6(value)
		}
	})
	if !ok || d.Index <= 0 || d.Name == "" {
		return ds
	}
	return append(ds, d)
}

// Places in the array of IPv6's settings (linux/ipv6.h), which grows at its end.
const (
	devconfUseTempaddr     = 10
	devconfUseOifAddrsOnly = 37
)

// settings6 reads what IPv6 has set for a device, in IFLA_AF_SPEC.
func settings6(spec []byte) (temporary, ownAddrs bool) {
	nested := func(b []byte, want uint16) (found []byte) {
		attrs(b, func(typ uint16, value []byte) {
			if typ == want {
				found = value
			}
		})
		return found
	}
	conf := nested(nested(spec, unix.AF_INET6), unix.IFLA_INET6_CONF)
	at := func(i int) int32 {
		if len(conf) < 4*(i+1) {
			return 0
		}
		return int32(number(conf[4*i:]))
	}
	return at(devconfUseTempaddr) >= 2, at(devconfUseOifAddrsOnly) != 0
}

// parseAddr reads RTM_NEWADDR (struct ifaddrmsg). Where there is a peer,
// IFA_ADDRESS is its address and IFA_LOCAL ours; IPv6 has no IFA_LOCAL
// otherwise.
func parseAddr(as []Addr, m rtnl.Message) []Addr {
	if m.Type != unix.RTM_NEWADDR || len(m.Body) < unix.SizeofIfAddrmsg {
		return as
	}
	a := Addr{Index: int32(number(m.Body[4:])), Scope: m.Body[3], Flags: uint32(m.Body[2])}
	var local, address []byte
	ok := attrs(m.Body[unix.SizeofIfAddrmsg:], func(typ uint16, value []byte) {
		switch typ {
		case unix.IFA_LOCAL:
			local = value
		case unix.IFA_ADDRESS:
			address = value
		case unix.IFA_FLAGS:
			a.Flags = number(value)
		}
	})
	if local == nil {
		local = address
	}
	if !bytes.Equal(local, address) {
		a.Peer, _ = netip.AddrFromSlice(address)
	}
	a.Prefix = prefix(m.Body[0], local, m.Body[1])
	if !ok || a.Index <= 0 || !a.Prefix.IsValid() {
		return as
	}
	return append(as, a)
}

// prefix is the zero Prefix where b is no address of the family, or bits too
// many. No bytes at all are the unspecified address.
func prefix(family uint8, b []byte, bits uint8) netip.Prefix {
	size := 4
	if family == unix.AF_INET6 {
		size = 16
	} else if family != unix.AF_INET {
		return netip.Prefix{}
	}
	if b == nil {
		b = make([]byte, size)
	}
	a, ok := netip.AddrFromSlice(b)
	if !ok || len(b) != size {
		return netip.Prefix{}
	}
	return netip.PrefixFrom(a, int(bits))
}
