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

func TestSmallHello(t *testing.T) {
	for _, v6 := range []bool{false, true} {
		r := newRig(t)
		r.v6 = v6
		msg := hello(host, 0, false)
		r.expect(engine.Replace, "treated")(r.send(0, msg, 100))
		if len(r.wire) != 2 || r.shown() {
			t.Errorf("%d packets, name shown: %v", len(r.wire), r.shown())
		}
		r.reads(msg)
		r.expect(engine.Accept|engine.Done, "finished")(r.send(len(msg), []byte{23, 3, 3, 0, 1, 0}, 200))
		// What was in the queue already when that verdict was given.
		r.expect(engine.Accept|engine.Done, "finished")(r.send(len(msg)+6, []byte{23, 3, 3, 0, 1, 0}, 200))
		if r.p.flows.Len() != 0 || r.p.MidStream() != 0 {
			t.Errorf("%d flows, %d begun mid-stream after it was done", r.p.flows.Len(), r.p.MidStream())
		}
	}
}

func TestPostQuantumHello(t *testing.T) {
	for _, nameLast := range []bool{false, true} {
		r := newRig(t)
		msg := hello(host, 1760, nameLast)
		r.expect(engine.Drop, "held")(r.send(0, msg[:1400], 100))
		r.expect(engine.Replace, "treated")(r.send(1400, msg[1400:], 100))
		r.reads(msg)
		if r.shown() {
			t.Error("name shown")
		}
		for _, b := range r.wire {
			if len(b) > 1440 {
				t.Errorf("packet of %d bytes, the client's had 1440", len(b))
			}
		}
	}
}

// What the client sends again is treated again, and only that.
func TestRetransmission(t *testing.T) {
	r := newRig(t)
	msg := hello(host, 1760, false)
	r.send(0, msg[:1400], 100)
	r.send(1400, msg[1400:], 100)
	for _, part := range [][2]int{{0, 1400}, {1400, 1760}, {0, 50}, {100, 300}, {0, 1760}} {
		r.wire = nil
		r.expect(engine.Replace, "again")(r.send(part[0], msg[part[0]:part[1]], 100))
		offs, data := r.pieces()
		n := 0
		for i := range offs {
			n += len(data[i])
		}
		if n != part[1]-part[0] || r.shown() {
			t.Errorf("%v: %d bytes left, name shown: %v", part, n, r.shown())
		}
	}
}

func TestHelloRetryRequest(t *testing.T) {
	ccs := []byte{20, 3, 3, 0, 1, 1}
	for _, alone := range []bool{false, true} {
		r := newRig(t)
		first, second := hello(host, 0, false), hello(host, 900, true)
		r.expect(engine.Replace, "treated")(r.send(0, first, 100))
		r.reads(first)
		r.wire = nil
		off := len(first)
		if alone {
			r.expect(engine.Accept, "early")(r.send(off, ccs, 200))
		} else {
			second = append(slices.Clone(ccs), second...)
		}
		if alone {
			off += len(ccs)
		}
		r.expect(engine.Replace, "treated")(r.send(off, second, 200))
		if r.shown() {
			t.Error("second hello shown")
		}
		r.base += uint32(off)
		r.wire = r.wire[len(r.wire)-2:]
		r.reads(second)
		r.expect(engine.Accept|engine.Done, "finished")(r.send(len(second), []byte{23, 3, 3}, 300))
		if h := r.p.Hellos(); h != 2 {
			t.Errorf("%d hellos", h)
		}
	}
}

// The server's sequence numbers may wrap.
func TestAnswerWraps(t *testing.T) {
	for _, acks := range [][2]uint32{{0xffffff00, 16}, {0x7ffffff0, 0x80000010}} {
		r := newRig(t)
		msg := hello(host, 0, false)
		r.send(0, msg, acks[0])
		r.expect(engine.Accept|engine.Done, "finished")(r.send(len(msg), []byte{23, 3, 3}, acks[1]))
	}
}

// Data ahead of the server's answer (0-RTT) does not end it: the hello may still
// have to be sent again.
func TestEarlyData(t *testing.T) {
	r := newRig(t)
	msg := hello(host, 0, false)
	r.send(0, msg, 100)
	r.expect(engine.Accept, "early")(r.send(len(msg), []byte{23, 3, 3, 0, 1, 9}, 100))
	r.expect(engine.Replace, "again")(r.send(0, msg, 100))
	// What counts is what the client had heard when it sent the hello last.
	r.expect(engine.Replace, "again")(r.send(0, msg, 150))
	r.expect(engine.Accept, "early")(r.send(len(msg)+6, []byte{23, 3, 3, 0, 1, 9}, 150))
	r.expect(engine.Accept|engine.Done, "finished")(r.send(len(msg)+12, []byte{23, 3, 3, 0, 1, 9}, 151))
	// And in one segment with the hello: all of it is treated.
	r = newRig(t)
	both := append(slices.Clone(msg), 23, 3, 3, 0, 1, 9)
	r.expect(engine.Replace, "treated")(r.send(0, both, 100))
	r.reads(both)
	// The hello comes again together with data that was not there the first time.
	r = newRig(t)
	r.send(0, msg, 100)
	r.wire = nil
	r.expect(engine.Replace, "again")(r.send(0, both, 100))
	r.reads(both)
}

