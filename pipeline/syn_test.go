package pipeline

import (
	"net/netip"
	"slices"
	"testing"

	"b4/desync"
	"b4/engine"
	"b4/flow"
	"b4/packet"
)

func TestHops(t *testing.T) {
	var h hops
	a, six := netip.MustParseAddr("198.51.100.7"), netip.MustParseAddr("2001:db8::7")
	for _, tt := range []struct{ ttl, want uint8 }{{52, 12}, {64, 0}, {120, 8}, {128, 0}, {245, 10}, {255, 0}, {129, 0}, {1, 63}} {
		for _, addr := range []netip.Addr{a, six} {
			h.learn(addr, tt.ttl)
			if n := h.to(addr); n != tt.want {
				t.Errorf("%v: ttl %d is %d hops, want %d", addr, tt.ttl, n, tt.want)
			}
		}
	}
	h = hops{}
	known := 0
	for range 3 * keptHops {
		a = a.Next()
		h.learn(a, 60)
		if h.to(a) == 4 && h.to(six) == 0 {
			known++
		}
	}
	if known != 3*keptHops {
		t.Errorf("%d of %d known", known, 3*keptHops)
	}
	if n := testing.AllocsPerRun(100, func() { h.learn(a, 60); h.to(six) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// handshake is the client's SYN, with data or none, or the server's answer.
func (r *rig) handshake(flags uint8, ttl uint8, payload []byte) *engine.Packet {
	client, server := r.ends()
	s := packet.Segment{Src: client, Dst: server, Seq: r.base - 1, Flags: flags, TTL: ttl, Options: []byte{2, 4, 5, 180}, Payload: payload}
	dir := engine.Original
	if flags&packet.ACK != 0 {
		s.Src, s.Dst, s.Seq, s.Ack, s.Window, dir = server, client, 99, r.base, 65000, engine.Reply
	}
	b := s.Append(nil)
	return &engine.Packet{Bytes: b, Full: len(b), Dir: dir, Meta: engine.Meta{Mark: 7, Out: 3}}
}

// The distance to the server is in what is planned for its connections.
func TestHopsInPlan(t *testing.T) {
	for _, v6 := range []bool{false, true} {
		r := newRig(t, Rule{Name: "all", For: treat(Desync, strategy(t, "fake(ttl=auto) split(midsld)"))})
		r.v6 = v6
		r.expect(engine.Accept, "reply")(r.handle(r.handshake(packet.SYN|packet.ACK, 52, nil)))
		r.send(0, hello(host, 0, false), 1)
		if n := r.p.env.Conn.Hops; n != 12 {
			t.Errorf("%d hops, want 12", n)
		}
	}
}

// What a connection will speak is guessed from its port before it has spoken.
func TestCertainPort(t *testing.T) {
	rule := Rule{For: treat(Desync, strategy(t, "synfake(badsum) split(1)"))}
	rule.For[desync.HTTP] = web(t, Desync, "synfake(badsum) hostcase")[desync.HTTP]
	for port, kind := range map[uint16]desync.Proto{80: desync.HTTP, 443: desync.TLS, 8443: desync.TLS} {
		if steps := rule.early(port, desync.SYN); steps != rule.For[kind].Steps {
			t.Errorf("port %d: %v", port, steps)
		}
		if steps := rule.early(port, desync.SYNACK); steps != nil {
			t.Errorf("port %d, to the client: %v", port, steps)
		}
	}
}

// What a SYN says of its sender's link bounds what is sent with it.
func TestSYNMTU(t *testing.T) {
	for _, v6 := range []bool{false, true} {
		r := newRig(t, Rule{For: treat(Desync, strategy(t, "synfake(badsum) split(1)"))})
		r.v6, r.loose = v6, true
		r.handle(r.handshake(packet.SYN, 63, nil)) // of 1460 bytes
		want := 1500
		if v6 {
			want = 1520
		}
		if got := r.p.env.Conn.MTU; got != want {
			t.Errorf("%d bytes, want %d", got, want)
		}
	}
}

// A SYN is changed for the rule that every name gets, by what its port is for.
func TestSYN(t *testing.T) {
	fake := Rule{Name: "all", For: treat(Desync, strategy(t, "synfake(badsum) split(midsld) disorder"))}
	named := fake
	named.Domains = set(t, "blocked.example")
	onlyWeb := Rule{Name: "web"}
	onlyWeb.For[desync.HTTP].Steps, _ = desync.HTTP.Parse("synfake(badsum)")
	pass := Rule{Name: "pass", For: treat(Pass, fake.For[desync.TLS].Steps)}
	for _, tt := range []struct {
		name  string
		rules []Rule
		v     engine.Verdict
		why   string
	}{
		{"all", []Rule{fake}, engine.Replace, "handshake"},
		{"a name", []Rule{named}, engine.Accept, "other"},
		{"another port's", []Rule{onlyWeb}, engine.Accept, "other"},
		{"pass", []Rule{pass, fake}, engine.Accept, "other"},
		{"no need", []Rule{{For: treat(Desync, strategy(t, "split(1)"))}}, engine.Accept, "other"},
	} {
		for _, v6 := range []bool{false, true} {
			r := newRig(t, tt.rules...)
			r.v6, r.loose = v6, true
			syn := r.handshake(packet.SYN, 63, nil)
			for range 2 { // a lost one comes again
				r.wire = nil
				r.expect(tt.v, tt.why)(r.handle(syn))
				if tt.v == engine.Replace && (len(r.wire) != 2 || !slices.Equal(r.wire[1], syn.Bytes)) {
					t.Errorf("%s: %d packets, the last %x", tt.name, len(r.wire), r.wire[len(r.wire)-1])
				}
			}
		}
	}
}

// The answer to a SYN may be changed on its way to the client.
func TestSYNACK(t *testing.T) {
	r := newRig(t, Rule{Name: "all", For: treat(Desync, strategy(t, "wsize(100)"))})
	r.expect(engine.Replace, "handshake")(r.handle(r.handshake(packet.SYN|packet.ACK, 52, nil)))
	var v packet.View
	if len(r.wire) != 1 || !v.Decode(r.wire[0]) || v.Window != 100 || v.Flags != packet.SYN|packet.ACK || v.Seq != 99 {
		t.Errorf("%d packets, %+v", len(r.wire), v)
	}
}

// What a client sends into a window that is narrow by our doing is not held: it
// waits for the server's answer with the rest. Where it need not, the rest is waited for.
func TestNarrowWindow(t *testing.T) {
	msg := hello(host, 600, false)
	for _, tt := range []struct {
		text  string
		sizes []int // of the client's segments
		waits int   // how many of them are held for the next
	}{
		{"wsize(100)", []int{100}, 0},
		{"wsize(100) split(midsld)", []int{100}, 0},
		{"wsize(1)", []int{1}, 0},
		{"wsize(400)", []int{200, 200}, 1},
		{"wsize(560) split(midsld) disorder", []int{500}, 0},
		{"wsize(5000)", []int{200, 200}, 2},
		{"synfake(badsum)", []int{200, 200}, 2},
	} {
		r := newRig(t, Rule{Name: "all", For: treat(Desync, strategy(t, tt.text))})
		r.handle(r.handshake(packet.SYN|packet.ACK, 52, nil))
		r.wire = nil
		from := 0
		for i, n := range tt.sizes {
			r.send(from, msg[from:from+n], 100)
			if from += n; (len(r.wire) == 0) != (i < tt.waits) {
				t.Errorf("%s: after segment %d there are %d packets", tt.text, i, len(r.wire))
			}
		}
		r.send(from, msg[from:], 200)
		r.reads(msg)
	}
}

// A SYN that is shown and brings data goes on without: the client sends it again
// where it can be treated. One that goes by leaves the rest untouched.
func TestFastOpen(t *testing.T) {
	msg := hello(host, 1760, true)
	for _, n := range []int{1, 600, 1400} {
		r := newRig(t, Rule{Name: "all", For: treat(Desync, strategy(t, "synfake(badsum) split(midsld) disorder"))})
		r.expect(engine.Replace, "handshake")(r.handle(r.handshake(packet.SYN, 63, msg[:n])))
		var v packet.View
		if len(r.wire) != 1 || !v.Decode(r.wire[0]) || v.Flags != packet.SYN || len(v.Payload) != 0 || v.Seq != r.base-1 {
			t.Fatalf("%d packets, %+v", len(r.wire), v)
		}
		r.wire = nil
		r.send(0, msg[:n], 100)
		r.expect(engine.Replace, "treated")(r.send(n, msg[n:], 100))
		r.reads(msg)
		if r.shown() {
			t.Error("name shown")
		}

		r = newRig(t)
		r.expect(engine.Accept, "other")(r.handle(r.handshake(packet.SYN, 63, msg[:n])))
		r.wire = nil
		r.send(n, msg[n:1410], 1)
		r.send(1410, msg[1410:], 1)
		r.wait(flow.Wait)
		r.base += uint32(n)
		r.reads(msg[n:])
	}
}

// A SYN for another connection of the same ports ends the one before.
func TestSYNReuse(t *testing.T) {
	r := newRig(t)
	msg := hello(host, 1760, true)
	r.expect(engine.Drop, "held")(r.send(0, msg[:1000], 1))
	r.expect(engine.Accept, "other")(r.handle(r.handshake(packet.SYN, 63, nil))) // late, of this one
	if r.p.flows.Len() != 1 {
		t.Error("flow forgotten")
	}
	for _, far := range []int{500, -window - 1} {
		r.base += uint32(far)
		r.expect(engine.Accept, "evicted+other")(r.handle(r.handshake(packet.SYN, 63, nil)))
		r.wire = nil
		r.send(0, msg[:1400], 1)
	}
	r.expect(engine.Replace, "treated")(r.send(1400, msg[1400:], 1))
	r.reads(msg)
}
