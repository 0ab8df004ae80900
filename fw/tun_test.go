package fw

import (
	"encoding/binary"
	"errors"
	"net"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"b4/nstest"
	"b4/rtnl"

	"golang.org/x/sys/unix"
)

// Two packets of each connection visit b4d, the rest stays in the kernel.
func TestTun(t *testing.T) {
	for _, tt := range []struct {
		name         string
		masq4, masq6 bool
	}{
		{"IPv4 behind NAT", true, false},
		{"both behind NAT", true, true},
		{"both routed", false, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			nstest.Enter(t)
			h := newHouse(t, tt.masq4, tt.masq6)
			h.serve()
			h.steer(func(c *Config) {
				c.Router = true
				toTUN(c, pick(tt.masq4, wanAddr4.String()), pick(tt.masq6, wanAddr6.String()))
			})
			for _, v6 := range []bool{false, true} {
				for _, forwarded := range []bool{false, true} {
					from := here
					if forwarded {
						from = h.client.Do
					}
					before, left, syns := h.counters(h.rules), h.wan.of(v6), h.wan.syns.Load()
					if err := h.talkSignalled(from, v6); err != nil {
						t.Fatalf("v6 %v, forwarded %v: %v", v6, forwarded, err)
					}
					if got := h.judge.take(); !fewPackets(got) {
						t.Errorf("v6 %v, forwarded %v: packets %v visited, want 2 of one connection", v6, forwarded, got)
					}
					err := h.openedSince(before.Opened, syns)
					if got := h.counters(h.rules).minus(before); err != nil || got.Queued < 2 || got.Bare == 0 {
						t.Errorf("v6 %v, forwarded %v: counted %+v, %v", v6, forwarded, got, err)
					}
					natted := tt.masq6
					if !v6 {
						natted = tt.masq4
					}
					if got := h.wan.of(v6) - left; (got == 0) != (natted || !forwarded) {
						t.Errorf("v6 %v, forwarded %v: %d packets with a LAN source left", v6, forwarded, got)
					}
				}
			}
			t.Logf("%+v", h.engine.Counters())
		})
	}
}

// behindNAT steers a house where both families are masqueraded.
func behindNAT(c *Config) {
	c.Router = true
	toTUN(c, wanAddr4.String(), wanAddr6.String())
}

func (h *house) leaked() uint64 { return h.wan.lan4.Load() + h.wan.lan6.Load() }

// Without the signal a connection visits for as long as the bound says.
func TestTunWithoutDone(t *testing.T) {
	nstest.Enter(t)
	h := newHouse(t, true, true)
	h.serve()
	h.judge.keep = true
	h.steer(behindNAT)
	for _, v6 := range []bool{false, true} {
		if err := talk(h.client.Do, v6); err != nil {
			t.Fatal(err)
		}
		if got := h.judge.take(); len(got) != 1 || got[0] < 3 || got[0] > DefaultBound {
			t.Errorf("v6 %v: packets %v visited", v6, got)
		}
	}
}

// The kernel kills a masqueraded connection that changes its device. Those that
// are older than our rules, or that we could not translate, stay where they are.
func TestTunLeavesMasqueradedAlone(t *testing.T) {
	nstest.Enter(t)
	h := newHouse(t, true, true)
	h.serve()
	open := func() (list []net.Conn) {
		for _, v6 := range []bool{false, true} {
			c, err := dialFrom(h.client.Do, v6)
			if err != nil {
				t.Fatal(err)
			}
			list = append(list, c)
		}
		return list
	}
	use := func(list []net.Conn, what string) {
		t.Helper()
		for i, c := range list {
			if err := converse(c, 4096); err != nil {
				t.Errorf("%s: v6 %v: %v", what, i == 1, err)
			}
			c.Close()
		}
		if n := h.counters(h.rules).Queued; n != 0 {
			t.Errorf("%s: %d packets were steered", what, n)
		}
	}
	mustApply(t, h.rules, &Ruleset{chains: []chain{{"count", &hook{filter, prerouting, -150}, []rule{{packets{upto: 1}, accept}}}}})
	older := open()
	h.steer(behindNAT)
	use(older, "older")
	h.plan(func(c *Config) { toTUN(c, "", "") })
	use(open(), "no address to translate to")
	if n := h.leaked(); n != 0 {
		t.Errorf("%d packets with a LAN source left", n)
	}
}

