package fw

import (
	"encoding/binary"
	"errors"
	"net"
	"net/netip"
	"os"
	"testing"
	"time"

	"b4/nstest"

	"golang.org/x/sys/unix"
)

// A home is a router with two networks, of which the first has Ethernet, and
// another program that marks connections.
type home struct {
	*router
	guest *os.File
	mac   net.HardwareAddr // of lan0
	queue *socket
	port  uint16 // the last connection's
}

// foreignMark is another program's.
const foreignMark = 0x10

func newHome(t testing.TB, masqueraded bool) *home {
	t.Helper()
	h := &home{router: &router{t, nstest.TAP(t, "lan0"), nstest.TUN(t, "wan0")}, guest: nstest.TUN(t, "guest0"), port: 40000}
	setUpLink(t, "lan0", lanAddr4, lanAddr6)
	setUpLink(t, "wan0", wanAddr4, wanAddr6)
	setUpLink(t, "guest0", netip.MustParseAddr("10.0.1.1"), netip.MustParseAddr("fd00:c::1"))
	nstest.Sysctl(t, "net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1")
	awaitAddr(t, wanAddr6)
	lan, err := net.InterfaceByName("lan0")
	if err != nil {
		t.Fatal(err)
	}
	h.mac = lan.HardwareAddr
	if masqueraded {
		table(t, "fw4", chain{"srcnat", &hook{nat, postrouting, 100}, []rule{{isDevice{oifname, "wan0"}, masquerade{}}}})
	}
	return h
}

// watch has the packets shown that edit asks for, between chains of another program,
// which count as blocked what must not happen.
func (h *home) watch(c *Conn, edit func(*Config)) {
	h.t.Helper()
	m := config(h.t, Native).Marks.WithGroups()
	r := mustPlan(h.t, edit)
	r.chains = append(r.chains,
		chain{"before", &hook{filter, prerouting, -140}, []rule{
			{setBits{ctMark, foreignMark}, setBits{metaMark, foreignMark}},
			{bits{metaMark, m.Mask(), true}, counter{"blocked"}},
		}},
		chain{"after", &hook{filter, postrouting, 103}, []rule{
			{bits{metaMark, m.Mask(), true}, counter{"blocked"}},
			{bits{ctMark, foreignMark, false}, bits{metaMark, foreignMark, true}, counter{"blocked"}},
		}})
	mustApply(h.t, c, r, "wan0")
}

// A guest is who opens connections.
type guest struct {
	name   string
	mac    [6]byte // none: by guest0
	v4, v6 string
}

func (g *guest) addr(v6 bool) netip.Addr {
	if v6 {
		return netip.MustParseAddr(g.v6)
	}
	return netip.MustParseAddr(g.v4)
}

var (
	anna   = guest{"anna", [6]byte{2, 0, 0, 0, 0, 0xa}, "10.0.0.2", "fd00:a::2"}
	berta  = guest{"berta", [6]byte{2, 0, 0, 0, 0, 0xb}, "10.0.0.3", "fd00:a::3"}
	clara  = guest{"clara", [6]byte{}, "10.0.1.2", "fd00:c::2"}
	nobody = guest{"nobody", [6]byte{2, 0, 0, 0, 0, 0xe}, "10.0.0.5", "fd00:a::5"}
)

// send has g send p, and the router forward it.
func (h *home) send(g *guest, p []byte) {
	h.t.Helper()
	to := h.guest
	if g.mac != [6]byte{} {
		to = h.lan
		kind := uint16(unix.ETH_P_IP)
		if p[0]>>4 == 6 {
			kind = unix.ETH_P_IPV6
		}
		head := append(append([]byte{}, h.mac...), g.mac[:]...)
		p = append(binary.BigEndian.AppendUint16(head, kind), p...)
	}
	if _, err := to.Write(p); err != nil {
		h.t.Fatal(err)
	}
}

