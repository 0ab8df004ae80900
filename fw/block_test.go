package fw

import (
	"errors"
	"net"
	"net/netip"
	"os"
	"testing"
	"time"

	"b4/nstest"

	"golang.org/x/sys/unix"
)

// blocking are the forms in which QUIC is blocked, with what else they show.
var blocking = []struct {
	name string
	edit func(*Config)
}{
	{"queue", func(c *Config) { c.UDP = []uint16{443} }}, // which does not count
	{"TUN", behindNAT},
	{"alone", func(c *Config) { c.TCP = nil }},
	{"TUN, all", func(c *Config) { behindNAT(c); c.All = true }},
}

// refusedAt wants a handshake refused, and not by the server.
func refusedAt(t *testing.T, c *net.UDPConn, own bool) {
	t.Helper()
	if _, err := c.Write(long(1200)); errors.Is(err, unix.EPERM) != own {
		t.Errorf("write: %v", err)
	}
	if n, err := c.Read(make([]byte, 10)); !errors.Is(err, unix.ECONNREFUSED) {
		t.Errorf("read %d bytes, %v", n, err)
	}
}

// short is a datagram of QUIC behind its handshake.
func short() []byte { return []byte{0x43, 1, 2, 3} }

func isLong(p []byte) bool {
	n := ipLen(p) + 8
	return protocol(p) == unix.IPPROTO_UDP && len(p) > n && p[n]&0x80 != 0
}

// Who begins a handshake learns at once that nobody is there. What is under way
// goes on, and no handshake leaves.
func TestBlockRejects(t *testing.T) {
	eachFamily(t, func(t *testing.T, h *house, v6 bool) {
		dropInvalid(t)
		h.wan.watch(isLong)
		first, server := h.udp(v6)
		for _, form := range blocking {
			mustApply(t, h.rules, mustPlan(t, func(c *Config) {
				form.edit(c)
				c.Router, c.Block = true, QUICBlock{Ports: []uint16{443}, Reject: true}
			}), "wan0")
			// More than 6 in a second the client would not be told of.
			refusedAt(t, h.dialUDP(h.client.Do, v6), false)
			for _, from := range []func(func()){h.client.Do, here} {
				if err := converseUDP(h.dialUDP(from, v6), server, short()); err != nil {
					t.Errorf("%s: %v", form.name, err)
				}
			}
			refusedAt(t, h.dialUDP(here, v6), true)
		}
		if err := converseUDP(first, server, short()); err != nil {
			t.Error(err)
		}
		refusedAt(t, first, false)
		if got, want := h.counters(h.rules), uint64(2*len(blocking)+1); got.Blocked != want || got.QUIC != 0 {
			t.Errorf("counted %+v, want %d blocked", got, want)
		}
		if got := h.wan.packets(); len(got) != 0 {
			t.Errorf("%d handshakes left", len(got))
		}
	})
}

// With neither an answer nor a table nothing is blocked, and what is dropped is
// dropped silently.
func TestBlockFailsOpen(t *testing.T) {
	t.Parallel()
	nstest.Enter(t)
	h := newHouse(t, true, true)
	client, server := h.udp(false)
	mustApply(t, h.rules, mustPlan(t, func(c *Config) { c.Block = QUICBlock{Ports: []uint16{443}} }), "wan0")
	silent := func() {
		t.Helper()
		if _, err := client.Write(long(1200)); err != nil {
			t.Fatal(err)
		}
		client.SetReadDeadline(time.Now().Add(50 * time.Millisecond))
		if n, err := client.Read(make([]byte, 10)); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("read %d bytes, %v", n, err)
		}
		client.SetReadDeadline(time.Now().Add(soon))
	}
	silent()
	hang(t, h.rules)
	if err := converseUDP(client, server, long(1200)); err != nil {
		t.Errorf("wedged: %v", err)
	}
	if err := h.rules.Answer(); err != nil {
		t.Fatal(err)
	}
	silent()
	if err := h.rules.Close(); err != nil {
		t.Fatal(err)
	}
	if err := converseUDP(client, server, long(1200)); err != nil {
		t.Errorf("closed: %v", err)
	}
}

// passes reports whether p leaves by WAN ahead of what is sent after it.
func (r *router) passes(f *flow, p []byte) bool {
	r.t.Helper()
	after := newFlow(f.src.Addr().Is6(), 40999, 9).datagram(false, 'x')
	for _, p := range [][]byte{p, after} {
		if _, err := r.lan.Write(p); err != nil {
			r.t.Fatal(err)
		}
	}
	got, ok := r.receive(r.wan, soon)
	if !ok {
		r.t.Fatal("nothing left")
	}
	if got[len(got)-1] == 'x' {
		return false
	}
	r.receive(r.wan, soon)
	return true
}

