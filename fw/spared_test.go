package fw

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"testing"
	"time"

	"b4/nstest"
)

// use has g use a server in all ways that might be looked at, with a RST that nobody
// has sent if forged, and returns what was counted. QUIC to port 443 must leave unless it
// is blocked.
func (h *home) use(g *guest, to netip.Addr, forged, blocked bool) Counters {
	h.t.Helper()
	before := h.counters(h.rules)
	f := h.open(g, netip.AddrPortFrom(to, 443))
	h.send(g, f.out(psh|ack, 300))
	h.leaves()
	replies := [][]byte{f.back(psh|ack, 300)}
	if forged {
		replies = append(replies, segment(f.dst, f.src, f.ack+1<<30, 0, rst, 0)) // far out of the window
	}
	for _, p := range replies {
		if _, err := h.wan.Write(p); err != nil {
			h.t.Fatal(err)
		}
	}
	h.send(g, h.flow(g, netip.AddrPortFrom(to, 784)).datagram(false, 0xc3, 0, 0, 0, 1))
	h.leaves()
	h.send(g, h.flow(g, f.dst).datagram(false, 0xc3, 0, 0, 0, 1))
	if _, left := h.receive(h.wan, map[bool]time.Duration{true: 50 * time.Millisecond, false: soon}[blocked]); left == blocked {
		h.t.Errorf("%s to %v: QUIC left: %v, want %v", g.name, to, left, !blocked)
	}
	return h.counters(h.rules).minus(before)
}

// Of spared devices, and to some destinations, nothing is looked at, and nothing
// blocked.
func TestSpared(t *testing.T) {
	for _, tt := range []struct {
		name string
		edit func(*Config)
		want Counters // of who is not spared
	}{
		{"decisive", func(*Config) {}, Counters{Opened: 1, Bare: 1, Queued: 1, QUIC: 1, Blocked: 1, Replies: 3}},
		{"with SYNs", func(c *Config) { c.SYN = true }, Counters{Opened: 1, Bare: 1, Queued: 2, QUIC: 1, Blocked: 1, Replies: 3}},
		{"all", func(c *Config) { c.All, c.Bound = true, 0 }, Counters{Opened: 1, Queued: 2, QUIC: 1, Blocked: 1, Replies: 3}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			nstest.Enter(t)
			h := newHome(t, false)
			mustApply(t, h.rules, mustPlan(t, func(c *Config) {
				c.UDP, c.Block, c.Replies = []uint16{784}, QUICBlock{Ports: []uint16{443}}, Replies{SYNACK: true, First: 3, End: true}
				groups(c, Group{Interfaces: []string{"lan0"}}, Group{Interfaces: []string{"guest0"}})
				c.Devices.Spared = []Group{{MACs: [][6]byte{anna.mac}}, {Sources: prefixes("10.0.1.0/24 fd00:c::/64")}}
				c.Devices.Never = prefixes("192.0.2.128/25 fd00:b::8000/113")
				tt.edit(c)
			}), "wan0")
			for _, to := range []string{"192.0.2.2", "fd00:b::2"} {
				for _, g := range []guest{anna, clara} {
					if got := h.use(&g, netip.MustParseAddr(to), false, false); got != (Counters{}) {
						t.Errorf("%s to %s: got %+v, want none", g.name, to, got)
					}
				}
				if got := h.use(&berta, netip.MustParseAddr(to), true, true); got != tt.want {
					t.Errorf("berta to %s: got %+v, want %+v", to, got, tt.want)
				}
			}
			for _, to := range []string{"192.0.2.128", "fd00:b::8001"} {
				if got := h.use(&berta, netip.MustParseAddr(to), true, false); got != (Counters{}) {
					t.Errorf("berta to %s: got %+v, want none", to, got)
				}
			}
		})
	}
}

