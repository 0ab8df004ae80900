package netif

import (
	"bytes"
	"encoding/binary"

	"golang.org/x/sys/unix"
)

const mainTable = unix.RT_TABLE_MAIN

// A link is one device.
type link struct {
	index    int32
	name     string
	loopback bool
}

// parseLink appends the device that RTM_NEWLINK describes (struct ifinfomsg,
// then attributes), and nothing for any other message.
func parseLink(ls []link, m message) []link {
	if m.typ != unix.RTM_NEWLINK || len(m.body) < unix.SizeofIfInfomsg {
		return ls
	}
	l := link{
		index:    int32(binary.NativeEndian.Uint32(m.body[4:])),
		loopback: binary.NativeEndian.Uint32(m.body[8:])&unix.IFF_LOOPBACK != 0,
	}
	for b := m.body[unix.SizeofIfInfomsg:]; len(b) > 0; {
		typ, value, rest, ok := cutAttr(b)
		if !ok {
			return ls
		}
		if typ == unix.IFLA_IFNAME {
			l.name = cString(value)
		}
		b = rest
	}
	if l.index <= 0 || l.name == "" {
		return ls
	}
	return append(ls, l)
}

// A route is one next hop of a default route.
type route struct {
	v6     bool
	table  uint32
	metric uint32
	index  int32 // the device's
}

// rtmsg is struct rtmsg of include/uapi/linux/rtnetlink.h as far as it is used.
type rtmsg struct {
	family, dstLen, table, typ uint8
	flags                      uint32
}

func parseRtmsg(b []byte) (r rtmsg, ok bool) {
	if len(b) < unix.SizeofRtMsg {
		return r, false
	}
	return rtmsg{b[0], b[1], b[4], b[7], binary.NativeEndian.Uint32(b[8:])}, true
}

// isDefault tells a default route, also one for a source prefix only, as netifd
// makes for IPv6. Cached copies (RTM_F_CLONED) are none.
func (r rtmsg) isDefault() bool {
	return (r.family == unix.AF_INET || r.family == unix.AF_INET6) && r.dstLen == 0 && r.flags&unix.RTM_F_CLONED == 0
}

// parseRoute appends the next hops of a unicast default route (RTM_NEWROUTE) to
// rs, and nothing for any other message: unreachable, blackhole and prohibit
// lead nowhere. A next hop whose carrier is off counts, for the route stands
// and its packets still go there; one the kernel calls dead does not. Of a next
// hop object (`ip nexthop`) the kernel gives the device too, unless
// net.ipv4.nexthop_compat_mode is 0.
func parseRoute(rs []route, m message) []route {
	msg, ok := parseRtmsg(m.body)
	if m.typ != unix.RTM_NEWROUTE || !ok || !msg.isDefault() || msg.typ != unix.RTN_UNICAST {
		return rs
	}
	r := route{v6: msg.family == unix.AF_INET6, table: uint32(msg.table)}
	var hops []byte
	for b := m.body[unix.SizeofRtMsg:]; len(b) > 0; {
		typ, value, rest, ok := cutAttr(b)
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
	if r.index > 0 && msg.flags&unix.RTNH_F_DEAD == 0 {
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

// cString is b up to its first NUL.
func cString(b []byte) string {
	s, _, _ := bytes.Cut(b, []byte{0})
	return string(s)
}