// When WAN's address changes, nothing leaves with a LAN source, and who is on a
// connection with the old address is told.
func TestTunAddressChange(t *testing.T) {
	connections := int64(10000)
	if os.Getenv("B4_SLOW") != "" { // an emulated machine
		connections = 200
	}
	t.Run("decisive", func(t *testing.T) { changeAddress(t, connections, (*house).steer, func(*Config) {}) })
	t.Run("all", func(t *testing.T) {
		changeAddress(t, max(connections/5, 200), (*house).steerAll, func(c *Config) { c.All = true })
	})
}

func changeAddress(t *testing.T, connections int64, steer func(*house, func(*Config)), edit func(*Config)) {
	const workers = 4
	change := connections / 10
	nstest.Enter(t)
	h := newHouse(t, true, true)
	h.serve()
	steer(h, behindNAT)
	var old []net.Conn
	for _, v6 := range []bool{false, true} {
		c, err := dialFrom(h.client.Do, v6)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		old = append(old, c)
	}
	var done, failed, changes atomic.Int64
	var wg sync.WaitGroup
	for i := range workers {
		wg.Add(1)
		go func() {
			defer wg.Done()
			for n := done.Add(1); n <= connections; n = done.Add(1) {
				for n > (changes.Load()+2)*change && done.Load() <= connections {
					time.Sleep(time.Millisecond) // or all may be over by the second change
				}
				c, err := dialFrom(h.client.Do, i%2 == 1)
				if err == nil {
					err = converse(c, 2048)
					c.Close()
				}
				if err != nil {
					failed.Add(1)
				}
			}
		}()
	}
	for ; done.Load() <= connections; time.Sleep(time.Millisecond) {
		if done.Load()/change == changes.Load() {
			continue
		}
		changes.Add(1)
		v4, v6 := wanAddr4, wanAddr6
		if changes.Load()%2 == 1 {
			v4, v6 = netip.MustParseAddr("192.0.2.3"), netip.MustParseAddr("fd00:b::3")
		}
		h.readdress(v4, v6)
		h.plan(func(c *Config) { toTUN(c, v4.String(), v6.String()); edit(c) })
		if changes.Load() == 1 {
			for i, c := range old {
				if err := converse(c, 2048); !errors.Is(err, unix.ECONNRESET) {
					t.Errorf("v6 %v: on a connection with the old address: %v", i == 1, err)
				}
			}
		}
	}
	wg.Wait()
	t.Logf("%d connections, %d address changes, %d connections cut by them", connections, changes.Load(), failed.Load())
	if n := h.leaked(); n != 0 || changes.Load() < 5 {
		t.Errorf("%d address changes, %d packets with a LAN source left", changes.Load(), n)
	}
	// Only those under way at a change, and those that are opened before its end.
	if n := failed.Load(); n > 2*changes.Load()*workers {
		t.Errorf("%d connections of %d failed", n, connections)
	}
}

// readdress gives WAN other addresses in place of what it has.
func (h *house) readdress(v4, v6 netip.Addr) {
	h.t.Helper()
	c, err := rtnl.Dial()
	if err != nil {
		h.t.Fatal(err)
	}
	defer c.Close()
	wan, err := net.InterfaceByName("wan0")
	if err != nil {
		h.t.Fatal(err)
	}
	old, err := wan.Addrs()
	if err != nil {
		h.t.Fatal(err)
	}
	for _, a := range old {
		p := netip.MustParsePrefix(a.String())
		if p.Addr().IsLinkLocalUnicast() {
			continue
		}
		family := byte(unix.AF_INET)
		if p.Addr().Is6() {
			family = unix.AF_INET6
		}
		body := append([]byte{family, byte(p.Bits()), 0, 0}, binary.NativeEndian.AppendUint32(nil, uint32(wan.Index))...)
		body = rtnl.AppendAttr(body, unix.IFA_LOCAL, p.Addr().AsSlice())
		if err := c.Do(unix.RTM_DELADDR, 0, body); err != nil {
			h.t.Fatal(err)
		}
	}
	setUpLink(h.t, "wan0", v4, v6)
	awaitAddr(h.t, v6)
}

// Nothing but signals comes in by the TUN.
func TestTunSpeaksToNobody(t *testing.T) {
	nstest.Enter(t)
	r, c := newRouter(t), mustOpen(t)
	dev := nstest.TUN(t, tunName)
	setUpLink(t, tunName, netip.MustParseAddr("10.255.0.1"), netip.MustParseAddr("fd00:b4::1"))
	mustApply(t, c, mustPlan(t, behindNAT), "wan0")
	for _, v6 := range []bool{false, true} {
		if r.forward(dev, r.wan, newFlow(v6, 40000, 443).out(syn, 0), 50*time.Millisecond) {
			t.Errorf("v6 %v: what came from the TUN was forwarded", v6)
		}
	}
}

