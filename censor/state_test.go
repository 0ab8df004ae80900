package censor

import (
	"encoding/binary"
	"net/netip"
	"slices"
	"testing"
	"time"

	"b4/packet"
)

func nextPort(a netip.AddrPort) netip.AddrPort { return netip.AddrPortFrom(a.Addr(), a.Port()+1) }

// hits reports whether a packet of the connection is acted on.
func (w *wire) hits() bool {
	v := w.reply([]byte("probe"))
	return !v.Forward || v.Rewritten != nil || len(v.Inject) > 0
}

// exhaust uses up the packets that still pass.
func (w *wire) exhaust(p Profile) {
	for range p.Action.After.Max {
		w.reply(nil)
	}
}

func TestResidual(t *testing.T) {
	for _, p := range Profiles() {
		if p.Action.Rate > 0 || p.AllowList || p.Residual.For == 0 {
			continue
		}
		for _, f := range families {
			w, _ := condemned(t, p, f)
			w.exhaust(p)
			same, other := w.client, nextPort(w.client)
			w.now = epoch.Add(p.Residual.For / 2)
			w.send(0, hello(t, blockedName, false)) // sent again: no reason to begin again
			// The last instant of it, and the first one after. Nothing is renewed.
			w.now = epoch.Add(p.Residual.For - 1)
			if !w.hits() {
				t.Errorf("%s, %s: over too early", p.Name, f.name)
			}
			if w.client = other; w.hits() != p.Residual.AnyPort {
				t.Errorf("%s, %s: another port is hit: want %v", p.Name, f.name, p.Residual.AnyPort)
			}
			w.now = epoch.Add(p.Residual.For)
			if w.client = same; w.hits() {
				t.Errorf("%s, %s: goes on for ever", p.Name, f.name)
			}
		}
	}
}

func TestResidualRenewed(t *testing.T) {
	p := profile(t, "tspu-2022-IV")
	p.Residual.Renew = true
	w, _ := condemned(t, p, families[0])
	for range 5 {
		if w.now = w.now.Add(p.Residual.For - 1); !w.hits() {
			t.Fatal("not renewed")
		}
	}
	if w.now = w.now.Add(p.Residual.For); w.hits() {
		t.Error("goes on for ever")
	}
}

// Only connections whose first packet is a SYN from inside are known to TSPU.
func TestInsideSYN(t *testing.T) {
	h := hello(t, blockedName, false)
	tests := []struct {
		name string
		open func(w *wire)
		want bool
	}{
		{"inside", (*wire).open, true},
		{"SYN twice", func(w *wire) { w.judge(w.out(firstSeq-1, packet.SYN, nil), true); w.open() }, true},
		{"remote SYN first", func(w *wire) { w.judge(w.in(1, packet.SYN, nil), false); w.open() }, false},
		{"no SYN", func(*wire) {}, false},
		{"forgotten", func(w *wire) { w.open(); w.now = w.now.Add(defaultTimeout + 1) }, false},
	}
	for _, tt := range tests {
		for _, f := range families {
			for _, inside := range []bool{true, false} {
				p := profile(t, "tspu-2022-II")
				p.InsideSYN = inside
				w := newWire(t, p, f)
				tt.open(w)
				w.send(0, h)
				if got := w.blocked(); got != (tt.want || !inside) {
					t.Errorf("%s, %s, inside only %v: blocked %v", tt.name, f.name, inside, got)
				}
			}
		}
	}
}

// A new connection on the old ports is read anew.
func TestPortsReused(t *testing.T) {
	for _, name := range []string{"tspu-2022-II", "full"} {
		w := newWire(t, profile(t, name), families[0])
		w.open()
		w.send(0, hello(t, otherName, false))
		w.send(2000, []byte("data"))
		w.judge(w.out(99, packet.SYN, nil), true)
		w.judge(w.out(100, packet.PSH|packet.ACK, hello(t, blockedName, false)), true)
		if !w.blocked() {
			t.Errorf("%s: the second connection was not read", name)
		}
	}
}

