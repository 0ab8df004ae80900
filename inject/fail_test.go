package inject

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"testing"
	"time"

	"b4/engine"
	"b4/nfq"
	"b4/nstest"
	"b4/tun"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"github.com/google/nftables/xt"
	"golang.org/x/sys/unix"
)

const (
	failQueue = 540
	failPort  = 4430
	wanMTU    = 1500
)

// ourMark matches packets with the mark of what is sent here, or without.
func ourMark(t *testing.T, op expr.CmpOp) []expr.Any {
	ours := binaryutil.NativeEndian.PutUint32(testMarks(t).Injected)
	return []expr.Any{
		&expr.Meta{Key: expr.MetaKeyMARK, Register: 1},
		&expr.Bitwise{SourceRegister: 1, DestRegister: 1, Len: 4, Mask: ours, Xor: make([]byte, 4)},
		&expr.Cmp{Op: op, Register: 1, Data: ours},
	}
}

// chain makes a table with one base chain of one rule.
func chain(t *testing.T, name string, hook *nftables.ChainHook, priority nftables.ChainPriority, rule ...expr.Any) *nftables.Chain {
	t.Helper()
	c, err := nftables.New()
	if err != nil {
		t.Fatal(err)
	}
	table := c.AddTable(&nftables.Table{Family: nftables.TableFamilyINet, Name: name})
	in := c.AddChain(&nftables.Chain{Table: table, Name: name, Type: nftables.ChainTypeFilter, Hooknum: hook, Priority: &priority})
	c.AddRule(&nftables.Rule{Table: table, Chain: in, Exprs: rule})
	if err := c.Flush(); err != nil {
		t.Fatal(err)
	}
	return in
}

// unchain takes away what chain made.
func unchain(t *testing.T, in *nftables.Chain) {
	c, err := nftables.New()
	if err != nil {
		t.Fatal(err)
	}
	c.DelTable(in.Table)
	if err := c.Flush(); err != nil {
		t.Error(err)
	}
}

// forbid drops what is sent here and is longer than longest bytes.
func forbid(t *testing.T, longest uint32) (undo func()) {
	in := chain(t, "forbid", nftables.ChainHookOutput, *nftables.ChainPriorityFilter, append(ourMark(t, expr.CmpOpEq),
		&expr.Meta{Key: expr.MetaKeyLEN, Register: 1},
		&expr.Byteorder{SourceRegister: 1, DestRegister: 1, Op: expr.ByteorderHton, Len: 4, Size: 4},
		&expr.Cmp{Op: expr.CmpOpGt, Register: 1, Data: binary.BigEndian.AppendUint32(nil, longest)},
		&expr.Verdict{Kind: expr.VerdictDrop})...)
	return func() { unchain(t, in) }
}

// byQueue has datagrams to failPort judged by engine nfqueue on their way to wan.
func byQueue(t *testing.T, f family, s engine.Sender, report func(error)) engine.Engine {
	info := binary.NativeEndian.AppendUint16(nil, failQueue)
	target := xt.Unknown(append(binary.NativeEndian.AppendUint16(info, 1), 1, 0, 0, 0)) // one queue, bypass
	e := nfq.New(nfq.Config{Num: failQueue, Send: s, Report: report})
	if err := e.Start(); err != nil {
		t.Fatal(err)
	}
	chain(t, "queue", nftables.ChainHookPostrouting, 101, append(ourMark(t, expr.CmpOpNeq),
		&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseTransportHeader, Offset: 2, Len: 2},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: binaryutil.BigEndian.PutUint16(failPort)},
		&expr.Target{Name: "NFQUEUE", Rev: 3, Info: &target})...)
	return e
}

// byTUN has everything judged by engine tun, but what is sent here.
func byTUN(t *testing.T, f family, s engine.Sender, report func(error)) engine.Engine {
	e := tun.New(tun.Config{Device: tun.DeviceConfig{Name: "b4tun0"}, Out: nstest.Index(t, "wan"), Send: s, Report: report, Signal: true})
	if err := e.Start(); err != nil {
		t.Fatal(err)
	}
	nstest.Route(t, "b4tun0", f.all, unix.RT_TABLE_MAIN, 1)
	rules(t, testMarks(t).Injected, f.policy)
	return e
}

