package match

import (
	"bytes"
	"net/netip"
	"sort"
)

// Networks is a set of addresses of either family, made of networks. The nil
// Networks is empty.
//
// What it holds is two tables of bytes without a pointer in them, 8 bytes a network
// of IPv4 and 32 one of IPv6, less where networks touch or contain each other: looked
// up by halving, which takes 14 steps for 10 000 networks.
type Networks struct {
	v4, v6 spans
	n      int
}

// spans are runs of addresses, of each the first and the last, in network order. In a
// set they are apart, with other addresses in between, and in order.
type spans []byte

// Len is how many networks were added.
func (s *Networks) Len() int {
	if s == nil {
		return 0
	}
	return s.n
}

// Contains reports whether an address is in one of the networks. As for netip.Prefix,
// one of IPv4 in IPv6's form is an address of IPv6, and the zero Addr is nowhere; a
// zone does not matter.
func (s *Networks) Contains(a netip.Addr) bool {
	if s == nil || !a.IsValid() {
		return false
	}
	b := a.As16()
	if a.Is4() {
		return s.v4.find(b[12:])
	}
	return s.v6.find(b[:])
}

// find reports whether an address is in one of the spans.
func (t spans) find(addr []byte) bool {
	n := len(addr)
	from, to := 0, len(t)/(2*n) // the first span beyond addr is one of these
	for from < to {
		i := int(uint(from+to) / 2)
		if bytes.Compare(t[2*n*i:][:n], addr) <= 0 {
			from = i + 1
		} else {
			to = i
		}
	}
	return from > 0 && bytes.Compare(addr, t[2*n*from-n:][:n]) <= 0
}

// fill sets all bits of an address but the first ones.
func fill(addr []byte, bits int) {
	for i := bits; i < 8*len(addr); i++ {
		addr[i/8] |= 0x80 >> (i % 8)
	}
}

// A NetworksBuilder gathers networks for a Networks. The zero one is ready.
type NetworksBuilder struct{ set Networks }

// Add adds a network, which must be valid. Its bits beyond its length count for
// nothing.
func (b *NetworksBuilder) Add(p netip.Prefix) {
	p = p.Masked()
	a := p.Addr().As16()
	t, first := &b.set.v6, a[:]
	if p.Addr().Is4() {
		t, first = &b.set.v4, a[12:]
	}
	*t = append(append(*t, first...), first...)
	fill((*t)[len(*t)-len(first):], p.Bits())
	b.set.n++
}

// Networks builds the set of what was added, nil if nothing was. The builder must
// not be used again.
func (b *NetworksBuilder) Networks() *Networks {
	if b.set.n == 0 {
		return nil
	}
	return &Networks{b.set.v4.join(4), b.set.v6.join(16), b.set.n}
}

// join puts spans of addresses of n bytes in order and joins those that touch.
func (t spans) join(n int) spans {
	sort.Stable(&unsorted{t, 2 * n})
	done := t[:0]
	for ; len(t) > 0; t = t[2*n:] {
		span := t[:2*n]
		if len(done) == 0 || !touches(done[len(done)-n:], span[:n]) {
			done = append(done, span...)
		} else if last := done[len(done)-n:]; bytes.Compare(last, span[n:]) < 0 {
			copy(last, span[n:])
		}
	}
	return bytes.Clone(done) // the builder's has room for more
}

// touches reports whether there is no address between last and first, which may be
// one ahead of it.
func touches(last, first []byte) bool {
	var a [16]byte
	next := a[:copy(a[:], last)]
	for i := len(next) - 1; i >= 0; i-- {
		if next[i]++; next[i] != 0 {
			return bytes.Compare(first, next) <= 0
		}
	}
	return true // nothing is beyond last
}

// unsorted implements [sort.Interface] for spans of w bytes.
type unsorted struct {
	spans
	w int
}

func (u *unsorted) at(i int) []byte    { return u.spans[u.w*i:][:u.w] }
func (u *unsorted) Len() int           { return len(u.spans) / u.w }
func (u *unsorted) Less(i, j int) bool { return bytes.Compare(u.at(i), u.at(j)) < 0 }

func (u *unsorted) Swap(i, j int) {
	a, b := u.at(i), u.at(j)
	for k := range a {
		a[k], b[k] = b[k], a[k]
	}
}
