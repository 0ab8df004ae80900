package match

import (
	"fmt"
	"strings"
	"testing"
)

func build(t testing.TB, names ...string) *Set {
	t.Helper()
	var b Builder
	for _, n := range names {
		if err := b.Add(n); err != nil {
			t.Fatal(err)
		}
	}
	return b.Set()
}

func TestContains(t *testing.T) {
	s := build(t, "example.org", "*.Video.example", ".dotted.example.", "localhost", "example.org")
	if s.Len() != 4 {
		t.Errorf("%d names, want 4: one was given twice", s.Len())
	}
	tests := []struct {
		name string
		want bool
	}{
		{"example.org", true},
		{"www.example.org", true},
		{"a.b.c.EXAMPLE.Org.", true},
		{"video.example", true},
		{"r1.video.example", true},
		{"dotted.example", true},
		{"localhost", true},
		{"", false},
		{".", false},
		{"org", false},
		{"notexample.org", false},
		{"example.org.evil", false},
		{"example.orgx", false},
		{"..example.org", true},
		{strings.Repeat("a.", 200) + "example.org", false}, // no host name is that long
	}
	for _, tt := range tests {
		if got := s.Contains([]byte(tt.name)); got != tt.want {
			t.Errorf("%q: %v, want %v", tt.name, got, tt.want)
		}
	}
	var none *Set
	if none.Contains([]byte("example.org")) || none.Len() != 0 || build(t).Contains([]byte("example.org")) {
		t.Error("an empty set contains something")
	}
	if all := build(t, "x.example", "*"); !all.Contains([]byte("example.org")) || !all.Contains(nil) {
		t.Error("* does not stand for all")
	}
}

// A set of any size has room for a search to end.
func TestContainsNone(t *testing.T) {
	for n := range 200 {
		names := make([]string, n)
		for i := range names {
			names[i] = fmt.Sprintf("h%d.example", i)
		}
		s := build(t, names...)
		for i := range 2 * n {
			if got := s.Contains([]byte(fmt.Sprintf("h%d.example", i))); got != (i < n) {
				t.Fatalf("%d of %d: %v", i, n, got)
			}
		}
		if free := len(s.slots) - s.Len(); free*4 < len(s.slots) {
			t.Errorf("%d names: %d free slots of %d", n, free, len(s.slots))
		}
	}
}

func TestAddRefuses(t *testing.T) {
	for _, name := range []string{"", ".", "a..b", "a b", "https://example.org", "*.", "a*.org", strings.Repeat("a", 254)} {
		var b Builder
		if err := b.Add(name); err == nil {
			t.Errorf("%q: no error", name)
		}
	}
}

// Against the obvious way, on names that share many suffixes.
func TestContainsLikeMap(t *testing.T) {
	var names []string
	for i := range 2000 {
		names = append(names, fmt.Sprintf("h%d.d%d.example", i, i%7))
	}
	s := build(t, names...)
	m := map[string]bool{}
	for _, n := range names {
		m[n] = true
	}
	for i := range 4000 {
		for d := range 7 {
			n := fmt.Sprintf("h%d.d%d.example", i, d)
			if got := s.Contains([]byte("x." + n)); got != m[n] {
				t.Fatalf("%s: %v", n, got)
			}
		}
	}
}

// Routers have little memory, and lists are long: a name takes 12 bytes, and what a
// Builder has of it 8, without garbage.
func TestSize(t *testing.T) {
	const n = 50_000
	names := make([]string, n)
	for i := range names {
		names[i] = fmt.Sprintf("a-rather-long-name-%d.some.example", i)
	}
	var b Builder
	allocs := testing.AllocsPerRun(1, func() {
		b = Builder{}
		for _, name := range names {
			if err := b.Add(name); err != nil {
				t.Fatal(err)
			}
		}
	})
	if most := float64(n/builderChunk + 10); allocs > most {
		t.Errorf("%v allocations for %d names, want %v at most", allocs, n, most)
	}
	if s := b.Set(); s.Len() != n || len(s.slots)*8 > n*12+8 {
		t.Errorf("%d names in %d bytes, want %d in 12 each", s.Len(), len(s.slots)*8, n)
	}
}

func TestContainsAllocs(t *testing.T) {
	s := build(t, "example.org", "video.example")
	name := []byte("www.some.where.video.example")
	if n := testing.AllocsPerRun(1000, func() { s.Contains(name) }); n != 0 {
		t.Errorf("%v allocations, want 0", n)
	}
}

func FuzzContains(f *testing.F) {
	f.Add("example.org", "www.example.org")
	f.Fuzz(func(t *testing.T, add, name string) {
		var b Builder
		if b.Add(add) != nil {
			return
		}
		s := b.Set()
		upper := []byte(strings.TrimPrefix(add, "*"))
		for i, c := range upper {
			if 'a' <= c && c <= 'z' {
				upper[i] -= 'a' - 'A'
			}
		}
		if !s.Contains(upper) {
			t.Errorf("%q does not contain itself", add)
		}
		s.Contains([]byte(name))
	})
}

func BenchmarkContains(bm *testing.B) {
	var b Builder
	for i := range 100_000 {
		b.Add(fmt.Sprintf("host%d.some.example", i))
	}
	s := b.Set()
	hit, miss := []byte("www.host77.some.example"), []byte("www.elsewhere.example.org")
	bm.ReportAllocs()
	bm.ResetTimer()
	for range bm.N {
		s.Contains(hit)
		s.Contains(miss)
	}
}
