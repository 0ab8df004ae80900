package fw

import (
	"testing"
	"time"

	"b4/nstest"
)

// alwaysSets are those of any table, in order.
var alwaysSets = []string{askedSet, freshSet, wanSet}

// hang has b4d look as if it had been asked long ago.
func hang(t testing.TB, c *Conn) {
	t.Helper()
	b := newBatch(tableName)
	b.fill(freshSet, nil)
	b.fill(askedSet, [][]byte{deviceKey(b4d)})
	if err := c.s.run(b); err != nil {
		t.Fatal(err)
	}
}

// What is watched is so for a while after each answer.
func TestLease(t *testing.T) {
	t.Parallel()
	nstest.Enter(t)
	const lease = 500 * time.Millisecond
	c, err := open(tableOwner, limits{lease, Patience})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	mustApply(t, c, mustPlan(t, nil))
	watched := func(want int, when string) {
		t.Helper()
		if n := elements(t, c.s); n != want {
			t.Errorf("%s: %d watched devices, want %d", when, n, want)
		}
	}
	answer := func() {
		t.Helper()
		if err := c.Answer(); err != nil {
			t.Fatal(err)
		}
	}
	both := func(when string) {
		t.Helper()
		for { // until it is asked within the time that they are there for
			start := time.Now()
			answer()
			n := elements(t, c.s)
			if n == 2 {
				return
			}
			if time.Since(start) < lease {
				t.Fatalf("%s: %d watched devices, want 2", when, n)
			}
		}
	}
	watched(0, "none asked for")
	if err := c.Watch([]string{"wan0", "wan1"}); err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(lease + lease/2); time.Now().Before(end); time.Sleep(lease / 10) {
		answer()
	}
	both("answered")
	time.Sleep(lease + lease/5)
	watched(0, "not answered")
	both("answered again")
	if err := c.Watch(nil); err != nil {
		t.Fatal(err)
	}
	answer()
	watched(0, "paused")
}

// A daemon that hangs holds packets up for as long as it takes to notice, and not
// longer; one that has nothing to do may be silent for any time.
func TestWedged(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name string
		edit func(*Config)
		send func(r *router, sport uint16, waits bool) bool // whether a packet that may wait does
	}{
		{"hello", nil, func(r *router, sport uint16, waits bool) bool {
			f := newFlow(false, sport, 443)
			r.shake(f)
			return r.waits(f.out(psh|ack, 300), waits)
		}},
		{"SYN", func(c *Config) { c.SYN = true }, func(r *router, sport uint16, waits bool) bool {
			return r.waits(newFlow(true, sport, 443).out(syn, 0), waits)
		}},
		{"QUIC", func(c *Config) { c.TCP, c.UDP = nil, []uint16{443} }, func(r *router, sport uint16, waits bool) bool {
			return r.waits(newFlow(true, sport, 443).datagram(false, 0xc3, 0, 0, 0, 1), waits)
		}},
		{"SYN,ACK", func(c *Config) { c.Replies = Replies{SYNACK: true} }, func(r *router, sport uint16, waits bool) bool {
			f := newFlow(false, sport, 443)
			r.arrive(r.lan, r.wan, f.out(syn, 0))
			return !r.forward(r.wan, r.lan, f.back(syn|ack, 0), patience(waits))
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			nstest.Enter(t)
			r, c := newRouter(t), impatient(t)
			mustApply(t, c, mustPlan(t, tt.edit), "wan0")
			defer listen(t).close()
			sport := uint16(45000)
			send := func(waits bool) bool {
				t.Helper()
				sport++
				return tt.send(r, sport, waits)
			}
			step := func(want bool, when string) {
				t.Helper()
				if got := send(want); got != want {
					t.Errorf("%s: a packet waits: %v", when, got)
				}
			}
			asked := time.Now()
			step(true, "at first")
			if waits := send(true); !waits && time.Since(asked) < Patience { // which else was over before
				t.Error("soon after: no packet waits")
			}
			time.Sleep(Patience + 100*time.Millisecond)
			step(false, "wedged")
			step(false, "still wedged")
			if err := c.Answer(); err != nil {
				t.Fatal(err)
			}
			time.Sleep(Patience + 100*time.Millisecond)
			step(true, "answered long ago")
			hang(t, c)
			step(false, "wedged again")
			if err := c.Watch([]string{"wan0"}); err != nil {
				t.Fatal(err)
			}
			step(true, "watched anew")
			hang(t, c)
			mustApply(t, c, mustPlan(t, tt.edit), "wan0")
			step(true, "applied anew")
		})
	}
}

// patience is how long to wait for a packet that is to come, or not.
func patience(waits bool) time.Duration {
	if waits {
		return 50 * time.Millisecond
	}
	return soon
}

// waits reports whether p, which leaves by WAN, is held up.
func (r *router) waits(p []byte, want bool) bool {
	return !r.forward(r.lan, r.wan, p, patience(want))
}

// A daemon that is dead has no listener, and holds nothing up.
func TestDeadListener(t *testing.T) {
	t.Parallel()
	nstest.Enter(t)
	r, c := newRouter(t), mustOpen(t)
	mustApply(t, c, mustPlan(t, nil), "wan0")
	if err := listen(t).close(); err != nil {
		t.Fatal(err)
	}
	f := newFlow(false, 45001, 443)
	r.shake(f)
	r.arrive(r.lan, r.wan, f.out(psh|ack, 300))
}