// payloads reads what n datagrams on the wire have in them, or more if there are;
// fragments are put together.
func (l *link) payloads(f family, n int) (all []string) {
	for b := make([]byte, 2048); ; {
		wait := 5 * time.Second
		if len(all) >= n {
			wait = 100 * time.Millisecond // for what should not be there
		}
		l.SetReadDeadline(time.Now().Add(wait))
		m, err := l.Read(b)
		if err != nil {
			return all
		}
		p := b[:m]
		if f.header == 20 && (p[0]>>4 != 4 || p[9] != unix.IPPROTO_UDP) || f.header == 40 && (p[0]>>4 != 6 || !ours(p[6])) {
			continue
		}
		at, later := f.header, false
		if f.header == 20 {
			later = binary.BigEndian.Uint16(p[6:])&0x1fff > 0
		} else if p[6] == unix.IPPROTO_FRAGMENT {
			later = binary.BigEndian.Uint16(p[42:])>>3 > 0
			at += 8
		}
		if later {
			all[len(all)-1] += string(p[at:])
		} else {
			all = append(all, string(p[at+8:]))
		}
	}
}

// there is where datagrams go.
func (f family) there() (domain int, sa unix.Sockaddr) {
	if f.remote.Is4() {
		return unix.AF_INET, &unix.SockaddrInet4{Port: failPort, Addr: f.remote.As4()}
	}
	return unix.AF_INET6, &unix.SockaddrInet6{Port: failPort, Addr: f.remote.As16()}
}

// datagram sends one, and leaves it to the router to fragment it.
func (f family) datagram(t *testing.T, msg []byte) {
	t.Helper()
	domain, sa := f.there()
	fd, err := unix.Socket(domain, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	if f.remote.Is4() {
		err = unix.SetsockoptInt(fd, unix.SOL_IP, unix.IP_MTU_DISCOVER, unix.IP_PMTUDISC_DONT)
	}
	if err := errors.Join(err, unix.Sendto(fd, msg, 0, sa)); err != nil {
		t.Fatal(err)
	}
}

// shorten is a datagram with the first n bytes of another's payload.
func (f family) shorten(pkt []byte, n int) []byte {
	b := bytes.Clone(pkt[:f.header+8+n])
	if f.header == 20 {
		binary.BigEndian.PutUint16(b[2:], uint16(len(b)))
		binary.BigEndian.PutUint16(b[10:], sumHeader(b))
	} else {
		binary.BigEndian.PutUint16(b[4:], uint16(len(b)-40))
	}
	binary.BigEndian.PutUint16(b[f.header+4:], uint16(8+n))
	return b // with a wrong checksum of UDP, which nobody reads
}

// signals counts the ICMP errors by which a TUN tells conntrack of connections
// that go their own way.
func signals(t *testing.T, f family) (count func() uint64) {
	proto, kind := byte(unix.IPPROTO_ICMPV6), byte(tun.SignalICMPv6)
	if f.header == 20 {
		proto, kind = unix.IPPROTO_ICMP, tun.SignalICMP
	}
	in := chain(t, "signals", nftables.ChainHookPrerouting, 0,
		&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: 1},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{proto}},
		&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseTransportHeader, Offset: 0, Len: 1},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{kind}},
		&expr.Counter{})
	return func() uint64 {
		c, err := nftables.New()
		if err != nil {
			t.Fatal(err)
		}
		list, err := c.GetRules(in.Table, in)
		if err != nil || len(list) != 1 {
			t.Fatal(list, err)
		}
		n, ok := list[0].Exprs[len(list[0].Exprs)-1].(*expr.Counter)
		if !ok {
			t.Fatal("no counter")
		}
		return n.Packets
	}
}

// A first is a Handler that would replace the first datagram by three, once it
// is let; the others go on as they came.
type first struct {
	family
	held, spoilt chan bool
	seen         bool
}

const small = 8

func (h *first) Handle(_ time.Time, p *engine.Packet, out *engine.Batch) engine.Verdict {
	if len(p.Bytes) < h.header+8 || binary.BigEndian.Uint16(p.Bytes[h.header+2:]) != failPort || h.seen {
		return engine.Accept
	}
	h.seen = true
	h.held <- true
	<-h.spoilt
	out.Add(h.shorten(p.Bytes, small), p.Meta)
	out.Add(p.Bytes, p.Meta)
	out.Add(h.shorten(p.Bytes, 2*small), p.Meta)
	return engine.Replace
}
func (*first) Tick(time.Time, *engine.Batch) time.Duration { return time.Minute }
func (*first) Drain(*engine.Batch)                         {}

