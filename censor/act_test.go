package censor

import (
	"testing"
	"time"

	"b4/packet"
)

// condemned returns a wire on which a whole blocked hello has just passed, and
// the verdict on it.
func condemned(t *testing.T, p Profile, f family) (*wire, Verdict) {
	t.Helper()
	w := newWire(t, p, f)
	w.open()
	h := hello(t, blockedName, false)
	v := w.send(0, h)
	w.seq = firstSeq + uint32(len(h))
	if !w.blocked() {
		t.Fatalf("%s, %s: a whole hello was not blocked", p.Name, f.name)
	}
	return w, v
}

// decoded decodes a packet the censor made and checks its checksums.
func decoded(t *testing.T, b []byte) packet.View {
	t.Helper()
	var v packet.View
	if !v.Decode(b) || !packet.ChecksumOK(b) {
		t.Fatalf("bad packet %x", b)
	}
	return v
}

func TestRewrite(t *testing.T) {
	for _, f := range families {
		w, v := condemned(t, profile(t, "tspu-2022-I"), f)
		if !v.Forward || v.Rewritten != nil || v.Inject != nil {
			t.Errorf("%s: the hello itself: %+v", f.name, v)
		}
		v = w.reply(make([]byte, 1200))
		r := decoded(t, v.Rewritten)
		want := packet.View{Src: f.server, Dst: f.client, Seq: w.ack, Ack: w.seq, Flags: packet.RST | packet.ACK, TTL: 50}
		if !v.Forward || len(r.Payload) > 0 || r.Src != want.Src || r.Dst != want.Dst || r.Seq != want.Seq ||
			r.Ack != want.Ack || r.Flags != want.Flags || r.TTL != want.TTL {
			t.Errorf("%s: reply became %+v, want %+v", f.name, r, want)
		}
		if f.name == "v4" && v.Rewritten[5] != 77 {
			t.Errorf("identification %d, want the server's 77", v.Rewritten[5])
		}
		if v = w.send(2000, []byte("x")); !v.Forward || v.Rewritten != nil {
			t.Errorf("%s: client's packet: %+v", f.name, v)
		}
	}
}

func TestDropAfter(t *testing.T) {
	p := profile(t, "tspu-2022-II")
	counts := map[int]int{}
	for seed := range uint64(64) {
		f := families[seed%2]
		w := newWire(t, p, f)
		w.c = New(p, []string{"blocked.example"}, seed)
		w.open()
		if v := w.send(0, hello(t, blockedName, false)); !v.Forward {
			t.Fatal("the hello is dropped")
		}
		w.passed = 0
		for i := range 20 {
			if i%2 == 0 {
				w.reply([]byte("reply"))
			} else {
				w.send(2000+i, []byte("x"))
			}
		}
		counts[w.passed]++
		if v := w.reply(nil); v.Forward {
			t.Error("a packet passes after the drop began")
		}
	}
	for n := 5; n <= 8; n++ {
		if counts[n] == 0 {
			t.Errorf("never lets %d packets pass: %v", n, counts)
		}
	}
	if len(counts) != 4 {
		t.Errorf("lets %v packets pass, want 5 to 8", counts)
	}
}

func TestDropNow(t *testing.T) {
	for _, f := range families {
		w, v := condemned(t, profile(t, "tspu-2022-IV"), f)
		if v.Forward || w.reply(nil).Forward || w.send(0, []byte("again")).Forward {
			t.Errorf("%s: something passes", f.name)
		}
	}
}