// Whatever becomes of b4d, connections that are under way go on, and new ones.
func TestTunFailsOpen(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name string
		fail func(h *house)
		lost int // of the segments of a connection that is under way, at most
	}{
		// What was steered in vain is sent again 0.2 s later, as a probe of TCP's, and
		// 0.4, 0.8, 1.6 and 3.2 s (measured): the last is behind Patience.
		{"wedged", func(h *house) { h.judge.mu.Lock(); h.t.Cleanup(h.judge.mu.Unlock) }, 5},
		{"device gone", func(h *house) { h.engine.Close() }, 2},
		{"rules gone", func(h *house) { h.rules.Close() }, 2},
		{"routes gone", func(h *house) {
			if err := h.paths.Reconcile(nil); err != nil {
				h.t.Error(err)
			}
		}, 2},
	} {
		for _, steer := range []func(*house, func(*Config)){(*house).steer, (*house).steerAll} {
			failOpen(t, tt.name, steer, tt.fail, tt.lost)
		}
	}
}

func failOpen(t *testing.T, name string, steer func(*house, func(*Config)), fail func(*house), most int) {
	t.Run(name, func(t *testing.T) {
		t.Parallel()
		nstest.Enter(t)
		h := newHouse(t, true, true)
		h.rules.Close()
		h.rules = impatient(t)
		h.serve()
		steer(h, behindNAT)
		var conns []net.Conn
		var before []int
		for _, v6 := range []bool{false, true} {
			for _, from := range []func(func()){here, h.client.Do} {
				c, err := dialFrom(from, v6)
				if err != nil {
					t.Fatal(err)
				}
				conns, before = append(conns, c), append(before, lost(t, c))
			}
		}
		fail(h)
		for i, c := range conns {
			if err := converse(c, 4096); err != nil {
				t.Errorf("under way: %v", err)
			}
			n := 0
			if !await(func() bool { n = lost(t, c) - before[i]; return n <= most }) {
				t.Errorf("under way: %d segments were lost, want %d at most", n, most)
			}
			c.Close()
		}
		for _, v6 := range []bool{false, true} {
			for _, from := range []func(func()){here, h.client.Do} {
				if err := talk(from, v6); err != nil {
					t.Errorf("new, v6 %v: %v", v6, err)
				}
			}
		}
		if n := h.leaked(); n != 0 {
			t.Errorf("%d packets with a LAN source left", n)
		}
	})
}

// lost is how many segments of c were sent again and not for nothing: of what it had got
// by then, which was only late, the other side says so (DSACK).
func lost(t *testing.T, c net.Conn) int {
	t.Helper()
	raw, err := c.(*net.TCPConn).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	var info *unix.TCPInfo
	asked := raw.Control(func(fd uintptr) { info, err = unix.GetsockoptTCPInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_INFO) })
	if err = errors.Join(asked, err); err != nil {
		t.Fatal(err)
	}
	return int(info.Total_retrans) - int(info.Dsack_dups)
}

// fewPackets wants one connection, of which the hello has visited and what ended
// that.
func fewPackets(visits []int) bool { return len(visits) == 1 && visits[0] == 2 }

// The router's own connections are masqueraded as ever, unless they are wanted.
func TestTunLeavesRouterAlone(t *testing.T) {
	nstest.Enter(t)
	h := newHouse(t, true, true)
	h.serve()
	h.steer(func(c *Config) { behindNAT(c); c.Router = false })
	for _, v6 := range []bool{false, true} {
		before := h.counters(h.rules).Opened
		if err := talk(here, v6); err != nil {
			t.Fatal(err)
		}
		if n := h.counters(h.rules).Opened - before; n != 0 {
			t.Errorf("v6 %v: %d SYNs of the router's were looked at", v6, n)
		}
		syns := h.wan.syns.Load()
		err := h.talkSignalled(h.client.Do, v6)
		if err = errors.Join(err, h.openedSince(before, syns)); err != nil {
			t.Fatalf("v6 %v: %v", v6, err)
		}
		if got := h.judge.take(); !fewPackets(got) {
			t.Errorf("v6 %v: packets %v visited, want 2 of the client's connection", v6, got)
		}
	}
}

func pick(want bool, s string) string {
	if want {
		return s
	}
	return ""
}
