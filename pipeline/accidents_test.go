package pipeline

import (
	"bytes"
	"net/netip"
	"slices"
	"testing"

	"b4/engine"
	"b4/flow"
	"b4/packet"
)

func TestRestDoesNotCome(t *testing.T) {
	msg := hello(host, 1760, true)
	r := newRig(t)
	r.expect(engine.Drop, "held")(r.send(0, msg[:1000], 100))
	r.wait(flow.Wait - 1)
	if len(r.wire) != 0 {
		t.Error("let go early")
	}
	sent := slices.Clone(r.wire)
	r.wait(1)
	if len(r.wire) != 1 || r.p.Counts()["late"] != 1 || len(sent) != 0 {
		t.Fatalf("%d packets, counts %v", len(r.wire), r.p.Counts())
	}
	r.reads(msg[:1000]) // as it came
	r.expect(engine.Accept, "early")(r.send(0, msg[:1000], 100))
	r.expect(engine.Replace, "treated")(r.send(1000, msg[1000:], 100))
	r.reads(msg)
	r.expect(engine.Replace, "again")(r.send(0, msg[:1400], 100))
	if r.shown() {
		t.Error("name shown")
	}
	r.expect(engine.Accept|engine.Done, "finished")(r.send(1760, []byte{23}, 200))
}

// A rule that drops does so also where the rest of the hello is missing.
func TestRestDoesNotComeDrop(t *testing.T) {
	r := newRig(t, Rule{Name: "d", For: treat(Drop, nil)})
	msg := hello(host, 1760, false)
	r.send(0, msg[:1400], 100)
	r.wait(flow.Wait)
	r.expect(engine.Drop, "dropped")(r.send(0, msg[:1400], 100))
	if len(r.wire) != 0 {
		t.Errorf("%d packets left", len(r.wire))
	}
}

// With the name there, what is there is treated, so that the name stays hidden.
func TestRestDoesNotComeNameThere(t *testing.T) {
	msg := hello(host, 1760, false)
	r := newRig(t)
	r.expect(engine.Drop, "held")(r.send(0, msg[:1400], 100))
	r.wait(flow.Wait)
	if len(r.wire) != 2 || r.shown() {
		t.Errorf("%d packets, name shown: %v", len(r.wire), r.shown())
	}
	r.expect(engine.Replace, "again")(r.send(0, msg[:1400], 100))
	r.expect(engine.Accept, "early")(r.send(1400, msg[1400:], 100))
	r.reads(msg)
	if r.shown() {
		t.Error("name shown")
	}
	r.expect(engine.Accept|engine.Done, "finished")(r.send(1760, []byte{23}, 200))
}

// What a client sends again while it waits is not held again.
func TestSentAgainWhileHeld(t *testing.T) {
	r := newRig(t)
	msg := hello(host, 1760, true)
	for range 3 * flow.MaxHeld {
		r.expect(engine.Drop, "held")(r.send(0, msg[:1000], 1))
	}
	r.expect(engine.Replace, "treated")(r.send(1000, msg[1000:], 1))
	r.reads(msg)
	if r.shown() {
		t.Error("name shown")
	}
}

// After HelloRetryRequest the change_cipher_spec and the hello behind it may be
// sent again as one segment.
func TestRetryWithItsCCS(t *testing.T) {
	ccs := []byte{20, 3, 3, 0, 1, 1}
	r := newRig(t)
	first, second := hello(host, 0, false), hello(host, 900, true)
	r.send(0, first, 100)
	r.expect(engine.Accept, "early")(r.send(len(first), ccs, 200))
	r.expect(engine.Replace, "treated")(r.send(len(first)+len(ccs), second, 200))
	r.wire = nil
	r.expect(engine.Replace, "again")(r.send(len(first), append(slices.Clone(ccs), second...), 200))
	if r.shown() {
		t.Error("name shown")
	}
	r.expect(engine.Accept|engine.Done, "finished")(r.send(len(first)+len(ccs)+len(second), []byte{23}, 300))
}

// TLS 1.3 without HelloRetryRequest: CCS and Finished, in one segment or two.
func TestCCSThenFinished(t *testing.T) {
	msg := hello(host, 0, false)
	r := newRig(t)
	r.send(0, msg, 100)
	r.expect(engine.Accept, "early")(r.send(len(msg), []byte{20, 3, 3, 0, 1, 1}, 200))
	r.expect(engine.Accept|engine.Done, "finished")(r.send(len(msg)+6, []byte{23, 3, 3, 0, 1, 9}, 200))
	r = newRig(t)
	r.send(0, msg, 100) // the CCS had no PSH and did not come to us
	r.expect(engine.Accept|engine.Done, "finished")(r.send(len(msg)+6, []byte{23, 3, 3, 0, 1, 9}, 200))
}

