package censor

import (
	"bytes"
	"testing"

	"b4/packet"
)

// An inlineWire is one connection through a box.
type inlineWire struct {
	*wire
	box *Inline
	out []byte // what comes out towards the server, in order of sequence numbers
	n   int    // packets that came out that way
}

func newInlineWire(t *testing.T, box *Inline, f family) *inlineWire {
	w := &inlineWire{wire: newWire(t, Profile{}, f), box: box}
	w.pass(w.wire.out(firstSeq-1, packet.SYN, nil), true)
	w.pass(w.in(firstAck-1, packet.SYN|packet.ACK, nil), false)
	w.pass(w.wire.out(firstSeq, packet.ACK, nil), true)
	w.n = 0
	return w
}

// pass gives the box a packet and collects what the server gets.
func (w *inlineWire) pass(s packet.Segment, fromClient bool) {
	w.tb.Helper()
	b := s.Append(nil)
	v := w.box.Judge(w.now, b, fromClient)
	if v.Rewritten != nil {
		b = v.Rewritten
	}
	if v.Forward {
		w.take(b, fromClient)
	}
	for _, in := range v.Inject {
		w.take(in.Bytes, !in.ToClient)
	}
}

func (w *inlineWire) take(b []byte, fromClient bool) {
	w.tb.Helper()
	var v packet.View
	if !v.Decode(b) || !packet.ChecksumOK(b) {
		w.tb.Fatalf("bad packet %x", b)
	}
	if !fromClient || v.Flags&packet.SYN != 0 {
		return
	}
	w.n++
	at := int(int32(v.Seq - firstSeq))
	if at > len(w.out) || v.TTL != inlineTTL {
		w.tb.Errorf("bytes from %d on, TTL %d, behind %d", at, v.TTL, len(w.out))
		return
	}
	w.out = append(w.out[:at], v.Payload...)
}

func (w *inlineWire) data(off int, payload string, change func(*packet.Segment)) {
	w.tb.Helper()
	s := w.wire.out(firstSeq+uint32(off), packet.PSH|packet.ACK, []byte(payload))
	s.TTL = 3
	if change != nil {
		change(&s)
	}
	w.pass(s, true)
}

func TestInline(t *testing.T) {
	signed := func(s *packet.Segment) { s.Options = append([]byte{19, 18}, make([]byte, 16)...) }
	noAck := func(s *packet.Segment) { s.Flags = packet.PSH }
	ahead := func(s *packet.Segment) { s.Ack += 1 << 30 }
	tests := []struct {
		name              string
		send              func(w *inlineWire)
		normaliser, proxy string
	}{
		{"in order", func(w *inlineWire) { w.data(0, "abc", nil); w.data(3, "def", nil) }, "abcdef", "abcdef"},
		{"out of order", func(w *inlineWire) { w.data(3, "def", nil); w.data(0, "abc", nil) }, "abcdef", "abcdef"},
		{"early only", func(w *inlineWire) { w.data(3, "def", nil) }, "", ""},
		{"sent again", func(w *inlineWire) { w.data(0, "abc", nil); w.data(0, "abc", nil) }, "abc", "abc"},
		{"sent again, otherwise", func(w *inlineWire) { w.data(0, "abc", nil); w.data(0, "xyz", nil) }, "abc", "abc"},
		{"sent again, and more", func(w *inlineWire) { w.data(0, "abc", nil); w.data(0, "xyzd", nil) }, "abcd", "abcd"},
		{"decoy", func(w *inlineWire) { w.data(0, "xyz", nil); w.data(0, "abc", nil) }, "xyz", "xyz"},
		{"early decoy", func(w *inlineWire) { w.data(1, "yz", nil); w.data(0, "abc", nil) }, "ayz", "abc"},
		{"signed decoy", func(w *inlineWire) { w.data(0, "xyz", signed); w.data(0, "abc", nil) }, "xyz", "abc"},
		{"decoy without ACK", func(w *inlineWire) { w.data(0, "xyz", noAck); w.data(0, "abc", nil) }, "xyz", "abc"},
		{"decoy that acknowledges too much", func(w *inlineWire) { w.data(0, "xyz", ahead); w.data(0, "abc", nil) }, "xyz", "abc"},
		{"decoy below the window", func(w *inlineWire) { w.data(-1<<16, "xyz", nil); w.data(0, "abc", nil) }, "abc", "abc"},
		{"a byte at a time", func(w *inlineWire) {
			for i, c := range "abcdef" {
				w.data(i, string(c), nil)
			}
		}, "abcdef", "abcdef"},
	}
	for _, tt := range tests {
		for _, f := range families {
			for want, box := range map[*string]*Inline{&tt.normaliser: NewNormaliser(), &tt.proxy: NewProxy()} {
				w := newInlineWire(t, box, f)
				if tt.send(w); string(w.out) != *want {
					t.Errorf("%s, %s, end system %v: %q, want %q", tt.name, f.name, box.endSystem, w.out, *want)
				}
			}
		}
	}
}

