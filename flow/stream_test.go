package flow

import (
	"bytes"
	"math/rand"
	"testing"
)

// A model of a stream: a byte at each offset, or absent.
type model []int16

const absent = -1

func newModel() model {
	m := make(model, MaxMessage+1)
	for i := range m {
		m[i] = absent
	}
	return m
}

// add is Insert in the model: of two versions of a byte the first stays.
func (m model) add(off int, payload []byte) {
	for i, c := range payload {
		if m[off+i] == absent {
			m[off+i] = int16(c)
		}
	}
}

// lower moves all bytes up.
func (m model) lower(by int) {
	copy(m[by:], m)
	for i := range by {
		m[i] = absent
	}
}

// check asks that s holds what m does.
func (m model) check(t *testing.T, s *Stream) {
	t.Helper()
	b, n := s.Bytes(), 0
	for ; m[n] != absent; n++ {
		if n < len(b) && int16(b[n]) != m[n] {
			t.Fatalf("byte %d is %d, want %d", n, b[n], m[n])
		}
	}
	if len(b) != n {
		t.Fatalf("%d bytes, want %d", len(b), n)
	}
	from := 0 // where bytes begin that are there, or are not
	for i := 1; i < len(m); i++ {
		before, now := m[i-1] != absent, m[i] != absent
		if before == now {
			continue
		}
		if s.Has(from, i-from) != before || s.Has(i, 1) != now || s.Has(i-1, 2) {
			t.Fatalf("bytes %d to %d: there %v", from, i, s.Has(from, i-from))
		}
		from = i
	}
}

// like does with a stream what ops say, four bytes each, and compares it with a
// model.
func like(t *testing.T, ops []byte) {
	tb := New[int](4, noEvict(t))
	fl := tb.Add(start, key(1, false))
	base, m := uint32(0xfffffff0), newModel()
	tb.Begin(fl, base, nil)
	for ops = ops[:min(len(ops), 200)]; len(ops) >= 4; ops = ops[4:] {
		off := int(ops[1])*64 + int(ops[2])
		payload := bytes.Repeat(ops[3:4], int(ops[2]))
		switch {
		case ops[0]%3 == 1:
			if tb.Lower(fl, base-uint32(off)) {
				base -= uint32(off)
				m.lower(off)
			}
		case ops[0]%3 == 2:
			base, m = base+uint32(off), newModel()
			tb.Begin(fl, base, payload)
			m.add(0, payload)
		case tb.Insert(fl, base+uint32(off), payload):
			m.add(off, payload)
		}
		m.check(t, fl.Stream())
	}
	tb.Remove(fl)
	if tb.memory != 0 {
		t.Errorf("%d bytes lost", tb.memory)
	}
}

func FuzzStream(f *testing.F) {
	f.Add([]byte{0, 0, 100, 9, 0, 1, 100, 8, 0, 0, 200, 7})
	f.Add([]byte{0, 10, 10, 9, 1, 0, 250, 8, 0, 0, 30, 7, 1, 0, 1, 6})
	f.Add([]byte{0, 63, 255, 9, 1, 1, 1, 8, 2, 0, 3, 7, 0, 5, 5, 6})
	f.Fuzz(like)
}

func TestStreamModel(t *testing.T) {
	r := rand.New(rand.NewSource(1))
	ops := make([]byte, 4*12)
	for range 300 {
		r.Read(ops)
		for i := 1; i < len(ops); i += 4 { // near each other
			ops[i] &= 15
		}
		like(t, ops)
	}
}
