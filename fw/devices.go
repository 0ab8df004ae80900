package fw

import "net/netip"

// Devices say whose connections are looked at, and which rules they are for. It is
// decided ahead of NAT, where a client's own addresses still are to be seen.
// The router's own connections belong to no group.
type Devices struct {
	// Groups are those that rules are for: packets of group i come to b4d with the bit
	// mark.Set.Group(i) in their mark. At most mark.MaxGroups.
	Groups []Group
	Spared []Group // their connections are never looked at

	Never []netip.Prefix // destinations that nobody's connections are looked at to
}

// A Group is devices that match in each of the ways that are given: one of its
// MACs, one of its sources, one of its interfaces. A group without any is
// refused.
type Group struct {
	MACs       [][6]byte
	Sources    []netip.Prefix // of either family; masked
	Interfaces []string       // devices of the router that their packets come in by
}

// deviceChains tell the groups apart.
func (c *Config) deviceChains() []chain { return nil }