// Who wants all is shown it, though b4d says that it is done, and others are spared.
func TestAllButSpared(t *testing.T) {
	t.Parallel()
	nstest.Enter(t)
	h := newHome(t, false)
	h.watch(func(c *Config) {
		c.All, c.Devices.Spared = true, []Group{{Interfaces: []string{"guest0"}}}
	})
	f := h.open(&anna, server(false))
	h.queue = listen(t)
	defer h.queue.close()
	for range 2 {
		h.send(&anna, f.out(psh|ack, 300))
		h.shown(config(t, Native).Marks.Done)
		h.leaves()
	}
	h.clean()
}

// still waits until nothing more is counted: ends of connections come late.
func (h *house) still() Counters {
	h.t.Helper()
	pause := 20 * time.Millisecond
	if os.Getenv("B4_SLOW") != "" {
		pause *= 10
	}
	for n := h.counters(h.rules); ; {
		time.Sleep(pause)
		next := h.counters(h.rules)
		if next == n {
			return n
		}
		n = next
	}
}

// openedSince waits until each SYN that has left by WAN is counted, since so many were
// and had. One has at least; a client whose answer is late sends its again.
func (h *house) openedSince(counted, left uint64) error {
	h.t.Helper()
	var n, syns uint64
	ok := await(func() bool {
		n, syns = h.counters(h.rules).Opened-counted, h.wan.syns.Load()-left
		return n == syns && n > 0
	})
	if !ok {
		return fmt.Errorf("%d SYNs were counted, %d left", n, syns)
	}
	return nil
}

// A TUN is shown nothing of spared devices either, nor to some destinations.
func TestTunSpared(t *testing.T) {
	for _, tt := range []struct {
		name     string
		all, nat bool
	}{
		{"behind NAT", false, true},
		{"routed", false, false},
		{"all, behind NAT", true, true},
		{"all, routed", true, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			nstest.Enter(t)
			h := newHouse(t, tt.nat, tt.nat)
			h.serve()
			with := func(d Devices) func(*Config) {
				return func(c *Config) {
					c.Router, c.Devices, c.All = true, d, tt.all
					toTUN(c, pick(tt.nat, wanAddr4.String()), pick(tt.nat, wanAddr6.String()))
				}
			}
			speak := func(conn net.Conn, shown bool, what string) {
				t.Helper()
				before := h.still()
				if err := errors.Join(converse(conn, 4096), end(conn)); err != nil {
					t.Error(err)
				}
				if n := h.still().minus(before); shown != (n.Queued > 1) || !shown && n != (Counters{}) {
					t.Errorf("%s: counted %+v, want any: %v", what, n, shown)
				}
			}
			open := func(from func(func()), v6 bool) net.Conn {
				t.Helper()
				conn, err := dialFrom(from, v6)
				if err != nil {
					t.Fatal(err)
				}
				return conn
			}
			use := func(from func(func()), shown bool, what string) {
				t.Helper()
				for _, v6 := range []bool{false, true} {
					before, syns := h.still().Opened, h.wan.syns.Load()
					conn := open(from, v6)
					if n := h.counters(h.rules).Opened - before; !shown && n != 0 {
						t.Errorf("%s: opened %d", what, n)
					}
					if shown {
						if err := h.openedSince(before, syns); err != nil {
							t.Errorf("%s: %v", what, err)
						}
					}
					speak(conn, shown, what)
				}
			}
			steer := (*house).steer
			if tt.all {
				steer = (*house).steerAll
			}
			steer(h, with(Devices{}))
			underWay, alike := open(h.client.Do, false), open(h.client.Do, true)
			h.plan(with(Devices{Spared: []Group{{Sources: prefixes("10.0.0.2/32 fd00:a::/64"), Interfaces: []string{"lan0"}}}}))
			speak(underWay, false, "spared, under way")
			use(h.client.Do, false, "spared")
			use(here, true, "the router's own")
			h.plan(with(Devices{Never: prefixes("192.0.2.2/32 fd00:b::/127 fd00:b::2/128")}))
			speak(alike, tt.all, "to where nobody is looked at, under way")
			use(h.client.Do, false, "to where nobody is looked at")
			use(here, false, "the router's own, to there")
			h.plan(with(Devices{Never: prefixes("192.0.2.3/32 fd00:b::3/128")}))
			use(h.client.Do, true, "to elsewhere")
		})
	}
}
