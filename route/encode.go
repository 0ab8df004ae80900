package route

import (
	"encoding/binary"

	"b4/rtnl"

	"golang.org/x/sys/unix"
)

// body is a as RTM_NEWADDR and RTM_DELADDR take it (struct ifaddrmsg).
func (a Addr) body() []byte {
	ip := a.Prefix.Addr()
	b := []byte{familyOf(ip.Is6()), uint8(a.Prefix.Bits()), 0, a.Scope}
	b = binary.NativeEndian.AppendUint32(b, uint32(a.Index))
	b = rtnl.AppendAttr(b, unix.IFA_LOCAL, ip.AsSlice())
	b = rtnl.AppendAttr(b, unix.IFA_ADDRESS, ip.AsSlice())
	return rtnl.AppendUint32(b, unix.IFA_FLAGS, a.Flags)
}

// body is r as RTM_NEWROUTE and RTM_DELROUTE take it: as the kernel told it,
// or made of the fields that a route of ours has.
func (r Route) body() []byte {
	if r.raw != "" {
		return []byte(r.raw)
	}
	head := rtnl.Route{Family: familyOf(r.V6()), Protocol: r.Protocol, Scope: r.Scope, Type: r.Type}
	if r.Onlink {
		head.Flags = unix.RTNH_F_ONLINK
	}
	b := rtnl.AppendUint32(head.Append(nil), unix.RTA_TABLE, r.Table)
	b = rtnl.AppendUint32(b, unix.RTA_OIF, uint32(r.Index))
	if r.Gateway.IsValid() {
		b = rtnl.AppendAttr(b, unix.RTA_GATEWAY, r.Gateway.AsSlice())
	}
	if r.Metric != 0 {
		b = rtnl.AppendUint32(b, unix.RTA_PRIORITY, r.Metric)
	}
	return b
}

// body is r as RTM_NEWRULE and RTM_DELRULE take it, likewise.
func (r Rule) body() []byte {
	if r.raw != "" {
		return []byte(r.raw)
	}
	b := rtnl.Route{Family: familyOf(r.V6), Type: r.Action}.Append(nil)
	b = rtnl.AppendUint32(b, unix.FRA_PRIORITY, r.Pref)
	b = rtnl.AppendUint32(b, unix.FRA_FWMARK, r.Mark)
	b = rtnl.AppendUint32(b, unix.FRA_FWMASK, r.Mask)
	b = rtnl.AppendUint32(b, unix.FRA_TABLE, r.Table)
	return rtnl.AppendAttr(b, unix.FRA_PROTOCOL, []byte{r.Protocol})
}

func familyOf(v6 bool) uint8 {
	if v6 {
		return unix.AF_INET6
	}
	return unix.AF_INET
}
