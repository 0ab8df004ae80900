package route

import (
	"net/netip"

	"b4/rtnl"

	"golang.org/x/sys/unix"
)

// Attributes that package unix does not know yet (linux/rtnetlink.h,
// linux/fib_rules.h).
const rtaNexthopID = 30

// parseRoute reads RTM_NEWROUTE of the family asked for: a kernel without it
// answers with all it has. Cached copies are left out, and so are most routes
// of no concern: see [Links].
func parseRoute(rs []Route, family uint8, m rtnl.Message) []Route {
	head, ok := rtnl.ParseRoute(m.Body)
	if m.Type != unix.RTM_NEWROUTE || !ok || head.Family != family || head.Flags&unix.RTM_F_CLONED != 0 {
		return rs
	}
	if head.DstLen != 0 && head.Protocol != Protocol && head.Table >= unix.RT_TABLE_DEFAULT && head.Table <= unix.RT_TABLE_LOCAL {
		return rs // there may be a hundred thousand of them
	}
	r := Route{Table: uint32(head.Table), Type: head.Type, Scope: head.Scope, Protocol: head.Protocol,
		Onlink: head.Flags&unix.RTNH_F_ONLINK != 0, plain: head.TOS == 0}
	var dst, src []byte
	ok = attrs(m.Body[unix.SizeofRtMsg:], func(typ uint16, value []byte) {
		switch typ {
		case unix.RTA_TABLE:
			r.Table = number(value)
		case unix.RTA_DST:
			dst = value
		case unix.RTA_SRC:
			src = value
		case unix.RTA_PRIORITY:
			r.Metric = number(value)
		case unix.RTA_OIF:
			r.Index = int32(number(value))
		case unix.RTA_GATEWAY:
			r.Gateway, _ = netip.AddrFromSlice(value)
		case unix.RTA_VIA, unix.RTA_MULTIPATH, unix.RTA_METRICS, unix.RTA_PREFSRC, unix.RTA_ENCAP, unix.RTA_FLOW, rtaNexthopID:
			r.plain = false
		}
	})
	r.Dst = prefix(family, dst, head.DstLen)
	if src != nil {
		r.Src = prefix(family, src, head.SrcLen)
	}
	if !ok || !r.Dst.IsValid() || src != nil && !r.Src.IsValid() || !concerns(rs, r) {
		return rs
	}
	if r.Protocol == Protocol {
		r.raw = string(m.Body)
	}
	return append(rs, r)
}

// concerns tells what is kept of the routes, but for the system's tables. A table
// comes in one piece, so that a look at the last one kept is enough to keep one
// of each.
func concerns(rs []Route, r Route) bool {
	if r.Dst.Bits() == 0 || r.Protocol == Protocol || len(rs) == 0 {
		return true
	}
	last := rs[len(rs)-1]
	return last.Table != r.Table || last.Protocol == Protocol
}

// invert is FIB_RULE_INVERT of linux/fib_rules.h.
const invert = 2

// parseRule reads RTM_NEWRULE. Its head, struct fib_rule_hdr, is laid out as
// struct rtmsg is, with the action where that has its type.
func parseRule(rs []Rule, m rtnl.Message) []Rule {
	head, ok := rtnl.ParseRoute(m.Body)
	if m.Type != unix.RTM_NEWRULE || !ok || head.Family != unix.AF_INET && head.Family != unix.AF_INET6 {
		return rs
	}
	r := Rule{
		V6: head.Family == unix.AF_INET6, Action: head.Type, Table: uint32(head.Table),
		plain: head.DstLen == 0 && head.SrcLen == 0 && head.TOS == 0 && head.Flags&invert == 0,
	}
	ok = attrs(m.Body[unix.SizeofRtMsg:], func(typ uint16, value []byte) {
		switch typ {
		case unix.FRA_TABLE:
			r.Table = number(value)
		case unix.FRA_PRIORITY:
			r.Pref = number(value)
		case unix.FRA_FWMARK:
			r.Mark = number(value)
		case unix.FRA_FWMASK:
			r.Mask = number(value)
		case unix.FRA_PROTOCOL:
			r.Protocol = octet(value)
		case unix.FRA_SUPPRESS_PREFIXLEN, unix.FRA_SUPPRESS_IFGROUP:
			r.plain = r.plain && number(value) == ^uint32(0)
		case unix.FRA_DST, unix.FRA_SRC, unix.FRA_IIFNAME, unix.FRA_OIFNAME, unix.FRA_GOTO, unix.FRA_FLOW,
			unix.FRA_TUN_ID, unix.FRA_L3MDEV, unix.FRA_UID_RANGE, unix.FRA_IP_PROTO, unix.FRA_SPORT_RANGE, unix.FRA_DPORT_RANGE:
			r.plain = false
		}
	})
	if !ok {
		return rs
	}
	if r.Protocol == Protocol {
		r.raw = string(m.Body)
	}
	return append(rs, r)
}
