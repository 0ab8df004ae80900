package fw

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"
	"sort"
	"strings"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// neverSet is followed by the family.
const neverSet = "never"

// setName is of what a group's devices are known by.
func setName(name string, i int, what string) string { return fmt.Sprintf("%s%d_%s", name, i, what) }

func familySet(name string, number uint8) string { return fmt.Sprintf("%s%d", name, number) }

// A fixedSet is never changed in the kernel: where another is wanted, it is
// replaced.
type fixedSet struct {
	name string
	of   setType

	// keys follow one another. Those of addresses are pairs: an interval's first
	// address, and the one behind its last, which is zero at the top.
	keys []byte
}

func (s *fixedSet) equal(o *fixedSet) bool {
	return s.name == o.name && s.of == o.of && bytes.Equal(s.keys, o.keys)
}

// fixedSets are those that the rules of [Devices] look up.
func (c *Config) fixedSets() []fixedSet {
	var sets []fixedSet
	prefixes := func(name string, list []netip.Prefix) {
		for _, f := range c.families() {
			if hasFamily(list, f.number) {
				sets = append(sets, fixedSet{familySet(name, f.number), addrType(f.number), intervals(list, f.number)})
			}
		}
	}
	groups := func(name string, list []Group) {
		for i := range list {
			g := &list[i]
			if len(g.Interfaces) > 0 {
				keys, _ := deviceKeys(g.Interfaces) // checked
				sets = append(sets, fixedSet{setName(name, i, "devices"), ifname, slices.Concat(keys...)})
			}
			if len(g.MACs) > 0 {
				sets = append(sets, fixedSet{setName(name, i, "macs"), etherAddr, macKeys(g.MACs)})
			}
			prefixes(setName(name, i, "sources"), g.Sources)
		}
	}
	groups("group", c.Devices.Groups)
	groups("spared", c.Devices.Spared)
	prefixes(neverSet, c.Devices.Never)
	return sets
}

func macKeys(macs [][6]byte) (keys []byte) {
	macs = slices.Clone(macs)
	sort.SliceStable(macs, func(i, j int) bool { return string(macs[i][:]) < string(macs[j][:]) })
	for i, m := range macs {
		if i == 0 || m != macs[i-1] {
			keys = append(keys, m[:]...)
		}
	}
	return keys
}

func hasFamily(list []netip.Prefix, number uint8) bool {
	return slices.ContainsFunc(list, func(p netip.Prefix) bool { return p.Addr().Is4() == (number == 4) })
}

// intervals are the addresses of a family's prefixes, those that touch joined: the
// kernel takes no overlaps.
func intervals(list []netip.Prefix, number uint8) (keys []byte) {
	list = slices.DeleteFunc(slices.Clone(list), func(p netip.Prefix) bool { return p.Addr().Is4() != (number == 4) })
	sort.SliceStable(list, func(i, j int) bool {
		a, b := list[i], list[j]
		return a.Addr().Less(b.Addr()) || a.Addr() == b.Addr() && a.Bits() < b.Bits()
	})
	n := int(addrType(number).keyLen())
	var end netip.Addr // behind the last one; none at the top
	for i, p := range list {
		first := p.Addr()
		switch {
		case i > 0 && (!end.IsValid() || first.Less(end)): // prefixes that are not apart nest
			continue
		case i > 0 && first == end:
			keys = keys[:len(keys)-n]
		default:
			keys = append(keys, first.AsSlice()...)
		}
		if end = lastOf(p).Next(); end.IsValid() {
			keys = append(keys, end.AsSlice()...)
		} else {
			keys = append(keys, make([]byte, n)...)
		}
	}
	return keys
}

// lastOf is the last address of a prefix.
func lastOf(p netip.Prefix) netip.Addr {
	b := p.Addr().AsSlice()
	for i := p.Bits(); i < 8*len(b); i++ {
		b[i/8] |= 0x80 >> (i % 8)
	}
	a, _ := netip.AddrFromSlice(b)
	return a
}

// replaceSets leaves alone the sets that stay as they are.
func (b *batch) replaceSets(old, r *Ruleset) {
	for i := range old.sets {
		if !r.holds(&old.sets[i]) {
			b.delSet(old.sets[i].name)
		}
	}
	for i := range r.sets {
		if !old.holds(&r.sets[i]) {
			b.addFixedSet(&r.sets[i], uint32(freeSet+len(r.ports)+i))
		}
	}
}

