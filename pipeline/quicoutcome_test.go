package pipeline

import (
	"maps"
	"slices"
	"testing"
	"time"

	"b4/desync"
	"b4/engine"
)

func (r *quicRig) outcomes() map[string]uint64 {
	all := map[string]uint64{}
	for _, t := range r.p.Outcomes() {
		for o, n := range t.Outcomes {
			all[t.Proto+" "+o] += n
		}
	}
	return all
}

// What became of a hello over QUIC is told by what the client sends.
func TestQUICOutcomes(t *testing.T) {
	msg, long := cryptoHello(host, 0, false), cryptoHello(host, 1700, false)
	for _, tt := range []struct {
		name string
		want map[string]uint64
		say  func(r *quicRig)
	}{
		{"the client goes on", map[string]uint64{"quic opened": 1}, func(r *quicRig) {
			r.send(r.initial(0, msg))
			r.send(r.long(handshake, 60))
			r.send(r.long(handshake, 60))
		}},
		{"with an Initial", map[string]uint64{"quic opened": 1}, func(r *quicRig) {
			r.send(r.initial(0, msg))
			for range silentAfter {
				r.now = r.now.Add(probeAfter - 1)
			}
			r.send(slices.Concat(r.initial(0, nil), r.long(handshake, 60)))
		}},
		{"silence", map[string]uint64{"quic silent": 1}, func(r *quicRig) {
			for range 2 * (silentAfter + 1) {
				r.send(r.initial(0, msg))
				r.now = r.now.Add(probeAfter)
			}
		}},
		{"a little of it", map[string]uint64{"quic opened": 1}, func(r *quicRig) {
			for range silentAfter {
				r.send(r.initial(0, msg))
				r.now = r.now.Add(probeAfter)
			}
			r.send(r.long(handshake, 60))
		}},
		{"two datagrams, one lost", map[string]uint64{"quic opened": 1}, func(r *quicRig) {
			for range 2 {
				r.send(r.initial(0, long[:1100]))
				r.send(r.initial(1100, long[1100:]))
				r.send(r.initial(1100, long[1100:]))
				r.now = r.now.Add(probeAfter)
			}
			r.send(r.long(handshake, 60))
		}},
		{"nothing more", map[string]uint64{"quic no_evidence": 1}, func(r *quicRig) { r.send(r.initial(0, msg)) }},
		{"room is needed", map[string]uint64{"quic no_evidence": 1}, func(r *quicRig) {
			r.send(r.initial(0, msg))
			for range maxInitials {
				r.port++
				r.send(r.initial(0, cryptoHello("other.example", 0, false)))
			}
		}},
		{"another connection of the ports", map[string]uint64{"quic no_evidence": 1, "quic opened": 1}, func(r *quicRig) {
			r.send(r.initial(0, msg))
			r.id = "another"
			r.send(r.initial(0, cryptoHello("other.example", 0, false)))
			r.id = "a third"
			r.now = r.now.Add(time.Minute)
			r.send(r.initial(0, msg))
			r.send(r.long(handshake, 60))
		}},
		{"not treated", map[string]uint64{}, func(r *quicRig) {
			r.send(r.initial(0, cryptoHello("other.example", 0, false)))
			r.send(r.long(handshake, 60))
		}},
	} {
		r := newQUICRig(t)
		tt.say(r)
		r.wait(2 * time.Minute)
		if got := r.outcomes(); !maps.Equal(got, tt.want) {
			t.Errorf("%s: %v, want %v", tt.name, got, tt.want)
		}
	}
}

// A chooser picks for QUIC too: once for a connection, and is told once.
func TestQUICChooser(t *testing.T) {
	steps, err := desync.QUIC.Parse("fake(ttl=3) dup(3)")
	if err != nil {
		t.Fatal(err)
	}
	c := &chooser{steps: steps}
	for _, name := range []string{host, ""} {
		r := newQUICRig(t, forQUIC(t, name, Desync, "fake(ttl=3)"))
		conf := *r.p.config.Load()
		conf.Chooser = c
		r.p.Use(&conf)
		*c = chooser{steps: steps}
		msg := cryptoHello(host, 1700, true)
		r.send(r.initial(0, msg[:1100]))
		r.send(r.initial(1100, msg[1100:]))
		r.wire = nil
		r.want(engine.Replace, "again", r.initial(0, msg[:1100]))
		if len(r.wire) != 8 {
			t.Errorf("%d packets: not the chooser's strategy", len(r.wire))
		}
		r.send(r.long(handshake, 60))
		if want := []string{name}; !slices.Equal(c.names, want) || !slices.Equal(c.reports, []Outcome{Opened}) {
			t.Errorf("asked for %q, told %v", c.names, c.reports)
		}
		if got := r.p.Recent(); got[0].Outcome != "opened" {
			t.Errorf("said to be %q", got[0].Outcome)
		}
		c.steps = nil
		r.port++
		r.send(r.initial(0, msg[:1100]))
		r.want(engine.Accept, "as_is", r.initial(1100, msg[1100:]))
		if got := r.p.Recent(); got[0].Strategy != "" {
			t.Errorf("said to be treated by %q", got[0].Strategy)
		}
	}
}

// What takes the place of a datagram may be as long as paths carry, or a little
// longer than a longer one where links have room for it.
func TestDatagramMTU(t *testing.T) {
	for n, want := range map[int]int{60: 1280, 1280: 1280, 1281: 1313, 1400: 1420, 1480: 1480} {
		if got := datagramMTU(n); got != want {
			t.Errorf("%d for %d, want %d", got, n, want)
		}
	}
}

// A connection from a port that had another is treated like any.
func TestQUICReconnect(t *testing.T) {
	r := newQUICRig(t)
	for _, id := range []string{"one's id", "two's id"} {
		r.id = id
		r.want(engine.Replace, "treated", r.initial(0, cryptoHello(host, 0, false)))
		r.want(engine.Accept, "finished", r.long(handshake, 60))
	}
}

// What is forgotten of a connection for want of room is no reason to fail.
func TestQUICForgottenKeys(t *testing.T) {
	for _, steps := range []string{"split(midsld) disorder", "pad(1250)", "fake(clone, ttl=3)", "udplen(10)"} {
		r := newQUICRig(t, forQUIC(t, host, Desync, steps))
		msg := cryptoHello(host, 0, false)
		first := r.initial(0, msg)
		r.send(first)
		for i := range maxConns {
			r.port = uint16(50000 + i)
			r.send(r.initial(0, msg[:100]))
		}
		r.port = 40000
		if v, why := r.send(first); v == engine.Drop || why == "failed" {
			t.Errorf("%s: verdict %#x because %s", steps, v, why)
		}
		sealed := r.initial(0, msg[:100])
		sealed[len(sealed)-1] ^= 1
		for i := range maxConns {
			r.port = uint16(50000 + i)
			r.send(r.initial(0, msg[:100]))
		}
		r.port = 40000
		if v, why := r.send(sealed); v == engine.Drop || why == "failed" {
			t.Errorf("%s, sealed by another id: verdict %#x because %s", steps, v, why)
		}
	}
}