// What limits the reading, knob by knob: with it the hello passes, without it
// it is blocked.
func TestKnobs(t *testing.T) {
	h := hello(t, blockedName, false)
	whole := func(w *wire) { w.send(0, h) }
	behind := func(first []byte) func(w *wire) {
		return func(w *wire) {
			w.send(0, first)
			w.send(0, h)
		}
	}
	tests := []struct {
		name string
		set  func(p *Profile)
		send func(w *wire)
	}{
		{"ports", func(p *Profile) { p.Ports = []uint16{80, 8443} }, whole},
		{"flags", func(p *Profile) { p.Flags = packet.URG | packet.ACK }, whole},
		{"max packets", func(p *Profile) { p.MaxPackets = 1 }, behind([]byte{22})},
		{"max hello", func(p *Profile) { p.MaxHello = len(h) - recordHeader - 1 }, whole},
		{"garbage", func(p *Profile) { p.Garbage = 101 }, behind(make([]byte, 101))},
		{"inbound", func(p *Profile) { p.Inbound = false }, func(w *wire) { w.reply(h) }},
		{"checksum", func(p *Profile) { p.Checksum = true }, func(w *wire) {
			s := w.out(firstSeq, packet.PSH|packet.ACK, h)
			w.c.Judge(w.now, spoil(s.Append(nil)), true)
		}},
		{"md5", func(p *Profile) { p.MD5 = true }, func(w *wire) {
			s := w.out(firstSeq, packet.PSH|packet.ACK, h)
			s.Options = append([]byte{19, 18}, make([]byte, 16)...)
			w.judge(s, true)
		}},
		{"no ack", func(p *Profile) { p.AckRange = true }, func(w *wire) {
			w.judge(w.out(firstSeq, packet.PSH, h), true)
		}},
		{"ack ahead", func(p *Profile) { p.AckRange = true }, func(w *wire) {
			w.ack += 9
			w.send(0, h)
		}},
		{"ack behind", func(p *Profile) { p.AckRange = true }, func(w *wire) {
			w.ack -= maxWindow + 9
			w.send(0, h)
		}},
		{"whole hello", func(p *Profile) { p.WholeHello = true }, func(w *wire) { w.send(0, h[:len(h)-1]) }},
	}
	for _, tt := range tests {
		for _, f := range families {
			for _, limited := range []bool{false, true} {
				p := Profile{Inbound: true, Action: Action{RST: 1, To: Both}}
				if limited {
					tt.set(&p)
				}
				w := newWire(t, p, f)
				w.open()
				if tt.send(w); w.blocked() == limited {
					t.Errorf("%s, %s: limited %v, blocked %v", tt.name, f.name, limited, w.blocked())
				}
			}
		}
	}
}

// Data on a SYN begins one number after it.
func TestDataOnSYN(t *testing.T) {
	h := hello(t, blockedName, false)
	w := newWire(t, profile(t, "full"), families[1])
	w.judge(w.out(firstSeq-1, packet.SYN, h[:90]), true)
	w.send(90, h[90:])
	if !w.blocked() {
		t.Error("not read")
	}
}

// With every check on, an ordinary connection is still read.
func TestChecksPass(t *testing.T) {
	for _, f := range families {
		w := newWire(t, Profile{Checksum: true, MD5: true, AckRange: true}, f)
		w.open()
		if w.send(0, hello(t, blockedName, false)); !w.blocked() {
			t.Errorf("%s: not read", f.name)
		}
	}
}

func TestReassemblyLimits(t *testing.T) {
	h := hello(t, blockedName, false)
	at := nameAt(t, h, blockedName)
	tests := []struct {
		name string
		tcp  Reassembly
		want bool
	}{
		{"in order", Reassembly{Mode: InOrder}, true},
		{"two packets", Reassembly{Mode: InOrder, Packets: 2}, false},
		{"three packets", Reassembly{Mode: InOrder, Packets: 3}, true},
		{"too few bytes", Reassembly{Mode: InOrder, Bytes: at - 1}, false},
		{"enough bytes", Reassembly{Mode: InOrder, Bytes: len(h)}, true},
		{"full", Reassembly{Mode: Full}, true},
	}
	for _, tt := range tests {
		w := newWire(t, Profile{TCP: tt.tcp}, families[0])
		w.open()
		w.send(0, h[:9])
		w.send(9, h[9:at])
		w.send(at, h[at:])
		if w.blocked() != tt.want {
			t.Errorf("%s: blocked %v, want %v", tt.name, w.blocked(), tt.want)
		}
	}
	for gap, want := range map[int]bool{at: true, at - 1: false} {
		w := newWire(t, Profile{TCP: Reassembly{Mode: Full, Gap: gap}}, families[0])
		w.open()
		w.send(at, h[at:])
		w.send(0, h[:at])
		if w.blocked() != want {
			t.Errorf("gap %d: blocked %v, want %v", gap, w.blocked(), want)
		}
	}
}

