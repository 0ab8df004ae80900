package censor

import (
	"net/netip"
	"testing"

	"b4/packet"
)

func nextPort(a netip.AddrPort) netip.AddrPort { return netip.AddrPortFrom(a.Addr(), a.Port()+1) }

// hits reports whether a packet of the connection is acted on.
func (w *wire) hits() bool {
	v := w.reply([]byte("probe"))
	return !v.Forward || v.Rewritten != nil || len(v.Inject) > 0
}

// penaltyKey is the key of a penalty against the client.
func (w *wire) penaltyKey() tuple {
	s := w.out(w.seq, packet.ACK, nil)
	w.c.view.Decode(s.Append(nil))
	return w.c.penaltyKey(true)
}

// exhaust uses up the packets that still pass.
func (w *wire) exhaust(p Profile) {
	for range p.Action.After.Max {
		w.reply(nil)
	}
}

func TestResidual(t *testing.T) {
	for _, p := range Profiles() {
		if p.Action.Rate > 0 || p.AllowList || p.NoTLS || p.Police.Hellos > 0 || p.Residual.For == 0 {
			continue
		}
		for _, f := range families {
			w, _ := condemned(t, p, f)
			w.exhaust(p)
			length := w.c.penalties.get(w.penaltyKey()).length
			if length < p.Residual.For || length > max(p.Residual.For, p.Residual.Most) {
				t.Errorf("%s: lasts %v", p.Name, length)
			}
			same, other := w.client, nextPort(w.client)
			w.now = epoch.Add(length / 2)
			w.send(0, hello(t, blockedName, false)) // sent again: no reason to begin again
			// The last instant of it, and the first one after. Nothing is renewed.
			w.now = epoch.Add(length - 1)
			if !w.hits() {
				t.Errorf("%s, %s: over too early", p.Name, f.name)
			}
			if w.client = other; w.hits() != p.Residual.AnyPort {
				t.Errorf("%s, %s: another port is hit: want %v", p.Name, f.name, p.Residual.AnyPort)
			}
			w.now = epoch.Add(length)
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
	for _, reads := range []bool{true, false} {
		p := profile(t, "full")
		p.SYNData = reads
		w := newWire(t, p, families[1])
		w.judge(w.out(firstSeq-1, packet.SYN, h[:90]), true)
		w.send(90, h[90:])
		if w.blocked() != reads {
			t.Errorf("blocked %v", w.blocked())
		}
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
