package match

import "fmt"

// A Set is a set of host-name suffixes: example.org stands for itself and for
// every name below it. The nil Set is empty.
//
// The names lie one behind the other in a blob, and an open hash table holds
// their offsets: two allocations for any number of names, a quarter of what a
// Go map takes, and nothing in it for the garbage collector to walk. The hash
// runs from a name's end to its beginning, so one pass over a name yields the
// hash of each of its suffixes.
type Set struct {
	blob  []byte   // length byte, name, …
	slots []uint32 // offset in blob + 1; 0 is free; a power of two long
	all   bool
	n     int
}

// maxName is the longest host name (RFC 1035 section 2.3.4, in text).
const maxName = 253

const (
	fnvOffset = 2166136261
	fnvPrime  = 16777619
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
	h := uint32(fnvOffset)
	for i := len(name) - 1; i >= 0; i-- {
		h = (h ^ uint32(lower(name[i]))) * fnvPrime
		if (i == 0 || name[i-1] == '.') && s.find(h, name[i:]) {
			return true
		}
	}
	return false
}

// find reports whether exactly name, whose hash is h, is in the set.
func (s *Set) find(h uint32, name []byte) bool {
	mask := uint32(len(s.slots) - 1)
	for i := mix(h) & mask; s.slots[i] != 0; i = (i + 1) & mask {
		if s.equal(s.slots[i]-1, name) {
			return true
		}
	}
	return false
}

func (s *Set) equal(at uint32, name []byte) bool {
	have := s.blob[at+1:][:s.blob[at]]
	if len(have) != len(name) {
		return false
	}
	for i, c := range have {
		if lower(name[i]) != c {
			return false
		}
	}
	return true
}

// mix spreads FNV's weak high bits (the finalizer of MurmurHash3).
func mix(h uint32) uint32 {
	h = (h ^ h>>16) * 0x85ebca6b
	return h ^ h>>13
}

func lower(c byte) byte {
	if 'A' <= c && c <= 'Z' {
		c += 'a' - 'A'
	}
	return c
}

// A Builder gathers names for a Set. The zero Builder is ready.
type Builder struct {
	set Set
}

// Add adds a host name, or "*" for all names. A leading "*." or "." and a
// trailing dot say nothing more and are taken off.
func (b *Builder) Add(name string) error {
	if name == "*" {
		b.set.all = true
		b.set.n++
		return nil
	}
	norm, err := normalize(name)
	if err != nil {
		return err
	}
	b.set.blob = append(append(b.set.blob, byte(len(norm))), norm...)
	b.set.n++
	return nil
}

// Set builds the set of what was added. The Builder must not be used again.
func (b *Builder) Set() *Set {
	s := b.set
	size := 8
	for size*3 < s.n*4 {
		size *= 2
	}
	s.slots = make([]uint32, size)
	mask := uint32(size - 1)
	for at := 0; at < len(s.blob); at += int(s.blob[at]) + 1 {
		name := s.blob[at+1:][:s.blob[at]]
		h := hash(name)
		if s.find(h, name) {
			s.n--
			continue
		}
		i := mix(h) & mask
		for s.slots[i] != 0 {
			i = (i + 1) & mask
		}
		s.slots[i] = uint32(at) + 1
	}
	return &s
}

func hash(name []byte) uint32 {
	h := uint32(fnvOffset)
	for i := len(name) - 1; i >= 0; i-- {
		h = (h ^ uint32(name[i])) * fnvPrime
	}
	return h
}

// normalize returns name in lower case without what says nothing. Letters outside
// ASCII are let through: on the wire they never match, and who wrote them is told
// where the configuration is checked.
func normalize(name string) (string, error) {
	norm := name
	if len(norm) > 1 && norm[0] == '*' && norm[1] == '.' {
		norm = norm[1:]
	}
	if len(norm) > 1 && norm[0] == '.' {
		norm = norm[1:]
	}
	if n := len(norm); n > 1 && norm[n-1] == '.' {
		norm = norm[:n-1]
	}
	if norm == "" || len(norm) > maxName {
		return "", fmt.Errorf("host name %q: want 1 to %d characters", clip(name), maxName)
	}
	out := make([]byte, len(norm))
	for i := range len(norm) {
		c := lower(norm[i])
		ok := c >= 0x80 || c >= 'a' && c <= 'z' || c >= '0' && c <= '9' || c == '-' || c == '_' || c == '.' && i > 0 && norm[i-1] != '.'
		if !ok {
			return "", fmt.Errorf("host name %q: unexpected %q", clip(name), norm[i:i+1])
		}
		out[i] = c
	}
	return string(out), nil
}

// clip keeps errors about absurdly long names short.
func clip(s string) string {
	if len(s) > 80 {
		return s[:80] + "…"
	}
	return s
}
