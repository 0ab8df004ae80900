package pipeline

import (
	"bytes"
	"fmt"
	"net/netip"
	"slices"
	"testing"

	"b4/desync"
	"b4/engine"
	"b4/flow"
	"b4/packet"
)

// all is a rig for an engine that shows all traffic.
func all(t testing.TB, rules ...Rule) *rig {
	r := newRig(t, rules...)
	c := *r.p.config.Load()
	c.All, c.Ports = true, []uint16{443, 8443}
	r.p.Use(&c)
	return r
}

// super hands a superpacket to the pipeline, or, where Whole says so, what it is
// cut into.
func (r *rig) super(off int, payload []byte, ack uint32) (v engine.Verdict, why string) {
	r.t.Helper()
	whole := r.segment(off, payload, ack)
	if !Whole(whole.Bytes) {
		for ; len(payload) > 0; off += 1400 {
			n := min(1400, len(payload))
			v, why = r.send(off, payload[:n], ack)
			payload = payload[n:]
		}
		return v, why
	}
	whole.Partial, whole.Super = true, true
	partial(whole.Bytes)
	return r.handle(whole)
}

// partial spoils the checksum.
func partial(b []byte) {
	var v packet.View
	v.Decode(b)
	b[v.IPLen+16] ^= 0x5a
}

func TestWhole(t *testing.T) {
	msg, ccs := hello(host, 1760, true), []byte{20, 3, 3, 0, 1, 1}
	server := bytes.Clone(msg)
	server[5] = 2 // a ServerHello
	for _, v6 := range []bool{false, true} {
		r := newRig(t)
		r.v6 = v6
		for _, tt := range []struct {
			name    string
			payload []byte
			want    bool
		}{
			{"a hello", msg, false},
			{"its beginning", msg[:1400], false},
			{"with early data", slices.Concat(msg, []byte{23, 3, 3, 4, 0}, make([]byte, 40_000)), false},
			{"behind a CCS", slices.Concat(ccs, msg), false},
			{"behind two", slices.Concat(ccs, ccs, msg), false},
			{"its end", msg[1400:], true},
			{"the server's", server, true},
			{"finished", slices.Concat(ccs, []byte{23, 3, 3, 0, 50}, make([]byte, 50)), true},
			{"data", make([]byte, 30_000), true},
			{"other handshake records", []byte{22, 3, 3, 0, 70, 16}, true},
			{"SSH", []byte("SSH-2.0-x\r\n"), true},
		} {
			b := r.segment(0, tt.payload, 1).Bytes
			if Whole(b) != tt.want {
				t.Errorf("%s: %v", tt.name, !tt.want)
			}
			if short := b[:min(len(b), 1000)]; Whole(short) != tt.want {
				t.Errorf("the beginning of %s: %v", tt.name, !tt.want)
			}
			b[0] = 0x44
			if !Whole(b) {
				t.Errorf("%s: not IP, and not whole", tt.name)
			}
		}
	}
}