// The stream against the plain statement of what it should hold, byte by byte.
func TestStreamOverlaps(t *testing.T) {
	const size = 24
	rng := uint32(1)
	next := func(n int) int { rng = rng*1664525 + 1013904223; return int(rng>>8) % n }
	for round := range 4000 {
		r := Reassembly{Mode: Full, LastWins: round%2 == 0, Gap: size}
		var s stream
		s.begin(firstSeq)
		var want [size]byte
		ready := 0
		for range 8 {
			off, n := next(size), 1+next(8)
			n = min(n, size-off)
			piece := make([]byte, n)
			for i := range piece {
				piece[i] = byte(1 + next(255))
				if at := off + i; at >= ready && (want[at] == 0 || r.LastWins) {
					want[at] = piece[i]
				}
			}
			s.add(&r, firstSeq+uint32(off), piece, size)
			for ready < size && want[ready] != 0 {
				ready++
			}
			if got := s.ready(); string(got) != string(want[:ready]) {
				t.Fatalf("round %d: %x, want %x", round, got, want[:ready])
			}
		}
	}
}

// What lies past the limit is cut off, wherever it begins.
func TestStreamLimit(t *testing.T) {
	var s stream
	r := Reassembly{Mode: Full, Gap: 1 << 20}
	for _, off := range []uint32{0, 90, 99, 100, 101, 5000, 1 << 31, 0xffffffff} {
		s.add(&r, off, make([]byte, 20), 100)
		if len(s.buf) > 100 {
			t.Fatalf("holds %d bytes", len(s.buf))
		}
	}
	if want := []span{{0, 20}, {90, 100}}; !slices.Equal(s.held, want) {
		t.Errorf("holds %v, want %v", s.held, want)
	}
}

// A new connection on the old ports gives back what the old one had gathered.
func TestBufferedGivenBack(t *testing.T) {
	w := newWire(t, profile(t, "full"), families[0])
	w.open()
	w.send(0, hello(t, otherName, false)[:50])
	if n := w.c.Stats().Buffered; n < 50 {
		t.Errorf("%d bytes held of 50", n)
	}
	w.judge(w.out(99, packet.SYN, nil), true)
	if n := w.c.Stats().Buffered; n != 0 {
		t.Errorf("%d bytes held of a connection that is over", n)
	}
}

// A stream of islands is followed up to a bound, and the islands stay few.
func TestIslands(t *testing.T) {
	h := hello(t, blockedName, false)
	for islands, want := range map[int]bool{maxSpans: true, maxSpans + 1: false} {
		w := newWire(t, profile(t, "full"), families[0])
		w.open()
		for i := islands; i > 0; i-- { // bytes 2, 4, 6 ... from behind
			w.send(2*i, h[2*i:2*i+1])
		}
		k := tuple{w.client, w.server}
		if n := len(w.c.flows.get(k).half[fromNear].stream.held); n > maxSpans {
			t.Errorf("%d islands", n)
		}
		w.send(0, h[:2])
		for i := 1; i <= islands; i++ { // the gaps, and then what is behind them
			w.send(2*i+1, h[2*i+1:2*i+2])
		}
		w.send(2*islands+2, h[2*islands+2:])
		if w.blocked() != want {
			t.Errorf("%d islands: blocked %v", islands, w.blocked())
		}
	}
}

