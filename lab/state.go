package lab

import (
	"fmt"
	"slices"

	"github.com/vishvananda/netlink"
)

// State lists what b4 might leave behind in a host: nftables tables, devices,
// routing rules, and routes of tables other than the usual ones. The lines are
// sorted and mean the same in two calls.
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
		rules, err := netlink.RuleList(netlink.FAMILY_ALL)
		if err != nil {
			return fmt.Errorf("list rules: %w", err)
		}
		for _, r := range rules {
			state = append(state, fmt.Sprintf("rule family %d pref %d mark %#x table %d", r.Family, r.Priority, r.Mark, r.Table))
		}
		return nil
	})
	slices.Sort(state)
	return state, err
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