// The end of a message may come twice before its beginning.
func TestEndBeforeBeginning(t *testing.T) {
	msg := hello(host, 1760, false)
	r := newRig(t)
	r.expect(engine.Accept, "not_tls")(r.send(1400, msg[1400:], 1))
	r.expect(engine.Accept, "not_tls")(r.send(1400, msg[1400:], 1))
	r.expect(engine.Replace, "treated")(r.send(0, msg[:1400], 1))
	r.reads(msg)
	if r.shown() {
		t.Error("name shown")
	}
	// And that of a second hello.
	r = newRig(t)
	first := hello(host, 0, false)
	r.send(0, first, 100)
	r.expect(engine.Accept, "early")(r.send(len(first)+1000, msg[1000:], 200))
	r.expect(engine.Drop, "held")(r.send(len(first), msg[:1000], 200))
}

// A packet that goes on untouched goes on once.
func TestEndBeforeBeginningPassed(t *testing.T) {
	msg := hello("x.example", 1760, false)
	r := newRig(t, Rule{Name: "p", For: treat(Pass, nil)})
	r.send(1400, msg[1400:], 1)
	r.wire = nil
	r.expect(engine.Accept|engine.Done, "passed")(r.send(0, msg[:1400], 1))
	if len(r.wire) != 1 {
		t.Errorf("%d packets left for one", len(r.wire))
	}
}

// What is held and lies behind a gap leaves with the hello.
func TestBehindGap(t *testing.T) {
	msg := hello(host, 1760, false)
	r := newRig(t)
	r.send(0, msg[:600], 1)
	r.expect(engine.Drop, "held")(r.send(1900, bytes.Repeat([]byte{23}, 300), 1))
	r.expect(engine.Replace, "treated")(r.send(600, msg[600:], 1))
	if offs, _ := r.pieces(); !slices.Contains(offs, 1900) {
		t.Errorf("pieces at %v", offs)
	}
	r.reads(msg)
	// And with what is treated late.
	r = newRig(t)
	r.send(0, msg[:1400], 1)
	r.send(1900, bytes.Repeat([]byte{23}, 300), 1)
	r.wait(flow.Wait)
	if offs, _ := r.pieces(); !slices.Contains(offs, 1900) || r.shown() {
		t.Errorf("pieces at %v, name shown: %v", offs, r.shown())
	}
}

// PSH and FIN of a segment that came out of order stand on the last piece.
func TestFlagsOutOfOrder(t *testing.T) {
	msg := hello(host, 1760, false)
	r := newRig(t)
	for _, part := range []struct {
		off, end int
		flags    uint8
	}{{0, 600, 0}, {1200, 1760, packet.FIN | packet.PSH}, {600, 1200, 0}} {
		s := packet.Segment{Src: netip.MustParseAddrPort("192.0.2.1:4000"), Dst: netip.MustParseAddrPort("192.0.2.2:443"),
			Seq: r.base + uint32(part.off), Ack: 1, Flags: packet.ACK | part.flags, Payload: msg[part.off:part.end]}
		b := s.Append(nil)
		r.handle(&engine.Packet{Bytes: b, Full: len(b), Meta: engine.Meta{Mark: 7, Out: 3}})
	}
	for _, b := range r.wire {
		var v packet.View
		v.Decode(b)
		last := int(v.Seq-r.base)+len(v.Payload) == len(msg)
		if got := v.Flags & (packet.FIN | packet.PSH); last != (got == packet.FIN|packet.PSH) || !last && got != 0 {
			t.Errorf("piece at %d: flags %#x", v.Seq-r.base, v.Flags)
		}
	}
}

// What waits when the engine is closed leaves.
func TestDrain(t *testing.T) {
	r := newRig(t)
	msg := hello(host, 1760, true)
	r.send(0, msg[:1000], 1)
	r.out.Reset()
	r.p.Drain(&r.out)
	r.collect()
	r.reads(msg[:1000])
}

// What leaves on the occasion of another connection's packet stands apart from
// what replaces it.
func TestEvictedStandsApart(t *testing.T) {
	r := newRig(t)
	msg := hello(host, 1760, true)
	r.p = New(1, &Config{Rules: []Rule{{Name: "all", For: treat(Desync, strategy(t, "split(midsld) disorder"))}}})
	r.send(0, msg[:1000], 1)
	r.port++
	r.expect(engine.Replace, "evicted+treated")(r.send(0, hello(host, 0, false), 1))
	if len(r.wire) != 3 || r.out.Len()-r.out.Others() != 2 {
		t.Errorf("%d packets, %d of them others'", len(r.wire), r.out.Others())
	}
}

// A hello without extensions is whole all the same.
func TestEmptyExtensions(t *testing.T) {
	b := append([]byte{22, 3, 1, 0, 0, 1, 0, 0, 0, 3, 3}, make([]byte, 32)...)
	b = append(b, 0, 0, 2, 0x00, 0x2f, 1, 0, 0, 0)
	b[4], b[8] = byte(len(b)-5), byte(len(b)-9)
	r := newRig(t)
	r.expect(engine.Accept|engine.Done, "no_name")(r.send(0, b, 1))
}
