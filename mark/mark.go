// Package mark holds the numbers b4 shares with the rest of the router:
// fwmark bits, and why those.
package mark

import "fmt"

// Base is the lowest bit of the four that b4 uses by default. Taken by others:
// mwan3 0x00003f00, pbr and tailscale 0x00ff0000, zapret 0x60000000, qos
// scripts the low byte. Bits 24-27 are free of all of them. Of those above, which
// groups of devices need, zapret has two; it does what b4 does, so that nobody
// wants both.
const Base = 0x01000000

// A Set is the bits b4 uses in packet marks and conntrack marks. All rules
// test and set them under their own mask, so other programs' bits survive.
type Set struct {
	Injected uint32 // packet: sent by b4, leave it alone and untracked
	Done     uint32 // packet and conntrack: the connection needs b4 no more
	Hide     uint32 // packet: kept for hiding hellos from flow offload
	Steer    uint32 // packet: goes to the TUN; conntrack: may go there

	// Groups are four bits more, lowest first, each for a group of devices that
	// rules of the configuration are for: conntrack, whose connection it is; packet,
	// on its way to b4d. None where there is no such rule, see [Set.WithGroups].
	Groups uint32
}

// MaxGroups is how many groups of devices can be told apart.
const MaxGroups = 4

// New returns the set whose four bits begin at base, without any for groups.
func New(base uint32) (Set, error) {
	if base == 0 || base&(base-1) != 0 || base > 1<<28 {
		return Set{}, fmt.Errorf("mark base %#x: want one bit, at most 0x10000000", base)
	}
	return Set{Steer: base, Hide: base << 1, Done: base << 2, Injected: base << 3}, nil
}

// WithGroups is s with bits for groups: the four above its others, and where there
// is no room, the four below.
func (s Set) WithGroups() Set {
	s.Groups = 0xf * (s.Steer << 4)
	if s.Steer > 1<<24 {
		s.Groups = 0xf * (s.Steer >> 4)
	}
	return s
}

// Group is the bit of group i, counted from 0.
func (s Set) Group(i int) uint32 { return s.Groups & -s.Groups << i }

// Mask covers every bit of the set.
func (s Set) Mask() uint32 { return s.Injected | s.Done | s.Hide | s.Steer | s.Groups }