// A long stream comes out as it went in, and the box keeps little of it.
func TestInlineLong(t *testing.T) {
	w := newInlineWire(t, NewProxy(), families[1])
	var want bytes.Buffer
	for i := range 400 {
		b := bytes.Repeat([]byte{byte(i)}, 1000)
		want.Write(b)
		w.data(i*1000, string(b), nil)
	}
	if !bytes.Equal(w.out, want.Bytes()) {
		t.Errorf("%d bytes of %d, or others", len(w.out), want.Len())
	}
	f := w.box.flows.get(tuple{w.client, w.server})
	if n := len(f[fromNear].stream.buf); n > 3*inlineKept {
		t.Errorf("it keeps %d bytes", n)
	}
	w.data(399_000, string(want.Bytes()[399_000:]), nil) // lost behind the box: again
	if !bytes.Equal(w.out, want.Bytes()) {
		t.Error("what is sent again is something else")
	}
}

// The end of a stream passes, alone and with data, and so does a reset.
func TestInlineEnds(t *testing.T) {
	for _, flags := range []uint8{packet.FIN | packet.ACK, packet.RST | packet.ACK, packet.RST} {
		for _, last := range []string{"", "def"} {
			w := newInlineWire(t, NewProxy(), families[0])
			w.data(0, "abc", nil)
			before := w.n
			s := w.wire.out(firstSeq+3, flags, []byte(last))
			v := w.box.Judge(w.now, s.Append(nil), true)
			if !v.Forward || v.Rewritten == nil || before != 1 {
				t.Fatalf("flags %x: %+v", flags, v)
			}
			if got := decoded(t, v.Rewritten); got.Flags&(packet.FIN|packet.RST) != flags&(packet.FIN|packet.RST) || got.Seq != firstSeq+3 {
				t.Errorf("flags %x became %x at %d", flags, got.Flags, got.Seq-firstSeq)
			}
		}
	}
}

// From a normaliser's answers the client still sees how far the server is, from
// a proxy's how far the proxy is.
func TestInlineTTL(t *testing.T) {
	for _, tt := range []struct {
		box  *Inline
		want uint8
	}{{NewNormaliser(), 50}, {NewProxy(), inlineTTL}} {
		w := newInlineWire(t, tt.box, families[0])
		for _, s := range []packet.Segment{
			w.in(firstAck-1, packet.SYN|packet.ACK, nil), w.in(firstAck, packet.PSH|packet.ACK, []byte("answer")),
		} {
			v := tt.box.Judge(w.now, s.Append(nil), false)
			if got := decoded(t, v.Rewritten); got.TTL != tt.want {
				t.Errorf("end system %v, flags %x: TTL %d, want %d", tt.box.endSystem, s.Flags, got.TTL, tt.want)
			}
		}
	}
}