func await[T any](t *testing.T, what string, c <-chan T) (v T) {
	t.Helper()
	select {
	case v = <-c:
	case <-time.After(5 * time.Second):
		t.Fatal("no", what)
	}
	return v
}

// Where a piece that is to go ahead is refused, be it the first or a later one,
// engine nfqueue lets the packet go as it came. From a TUN there is no way but
// the one that is refused: there the connection is let go, if the kernel's own
// way is another. What is down takes the packet with it, as it would without b4.
// The next packet is treated as ever.
func TestKernelFails(t *testing.T) {
	mtu := func(t *testing.T) func() {
		nstest.SetMTU(t, "wan", 1280)
		return func() { nstest.SetMTU(t, "wan", wanMTU) }
	}
	down := func(t *testing.T) func() {
		nstest.Down(t, "wan")
		return func() { nstest.Up(t, "wan") }
	}
	for _, c := range []struct {
		errno     unix.Errno
		spoil     func(t *testing.T) (mend func())
		pieces    int // that leave
		otherwise bool
	}{
		{unix.EPERM, func(t *testing.T) func() { return forbid(t, 200) }, 1, true},
		{unix.EPERM, func(t *testing.T) func() { return forbid(t, 0) }, 0, true},
		{unix.EMSGSIZE, mtu, 1, true},
		{unix.ENETUNREACH, down, 0, false},
	} {
		for _, by := range []struct {
			name  string
			start func(*testing.T, family, engine.Sender, func(error)) engine.Engine
			table uint32 // of the route by wan
		}{{"nfqueue", byQueue, unix.RT_TABLE_MAIN}, {"tun", byTUN, table}} {
			for _, f := range families {
				t.Run(fmt.Sprintf("%v %d %s %s", c.errno, c.pieces, by.name, f.name), func(t *testing.T) {
					nstest.Enter(t)
					wan := newLink(t, "wan", wanMTU)
					nstest.Addr(t, "lo", f.own[0]) // where IPv6's stays when wan goes down
					nstest.Route(t, "wan", f.all, by.table, 1)
					reported := make(chan error, 16)
					e := by.start(t, f, sender(t), func(err error) { reported <- err })
					h := &first{family: f, held: make(chan bool), spoilt: make(chan bool)}
					end := make(chan error, 1)
					go func() { end <- e.Run(h) }()
					signalled := signals(t, f)

					msg := bytes.Repeat([]byte("0123456789abcdef"), 1400/16)
					f.datagram(t, msg)
					await(t, "packet", h.held)
					mend := c.spoil(t) // here, as this goroutine alone is in the namespace
					close(h.spoilt)
					var want []string
					for range c.pieces {
						want = append(want, string(msg[:small]))
					}
					passes := c.otherwise && by.name == "nfqueue"
					if passes {
						want = append(want, string(msg))
					}
					if err := await(t, "report", reported); !errors.Is(err, c.errno) {
						t.Errorf("reported %v, want %v", err, c.errno)
					}
					got := wan.payloads(f, len(want))
					if fmt.Sprint(got) != fmt.Sprint(want) {
						t.Errorf("left %.40q, want %.40q", got, want)
					}
					n := e.Counters()
					if n.SendFailed == 0 || n.Sent != uint64(c.pieces) || n.Replaced != 0 || passes && n.Accepted == 0 {
						t.Errorf("counters %+v", n)
					}
					if n := signalled(); n > 0 != (c.otherwise && by.name == "tun") {
						t.Errorf("%d connections were let go", n)
					}
					mend()
					if c.errno == unix.ENETUNREACH {
						nstest.Route(t, "wan", f.all, by.table, 1)
					}
					f.datagram(t, msg[:100])
					if got := wan.payloads(f, 1); len(got) != 1 || got[0] != string(msg[:100]) {
						t.Errorf("the next: %.40q", got)
					}
					if err := errors.Join(e.Close(), await(t, "end", end)); err != nil {
						t.Error(err)
					}
				})
			}
		}
	}
}