func TestWholeAllocs(t *testing.T) {
	r := newRig(t)
	b := r.segment(0, hello(host, 1760, true), 1).Bytes
	if n := testing.AllocsPerRun(100, func() { Whole(b) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// Whatever is cut off an IP packet, Whole does not panic, and it lets no
// beginning of a message through that the pipeline would take for one, but for
// requests by rare methods, of which it must see the whole line.
func FuzzWhole(f *testing.F) {
	r := newRig(f)
	for _, v6 := range []bool{false, true} {
		r.v6 = v6
		f.Add(r.segment(0, hello(host, 600, false), 1).Bytes, uint16(100))
		f.Add(r.segment(0, []byte{20, 3, 3, 0, 1, 1, 22, 3}, 1).Bytes, uint16(0))
	}
	f.Fuzz(func(t *testing.T, b []byte, n uint16) {
		short := Whole(b[:min(int(n), len(b))])
		var v packet.View
		if !v.Decode(b) || v.Proto != packet.TCP || int(n) < v.Hdr+11 {
			return
		}
		var m message
		m.parse(v.Payload)
		q := &m.request // of which a line that never ends has a beginning alone
		rare := m.proto == desync.HTTP && (q.MethodEnd < q.Method || !slices.Contains(methods[:], string(v.Payload[q.Method:q.MethodEnd])))
		if whole := Whole(b); whole == begins(v.Payload) || short && !whole && !rare {
			t.Errorf("whole %v, its first %d bytes %v", whole, n, short)
		}
	})
}

// A hello is treated alike whether the engine is handed a superpacket or the
// wire's segments, and what leaves is no longer than these.
func TestSuperHello(t *testing.T) {
	for _, v6 := range []bool{false, true} {
		for _, size := range []int{1700, 2200, 3000} {
			for _, early := range []int{0, 300, 30_000} {
				r := all(t)
				r.v6 = v6
				msg := append(hello(host, size, true), make([]byte, early)...)
				if early > 0 {
					msg[size] = 23
				}
				r.super(0, msg, 100)
				r.reads(msg)
				if r.shown() || r.p.Hellos() != 1 {
					t.Errorf("%d+%d bytes: name shown %v, %d hellos", size, early, r.shown(), r.p.Hellos())
				}
			}
		}
	}
}

// An engine that hands over every superpacket in one piece is coped with.
func TestSuperHelloWhole(t *testing.T) {
	r := all(t)
	msg := hello(host, 3000, true)
	p := r.segment(0, msg, 100)
	p.Partial, p.Super = true, true
	partial(p.Bytes)
	r.expect(engine.Replace, "treated")(r.handle(p))
	r.reads(msg)
	for _, b := range r.wire {
		if len(b) > 576 {
			t.Errorf("packet of %d bytes, and no path is known to carry it", len(b))
		}
	}
	if r.shown() {
		t.Error("name shown")
	}
}

// The rest of a hello comes as a superpacket, behind what was lost or not.
func TestSuperRest(t *testing.T) {
	for _, tt := range []struct {
		name string
		from int // where the superpacket begins; before it comes [0, 700)
		to   int // where it ends
		v    engine.Verdict
		why  string
	}{
		{"the rest", 700, 5000, engine.Replace, "treated"},
		{"overlapping", 400, 5000, engine.Replace, "treated"},
		{"not all of it", 700, 3600, engine.Accept, "early+late"},
		{"behind a gap", 1400, 5000, engine.Accept, "early+late"},
	} {
		for _, nameLast := range []bool{false, true} {
			r := all(t)
			msg := hello(host, 5000, nameLast)
			r.expect(engine.Drop, "held")(r.send(0, msg[:700], 100))
			v, why := r.super(tt.from, msg[tt.from:tt.to], 100)
			if tt.name == "not all of it" && !nameLast { // the name is there
				r.expect(engine.Replace, "treated")(v, why)
			} else {
				r.expect(tt.v, tt.why)(v, why)
			}
			if len(r.wire) < 2 {
				t.Errorf("%s: %d packets left: something waits", tt.name, len(r.wire))
			}
			r.wait(flow.Wait)
			if tt.from > 700 {
				r.send(700, msg[700:1400], 100)
			}
			r.send(0, msg[:700], 100) // and all of it comes again
			for off := 700; off < len(msg); off += 700 {
				r.send(off, msg[off:min(off+700, len(msg))], 100)
			}
			r.reads(msg)
			if r.shown() && !(nameLast && tt.v == engine.Accept) { // then it had gone by
				t.Errorf("%s: name shown", tt.name)
			}
		}
	}
}

// The end of a hello comes first, as a superpacket. In all-traffic mode it is
// not kept, and the beginning waits for it in vain; else the two are whole.
func TestSuperEndFirst(t *testing.T) {
	for _, mode := range []struct {
		name string
		r    *rig
		why  string
		v    engine.Verdict
	}{{"all", all(t), "held", engine.Drop}, {"decisive", newRig(t), "treated", engine.Replace}} {
		r, msg := mode.r, hello(host, 5000, false)
		r.super(1400, msg[1400:], 1)
		r.expect(mode.v, mode.why)(r.send(0, msg[:1400], 1))
		r.wait(flow.Wait)
		r.reads(msg)
		if r.shown() {
			t.Errorf("%s: name shown", mode.name)
		}
	}
}

// What is sent again of a hello, as a superpacket that begins inside it.
func TestSuperAgain(t *testing.T) {
	r := all(t)
	msg := hello(host, 3000, false)
	r.super(0, msg, 100)
	r.wire = nil
	r.expect(engine.Replace, "again")(r.super(100, msg[100:], 100))
	offs, data := r.pieces()
	for i := range data {
		if offs[i] < 100 || len(data[i]) > 1400 {
			t.Errorf("%d bytes at %d", len(data[i]), offs[i])
		}
	}
}

// A rule that drops a hello also stops what waits of one when a superpacket ends
// the waiting.
func TestSuperDropped(t *testing.T) {
	r := all(t, Rule{Name: "d", For: treat(Drop, nil)})
	msg := hello(host, 5000, false)
	r.expect(engine.Drop, "held")(r.send(0, msg[:700], 1))
	r.super(1400, msg[1400:], 1)
	r.expect(engine.Drop, "dropped")(r.send(0, msg[:700], 1))
}

// A copy of a packet whose checksum the kernel left to the card is sent with one.
func TestPartialHeld(t *testing.T) {
	r := all(t)
	msg := hello(host, 1760, true)
	p := r.segment(0, msg[:1000], 1)
	p.Partial = true
	partial(p.Bytes)
	r.expect(engine.Drop, "held")(r.handle(p))
	r.wait(flow.Wait) // and collect looks at it
	r.reads(msg[:1000])
}

// Server and client are told apart by their ports.
func TestPorts(t *testing.T) {
	msg := hello(host, 0, false)
	for _, tt := range []struct {
		src, dst uint16
		why      string
	}{{40000, 443, "treated"}, {443, 40000, "reply"}, {8443, 40000, "reply"}, {443, 8443, "treated"}, {443, 443, "treated"}, {40000, 80, "treated"}} {
		for _, host := range []string{"192.0.2.1", "2001:db8::1"} {
			r := all(t)
			a := netip.MustParseAddr(host)
			b := (&packet.Segment{Src: netip.AddrPortFrom(a, tt.src), Dst: netip.AddrPortFrom(a.Next(), tt.dst), Flags: packet.ACK, Payload: msg}).Append(nil)
			if _, why := r.handle(&engine.Packet{Bytes: b, Full: len(b), Meta: engine.Meta{Mark: 7, Out: 3}}); why != tt.why {
				t.Errorf("%s: from %d to %d: %s", host, tt.src, tt.dst, why)
			}
		}
	}
}

// What finished connections go on to carry takes no room from those that are
// undecided, and is no missed hello.
func TestUnderWay(t *testing.T) {
	const finished = 1000
	packets := 10_000
	if testing.Short() {
		packets = finished
	}
	r := all(t)
	msg := hello(host, 1760, true)
	r.expect(engine.Drop, "held")(r.send(0, msg[:1000], 1)) // undecided, in a table of 64
	undecided := r.port
	small := hello(host, 0, false)
	for i := range finished {
		r.port = undecided + 1 + uint16(i)
		r.expect(engine.Replace, "treated")(r.send(0, small, 100))
		r.expect(engine.Accept|engine.Done, "finished")(r.send(len(small), []byte{23, 3, 3, 0, 1, 9}, 200))
	}
	data := make([]byte, 20_000)
	for i := range packets {
		r.port = undecided + 1 + uint16(i%finished)
		off := len(small) + 6 + i/finished*len(data)
		r.expect(engine.Accept, "under_way")(r.super(off, data, 300))
		r.expect(engine.Accept, "empty")(r.send(off+len(data), nil, 400))
		r.wire = r.wire[:0]
	}
	if n := r.p.flows.Len(); n != 1 || r.p.MidStream() != 0 || r.p.Counts()["under_way"] != uint64(packets) {
		t.Errorf("%d flows, %d begun mid-stream, counts %v", n, r.p.MidStream(), r.p.Counts())
	}
	r.port = undecided
	r.expect(engine.Replace, "treated")(r.send(1000, msg[1000:], 1))
	r.reads(msg)
}

// allPackets are what a connection's bulk consists of: data, an acknowledgement
// of replies, and replies.
func allPackets(r *rig) (list []*engine.Packet) {
	for _, n := range []int{20_000, 0, 1400} {
		list = append(list, r.segment(0, make([]byte, n), 1))
	}
	b := (&packet.Segment{Src: netip.MustParseAddrPort("198.51.100.7:443"), Dst: netip.MustParseAddrPort("192.0.2.1:40000"), Flags: packet.ACK, Payload: make([]byte, 20_000)}).Append(nil)
	list = append(list, &engine.Packet{Bytes: b, Full: len(b), Partial: true, Super: true})
	list[0].Partial, list[0].Super = true, true
	return list
}

func TestUnderWayAllocs(t *testing.T) {
	r := all(t)
	pkts := allPackets(r)
	if n := testing.AllocsPerRun(1000, func() {
		for _, k := range pkts {
			Whole(k.Bytes)
			r.out.Reset()
			if r.p.Handle(r.now, k, &r.out) != engine.Accept || r.out.Len() != 0 {
				t.Error("not just accepted")
			}
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkUnderWay(b *testing.B) {
	for _, undecided := range []int{0, 1000} {
		b.Run(fmt.Sprintf("undecided=%d", undecided), func(b *testing.B) {
			r := all(b)
			r.p = New(4096, r.p.config.Load())
			for i := range undecided {
				r.port = 1000 + uint16(i)
				p := r.segment(0, []byte{22, 3, 1}, 1)
				r.p.Handle(r.now, p, &r.out)
			}
			r.port = 40000
			pkts := allPackets(r)
			b.ReportAllocs()
			for i := range b.N {
				k := pkts[i%len(pkts)]
				Whole(k.Bytes)
				r.out.Reset()
				r.p.Handle(r.now, k, &r.out)
			}
		})
	}
}

// However packets and superpackets of a hello and what follows it come, repeat
// and overlap, the server reads it once the client has sent it all again, and
// nothing leaves that no path carries.
func FuzzSuper(f *testing.F) {
	f.Add([]byte{0, 10, 7, 90, 10, 90}, uint16(1760), uint16(20_000))
	f.Add([]byte{20, 80, 0, 20, 255, 0, 0, 100}, uint16(3000), uint16(0))
	f.Add([]byte{0, 8, 9, 200, 8, 9, 128, 7}, uint16(5000), uint16(300))
	f.Fuzz(func(t *testing.T, moves []byte, size, early uint16) {
		msg := append(hello(host, min(int(size), 6000), true), make([]byte, early%20_000)...)
		for _, r := range []*rig{all(t), newRig(t)} {
			for i := 0; i+1 < len(moves); i += 2 { // from where and how far, in steps of 50 bytes
				off, n := int(moves[i])*50, int(moves[i+1])*50
				switch {
				case moves[i] == 255:
					r.wait(flow.Wait / 2)
				case off < len(msg) && n > 0 && n <= 1400:
					r.send(off, msg[off:min(off+n, len(msg))], 1)
				case off < len(msg) && n > 0:
					r.super(off, msg[off:min(off+n, len(msg))], 1)
				}
			}
			for off := 0; off < len(msg); off += 1400 {
				r.send(off, msg[off:min(off+1400, len(msg))], 1)
			}
			r.wait(flow.Wait)
			r.reads(msg)
			r.wait(2 * flow.Idle)
			if r.p.flows.Len() != 0 {
				t.Error("flow left")
			}
		}
	})
}