// Forged resets have the numbers the receiving side accepts: what it expects
// next, even if the packet that gave the name away was not the last one sent.
func TestInject(t *testing.T) {
	h := hello(t, blockedName, false)
	for _, name := range []string{"gfw-2022", "full", "tm-2023"} {
		p := profile(t, name)
		for _, f := range families {
			for _, disorder := range []bool{false, true} {
				w := newWire(t, p, f)
				w.open()
				var v Verdict
				if w.seq = firstSeq + uint32(len(h)); disorder && p.TCP.Mode == Full {
					w.send(100, h[100:])
					v = w.send(0, h[:100])
				} else {
					v = w.send(0, h)
				}
				if !v.Forward {
					t.Errorf("%s: an injector dropped the hello", name)
				}
				checkResets(t, w, p, v.Inject)
			}
		}
	}
}

func checkResets(t *testing.T, w *wire, p Profile, got []Injected) {
	t.Helper()
	counts := map[bool]map[uint8]int{true: {}, false: {}}
	for _, in := range got {
		r := decoded(t, in.Bytes)
		counts[in.ToClient][r.Flags]++
		src, dst, seq, ack := w.client, w.server, w.seq, w.ack
		if in.ToClient {
			src, dst, seq, ack = w.server, w.client, w.ack, w.seq
		}
		if r.Flags&packet.ACK == 0 {
			ack = 0
		}
		if r.Src != src || r.Dst != dst || r.Seq != seq || r.Ack != ack || in.After != 0 {
			t.Errorf("%s: to client %v: %+v, want seq %d ack %d", p.Name, in.ToClient, r, seq, ack)
		}
		if p.Action.TTL != 0 && r.TTL != p.Action.TTL {
			t.Errorf("%s: TTL %d", p.Name, r.TTL)
		}
	}
	for _, side := range counts {
		if side[packet.RST] != p.Action.RST || side[packet.RST|packet.ACK] != p.Action.RSTACK {
			t.Errorf("%s: resets %v", p.Name, counts)
		}
	}
}

// Every packet of the 3-tuple is answered while the residual lasts, a SYN with
// a reset that refuses the connection, and a reset with nothing.
func TestInjectResidual(t *testing.T) {
	for _, f := range families {
		w, _ := condemned(t, profile(t, "gfw-2022"), f)
		w.client = nextPort(f.client)
		v := w.judge(w.out(7, packet.SYN, nil), true)
		refused := false
		for _, in := range v.Inject {
			r := decoded(t, in.Bytes)
			refused = refused || in.ToClient && r.Flags == packet.RST|packet.ACK && r.Ack == 8 && r.Dst == w.client
		}
		if !v.Forward || !refused {
			t.Errorf("%s: SYN: %+v", f.name, v)
		}
		if v = w.reply([]byte("x")); len(v.Inject) != 8 {
			t.Errorf("%s: a reply provokes %d resets", f.name, len(v.Inject))
		}
		if v = w.judge(w.out(8, packet.RST, nil), true); len(v.Inject) != 0 {
			t.Errorf("%s: a reset provokes resets", f.name)
		}
	}
}

// A penalty is by address: it hits even what the censor would not read.
func TestPenaltyHitsUnreadable(t *testing.T) {
	for _, f := range families {
		w, _ := condemned(t, profile(t, "full"), f)
		s := w.out(w.seq, packet.ACK, []byte("x"))
		v := w.c.Judge(w.now, spoil(s.Append(nil)), true)
		if len(v.Inject) != 6 {
			t.Errorf("%s: %d resets", f.name, len(v.Inject))
		}
	}
}

func TestOneSided(t *testing.T) {
	for _, to := range []Sides{ToServer, ToClient} {
		p := Profile{Action: Action{RSTACK: 2, To: to, Delay: [2]time.Duration{time.Millisecond, time.Second}}}
		_, v := condemned(t, p, families[0])
		if len(v.Inject) != 2 {
			t.Errorf("%d resets", len(v.Inject))
		}
		for _, in := range v.Inject {
			if in.ToClient != (to == ToClient) || in.After < time.Millisecond || in.After > time.Second {
				t.Errorf("to %d: %+v", to, in)
			}
		}
	}
	p := Profile{Action: Action{Drop: ToServer}, Residual: Residual{For: time.Minute}}
	w, v := condemned(t, p, families[1])
	if !v.Forward || !w.reply(nil).Forward || w.send(0, nil).Forward {
		t.Error("drop towards the server: wrong side")
	}
}

