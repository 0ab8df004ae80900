package main

import (
	"bytes"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"b4/match"
)

// Each name of a list is one of its own, and one that b4d takes.
func TestWriteNames(t *testing.T) {
	const n = 20_000
	path := filepath.Join(t.TempDir(), "names")
	if err := writeNames(path, n); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	var b match.Builder
	for _, name := range bytes.Fields(text) {
		seen[string(name)] = true
		if err := b.Add(string(name)); err != nil {
			t.Fatal(err)
		}
	}
	if mean := len(text)/n - 1; len(seen) != n || mean != 15 {
		t.Errorf("%d names of %d bytes on average", len(seen), mean)
	}
	again := appendName(nil, rand.New(rand.NewPCG(7, n)))
	if !bytes.HasPrefix(text, append(again, '\n')) {
		t.Errorf("the list does not begin with %s again", again)
	}
}

func TestScalingRows(t *testing.T) {
	s := newScaling(nil, "", nil)
	for i := range 3 {
		us := 1e-6 * float64(i)
		s.costs[point{flows: 1000}] = append(s.costs[point{flows: 1000}], pointCost{all: 200e-6 + us})
		for _, at := range []point{{engine: "tun", flows: 1000}, {engine: "tun", names: 500_000}} {
			s.costs[at] = append(s.costs[at], pointCost{own: 30e-6 + us, all: 240e-6 + us, peak: 9e6})
		}
	}
	want := [][7]string{
		{"plain", "1000", "0", "", "201", "", ""},
		{"tun", "1000", "0", "31.0", "241", "9.00", "≤ 10 MB"},
		{"tun", "0", "500000", "31.0", "241", "9.00", "≤ 25 MB"},
	}
	rows := s.rows()
	if len(rows) != len(want) {
		t.Fatalf("%q", rows)
	}
	for i := range rows {
		if rows[i] != want[i] {
			t.Errorf("%q, want %q", rows[i], want[i])
		}
	}
}
