package lab

import (
	"fmt"
	"slices"
	"strings"

	"b4/route"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// State lists what b4 might leave behind, or change, in a host: nftables tables,
// devices, routing rules, and byte for byte the routes, but for those that the
// kernel makes itself for a host's own addresses and its links, now and then a
// moment after them. The lines are sorted and mean the same in two calls.
func (h *Host) State() ([]string, error) {
	tables, err := h.Tables()
	if err != nil {
		return nil, err
	}
	var state []string
	for _, t := range tables {
		state = append(state, "table "+t)
	}
	err = h.Do(func() error {
		links, err := netlink.LinkList()
		if err != nil {
			return fmt.Errorf("list devices: %w", err)
		}
		for _, l := range links {
			state = append(state, "device "+l.Attrs().Name)
		}
		for _, family := range []int{unix.AF_INET, unix.AF_INET6} {
			rules, err := netlink.RuleList(family)
			if err != nil {
				return fmt.Errorf("list rules: %w", err)
			}
			for _, r := range rules {
				state = append(state, fmt.Sprintf("rule family %d pref %d mark %#x proto %d table %d", family, r.Priority, r.Mark, r.Protocol, r.Table))
			}
			routes, err := routes(family)
			if err != nil {
				return fmt.Errorf("list routes: %w", err)
			}
			state = append(state, routes...)
		}
		return nil
	})
	slices.Sort(state)
	return state, err
}

// routes dumps the routes of one family in the calling thread's namespace.
func routes(family int) ([]string, error) {
	req := nl.NewNetlinkRequest(unix.RTM_GETROUTE, unix.NLM_F_DUMP)
	req.AddData(&nl.RtMsg{RtMsg: unix.RtMsg{Family: uint8(family)}})
	msgs, err := req.Execute(unix.NETLINK_ROUTE, unix.RTM_NEWROUTE)
	if err != nil {
		return nil, err
	}
	var state []string
	for _, m := range msgs {
		head := nl.DeserializeRtMsg(m)
		if head.Flags&unix.RTM_F_CLONED != 0 {
			continue
		}
		attrs, err := nl.ParseRouteAttr(m[head.Len():])
		if err != nil {
			return nil, err
		}
		table, text, own := uint32(head.Table), fmt.Sprintf("%x", m[:head.Len()]), head.Table == unix.RT_TABLE_LOCAL
		for _, a := range attrs {
			switch a.Attr.Type {
			case unix.RTA_CACHEINFO: // when it was last used
				continue
			case unix.RTA_TABLE:
				table = nl.NativeEndian().Uint32(a.Value)
			case unix.RTA_DST:
				own = own || head.Protocol == unix.RTPROT_KERNEL && family == unix.AF_INET6 && a.Value[0] == 0xfe
			}
			text += fmt.Sprintf(" %d:%x", a.Attr.Type, a.Value)
		}
		if own {
			continue
		}
		state = append(state, fmt.Sprintf("route family %d table %d: %s", family, table, text))
	}
	return state, nil
}

// inert tells of a line of state whether it is a rule of b4's that leads
// nowhere: all that a killed b4d may leave.
func inert(line string, state []string) bool {
	if !strings.HasPrefix(line, "rule ") || !strings.Contains(line, fmt.Sprintf(" proto %d ", route.Protocol)) {
		return false
	}
	table := line[strings.LastIndex(line, " table "):]
	return !slices.ContainsFunc(state, func(s string) bool {
		return strings.HasPrefix(s, "route ") && strings.Contains(s, table+":")
	})
}

// withoutInert takes the rules that lead nowhere out of a state.
func withoutInert(state []string) []string {
	var rest []string
	for _, line := range state {
		if !inert(line, state) {
			rest = append(rest, line)
		}
	}
	return rest
}

// Changes tells what is in one state and not in the other, each with + or -.
func Changes(before, after []string) []string {
	var diff []string
	for _, s := range after {
		if !slices.Contains(before, s) {
			diff = append(diff, "+"+s)
		}
	}
	for _, s := range before {
		if !slices.Contains(after, s) {
			diff = append(diff, "-"+s)
		}
	}
	return diff
}