// What is dropped is not rewritten too.
func TestDropAndRewrite(t *testing.T) {
	p := Profile{Action: Action{Drop: Both, Rewrite: true, After: Span{1, 1}}, Residual: Residual{For: time.Minute}}
	w, _ := condemned(t, p, families[0])
	if v := w.reply(nil); !v.Forward || v.Rewritten == nil {
		t.Errorf("first reply: %+v", v)
	}
	if v := w.reply(nil); v.Forward || v.Rewritten != nil || w.c.Stats().Rewritten != 1 {
		t.Errorf("second reply: %+v", v)
	}
}

// Each direction has a rate of its own.
func TestThrottle(t *testing.T) {
	p := profile(t, "tspu-throttle")
	w, _ := condemned(t, p, families[0])
	const seconds = 60
	var down, up int
	for range seconds * 100 {
		w.now = w.now.Add(10 * time.Millisecond)
		if w.reply(make([]byte, 960)).Forward {
			down += 1000
		}
		if w.send(2000, make([]byte, 960)).Forward {
			up += 1000
		}
	}
	for _, n := range []int{down, up} {
		if rate := n * 8 / seconds; rate < 100_000 || rate > 150_000 {
			t.Errorf("%d bit/s pass, want 100 to 150 thousand", rate)
		}
	}
	w.now = w.now.Add(9 * time.Minute) // idle time is not saved up
	for down = 0; w.reply(make([]byte, 960)).Forward; down += 1000 {
		if down > p.Action.Burst {
			t.Fatal("more than the burst passes at once")
		}
	}
}

// The first 25 packets of a connection pass, both ways together; with an
// allowed name in clear, even a decoy's, all do.
func TestAllowList(t *testing.T) {
	p := profile(t, "tspu-16k")
	for _, name := range []string{"", otherName, blockedName} { // blockedName is the one listed
		for _, f := range families {
			w := newWire(t, p, f)
			w.open()
			if name != "" {
				w.send(0, hello(t, name, false))
			}
			w.send(0, hello(t, otherName, false))
			for range 40 {
				w.reply(make([]byte, 1200))
				w.send(2000, nil)
			}
			judged := int(w.c.Stats().Packets)
			want := 25
			if name == blockedName {
				want = judged
			}
			if w.passed != want {
				t.Errorf("%s, %q: %d of %d packets pass, want %d", f.name, name, w.passed, judged, want)
			}
		}
	}
}

func TestPerMille(t *testing.T) {
	p := profile(t, "in-airtel")
	h := hello(t, blockedName, false)
	w := newWire(t, p, families[0])
	const n = 10000
	for range n {
		w.send(0, h)
	}
	if b := w.c.Stats().Blocked; b < n*95/100 || b > n*975/1000 {
		t.Errorf("acts on %d of %d hellos, want 96.3 %%", b, n)
	}
}

// Who reads single packets forges its resets by the one that it read, whatever
// went ahead of it.
func TestInjectByPacket(t *testing.T) {
	p := Profile{Action: Action{RSTACK: 1, To: ToClient}}
	for _, mode := range []Mode{None, Full} {
		p.TCP.Mode = mode
		for _, f := range families {
			w := newWire(t, p, f)
			w.open()
			h := hello(t, "www.blocked.example", false)
			w.send(len(h), []byte("ahead"))
			v := w.send(0, h)
			want := firstSeq + uint32(len(h))
			if mode == Full {
				want += 5
			}
			if len(v.Inject) != 1 || decoded(t, v.Inject[0].Bytes).Ack != want {
				t.Errorf("mode %d, %s: %+v, want one reset that acknowledges %d", mode, f.name, v.Inject, want)
			}
		}
	}
}
