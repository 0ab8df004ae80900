package fw

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"b4/mark"
)

// Devices say whose connections are looked at, and which rules they are for. It is
// decided ahead of NAT, where a client's own addresses still are to be seen.
// The router's own connections belong to no group.
type Devices struct {
	// Groups are those that rules are for: packets of group i come to b4d with the bit
	// mark.Set.Group(i) in their mark. At most mark.MaxGroups.
	Groups []Group
	Spared []Group // their connections are never looked at, whatever groups they are in

	Never []netip.Prefix // destinations that nobody's connections are looked at to; masked
}

// A Group is devices that match in each of the ways that are given: one of its
// MACs, one of its sources, one of its interfaces. A group without any is
// refused.
type Group struct {
	MACs       [][6]byte
	Sources    []netip.Prefix // of either family; masked
	Interfaces []string       // devices of the router that their packets come in by
}

func (c *Config) checkDevices() error {
	d := &c.Devices
	switch {
	case len(d.Groups) > mark.MaxGroups:
		return fmt.Errorf("%d groups of devices: want at most %d", len(d.Groups), mark.MaxGroups)
	case len(d.Groups) > 0 && c.Marks.Groups == 0:
		return errors.New("no mark bits for groups of devices")
	}
	for i := range d.Groups {
		if err := d.Groups[i].check(); err != nil {
			return fmt.Errorf("group %d of devices: %w", i, err)
		}
	}
	for i := range d.Spared {
		if err := d.Spared[i].check(); err != nil {
			return fmt.Errorf("group %d of spared devices: %w", i, err)
		}
	}
	if err := checkPrefixes(d.Never); err != nil {
		return fmt.Errorf("destinations that are never looked at: %w", err)
	}
	return nil
}

func (g *Group) check() error {
	if len(g.MACs)+len(g.Sources)+len(g.Interfaces) == 0 {
		return errors.New("want MACs, sources or interfaces")
	}
	if err := checkPrefixes(g.Sources); err != nil {
		return err
	}
	_, err := deviceKeys(g.Interfaces)
	return err
}

func checkPrefixes(list []netip.Prefix) error {
	for _, p := range list {
		if !p.IsValid() || p != p.Masked() || p.Addr().Is4In6() {
			return fmt.Errorf("prefix %v: want one that is masked, of IPv4 or IPv6", p)
		}
	}
	return nil
}

// deviceChains tell the groups apart. At -151 they are behind conntrack (-200), and
// ahead of all else that asks. What is known of a connection stands in its mark; a
// packet says anew who it is from as long as it might be looked at, so that rules
// which have changed are right for it, too.
func (c *Config) deviceChains() []chain {
	if len(c.Devices.Groups)+len(c.Devices.Spared) == 0 {
		return nil
	}
	past := c.past()
	rules := past
	for _, k := range c.kinds() {
		rules = append(rules, append(k.match, gotoChain("devices")))
	}
	if len(c.Block.Ports) > 0 && len(c.Devices.Spared) > 0 {
		rules = append(rules, append(c.blockable(), gotoChain("devices")))
	}
	if len(rules) == len(past) {
		return nil
	}
	return []chain{c.devices(), {"whose", &hook{filter, prerouting, -151}, rules}}
}

// devices writes to the connection's mark only what is news: another packet of it may be
// on its way to b4d at the same time, and must not miss its group for a moment. What
// the packet is found to be is noted in its own mark until the end.
func (c *Config) devices() chain {
	m := c.Marks
	var rules []rule
	for i := range c.Devices.Spared {
		for _, r := range c.from("spared", i, &c.Devices.Spared[i]) {
			rules = append(rules, append(r, setBits{ctMark, m.Done}, accept))
		}
	}
	if len(c.Devices.Groups) == 0 {
		return chain{"devices", nil, rules}
	}
	rules = append(rules, rule{clearBits{metaMark, m.Groups}})
	for i := range c.Devices.Groups {
		bit := m.Group(i)
		for _, r := range c.from("group", i, &c.Devices.Groups[i]) {
			rules = append(rules, append(r, setBits{metaMark, bit}, bits{ctMark, bit, false}, setBits{ctMark, bit}))
		}
		rules = append(rules, rule{bits{ctMark, bit, true}, bits{metaMark, bit, false}, clearBits{ctMark, bit}})
	}
	return chain{"devices", nil, append(rules, rule{clearBits{metaMark, m.Groups}})}
}

// from matches the packets of a group's devices, by a rule for each family if it
// matters.
func (c *Config) from(name string, i int, g *Group) []rule {
	var r rule
	if len(g.Interfaces) > 0 {
		r = append(r, cameBy(setName(name, i, "devices")))
	}
	if len(g.MACs) > 0 {
		r = append(r, sourceMAC(setName(name, i, "macs")))
	}
	if len(g.Sources) == 0 {
		return []rule{r}
	}
	var rules []rule
	for _, f := range c.families() {
		if hasFamily(g.Sources, f.number) {
			rules = append(rules, append(r[:len(r):len(r)], inPrefixes{f.number, source, familySet(setName(name, i, "sources"), f.number)}))
		}
	}
	return rules
}

// never lets go what is to, or of replies from, where nobody's connections are looked
// at, if it matches.
func (c *Config) never(side addrSide, match ...term) (rules []rule) {
	for _, f := range c.families() {
		if hasFamily(c.Devices.Never, f.number) {
			rules = append(rules, append(slices.Clip(match), inPrefixes{f.number, side, familySet(neverSet, f.number)}, accept))
		}
	}
	return rules
}

// label copies the groups of a connection into the mark of a packet that is on its way
// to b4d, bit by bit: only Linux 6.14 can combine the two marks.
func (c *Config) label() (rules []rule) {
	for i := range c.Devices.Groups {
		bit := c.Marks.Group(i)
		rules = append(rules, rule{bits{ctMark, bit, true}, setBits{metaMark, bit}})
	}
	return rules
}

// unlabel takes groups off every packet that leaves, whether it came to b4d or not.
func (c *Config) unlabel() []rule {
	if len(c.Devices.Groups) == 0 {
		return nil
	}
	all := c.Marks.Groups
	return []rule{{bits{metaMark, all, true}, clearBits{metaMark, all}}}
}
