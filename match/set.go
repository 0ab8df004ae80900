package match

import "fmt"

// A Set is a set of host-name suffixes: example.org stands for itself and for
// every name below it. The nil Set is empty.
//
// Of a name only a hash of 64 bits is kept, in an open hash table: 12 bytes a name
// however long it is, one place in memory to look at for each suffix, and nothing
// for the garbage collector to walk. Another name has the hash of one of 500 000 once
// in 4·10¹³: a router that looks for a thousand suffixes a second meets it once in a
// thousand years, and then one connection follows the wrong rule. The hash runs
// from a name's end to its beginning, so one pass over a name yields the hash of
// each of its suffixes.
type Set struct {
	slots []uint64 // hashes; 0 is free
	all   bool
	n     int
}

// maxName is the longest host name (RFC 1035 section 2.3.4, in text).
const maxName = 253

// Of FNV-1a with 64 bits.
const (
	fnvOffset = 14695981039346656037
	fnvPrime  = 1099511628211
)

// Len is how many names the set holds; the name that stands for all counts too.
func (s *Set) Len() int {
	if s == nil {
		return 0
	}
	return s.n
}

// Contains reports whether name or a domain above it is in the set. Case and a
// trailing dot do not matter.
func (s *Set) Contains(name []byte) bool {
	if s == nil || s.n == 0 {
		return false
	}
	if s.all {
		return true
	}
	if n := len(name); n > 0 && name[n-1] == '.' {
		name = name[:n-1]
	}
	if len(name) > maxName {
		return false
	}
	h := uint64(fnvOffset)
	for i := len(name) - 1; i >= 0; i-- {
		h = (h ^ uint64(lower(name[i]))) * fnvPrime
		if i == 0 || name[i-1] == '.' {
			if key := mix(h); s.slots[s.find(key)] == key {
				return true
			}
		}
	}
	return false
}

// find is where key is, or the free slot that it would take.
func (s *Set) find(key uint64) uint32 {
	i := uint32(key >> 32 * uint64(len(s.slots)) >> 32)
	for s.slots[i] != key && s.slots[i] != 0 {
		if i++; i == uint32(len(s.slots)) {
			i = 0
		}
	}
	return i
}

// mix makes all bits of an FNV hash good (the finalizer of MurmurHash3, cut short),
// and none of them 0.
func mix(h uint64) uint64 {
	h = (h ^ h>>33) * 0xff51afd7ed558ccd
	return max(h^h>>33, 1)
}

func lower(c byte) byte {
	if 'A' <= c && c <= 'Z' {
		c += 'a' - 'A'
	}
	return c
}

// A Builder gathers names for a Set. The zero Builder is ready.
type Builder struct {
	all    bool
	chunks [][]uint64 // hashes, some more than once
}

// builderChunk is how many names a Builder makes room for at once, 32 KB: what
// doubled as it grew would take three times as much for a moment.
const builderChunk = 4 << 10

// Add adds a host name, or "*" for all names. A leading "*." or "." and a
// trailing dot say nothing more and are taken off.
func (b *Builder) Add(name string) error {
	if name == "*" {
		b.all = true
		return nil
	}
	norm := trim(name)
	if norm == "" || len(norm) > maxName {
		return fmt.Errorf("host name %q: want 1 to %d characters", clip(name), maxName)
	}
	h := uint64(fnvOffset)
	for i := len(norm) - 1; i >= 0; i-- {
		c := lower(norm[i])
		if !allowed(c) && !(c == '.' && i > 0 && norm[i-1] != '.') {
			return fmt.Errorf("host name %q: unexpected %q", clip(name), norm[i:i+1])
		}
		h = (h ^ uint64(c)) * fnvPrime
	}
	last := len(b.chunks) - 1
	if last < 0 || len(b.chunks[last]) == builderChunk {
		b.chunks, last = append(b.chunks, make([]uint64, 0, builderChunk)), last+1
	}
	b.chunks[last] = append(b.chunks[last], mix(h))
	return nil
}

// Set builds the set of what was added. The Builder must not be used again.
func (b *Builder) Set() *Set {
	n := 0
	for _, c := range b.chunks {
		n += len(c)
	}
	s := &Set{slots: make([]uint64, n+n/2+1), all: b.all}
	if b.all {
		s.n++
	}
	for i, c := range b.chunks {
		for _, key := range c {
			if at := s.find(key); s.slots[at] == 0 {
				s.slots[at] = key
				s.n++
			}
		}
		b.chunks[i] = nil
	}
	return s
}

// trim is name without what says nothing.
func trim(name string) string {
	if len(name) > 1 && name[0] == '*' && name[1] == '.' {
		name = name[1:]
	}
	if len(name) > 1 && name[0] == '.' {
		name = name[1:]
	}
	if n := len(name); n > 1 && name[n-1] == '.' {
		name = name[:n-1]
	}
	return name
}

// allowed reports whether c, in lower case, may stand in a label. Letters outside
// ASCII are let through: on the wire they never match, and who wrote them is told
// where the configuration is checked.
func allowed(c byte) bool {
	return c >= 0x80 || c >= 'a' && c <= 'z' || c >= '0' && c <= '9' || c == '-' || c == '_'
}

// clip keeps errors about absurdly long names short.
func clip(s string) string {
	if len(s) > 80 {
		return s[:80] + "…"
	}
	return s
}