// leaves is the next packet that leaves by WAN.
func (h *home) leaves() []byte {
	h.t.Helper()
	p, ok := h.receive(h.wan, time.Second)
	if !ok {
		h.t.Fatal("a packet did not pass the router")
	}
	return p
}

// server is where newFlow connects to.
func server(v6 bool) netip.AddrPort { return newFlow(v6, 0, 443).dst }

// flow is one that g could open.
func (h *home) flow(g *guest, to netip.AddrPort) *flow {
	h.port++
	return &flow{netip.AddrPortFrom(g.addr(to.Addr().Is6()), h.port), to, 1000, 5000}
}

// open has g open a connection. Replies end at the router: nobody tells it who
// has their addresses.
func (h *home) open(g *guest, to netip.AddrPort) *flow {
	h.t.Helper()
	v6 := to.Addr().Is6()
	f := h.flow(g, to)
	h.send(g, f.out(syn, 0))
	p := h.leaves()
	bound := f.src // as the server knows it
	if v6 {
		a, _ := netip.AddrFromSlice(p[8:24])
		bound = netip.AddrPortFrom(a, binary.BigEndian.Uint16(p[40:]))
	} else {
		a, _ := netip.AddrFromSlice(p[12:16])
		bound = netip.AddrPortFrom(a, binary.BigEndian.Uint16(p[20:]))
	}
	if _, err := h.wan.Write(segment(f.dst, bound, f.ack, f.seq, syn|ack, 0)); err != nil {
		h.t.Fatal(err)
	}
	f.ack++
	h.send(g, f.out(ack, 0))
	h.leaves()
	return f
}

// shown lets the packet that waits in the queue pass, with more in its mark, and returns
// what that was.
func (h *home) shown(more uint32) (mark uint32) {
	h.t.Helper()
	fds := []unix.PollFd{{Fd: int32(h.queue.fd), Events: unix.POLLIN}}
	if n, err := unix.Poll(fds, 1000); err != nil || n == 0 {
		h.t.Fatalf("no packet came to the queue: %v", err)
	}
	verdict := []byte{0, 0, 0, 1} // NF_ACCEPT
	err := h.queue.answers(func(m message) {
		verdict = append(verdict, m.data[8:12]...)
		mark = attrs(m.data[4:]).num(nfqaMark)
	})
	if err != nil || len(verdict) != 8 {
		h.t.Fatalf("want one packet: %x, %v", verdict, err)
	}
	tell(h.t, h.queue, nfqnlMsgVerdict, nfqaVerdictHdr, verdict, nfqaMark, binary.BigEndian.AppendUint32(nil, mark|more))
	return mark
}

// hello has g send one in f, and returns the mark that b4d is shown.
func (h *home) hello(g *guest, f *flow) uint32 {
	h.t.Helper()
	h.send(g, f.out(psh|ack, 300))
	mark := h.shown(0)
	h.leaves()
	return mark
}

func (h *home) clean(c *Conn) {
	h.t.Helper()
	if n := h.counters(c).Blocked; n != 0 {
		h.t.Errorf("%d packets left with a mark of ours, or without another's on their connection", n)
	}
}