func TestRules(t *testing.T) {
	split := strategy(t, "split(midsld)")
	rules := []Rule{
		{Name: "bank", Domains: set(t, "bank.example"), For: treat(Pass, nil)},
		{Name: "ads", Domains: set(t, "ads.example"), Not: set(t, "good.ads.example"), For: treat(Drop, nil)},
		{Name: "video", Domains: set(t, "video.example", "ads.example"), For: treat(Desync, split)},
		{Name: "asis", Domains: set(t, "asis.example")},
	}
	tests := []struct {
		name string
		v    engine.Verdict
		why  string
	}{
		{"www.bank.example", engine.Accept | engine.Done, "passed"},
		{"ads.example", engine.Drop, "dropped"},
		{"good.ads.example", engine.Replace, "treated"},
		{"VIDEO.example", engine.Replace, "treated"},
		{"other.example", engine.Accept | engine.Done, "no_rule"},
		{"asis.example", engine.Accept, "as_is"},
	}
	for _, tt := range tests {
		r := newRig(t, rules...)
		msg := hello(tt.name, 0, false)
		r.expect(tt.v, tt.why)(r.send(0, msg, 1))
		if tt.v == engine.Drop {
			r.expect(engine.Drop, "dropped")(r.send(0, msg, 1))
			r.port++
			long := hello(tt.name, 2000, true)
			r.send(0, long[:1400], 1)
			r.expect(engine.Drop, "dropped")(r.send(1400, long[1400:], 1))
			r.wait(2 * flow.Idle)
			if len(r.wire) != 0 {
				t.Errorf("%d packets left", len(r.wire))
			}
			continue
		}
		r.reads(msg)
		r = newRig(t, rules...)
		long := hello(tt.name, 2000, true) // what was held leaves as well
		r.expect(engine.Drop, "held")(r.send(0, long[:1400], 1))
		r.send(1400, long[1400:], 1)
		r.reads(long)
	}
}

func TestLeftAlone(t *testing.T) {
	r := newRig(t)
	b := (&packet.Segment{Src: netip.MustParseAddrPort("192.0.2.1:1"), Dst: netip.MustParseAddrPort("192.0.2.2:443"), Flags: packet.ACK}).Append(nil)
	r.expect(engine.Accept, "empty")(r.handle(&engine.Packet{Bytes: b, Full: len(b)}))
	r.expect(engine.Accept, "cut")(r.handle(&engine.Packet{Bytes: b, Full: len(b) + 1}))
	r.expect(engine.Accept, "reply")(r.handle(&engine.Packet{Bytes: b, Full: len(b), Dir: engine.Reply}))
	r.expect(engine.Accept, "other")(r.handle(&engine.Packet{Bytes: []byte("junk")}))
	b[33] = packet.SYN
	r.expect(engine.Accept, "other")(r.handle(&engine.Packet{Bytes: b, Full: len(b)}))

	r.expect(engine.Accept, "not_tls")(r.send(0, []byte("SSH-2.0-x\r\n"), 1))
	r.expect(engine.Accept, "not_tls")(r.send(11, []byte("more"), 1))
	r.expect(engine.Accept|engine.Done, "not_tls")(r.send(15, []byte("and more"), 2))

	r = newRig(t)
	noName := hello("192.0.2.1", 0, false)
	noName = bytes.Replace(noName, []byte{0, 0, 0, 14, 0, 12, 0}, []byte{0x5a, 0x5a, 0, 14, 0, 12, 0}, 1)
	r.expect(engine.Accept|engine.Done, "no_name")(r.send(0, noName, 1))

	r = newRig(t) // begins like a hello, turns out to be none
	r.expect(engine.Drop, "held")(r.send(0, []byte{22, 3, 1}, 1))
	r.expect(engine.Accept|engine.Done, "not_tls")(r.send(3, []byte{1, 0, 2, 0, 0}, 1))
	r.reads([]byte{22, 3, 1, 1, 0, 2, 0, 0})
}

// A hello beyond the bounds is let go as it came.
func TestBounds(t *testing.T) {
	r := newRig(t)
	msg := hello(host, 600, false)
	for i := range flow.MaxHeld {
		r.expect(engine.Drop, "held")(r.send(i, msg[i:i+1], 1))
	}
	r.expect(engine.Accept, "too_long")(r.send(10, msg[10:11], 1))
	r.reads(msg[:11])
	r.expect(engine.Accept|engine.Done, "finished")(r.send(11, msg[11:], 1))
	r.reads(msg)
}

