package flow

import "hash/maphash"

// An index finds flows by tags of their keys: an open hash table with linear
// probing, at most half full. It has no pointers, and allocates where it grows only;
// Go's map takes four times as many cache lines, and now and then allocates in
// place of growing.
type index struct {
	places []place // a power of two
	n      int
	seed   maphash.Seed
}

// A place is one flow's. Most of what does not match is told by the tag, without a
// look at the flow.
type place struct {
	tag  uint32
	used int32 // the flow's slot + 1; 0 is free
}

func newIndex() index { return index{places: make([]place, 16), seed: maphash.MakeSeed()} }

// tag is a hash of k that nobody can foretell: clients choose their addresses and
// ports, and could make all their flows meet in one place.
func (x *index) tag(k *Key) uint32 { return uint32(maphash.Bytes(x.seed, k[:])) }

func (x *index) home(tag uint32) uint32 { return tag & uint32(len(x.places)-1) }

func (x *index) next(i uint32) uint32 { return (i + 1) & uint32(len(x.places)-1) }

func (x *index) put(tag uint32, slot int32) {
	if x.n++; x.n*2 > len(x.places) {
		old := x.places
		x.places = make([]place, 2*len(old))
		for _, p := range old {
			if p.used != 0 {
				x.insert(p)
			}
		}
	}
	x.insert(place{tag, slot + 1})
}

func (x *index) insert(p place) {
	i := x.home(p.tag)
	for x.places[i].used != 0 {
		i = x.next(i)
	}
	x.places[i] = p
}

// remove takes out what put has put in, and moves up what would not be found behind
// the gap: what is no farther from its home there.
func (x *index) remove(tag uint32, slot int32) {
	gap := x.home(tag)
	for x.places[gap].used != slot+1 {
		gap = x.next(gap)
	}
	for i := x.next(gap); x.places[i].used != 0; i = x.next(i) {
		if p := x.places[i]; x.home(i-p.tag) >= x.home(i-gap) {
			x.places[gap], gap = p, i
		}
	}
	x.places[gap] = place{}
	x.n--
}