// Who a packet is from decides its mark, in the queue and nowhere else.
func TestGroups(t *testing.T) {
	for _, masqueraded := range []bool{false, true} {
		t.Run(map[bool]string{false: "routed", true: "masqueraded"}[masqueraded], func(t *testing.T) {
			t.Parallel()
			nstest.Enter(t)
			h, c := newHome(t, masqueraded), mustOpen(t)
			m := config(t, Native).Marks.WithGroups()
			h.watch(c, func(c *Config) {
				c.Router, c.UDP = true, []uint16{443}
				groups(c,
					Group{MACs: [][6]byte{{2, 0, 0, 0, 0, 1}, anna.mac}},
					Group{Sources: prefixes("10.0.0.3/32 10.0.0.64/26 fd00:a::3/128")},
					Group{Interfaces: []string{"guest0", "guest1"}},
					Group{MACs: [][6]byte{anna.mac, nobody.mac}, Sources: prefixes("10.0.0.0/29 fd00:a::/64"), Interfaces: []string{"lan0"}})
			})
			h.send(&anna, h.open(&anna, server(false)).out(psh|ack, 300)) // nobody listens
			h.leaves()
			h.queue = listen(t)
			defer h.queue.close()
			for _, v6 := range []bool{false, true} {
				for _, tt := range []struct {
					guest
					want uint32
				}{
					{anna, m.Group(0) | m.Group(3)},
					{berta, m.Group(1)},
					{clara, m.Group(2)},
					{nobody, m.Group(3)},
					{guest{"anna's card in berta's hands", anna.mac, berta.v4, berta.v6}, m.Group(0) | m.Group(1) | m.Group(3)},
					{guest{"anna's address elsewhere", [6]byte{}, anna.v4, anna.v6}, m.Group(2)},
				} {
					f := h.open(&tt.guest, server(v6))
					for range 2 {
						if got := h.hello(&tt.guest, f); got != tt.want|foreignMark {
							t.Errorf("%s, v6 %v: mark %#x, want %#x", tt.name, v6, got, tt.want|foreignMark)
						}
					}
					h.send(&tt.guest, h.flow(&tt.guest, server(v6)).datagram(false, 0xc3, 0, 0, 0, 1))
					if got := h.shown(0); got != tt.want|foreignMark {
						t.Errorf("%s, QUIC, v6 %v: mark %#x, want %#x", tt.name, v6, got, tt.want|foreignMark)
					}
					h.leaves()
				}
				if got := h.own(v6); got != 0 {
					t.Errorf("the router's own, v6 %v: mark %#x, want none", v6, got)
				}
			}
			h.clean(c)
		})
	}
}

// own has the router open a connection and returns the mark of its first data.
func (h *home) own(v6 bool) uint32 {
	h.t.Helper()
	family, to := unix.AF_INET, unix.Sockaddr(&unix.SockaddrInet4{Port: 443, Addr: [4]byte{192, 0, 2, 2}})
	if v6 {
		family, to = unix.AF_INET6, &unix.SockaddrInet6{Port: 443, Addr: newFlow(true, 1, 1).dst.Addr().As16()}
	}
	fd, err := unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		h.t.Fatal(err)
	}
	if err := unix.Connect(fd, to); err != unix.EINPROGRESS {
		h.t.Fatal(err)
	}
	p := h.leaves()
	f, tcp := newFlow(v6, 0, 443), p[20:]
	local := wanAddr4
	if v6 {
		local, tcp = wanAddr6, p[40:]
	}
	f.src, f.seq = netip.AddrPortFrom(local, binary.BigEndian.Uint16(tcp)), binary.BigEndian.Uint32(tcp[4:])+1
	if _, err := h.wan.Write(f.back(syn|ack, 0)); err != nil {
		h.t.Fatal(err)
	}
	h.leaves()
	if _, err := unix.Write(fd, make([]byte, 300)); err != nil {
		h.t.Fatal(err)
	}
	mark := h.shown(0)
	h.leaves()
	err = unix.SetsockoptLinger(fd, unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1})
	if err = errors.Join(err, unix.Close(fd)); err != nil {
		h.t.Fatal(err)
	}
	h.leaves() // its RST
	return mark
}

