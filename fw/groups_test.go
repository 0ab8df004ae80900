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

// watch has the packets shown that edit asks for, between chains of another program.
func (h *home) watch(c *Conn, edit func(*Config)) {
	h.t.Helper()
	m := config(h.t, Native).Marks.WithGroups()
	r := mustPlan(h.t, edit)
	r.chains = append(r.chains,
		chain{"before", &hook{filter, prerouting, -140}, []rule{{setBits{ctMark, foreignMark}, setBits{metaMark, foreignMark}}}},
		chain{"after", &hook{filter, postrouting, 103}, []rule{
			{bits{metaMark, m.Mask(), true}, counter{"replies"}}, // must not happen
			{bits{ctMark, foreignMark, false}, bits{metaMark, foreignMark, true}, counter{"replies"}},
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

// open has g open a connection. Replies end at the router: nobody tells it who
// has their addresses.
func (h *home) open(g *guest, v6 bool, dport uint16) *flow {
	h.t.Helper()
	h.port++
	f := newFlow(v6, h.port, dport)
	f.src = netip.AddrPortFrom(g.addr(v6), h.port)
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

// shown lets the packet that waits in the queue pass, and returns its mark.
func (h *home) shown() (mark uint32) {
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
	tell(h.t, h.queue, nfqnlMsgVerdict, nfqaVerdictHdr, verdict, nfqaMark, binary.BigEndian.AppendUint32(nil, mark))
	return mark
}

// hello has g send one in f, and returns the mark that b4d is shown.
func (h *home) hello(g *guest, f *flow) uint32 {
	h.t.Helper()
	h.send(g, f.out(psh|ack, 300))
	mark := h.shown()
	h.leaves()
	return mark
}

func (h *home) clean(c *Conn) {
	h.t.Helper()
	if n := h.counters(c).Replies; n != 0 {
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
				c.Router = true
				groups(c,
					Group{MACs: [][6]byte{{2, 0, 0, 0, 0, 1}, anna.mac}},
					Group{Sources: prefixes("10.0.0.3/32 10.0.0.64/26 fd00:a::3/128")},
					Group{Interfaces: []string{"guest0", "guest1"}},
					Group{MACs: [][6]byte{anna.mac, nobody.mac}, Sources: prefixes("10.0.0.0/29 fd00:a::/64"), Interfaces: []string{"lan0"}})
			})
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
					f := h.open(&tt.guest, v6, 443)
					for range 2 {
						if got := h.hello(&tt.guest, f); got != tt.want|foreignMark {
							t.Errorf("%s, v6 %v: mark %#x, want %#x", tt.name, v6, got, tt.want|foreignMark)
						}
					}
				}
				if got := h.own(v6); got != 0 {
					t.Errorf("the router's own, v6 %v: mark %#x, want none", v6, got)
				}
			}
			h.queue.close()
			h.send(&anna, h.open(&anna, false, 443).out(psh|ack, 300)) // nobody listens
			h.leaves()
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
	mark := h.shown()
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
			f = h.open(&anna, false, 443)
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
