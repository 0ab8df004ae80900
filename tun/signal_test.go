package tun

import (
	"encoding/binary"
	"net"
	"net/netip"
	"os"
	"slices"
	"sync"
	"testing"
	"time"

	"b4/engine"
	"b4/nstest"
	"b4/packet"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

const testDone = 1 << 26

// The WAN addresses that test packets get on their way into the device.
var nat4, nat6 = netip.MustParseAddr("203.0.113.9"), netip.MustParseAddr("2001:db8:9::9")

// rules steer all that is not done to the device, translated, and turn signals
// into conntrack's mark, as package fw does. What is done does not get there.
func rules(t *testing.T, signals bool) {
	c, err := nftables.New()
	if err != nil {
		t.Fatal(err)
	}
	table := c.AddTable(&nftables.Table{Family: nftables.TableFamilyINet, Name: "b4test"})
	chain := func(name string, typ nftables.ChainType, hook *nftables.ChainHook, priority nftables.ChainPriority) *nftables.Chain {
		return c.AddChain(&nftables.Chain{Table: table, Name: name, Type: typ, Hooknum: hook, Priority: &priority})
	}
	rule := func(c *nftables.Conn, chain *nftables.Chain, e ...expr.Any) {
		c.AddRule(&nftables.Rule{Table: table, Chain: chain, Exprs: e})
	}
	device := func(key expr.MetaKey) []expr.Any {
		name := make([]byte, 16)
		copy(name, "b4tun0")
		return []expr.Any{&expr.Meta{Key: key, Register: 1}, &expr.Cmp{Register: 1, Data: name}}
	}
	family := func(v byte) []expr.Any {
		return []expr.Any{&expr.Meta{Key: expr.MetaKeyNFPROTO, Register: 1}, &expr.Cmp{Register: 1, Data: []byte{v}}}
	}
	done, zero := binaryutil.NativeEndian.PutUint32(testDone), make([]byte, 4)
	out := chain("out", nftables.ChainTypeFilter, nftables.ChainHookOutput, -100)
	rule(c, out, append(device(expr.MetaKeyOIFNAME),
		&expr.Ct{Key: expr.CtKeyMARK, Register: 1},
		&expr.Bitwise{SourceRegister: 1, DestRegister: 1, Len: 4, Mask: done, Xor: zero},
		&expr.Cmp{Register: 1, Data: done},
		&expr.Verdict{Kind: expr.VerdictDrop})...)
	snat := chain("snat", nftables.ChainTypeNAT, nftables.ChainHookPostrouting, 99)
	for fam, a := range map[byte]netip.Addr{unix.NFPROTO_IPV4: nat4, unix.NFPROTO_IPV6: nat6} {
		rule(c, snat, append(append(device(expr.MetaKeyOIFNAME), family(fam)...),
			&expr.Immediate{Register: 1, Data: a.AsSlice()},
			&expr.NAT{Type: expr.NATTypeSourceNAT, Family: uint32(fam), RegAddrMin: 1})...)
	}
	if signals {
		in := chain("signals", nftables.ChainTypeFilter, nftables.ChainHookPrerouting, -150)
		for fam, typ := range map[byte]byte{unix.NFPROTO_IPV4: SignalICMP, unix.NFPROTO_IPV6: SignalICMPv6} {
			rule(c, in, append(append(device(expr.MetaKeyIIFNAME), family(fam)...),
				&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseTransportHeader, Len: 1},
				&expr.Cmp{Register: 1, Data: []byte{typ}},
				&expr.Ct{Key: expr.CtKeyMARK, Register: 1},
				&expr.Bitwise{SourceRegister: 1, DestRegister: 1, Len: 4, Mask: binaryutil.NativeEndian.PutUint32(^uint32(testDone)), Xor: done},
				&expr.Ct{Key: expr.CtKeyMARK, Register: 1, SourceRegister: true},
				&expr.Verdict{Kind: expr.VerdictDrop})...)
		}
	}
	if err := c.Flush(); err != nil {
		t.Fatal(err)
	}
}

// A record collects the payloads of UDP, and the ports of TCP, packets that
// came to an engine.
type record struct {
	mu   sync.Mutex
	seen []string
	from []netip.Addr
}

func (r *record) judge(p *engine.Packet, _ *engine.Batch) engine.Verdict {
	r.mu.Lock()
	defer r.mu.Unlock()
	var v packet.View
	if !v.Decode(p.Bytes) {
		return engine.Accept
	}
	r.seen, r.from = append(r.seen, string(v.Payload)), append(r.from, v.Src.Addr())
	if string(v.Payload) == "go on" {
		return engine.Accept
	}
	return engine.Accept | engine.Done
}

func (r *record) got() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.seen)
}

// count is how many came with a payload; a SYN has none.
func (r *record) count(payload string) (n int) {
	for _, s := range r.got() {
		if s == payload {
			n++
		}
	}
	return n
}

// serve runs an engine in a namespace until the test ends.
func serve(t *testing.T, s *nstest.Space, c Config, h engine.Handler) *Engine {
	t.Helper()
	c.Device = DeviceConfig{Name: "b4tun0", Addrs: []netip.Prefix{net4, net6}}
	c.Report = func(err error) { t.Error(err) }
	e := New(c)
	var err error
	s.Do(func() { err = e.Start() })
	if err != nil {
		t.Fatal(err)
	}
	end := make(chan error, 1)
	go func() { end <- e.Run(h) }()
	t.Cleanup(func() {
		if err := e.Close(); err != nil {
			t.Error(err)
		}
		if err := <-end; err != nil {
			t.Error(err)
		}
	})
	return e
}