func (r *Ruleset) holds(s *fixedSet) bool {
	return slices.ContainsFunc(r.sets, func(o fixedSet) bool { return o.equal(s) })
}

// chunk is how many elements one message holds: its length has 16 bits.
const chunk = 500

// addFixedSet adds a set with all it holds.
func (b *batch) addFixedSet(s *fixedSet, id uint32) {
	n := int(s.of.keyLen())
	b.addSet(s.name, id, s.of, uint32(n), 0, 0)
	var list []byte
	for i, count := 0, 0; i < len(s.keys); i += n {
		key := s.keys[i : i+n]
		end := s.of.interval() && i/n%2 == 1
		if !end || !allZero(key) {
			list = appendElement(list, key, end)
			count++
		}
		if count == chunk || i+n == len(s.keys) {
			b.addElements(s.name, list)
			list, count = list[:0], 0
		}
	}
}

func (b *batch) addElements(set string, list []byte) {
	if len(list) == 0 {
		return
	}
	b.add(unix.NFT_MSG_NEWSETELEM, unix.NLM_F_CREATE, func(ae *netlink.AttributeEncoder) {
		ae.String(unix.NFTA_SET_ELEM_LIST_SET, set)
		ae.Bytes(unix.NLA_F_NESTED|unix.NFTA_SET_ELEM_LIST_ELEMENTS, list)
	}, "fill set %s", set)
}

// appendElement writes an element: its key, whose length is padded to 4 bytes, and
// whether it is behind an interval.
func appendElement(list, key []byte, end bool) []byte {
	const head = unix.SizeofNlAttr
	padded := (len(key) + 3) &^ 3
	attr := func(typ uint16, length int) {
		list = binary.NativeEndian.AppendUint16(list, uint16(head+length))
		list = binary.NativeEndian.AppendUint16(list, typ)
	}
	length := 2*head + padded
	if end {
		length += head + 4
	}
	attr(unix.NLA_F_NESTED|unix.NFTA_LIST_ELEM, length)
	if end {
		attr(unix.NFTA_SET_ELEM_FLAGS, 4)
		list = binary.BigEndian.AppendUint32(list, unix.NFT_SET_ELEM_INTERVAL_END)
	}
	attr(unix.NLA_F_NESTED|unix.NFTA_SET_ELEM_KEY, head+padded)
	attr(unix.NFTA_DATA_VALUE, len(key))
	return append(append(list, key...), make([]byte, padded-len(key))...)
}

func allZero(b []byte) bool { return !slices.ContainsFunc(b, func(x byte) bool { return x != 0 }) }

// String is the set as nft writes it.
func (s *fixedSet) String() string {
	n, flags := int(s.of.keyLen()), ""
	var elements []string
	for keys := s.keys; len(keys) > 0; keys = keys[n:] {
		key := keys[:n]
		switch s.of {
		case ifname:
			elements = append(elements, fmt.Sprintf("%q", bytes.TrimRight(key, "\x00")))
		case etherAddr:
			elements = append(elements, strings.ReplaceAll(fmt.Sprintf("% x", key), " ", ":"))
		default:
			keys = keys[n:]
			elements, flags = append(elements, span(key, keys[:n])), "\t\tflags interval\n"
		}
	}
	return fmt.Sprintf("\tset %s {\n\t\ttype %v\n%s\t\telements = { %s }\n\t}\n", s.name, s.of, flags, strings.Join(elements, ", "))
}

// span is an interval as a prefix, where it is one.
func span(key, behind []byte) string {
	first, _ := netip.AddrFromSlice(key)
	last := lastOf(netip.PrefixFrom(first, 0)) // the top
	if end, _ := netip.AddrFromSlice(behind); !allZero(behind) {
		last = end.Prev()
	}
	for bits := 0; bits < first.BitLen(); bits++ {
		if p := netip.PrefixFrom(first, bits); p == p.Masked() && lastOf(p) == last {
			return p.String()
		}
	}
	if first == last {
		return first.String()
	}
	return first.String() + "-" + last.String()
}