// Rules that change are right for connections that may still be looked at.
func TestGroupsChange(t *testing.T) {
	t.Parallel()
	nstest.Enter(t)
	h, c := newHome(t, true), mustOpen(t)
	m := config(t, Native).Marks.WithGroups()
	lan, guests := Group{Interfaces: []string{"lan0"}}, Group{Interfaces: []string{"guest0"}}
	card, net4 := Group{MACs: [][6]byte{anna.mac}}, Group{Sources: prefixes("10.0.0.0/24")}
	h.queue = listen(t)
	defer h.queue.close()
	var f *flow
	for i, tt := range []struct {
		name   string
		groups []Group
		want   uint32
	}{
		{"at first", []Group{lan, guests}, m.Group(0)},
		{"in another order", []Group{guests, lan}, m.Group(1)},
		{"of the same name", []Group{guests, card, net4}, m.Group(1) | m.Group(2)},
		{"fewer", []Group{net4}, m.Group(0)},
		{"in none", []Group{guests}, 0},
		{"in one again", []Group{card}, m.Group(0)},
	} {
		h.watch(c, func(c *Config) { groups(c, tt.groups...); c.Bound = 20 })
		if i == 0 {
			f = h.open(&anna, server(false))
		}
		if got := h.hello(&anna, f); got != tt.want|foreignMark {
			t.Errorf("%s: mark %#x, want %#x", tt.name, got, tt.want|foreignMark)
		}
	}
	h.watch(c, func(c *Config) { groups(c, card); c.Bound, c.Devices.Spared = 20, []Group{net4} })
	before := h.counters(c)
	h.send(&anna, f.out(psh|ack, 300))
	h.leaves()
	if got := h.counters(c).minus(before); got != (Counters{}) {
		t.Errorf("spared: got %+v, want none", got)
	}
	h.clean(c)
}

// use has g use a server in all ways that might be looked at, with a RST that nobody
// has sent if forged, and returns what was counted. QUIC to port 443 must leave unless it
// is blocked.
func (h *home) use(c *Conn, g *guest, to netip.Addr, forged, blocked bool) Counters {
	h.t.Helper()
	before := h.counters(c)
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
	if _, left := h.receive(h.wan, map[bool]time.Duration{true: 50 * time.Millisecond, false: time.Second}[blocked]); left == blocked {
		h.t.Errorf("%s to %v: QUIC left: %v, want %v", g.name, to, left, !blocked)
	}
	return h.counters(c).minus(before)
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
			h, c := newHome(t, false), mustOpen(t)
			mustApply(t, c, mustPlan(t, func(c *Config) {
				c.UDP, c.Block, c.Replies = []uint16{784}, QUICBlock{Ports: []uint16{443}}, Replies{SYNACK: true, First: 3, End: true}
				groups(c, Group{Interfaces: []string{"lan0"}}, Group{Interfaces: []string{"guest0"}})
				c.Devices.Spared = []Group{{MACs: [][6]byte{anna.mac}}, {Sources: prefixes("10.0.1.0/24 fd00:c::/64")}}
				c.Devices.Never = prefixes("192.0.2.128/25 fd00:b::8000/113")
				tt.edit(c)
			}), "wan0")
			for _, to := range []string{"192.0.2.2", "fd00:b::2"} {
				for _, g := range []guest{anna, clara} {
					if got := h.use(c, &g, netip.MustParseAddr(to), false, false); got != (Counters{}) {
						t.Errorf("%s to %s: got %+v, want none", g.name, to, got)
					}
				}
				if got := h.use(c, &berta, netip.MustParseAddr(to), true, true); got != tt.want {
					t.Errorf("berta to %s: got %+v, want %+v", to, got, tt.want)
				}
			}
			for _, to := range []string{"192.0.2.128", "fd00:b::8001"} {
				if got := h.use(c, &berta, netip.MustParseAddr(to), true, false); got != (Counters{}) {
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
	h, c := newHome(t, false), mustOpen(t)
	h.watch(c, func(c *Config) {
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
	h.clean(c)
}

// still waits until nothing more is counted: ends of connections come late.
func (h *house) still() Counters {
	h.t.Helper()
	for n := h.counters(h.rules); ; {
		time.Sleep(20 * time.Millisecond)
		next := h.counters(h.rules)
		if next == n {
			return n
		}
		n = next
	}
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
				if err := errors.Join(converse(conn, 4096), conn.Close()); err != nil {
					t.Error(err)
				}
				if n := h.counters(h.rules).minus(before); shown != (n.Queued > 1) || !shown && n != (Counters{}) {
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
					before := h.still().Opened
					conn := open(from, v6)
					if n := h.counters(h.rules).Opened - before; shown != (n == 1) {
						t.Errorf("%s: opened %d", what, n)
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