func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not so: %s", what)
		}
	}
}

// After Done no packet of the connection comes to the device, though source NAT
// has changed its address on the way in; before it, and of others, they do.
func TestKernelSignal(t *testing.T) {
	s := nstest.NewSpace(t)
	var r record
	var sent int
	serve(t, s, Config{Signal: true, Send: sender(func(engine.Out) error { sent++; return nil })}, judge(r.judge))
	s.Do(func() { rules(t, true) })
	var want []string
	for _, far := range []netip.Addr{far4, far6} {
		a, b, c := udpTo(t, s, far, 443), udpTo(t, s, far, 443), udpTo(t, s, far, 443)
		say := func(c *net.UDPConn, words string) {
			c.Write([]byte(words))
			want = append(want, words)
			eventually(t, "packets come", func() bool { return slices.Equal(r.got(), want) })
		}
		say(a, "go on")
		say(a, "done")
		say(b, "another")
		say(c, "go on") // until here the engine has signalled those before
		for range 3 {
			if _, err := a.Write([]byte("silence")); err != nil && err.(*net.OpError).Err.(*os.SyscallError).Err != unix.EPERM {
				t.Errorf("%v: write: %v", far, err) // EPERM is the dropping rule's
			}
			b.Write([]byte("silence"))
		}
		say(c, "go on") // ahead of which the silence would have come
	}
	if got := r.got(); !slices.Equal(got, want) {
		t.Errorf("came %q, want %q", got, want)
	}
	for _, a := range r.from {
		if a != nat4 && a != nat6 {
			t.Errorf("came from %v", a)
		}
	}
}

// The same for TCP: a SYN whose connection is done is not seen again.
func TestKernelSignalTCP(t *testing.T) {
	for _, signals := range []bool{false, true} {
		s := nstest.NewSpace(t)
		var r record
		serve(t, s, Config{Signal: true, Send: sender(func(engine.Out) error { return nil })}, judge(r.judge))
		s.Do(func() { rules(t, signals) })
		syns, behind := func() int { return r.count("") }, udpTo(t, s, far4, 443)
		pass := func() { // a packet, behind what was sent so far
			before := r.count("go on")
			behind.Write([]byte("go on"))
			eventually(t, "a packet comes behind", func() bool { return r.count("go on") > before })
		}
		var fds []int
		for _, far := range []netip.Addr{far4, far6} {
			s.Do(func() {
				fd, err := dialTCP(far)
				if err != nil {
					t.Error(err)
				}
				fds = append(fds, fd)
			})
		}
		eventually(t, "both SYNs come", func() bool { return syns() >= 2 })
		if signals {
			pass()
			pass() // in another burst than the first, and so than the SYNs: they are signalled
			seen, before := syns(), resent(t, fds)
			eventually(t, "both are sent again", func() bool {
				now := resent(t, fds)
				return now[0] > before[0] && now[1] > before[1]
			})
			pass()
			if n := syns(); n != seen {
				t.Errorf("%d SYNs, %d of them after the signals", n, n-seen)
			}
		} else {
			eventually(t, "both come again", func() bool { return syns() >= 4 })
		}
		for _, fd := range fds {
			soerr, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_ERROR)
			if err != nil || soerr != 0 {
				t.Errorf("signal has harmed the socket: %v, %v", unix.Errno(soerr), err)
			}
			if err := unix.Close(fd); err != nil {
				t.Error(err)
			}
		}
	}
}

// resent is how often each connection's SYN was sent again.
func resent(t *testing.T, fds []int) (times []uint8) {
	t.Helper()
	for _, fd := range fds {
		info, err := unix.GetsockoptTCPInfo(fd, unix.SOL_TCP, unix.TCP_INFO)
		if err != nil {
			t.Fatal(err)
		}
		times = append(times, info.Retransmits)
	}
	return times
}

// dialTCP begins to connect.
func dialTCP(to netip.Addr) (int, error) {
	family, sa := unix.AF_INET, unix.Sockaddr(&unix.SockaddrInet4{Port: 443, Addr: [4]byte(to.AsSlice()[:4])})
	if to.Is6() {
		family, sa = unix.AF_INET6, &unix.SockaddrInet6{Port: 443, Addr: to.As16()}
	}
	fd, err := unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, err
	}
	if err := unix.Connect(fd, sa); err != unix.EINPROGRESS {
		unix.Close(fd)
		return -1, err
	}
	return fd, nil
}

func TestSignal(t *testing.T) {
	for _, ip := range []string{"v4", "v6"} {
		for _, proto := range []uint8{packet.TCP, packet.UDP} {
			b := sample(ip, proto, 100)
			sig := Signal(make([]byte, maxSignal), b)
			var v, quoted packet.View
			if !v.Decode(sig) || !packet.ChecksumOK(sig) {
				t.Fatalf("%s: %x", ip, sig)
			}
			quoted.Decode(b)
			if v.Src.Addr() != quoted.Dst.Addr() || v.Dst.Addr() != quoted.Src.Addr() ||
				binary.BigEndian.Uint16(v.Payload[quoted.IPLen:]) != quoted.Src.Port() {
				t.Errorf("%s: %+v", ip, v)
			}
		}
		frag := sample(ip, packet.ICMP, 100)
		if Signal(make([]byte, maxSignal), frag) != nil || Signal(make([]byte, maxSignal), frag[:30]) != nil {
			t.Error("a signal about a packet without ports")
		}
	}
	long := extend(sample("v6", packet.TCP, 0), 1200)
	if Signal(make([]byte, maxSignal), long) != nil {
		t.Error("a signal longer than a link carries")
	}
}
