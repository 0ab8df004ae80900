package fw

import (
	"encoding/binary"
	"errors"
	"net"
	"net/netip"
	"os"
	"slices"
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
	rules *Conn
	queue *socket
	port  uint16 // the last connection's
}

// foreignMark is another program's.
const foreignMark = 0x10

func newHome(t testing.TB, masqueraded bool) *home {
	t.Helper()
	h := &home{router: &router{t, nstest.TAP(t, "lan0"), nstest.TUN(t, "wan0")}, guest: nstest.TUN(t, "guest0"), rules: mustOpen(t), port: 40000}
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
func (h *home) watch(edit func(*Config)) {
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
	mustApply(h.t, h.rules, r, "wan0")
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
	h.alive()
	if _, err := to.Write(p); err != nil {
		h.t.Fatal(err)
	}
}

// alive has the rules look at packets, however slow the machine is.
func (h *home) alive() {
	h.t.Helper()
	if err := h.rules.Answer(); err != nil {
		h.t.Fatal(err)
	}
}

// leaves is the next packet that leaves by WAN.
func (h *home) leaves() []byte {
	h.t.Helper()
	p, ok := h.receive(h.wan, soon)
	if !ok {
		h.t.Fatal("a packet did not pass the router")
	}
	return p
}

// leavesWith is the next that does with these flags, of TCP: the router's own are sent
// again if what ends that is late.
func (h *home) leavesWith(flags uint8) []byte {
	h.t.Helper()
	const all = fin | syn | rst | psh | ack
	for {
		if p := h.leaves(); p[ipLen(p)+flagsAt]&all == flags {
			return p
		}
	}
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
	var bound netip.AddrPort // as the server knows the client
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
	marks := h.accept(soon, more)
	if len(marks) != 1 {
		h.t.Fatalf("%d packets came to the queue, want one", len(marks))
	}
	return marks[0]
}

// accept lets all packets pass that wait in the queue, with more in their marks, and
// returns what those were. For the first it waits.
func (h *home) accept(wait time.Duration, more uint32) (marks []uint32) {
	h.t.Helper()
	fds := []unix.PollFd{{Fd: int32(h.queue.fd), Events: unix.POLLIN}}
	if _, err := unix.Poll(fds, int(wait.Milliseconds())); err != nil {
		h.t.Fatal(err)
	}
	var verdicts [][]byte
	err := h.queue.answers(func(m message) {
		verdicts = append(verdicts, append([]byte{0, 0, 0, 1}, m.data[8:12]...)) // NF_ACCEPT
		marks = append(marks, attrs(m.data[4:]).num(nfqaMark))
	})
	if err != nil {
		h.t.Fatal(err)
	}
	for i, v := range verdicts {
		tell(h.t, h.queue, nfqnlMsgVerdict, nfqaVerdictHdr, v, nfqaMark, binary.BigEndian.AppendUint32(nil, marks[i]|more))
	}
	return marks
}

// hello has g send one in f, and returns the mark that b4d is shown.
func (h *home) hello(g *guest, f *flow) uint32 {
	h.t.Helper()
	h.send(g, f.out(psh|ack, 300))
	mark := h.shown(0)
	h.leaves()
	return mark
}

func (h *home) clean() {
	h.t.Helper()
	if n := h.counters(h.rules).Blocked; n != 0 {
		h.t.Errorf("%d packets left with a mark of ours, or without another's on their connection", n)
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
	p := h.leavesWith(syn)
	f, tcp := newFlow(v6, 0, 443), p[20:]
	local := wanAddr4
	if v6 {
		local, tcp = wanAddr6, p[40:]
	}
	f.src, f.seq = netip.AddrPortFrom(local, binary.BigEndian.Uint16(tcp)), binary.BigEndian.Uint32(tcp[4:])+1
	if _, err := h.wan.Write(f.back(syn|ack, 0)); err != nil {
		h.t.Fatal(err)
	}
	h.leavesWith(ack)
	h.alive()
	if _, err := unix.Write(fd, make([]byte, 300)); err != nil {
		h.t.Fatal(err)
	}
	marks := h.accept(soon, 0)
	for range marks {
		h.leavesWith(psh | ack)
	}
	err = unix.SetsockoptLinger(fd, unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1})
	if err = errors.Join(err, unix.Close(fd)); err != nil {
		h.t.Fatal(err)
	}
	h.leavesWith(rst | ack)
	late := h.accept(0, 0)
	for range late {
		h.leavesWith(psh | ack)
	}
	if marks = slices.Compact(append(marks, late...)); len(marks) != 1 {
		h.t.Fatalf("marks %#x, want one", marks)
	}
	return marks[0]
}