func TestBlockOnlyWhatIsAskedFor(t *testing.T) {
	first := []byte{0xc3, 0, 0, 0, 1, 8}
	tests := []struct {
		name    string
		edit    func(*Config)
		device  string
		payload []byte
		v4, v6  bool // left alone
	}{
		{"handshake", nil, "wan0", first, false, false},
		{"one byte", nil, "wan0", first[:1], false, false},
		{"of any version", nil, "wan0", []byte{0xff, 1, 2, 3, 4}, false, false},
		{"short header", nil, "wan0", []byte{0x43, 0, 0, 0, 1}, true, true},
		{"empty", nil, "wan0", nil, true, true},
		{"RTP", nil, "wan0", []byte{0x80, 111, 0x12, 0x34, 5}, true, true},
		{"RTCP", nil, "wan0", []byte{0x81, 201, 0, 7, 0}, true, true},
		{"version 1, greased", nil, "wan0", []byte{0x83, 0, 0, 0, 1, 8}, false, false},
		{"version 2, greased", nil, "wan0", []byte{0x90, 0x6b, 0x33, 0x43, 0xcf, 8}, false, false},
		{"another port", func(c *Config) { c.Block.Ports = []uint16{8443} }, "wan0", first, true, true},
		{"several ports", func(c *Config) { c.Block.Ports = []uint16{8443, 443} }, "wan0", first, false, false},
		{"watched too", func(c *Config) { c.UDP = []uint16{443, 8443} }, "wan0", first, false, false},
		{"scattered", func(c *Config) { c.Scatter4, c.Scatter6 = true, true }, "wan0", first, false, false},
		{"IPv4 off", func(c *Config) { c.IPv4 = false }, "wan0", first, true, false},
		{"IPv6 off", func(c *Config) { c.IPv6 = false }, "wan0", first, false, true},
		{"another device", nil, "lan0", first, true, true},
		{"plain route", func(c *Config) { c.SkipIPsec = true }, "wan0", first, false, false},
		{"all", func(c *Config) { c.All, c.Bound = true, 0 }, "wan0", first, false, false},
	}
	nstest.Enter(t)
	r, c := newRouter(t), mustOpen(t)
	for i, tt := range tests {
		mustApply(t, c, mustPlan(t, func(c *Config) {
			c.Block = QUICBlock{Ports: []uint16{443}}
			if tt.edit != nil {
				tt.edit(c)
			}
		}), tt.device)
		for v6, want := range map[bool]bool{false: tt.v4, true: tt.v6} {
			before := r.counters(c)
			f := newFlow(v6, 41000+uint16(i), 443)
			if got := r.passes(f, f.datagram(false, tt.payload...)); got != want {
				t.Errorf("%s: v6 %v: passed: %v", tt.name, v6, got)
			}
			n := Counters{Blocked: 1}
			if want {
				n = Counters{}
			}
			if got := r.counters(c).minus(before); got != n {
				t.Errorf("%s: v6 %v: counted %+v", tt.name, v6, got)
			}
		}
	}
}

// A flow that is longer under way than a handshake, what a server sends, and b4's
// own are not blocked.
func TestBlockLeavesAlone(t *testing.T) {
	nstest.Enter(t)
	r, c := newRouter(t), mustOpen(t)
	awaitAddr(t, wanAddr6)
	rules := mustPlan(t, func(c *Config) {
		c.TCP = nil // nor are b4's own kept from conntrack then
		c.Router, c.Block = true, QUICBlock{Ports: []uint16{443}, Reject: true}
	})
	mustApply(t, c, rules, "wan0")
	injected := config(t, Native).Marks.Injected
	for _, v6 := range []bool{false, true} {
		f := newFlow(v6, 40000, 443)
		for range 12 {
			r.arrive(r.lan, r.wan, f.datagram(false, short()...))
		}
		if !r.passes(f, f.datagram(false, 0xc3, 0, 0, 0, 1)) {
			t.Errorf("v6 %v: a flow that is under way was blocked", v6)
		}
		f = newFlow(v6, 443, 443)
		r.arrive(r.wan, r.lan, f.datagram(true, 0xc3, 0, 0, 0, 1)) // opened from outside
		if !r.passes(f, f.datagram(false, 0xc3, 0, 0, 0, 1)) {
			t.Errorf("v6 %v: what a server in the LAN sends was blocked", v6)
		}
		f = newFlow(v6, 40001, 443)
		own := wanAddr4
		if v6 {
			own = wanAddr6
		}
		f.src = netip.AddrPortFrom(own, 40001)
		if err := sendRaw(f.datagram(false, 0xc3, 0, 0, 0, 1), v6, injected); err != nil {
			t.Fatal(err)
		}
		if _, ok := r.receive(r.wan, soon); !ok {
			t.Errorf("v6 %v: b4's own was blocked", v6)
		}
		if err := sendRaw(f.datagram(false, 0xc3, 0, 0, 0, 1), v6, 0); !errors.Is(err, unix.EPERM) {
			t.Errorf("v6 %v: the same without its mark: %v", v6, err)
		}
	}
	if got := r.counters(c).Blocked; got != 2 {
		t.Errorf("%d blocked, want the router's own, which had no mark", got)
	}
}
