package quic

import (
	"bytes"
	"math/rand"
	"testing"

	"b4/tlshello"
)

// A message cut anyhow, in any order, overlapping and repeated, comes out whole;
// before that no more is there than what is there from the beginning on.
func TestStream(t *testing.T) {
	r := rand.New(rand.NewSource(3))
	for range 300 {
		msg := random(r, 1+r.Intn(2000))
		var s stream
		have := make([]bool, len(msg)+1)
		for s.contiguous() < len(msg) {
			from := r.Intn(len(msg))
			if r.Intn(3) == 0 {
				from = s.contiguous() // towards an end
			}
			to := from + r.Intn(min(300, len(msg)-from)+1)
			if !s.insert(uint64(from), msg[from:to]) {
				t.Fatalf("[%d, %d) is refused with %d spans", from, to, s.n)
			}
			for i := from; i < to; i++ {
				have[i] = true
			}
			n := 0
			for have[n] {
				n++
			}
			if got := s.message(); len(got) != n || !bytes.Equal(got, msg[:n]) {
				t.Fatalf("%d bytes, want %d", len(got), n)
			}
		}
	}
}

func TestStreamKeepsFirst(t *testing.T) {
	var s stream
	for _, in := range []struct {
		off  uint64
		data string
	}{{2, "cd"}, {6, "gh"}, {0, "ABCDEFGHIJ"}, {0, "xxxx"}} {
		s.insert(in.off, []byte(in.data))
	}
	if got := string(s.message()); got != "ABcdEFghIJ" {
		t.Errorf("%q", got)
	}
}

func TestStreamBounds(t *testing.T) {
	var s stream
	for _, off := range []uint64{MaxMessage, MaxMessage + 1, 1 << 31, 1 << 32, 1<<62 - 1} {
		if s.insert(off, []byte{1}) {
			t.Errorf("takes a byte at %d", off)
		}
	}
	if s.insert(MaxMessage-1, []byte{1, 2}) || !s.insert(MaxMessage-1, []byte{1}) {
		t.Error("the last byte")
	}
	for i := 1; i < maxSpans; i++ {
		if !s.insert(uint64(2*i), []byte{1}) {
			t.Fatalf("span %d is refused", i)
		}
	}
	if s.insert(1000, []byte{1}) {
		t.Error("takes one span too many")
	}
	if !s.insert(3, []byte{1}) || s.n != maxSpans-1 {
		t.Errorf("what joins two spans leaves %d", s.n)
	}
	if cap(s.buf) > 2*MaxMessage {
		t.Errorf("holds %d bytes", cap(s.buf))
	}
}

// Of two hellos the second counts, with a name or, once it is whole, without.
func TestStreamSecondHello(t *testing.T) {
	first, nameless := hello("one.example"), hello("")
	var s stream
	s.insert(0, first)
	s.insert(uint64(len(first)), nameless[:len(nameless)-1])
	if h, st := s.hello(); st != tlshello.Complete || h.Handshake != 0 || !h.Named() {
		t.Errorf("before all of the second is there: status %d, %+v", st, h)
	}
	s.insert(0, append(bytes.Clone(first), nameless...))
	if h, st := s.hello(); st != tlshello.Complete || h.Len != len(first)+len(nameless) || h.Named() {
		t.Errorf("status %d, %+v", st, h)
	}
}