// A flood of connections that never finish their hello costs bounded memory,
// and a blocked one is still found behind it.
func TestBounded(t *testing.T) {
	h := hello(t, blockedName, true)
	for _, f := range families {
		w := newWire(t, profile(t, "full"), f)
		for i := range 100_000 {
			var id [4]byte
			binary.BigEndian.PutUint32(id[:], uint32(i))
			a := netip.AddrFrom4([4]byte{10, id[1], id[2], id[3]})
			if f.client.Addr().Is6() {
				a = netip.AddrFrom16([16]byte{0: 0x20, 1: 1, 13: id[1], 14: id[2], 15: id[3]})
			}
			w.client = netip.AddrPortFrom(a, 40000)
			w.send(10000, h[:50])   // begins the stream: it has no SYN
			w.send(12000, h[:1000]) // waits beyond a gap
		}
		s := w.c.Stats()
		if s.Flows > maxFlows || s.Buffered > maxBuffered || s.Buffered <= 0 {
			t.Errorf("%s: %+v", f.name, s)
		}
		w.client = f.client
		w.open()
		w.send(0, h[:segmentSize])
		w.send(segmentSize, h[segmentSize:])
		if !w.blocked() {
			t.Errorf("%s: not found behind the flood", f.name)
		}
		// When all are idle, the next packet ends them all.
		w.now = w.now.Add(time.Hour)
		w.client = nextPort(f.client)
		w.send(0, []byte("x"))
		if s = w.c.Stats(); s.Flows != 1 || s.Buffered != 0 {
			t.Errorf("%s: after an hour: %+v", f.name, s)
		}
	}
}

func TestPenaltiesBounded(t *testing.T) {
	h := hello(t, blockedName, false)
	w := newWire(t, profile(t, "gfw-2022"), families[0])
	for i := range maxPenalties + 1000 {
		w.client = netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)}), 40000)
		w.send(0, h)
	}
	if n := w.c.penalties.len(); n != maxPenalties {
		t.Errorf("%d penalties, want %d", n, maxPenalties)
	}
}

func TestLookup(t *testing.T) {
	for _, p := range Profiles() {
		if got, err := Lookup(p.Name); err != nil || got.Name != p.Name {
			t.Errorf("%s: %+v, %v", p.Name, got, err)
		}
	}
	if _, err := Lookup("none"); err == nil {
		t.Error("found a censor that is not there")
	}
}

// Whatever comes, no censor panics, what it makes is well formed, and its
// books agree. The input is a train of packets, each behind a byte of length.
func FuzzJudge(f *testing.F) {
	h := hello(f, blockedName, false)
	for _, fam := range families {
		s := packet.Segment{Src: fam.client, Dst: fam.server, Seq: 1, Flags: packet.PSH | packet.ACK, Payload: h}
		syn := packet.Segment{Src: fam.client, Dst: fam.server, Flags: packet.SYN}
		f.Add(train(syn.Append(nil), s.Append(nil)))
		s.Payload = h[:100]
		rest := s
		rest.Seq, rest.Payload = 101, h[100:]
		f.Add(train(syn.Append(nil), rest.Append(nil), s.Append(nil)))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, p := range Profiles() {
			p.Checksum, p.MD5, p.AckRange = false, p.JoinRecords, p.InsideSYN // let more in
			c := New(p, []string{"blocked.example"}, 1)
			now := epoch
			for in := b; len(in) > 1; {
				n := min(int(binary.BigEndian.Uint16(in)), len(in)-2)
				v := c.Judge(now, in[2:2+n], n%5 != 0)
				in = in[2+n:]
				now = now.Add(time.Second)
				if v.Rewritten != nil {
					decoded(t, v.Rewritten)
				}
				for _, i := range v.Inject {
					decoded(t, i.Bytes)
				}
			}
			if s := c.Stats(); s.Buffered < 0 || s.Buffered > len(b)+c.p.MaxHello*4*s.Flows {
				t.Errorf("%s: %+v", p.Name, s)
			}
		}
	})
}

func train(pkts ...[]byte) []byte {
	var out []byte
	for _, p := range pkts {
		out = binary.BigEndian.AppendUint16(out, uint16(len(p)))
		out = append(out, p...)
	}
	return out
}