// The later segment came first and has gone on: the two are whole together.
func TestLaterSegmentFirst(t *testing.T) {
	r := newRig(t)
	msg := hello(host, 1760, false)
	r.expect(engine.Accept, "not_tls")(r.send(1400, msg[1400:], 1))
	v, _ := r.send(0, msg[:1400], 1)
	if v != engine.Replace || r.shown() {
		t.Errorf("verdict %#x, name shown: %v", v, r.shown())
	}
	r.reads(msg)
	if r.p.MidStream() != 1 || r.p.Hellos() != 1 {
		t.Errorf("%d mid-stream, %d hellos", r.p.MidStream(), r.p.Hellos())
	}
}

// Another connection with the same ports starts anew, and what waited is let go.
func TestPortReuse(t *testing.T) {
	for _, far := range []int{window + 1, -window - 1} {
		r := newRig(t)
		msg := hello(host, 1760, true)
		r.expect(engine.Drop, "held")(r.send(0, msg[:1000], 1))
		r.expect(engine.Replace, "evicted+treated")(r.send(far, hello(host, 0, false), 1))
		if len(r.wire) != 3 {
			t.Errorf("%d packets", len(r.wire))
		}
	}
}

func TestReload(t *testing.T) {
	r := newRig(t)
	msg := hello(host, 0, false)
	r.send(0, msg, 1)
	r.p.Use(&Config{})
	r.expect(engine.Replace, "again")(r.send(0, msg, 1)) // the flow keeps its plan
	r.port++
	r.expect(engine.Accept|engine.Done, "no_rule")(r.send(0, msg, 1))
}

func TestTrace(t *testing.T) {
	r := newRig(t)
	var events []Event
	stop, _ := r.p.Trace(&Tracer{Hosts: set(t, "blocked.example"), Each: func(e Event) { events = append(events, e) }})
	msg := hello(host, 0, false)
	r.send(0, msg, 100)
	r.send(len(msg), []byte{23}, 200)
	r.port++
	r.send(0, hello("other.example", 0, false), 100)
	stop()
	r.port++
	r.send(0, msg, 100)
	if len(events) != 2 || events[0].Host != host || events[0].Why != "treated" || events[1].Why != "finished" ||
		len(events[0].Packets) != 2 || events[0].Packets[1] != "bytes 0-111, ttl 63" ||
		events[0].Strategy != "split(midsld) disorder" || events[0].Flow != "192.0.2.1:40000 -> 198.51.100.7:443" {
		t.Errorf("%+v", events)
	}
}

func TestAllocs(t *testing.T) {
	r := newRig(t)
	send := func(off int, payload []byte, ack uint32) *engine.Packet {
		s := packet.Segment{Src: netip.MustParseAddrPort("192.0.2.1:1"), Dst: netip.MustParseAddrPort("198.51.100.7:443"),
			Seq: uint32(off), Ack: ack, Flags: packet.ACK | packet.PSH, TTL: 63, Payload: payload}
		b := s.Append(nil)
		return &engine.Packet{Bytes: b, Full: len(b)}
	}
	msg := hello(host, 1760, false)
	pkts := []*engine.Packet{send(0, msg[:1400], 1), send(1400, msg[1400:], 1), send(0, msg[:1400], 1), send(1760, []byte{23}, 2), send(1761, nil, 2)}
	if n := testing.AllocsPerRun(1000, func() {
		for _, k := range pkts {
			r.out.Reset()
			r.p.Handle(r.now, k, &r.out)
		}
		r.p.Tick(r.now, &r.out)
	}); n != 0 {
		t.Errorf("%v allocations per connection, want 0", n)
	}
	if c := r.p.Counts(); c["treated"] != 1001 || c["again"] != 1001 || c["finished"] != 1001 || c["held"] != 1001 {
		t.Errorf("%v", c)
	}
}

// However a hello is cut, ordered and repeated, the server reads it.
func FuzzSegments(f *testing.F) {
	f.Add([]byte{255, 200, 255, 0}, uint16(1760), true)
	f.Add([]byte{1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1}, uint16(600), false)
	f.Add([]byte{130, 7, 3}, uint16(900), false)
	f.Fuzz(func(t *testing.T, cuts []byte, size uint16, nameLast bool) {
		msg := hello(host, min(int(size), 4000), nameLast)
		r := newRig(t)
		type part struct{ off, end int }
		var parts []part
		for off, i := 0, 0; off < len(msg); i++ {
			n := 1400
			if i < len(cuts) {
				n = 1 + int(cuts[i])*5
			}
			end := min(off+n, len(msg))
			parts = append(parts, part{off, end})
			off = end
		}
		for i, c := range cuts { // swap neighbours
			if c%3 == 0 && i+1 < len(parts) {
				parts[i], parts[i+1] = parts[i+1], parts[i]
			}
		}
		for i, k := range parts {
			r.send(k.off, msg[k.off:k.end], 1)
			if i < len(cuts) && cuts[i]%7 == 0 {
				r.wait(flow.Wait)
			}
			if i < len(cuts) && cuts[i]%5 == 0 {
				r.send(k.off, msg[k.off:k.end], 1)
			}
		}
		r.wait(flow.Wait)
		r.wait(2 * flow.Idle)
		r.reads(msg)
		if r.p.flows.Len() != 0 {
			t.Error("flow left")
		}
	})
}
