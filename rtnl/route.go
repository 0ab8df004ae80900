package rtnl

import (
	"encoding/binary"

	"golang.org/x/sys/unix"
)

// A Route is struct rtmsg of include/uapi/linux/rtnetlink.h, what each message
// about a route begins with.
type Route struct {
	Family, DstLen, SrcLen, TOS  uint8
	Table, Protocol, Scope, Type uint8
	Flags                        uint32
}

// ParseRoute reads the head of a message about a route.
func ParseRoute(b []byte) (r Route, ok bool) {
	if len(b) < unix.SizeofRtMsg {
		return r, false
	}
	return Route{b[0], b[1], b[2], b[3], b[4], b[5], b[6], b[7], binary.NativeEndian.Uint32(b[8:])}, true
}

// Append appends the head to b; attributes follow it.
func (r Route) Append(b []byte) []byte {
	b = append(b, r.Family, r.DstLen, r.SrcLen, r.TOS, r.Table, r.Protocol, r.Scope, r.Type)
	return binary.NativeEndian.AppendUint32(b, r.Flags)
}

// Default tells a default route, also one for a source prefix only, as netifd
// makes for IPv6. Cached copies (RTM_F_CLONED) are none.
func (r Route) Default() bool {
	return (r.Family == unix.AF_INET || r.Family == unix.AF_INET6) && r.DstLen == 0 && r.Flags&unix.RTM_F_CLONED == 0
}
