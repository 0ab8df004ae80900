package pipeline

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"b4/desync"
	"b4/engine"
	"b4/match"
	"b4/packet"
	"b4/tlshello"
)

const host = "www.blocked.example"

// rig feeds a pipeline and collects what leaves for the wire.
type rig struct {
	t    testing.TB
	p    *Pipeline
	out  engine.Batch
	now  time.Time
	base uint32
	v6   bool
	port uint16
	wire [][]byte
	mark uint32 // of the client's packets

	loose bool // wrong checksums are meant to be
}

func newRig(t testing.TB, rules ...Rule) *rig {
	t.Helper()
	if rules == nil {
		rules = []Rule{{Name: "all", For: treat(Desync, strategy(t, "split(midsld) disorder"))}}
	}
	return &rig{t: t, p: New(64, &Config{Rules: rules}), now: time.Unix(1000, 0), base: 0xfffffd00, port: 40000, mark: 7}
}

// treat is a treatment of TLS.
func treat(a Action, steps *desync.Strategy) [desync.Protos]Treatment {
	return [desync.Protos]Treatment{desync.TLS: {Action: a, Steps: steps}}
}

func strategy(t testing.TB, text string) *desync.Strategy {
	t.Helper()
	s, err := desync.TLS.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func set(t testing.TB, names ...string) *match.Set {
	var b match.Builder
	for _, n := range names {
		if err := b.Add(n); err != nil {
			t.Fatal(err)
		}
	}
	return b.Set()
}

// hello is a ClientHello of at least size bytes for name, the name in front or
// behind what fills it.
func hello(name string, size int, nameLast bool) []byte {
	b := tlshello.AppendDecoy(nil, name, 3)
	more := size - len(b)
	if more < 4 {
		return b
	}
	h, _ := tlshello.Parse(b)
	fill := append([]byte{0xfa, 0xfa, byte((more - 4) >> 8), byte(more - 4)}, make([]byte, more-4)...)
	at := len(b)
	if nameLast {
		at = h.Extensions
	}
	b = slices.Insert(b, at, fill...)
	for _, n := range []int{3, 7, h.Extensions - 2} {
		binary.BigEndian.PutUint16(b[n:], binary.BigEndian.Uint16(b[n:])+uint16(more))
	}
	return b
}

// send hands a segment to the pipeline, off bytes into the client's stream.
func (r *rig) send(off int, payload []byte, ack uint32) (engine.Verdict, string) {
	r.t.Helper()
	return r.handle(r.segment(off, payload, ack))
}

// segment is what send hands over.
func (r *rig) segment(off int, payload []byte, ack uint32) *engine.Packet {
	s := packet.Segment{Seq: r.base + uint32(off), Ack: ack, Flags: packet.ACK | packet.PSH, TTL: 63, Payload: payload}
	s.Src, s.Dst = r.ends()
	b := s.Append(nil)
	return &engine.Packet{Bytes: b, Full: len(b), Meta: engine.Meta{Mark: r.mark, Out: 3}}
}

// ends are the addresses of the connection's client and server.
func (r *rig) ends() (client, server netip.AddrPort) {
	if r.v6 {
		return netip.AddrPortFrom(netip.MustParseAddr("2001:db8::1"), r.port), netip.MustParseAddrPort("[2001:db8:1::7]:443")
	}
	return netip.AddrPortFrom(netip.MustParseAddr("192.0.2.1"), r.port), netip.MustParseAddrPort("198.51.100.7:443")
}

func (r *rig) handle(pkt *engine.Packet) (engine.Verdict, string) {
	r.t.Helper()
	r.out.Reset()
	before := r.p.Counts()
	v := r.p.Handle(r.now, pkt, &r.out)
	r.collect()
	if v.Act() == engine.Accept {
		r.wire = append(r.wire, bytes.Clone(pkt.Bytes))
	}
	if v.Act() == engine.Replace && r.out.Len() == 0 {
		r.t.Error("Replace with nothing in the batch")
	}
	var why []string
	for reason, n := range r.p.Counts() {
		if n != before[reason] {
			why = append(why, reason)
		}
	}
	slices.Sort(why)
	return v, strings.Join(why, "+")
}

func (r *rig) collect() {
	for i := range r.out.Len() {
		o := r.out.At(i)
		if o.Mark != r.mark || o.Out != 3 {
			r.t.Errorf("packet leaves with mark %d by device %d", o.Mark, o.Out)
		}
		if !r.loose && !packet.ChecksumOK(o.Bytes) {
			r.t.Errorf("wrong checksum: %x", o.Bytes)
		}
		if len(o.Bytes) > 1500 {
			r.t.Errorf("packet of %d bytes leaves: no path carries it", len(o.Bytes))
		}
		r.wire = append(r.wire, bytes.Clone(o.Bytes))
	}
}

func (r *rig) wait(d time.Duration) {
	r.now = r.now.Add(d)
	r.out.Reset()
	r.p.Tick(r.now, &r.out)
	r.collect()
}

// pieces is what left, as offset and bytes of the stream.
func (r *rig) pieces() (offs []int, data [][]byte) {
	for _, b := range r.wire {
		var v packet.View
		if v.Decode(b) {
			offs, data = append(offs, int(int32(v.Seq-r.base))), append(data, v.Payload)
		}
	}
	return offs, data
}

// reads asserts that the server reads exactly want.
func (r *rig) reads(want []byte) {
	r.t.Helper()
	got, have := make([]byte, len(want)), make([]bool, len(want))
	offs, data := r.pieces()
	for i := range offs {
		for k, c := range data[i] {
			if at := offs[i] + k; at >= 0 && at < len(want) && !have[at] {
				got[at], have[at] = c, true
			}
		}
	}
	if slices.Contains(have, false) || !bytes.Equal(got, want) {
		r.t.Errorf("the server does not read what the client wrote; pieces at %v", offs)
	}
}

// shown reports whether any one packet that left shows the name whole.
func (r *rig) shown() bool {
	_, data := r.pieces()
	return slices.ContainsFunc(data, func(b []byte) bool { return bytes.Contains(b, []byte(host)) })
}

func (r *rig) expect(v engine.Verdict, why string) func(engine.Verdict, string) {
	r.t.Helper()
	return func(gotV engine.Verdict, gotWhy string) {
		r.t.Helper()
		if gotV != v || gotWhy != why {
			r.t.Errorf("verdict %#x because %s, want %#x because %s", gotV, gotWhy, v, why)
		}
	}
}
