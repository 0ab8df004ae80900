package netif

import (
	"encoding/binary"
	"fmt"

	"b4/rtnl"

	"golang.org/x/sys/unix"
)

const mainTable = unix.RT_TABLE_MAIN

// readKernel asks for the links and for the default routes of both families.
func readKernel() (k kernel, err error) {
	c, err := rtnl.Dial()
	if err != nil {
		return k, err
	}
	defer c.Close()
	if k.links, err = rtnl.Dump(c, unix.RTM_GETLINK, unix.AF_UNSPEC, parseLink); err != nil {
		return k, fmt.Errorf("list devices: %w", err)
	}
	for _, family := range []uint8{unix.AF_INET, unix.AF_INET6} {
		// A kernel without IPv6 answers with every family it has, so routes
		// may stand here twice.
		routes, err := rtnl.Dump(c, unix.RTM_GETROUTE, family, parseRoute)
		if err != nil {
			return k, fmt.Errorf("list routes: %w", err)
		}
		k.routes = append(k.routes, routes...)
	}
	return k, nil
}

// A link is one device.
type link struct {
	index    int32
	name     string
	loopback bool
	kind     string // what made it, "" of hardware
	master   int32  // index of the bridge that it is a port of, 0 is none
}

// parseLink appends the device that RTM_NEWLINK describes (struct ifinfomsg,
// then attributes), and nothing for any other message.
func parseLink(ls []link, m rtnl.Message) []link {
	if m.Type != unix.RTM_NEWLINK || len(m.Body) < unix.SizeofIfInfomsg {
		return ls
	}
	l := link{
		index:    int32(binary.NativeEndian.Uint32(m.Body[4:])),
		loopback: binary.NativeEndian.Uint32(m.Body[8:])&unix.IFF_LOOPBACK != 0,
	}
	for b := m.Body[unix.SizeofIfInfomsg:]; len(b) > 0; {
		typ, value, rest, ok := rtnl.CutAttr(b)
		if !ok {
			return ls
		}
		switch {
		case typ == unix.IFLA_IFNAME:
			l.name = rtnl.CString(value)
		case typ == unix.IFLA_MASTER && len(value) >= 4:
			l.master = int32(binary.NativeEndian.Uint32(value))
		case typ == unix.IFLA_LINKINFO:
			l.kind = parseKind(value)
		}
		b = rest
	}
	if l.index <= 0 || l.name == "" {
		return ls
	}
	return append(ls, l)
}

// parseKind reads IFLA_INFO_KIND, of which the kernel leaves the NUL out.
func parseKind(b []byte) (kind string) {
	for len(b) > 0 {
		typ, value, rest, ok := rtnl.CutAttr(b)
		if !ok {
			return kind
		}
		if typ == unix.IFLA_INFO_KIND {
			kind = rtnl.CString(value)
		}
		b = rest
	}
	return kind
}

// A route is one next hop of a default route.
type route struct {
	v6     bool
	table  uint32
	metric uint32
	index  int32 // the device's
}

// parseRoute appends the next hops of a unicast default route (RTM_NEWROUTE) to
// rs, and nothing for any other message: unreachable, blackhole and prohibit
// lead nowhere. A next hop whose carrier is off counts, for the route stands
// and its packets still go there; one the kernel calls dead does not. Of a next
// hop object (`ip nexthop`) the kernel gives the device too, unless
// net.ipv4.nexthop_compat_mode is 0.
func parseRoute(rs []route, m rtnl.Message) []route {
	msg, ok := rtnl.ParseRoute(m.Body)
	if m.Type != unix.RTM_NEWROUTE || !ok || !msg.Default() || msg.Type != unix.RTN_UNICAST {
		return rs
	}
	r := route{v6: msg.Family == unix.AF_INET6, table: uint32(msg.Table)}
	var hops []byte
	for b := m.Body[unix.SizeofRtMsg:]; len(b) > 0; {
		typ, value, rest, ok := rtnl.CutAttr(b)
		if !ok {
			return rs
		}
		switch {
		case typ == unix.RTA_TABLE && len(value) >= 4:
			r.table = binary.NativeEndian.Uint32(value)
		case typ == unix.RTA_PRIORITY && len(value) >= 4:
			r.metric = binary.NativeEndian.Uint32(value)
		case typ == unix.RTA_OIF && len(value) >= 4:
			r.index = int32(binary.NativeEndian.Uint32(value))
		case typ == unix.RTA_MULTIPATH:
			hops = value
		}
		b = rest
	}
	if r.index > 0 && msg.Flags&unix.RTNH_F_DEAD == 0 {
		rs = append(rs, r)
	}
	return parseHops(rs, r, hops)
}

// parseHops appends a copy of r for each live struct rtnexthop in b.
func parseHops(rs []route, r route, b []byte) []route {
	for len(b) >= unix.SizeofRtNexthop {
		n := int(binary.NativeEndian.Uint16(b))
		if n < unix.SizeofRtNexthop || n > len(b) {
			break
		}
		r.index = int32(binary.NativeEndian.Uint32(b[4:]))
		if r.index > 0 && b[2]&unix.RTNH_F_DEAD == 0 {
			rs = append(rs, r)
		}
		b = b[min(align4(n), len(b)):]
	}
	return rs
}
