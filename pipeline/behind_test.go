package pipeline

import (
	"slices"
	"testing"
	"time"

	"b4/engine"
	"b4/flow"
	"b4/packet"
)

// overlap reports whether a packet that left has bytes below offset off of the
// stream.
func (r *rig) overlap(off int) bool {
	offs, data := r.pieces()
	for i := range offs {
		if offs[i] < off && offs[i]+len(data[i]) > off {
			return true
		}
	}
	return false
}

// Bytes below the message leave only where the server has what belongs there.
func TestSeqovl(t *testing.T) {
	rule := Rule{Name: "all", For: treat(Desync, strategy(t, "seqovl(4) split(midsld)"))}
	rule.For[1] = web(t, Desync, "seqovl(4) split(midsld)")[1]
	msg, ccs, get := hello(host, 600, true), []byte{20, 3, 3, 0, 1, 1}, request(host, 300, false)
	type part struct {
		off  int
		data []byte
		ack  uint32
	}
	for _, tt := range []struct {
		name  string
		parts []part // the last is the message
		want  bool
	}{
		{"the first", []part{{0, msg, 1}}, true},
		{"in two", []part{{0, msg[:300], 1}, {300, msg[300:], 1}}, true},
		{"again", []part{{0, msg, 1}, {0, msg, 1}}, true},
		{"its end came first", []part{{300, msg[300:], 1}, {0, msg, 1}}, true},
		{"behind other data", []part{{-9, []byte("\x00 ready  "), 1}, {0, msg, 1}}, false},
		{"behind other data, answered", []part{{-9, []byte("\x00 ready  "), 1}, {0, msg, 2}}, true},
		{"a second hello", []part{{-600, msg, 1}, {0, msg, 2}}, true},
		{"a second hello, its CCS unseen", []part{{-606, msg, 1}, {0, msg, 2}}, false},
		{"a second hello behind its CCS", []part{{-606, msg, 1}, {-6, ccs, 2}, {0, msg, 2}}, false},
		{"a request", []part{{0, get, 1}}, true},
		{"a request at once", []part{{-len(get), get, 1}, {0, get, 1}}, false},
		{"a request later", []part{{-len(get), get, 1}, {0, get, 2}}, true},
	} {
		r := newRig(t, rule)
		for _, p := range tt.parts {
			r.wire = nil
			r.send(p.off, p.data, p.ack)
		}
		last := tt.parts[len(tt.parts)-1]
		if got := r.overlap(0); got != tt.want {
			t.Errorf("%s: bytes below it %v, want %v", tt.name, got, tt.want)
		}
		if last.off > 0 {
			last.data = msg
		}
		r.reads(last.data)
	}
}

// The same where the CCS ahead of a second hello lies behind what was not seen.
func TestSeqovlCCS(t *testing.T) {
	for _, gap := range []int{0, 30} {
		r := newRig(t, Rule{Name: "all", For: treat(Desync, strategy(t, "seqovl(4) split(midsld)"))})
		msg, ccs := hello(host, 600, true), []byte{20, 3, 3, 0, 1, 1}
		r.send(0, msg, 1)
		at := len(msg) + gap
		r.expect(engine.Accept, "early")(r.send(at, ccs, 2))
		r.wire = nil
		r.expect(engine.Replace, "treated")(r.send(at, slices.Concat(ccs, msg), 2))
		if got := r.overlap(at); got != (gap == 0) {
			t.Errorf("behind %d unseen bytes: bytes below it %v", gap, got)
		}
	}
}

// Delayed pieces leave by Tick; the packet that the last of them stands for is
// dropped, or replaced by the last that leaves at once.
func TestDelay(t *testing.T) {
	r := newRig(t, Rule{Name: "all", For: treat(Desync, strategy(t, "split(1, midsld) delay(5)"))})
	msg := hello(host, 0, false)
	r.expect(engine.Replace, "treated")(r.send(0, msg, 100))
	for i := range 3 {
		if len(r.wire) != i+1 {
			t.Fatalf("%d packets left after %d ms", len(r.wire), 5*i)
		}
		r.wait(5*time.Millisecond - 1)
		if len(r.wire) != i+1 {
			t.Error("left early")
		}
		r.wait(1)
	}
	if offs, _ := r.pieces(); !slices.IsSorted(offs) {
		t.Errorf("pieces at %v", offs)
	}
	r.reads(msg)
	r.send(0, msg, 100) // and what waits when the engine is closed
	r.out.Reset()
	r.p.Drain(&r.out)
	if r.out.Len() != 2 {
		t.Errorf("%d leave at the end", r.out.Len())
	}
}

// What is treated because the rest did not come is delayed as well.
func TestDelayLate(t *testing.T) {
	r := newRig(t, Rule{Name: "all", For: treat(Desync, strategy(t, "split(1) delay(5)"))})
	msg := hello(host, 1760, false)
	r.expect(engine.Drop, "held")(r.send(0, msg[:1400], 100))
	r.wait(flow.Wait)
	if len(r.wire) != 1 {
		t.Errorf("%d packets left at once", len(r.wire))
	}
	r.wait(5 * time.Millisecond)
	r.reads(msg[:1400])
}

// A trace shows the delays, ahead of what takes the packets off.
func TestDelayTrace(t *testing.T) {
	r := newRig(t, Rule{Name: "all", For: treat(Desync, strategy(t, "split(1) delay(5)"))})
	var events []Event
	r.p.Trace(&Tracer{Hosts: set(t, "blocked.example"), Each: func(e Event) { events = append(events, e) }})
	r.send(0, hello(host, 0, false), 100)
	if len(events) != 1 || !slices.Equal(events[0].Packets, []string{"bytes 0-1, ttl 63", "bytes 1-517, ttl 63, 5ms later"}) {
		t.Errorf("%+v", events)
	}
}

// The flags of a FIN that comes with the message stay on the last piece, which
// leaves last.
func TestDelayFIN(t *testing.T) {
	r := newRig(t, Rule{Name: "all", For: treat(Desync, strategy(t, "split(1) delay(5)"))})
	pkt := r.segment(0, hello(host, 0, false), 1)
	pkt.Bytes[33] |= packet.FIN
	packet.Finish(pkt.Bytes, 20, packet.TCP)
	r.handle(pkt)
	r.wait(5 * time.Millisecond)
	var v packet.View
	for i, b := range r.wire {
		if v.Decode(b); v.Flags&packet.FIN != 0 != (i == 1) {
			t.Errorf("packet %d: flags %#x", i, v.Flags)
		}
	}
}
