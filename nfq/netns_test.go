package nfq

import (
	"bytes"
	"encoding/binary"
	"errors"
	"net"
	"net/netip"
	"testing"
	"time"

	"b4/engine"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"github.com/google/nftables/xt"
	"golang.org/x/sys/unix"
)

const (
	testNum  = 537
	testDone = 1 << 26
	testOurs = 1 << 27 // package mark's Injected
	testPort = 4430
)

// rules queues what goes to testPort at postrouting 101 and what comes from it
// at prerouting -150, except in connections that are done, as package fw does.
// It uses the xt target, as not every kernel has the native expression.
func rules(t *testing.T) {
	t.Helper()
	c, err := nftables.New()
	if err != nil {
		t.Fatal(err)
	}
	table := c.AddTable(&nftables.Table{Family: nftables.TableFamilyINet, Name: "b4test"})
	chain := func(name string, hook *nftables.ChainHook, priority nftables.ChainPriority) *nftables.Chain {
		return c.AddChain(&nftables.Chain{
			Table: table, Name: name, Type: nftables.ChainTypeFilter, Hooknum: hook, Priority: &priority,
		})
	}
	out := chain("out", nftables.ChainHookPostrouting, 101)
	keep := chain("keep", nftables.ChainHookPostrouting, 102)
	in := chain("in", nftables.ChainHookPrerouting, -150)

	done := binaryutil.NativeEndian.PutUint32(testDone)
	zero := make([]byte, 4)
	info := binary.NativeEndian.AppendUint16(nil, testNum)
	info = append(binary.NativeEndian.AppendUint16(info, 1), 1, 0, 0, 0) // one queue, bypass
	target := xt.Unknown(info)
	ours := binaryutil.NativeEndian.PutUint32(testOurs)
	c.AddRule(&nftables.Rule{Table: table, Chain: out, Exprs: []expr.Any{ // sent by package inject
		&expr.Meta{Key: expr.MetaKeyMARK, Register: 1},
		&expr.Bitwise{SourceRegister: 1, DestRegister: 1, Len: 4, Mask: ours, Xor: zero},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: ours},
		&expr.Verdict{Kind: expr.VerdictAccept},
	}})
	for _, w := range []struct {
		chain *nftables.Chain
		port  uint32 // its offset in the TCP or UDP header
	}{{out, 2}, {in, 0}} {
		c.AddRule(&nftables.Rule{Table: table, Chain: w.chain, Exprs: []expr.Any{
			&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseTransportHeader, Offset: w.port, Len: 2},
			&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: binaryutil.BigEndian.PutUint16(testPort)},
			&expr.Ct{Key: expr.CtKeyMARK, Register: 1},
			&expr.Bitwise{SourceRegister: 1, DestRegister: 1, Len: 4, Mask: done, Xor: zero},
			&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: zero},
			&expr.Target{Name: "NFQUEUE", Rev: 3, Info: &target},
		}})
	}
	c.AddRule(&nftables.Rule{Table: table, Chain: keep, Exprs: []expr.Any{
		&expr.Meta{Key: expr.MetaKeyMARK, Register: 1},
		&expr.Bitwise{SourceRegister: 1, DestRegister: 1, Len: 4, Mask: done, Xor: zero},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: done},
		&expr.Ct{Key: expr.CtKeyMARK, Register: 1, SourceRegister: true},
	}})
	if err := c.Flush(); err != nil {
		t.Fatal(err)
	}
}

// soon is when what is to come has come, on a machine that stalls too.
const soon = 10 * time.Second

// A judge is a Handler made of a function.
type judge func(p *engine.Packet, out *engine.Batch) engine.Verdict

func (j judge) Handle(_ time.Time, p *engine.Packet, out *engine.Batch) engine.Verdict {
	return j(p, out)
}
func (judge) Tick(time.Time, *engine.Batch) time.Duration { return time.Minute }
func (judge) Drain(*engine.Batch)                         {}

// serve starts an engine under the rules and runs j on it until the test ends.
func serve(t *testing.T, c Config, j judge) *Engine {
	t.Helper()
	c.Num, c.Len, c.Done, c.Send = testNum, 1024, testDone, failing{}
	c.Report = func(err error) { t.Error(err) }
	e := New(c)
	if err := errors.Join(e.Supported(), e.Start()); err != nil {
		t.Fatal(err)
	}
	rules(t)
	end := make(chan error, 1)
	go func() { end <- e.Run(j) }()
	t.Cleanup(func() {
		start := time.Now()
		if err := errors.Join(e.Close(), <-end); err != nil {
			t.Error(err)
		}
		if d := time.Since(start); d > soon {
			t.Errorf("close took %v", d)
		}
	})
	return e
}

// connect makes a TCP connection to testPort through the queue.
func connect(t *testing.T, host string) (client, server *net.TCPConn) {
	t.Helper()
	addr := netip.AddrPortFrom(netip.MustParseAddr(host), testPort)
	l, err := net.ListenTCP("tcp", net.TCPAddrFromAddrPort(addr))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	client, err = net.DialTCP("tcp", nil, net.TCPAddrFromAddrPort(addr))
	if err != nil {
		t.Fatal(err)
	}
	if server, err = l.AcceptTCP(); err != nil {
		t.Fatal(err)
	}
	for _, c := range []*net.TCPConn{client, server} {
		c.SetDeadline(time.Now().Add(20 * time.Second))
		t.Cleanup(func() { c.Close() })
	}
	return client, server
}

// segment returns the TCP segment of a packet without IPv6 extension headers.
func segment(b []byte) []byte {
	if b[0]>>4 == 6 {
		return b[40:]
	}
	return b[int(b[0]&15)*4:]
}

// data returns the TCP payload of a packet.
func data(b []byte) []byte {
	seg := segment(b)
	return seg[int(seg[12]>>4)*4:]
}

// checksum sums the TCP pseudo header and segment: 0xffff is right.
func checksum(b []byte) uint16 {
	addrs, seg := b[12:20], segment(b)
	if b[0]>>4 == 6 {
		addrs = b[8:40]
	}
	sum := uint32(unix.IPPROTO_TCP + len(seg))
	for _, part := range [][]byte{addrs, seg} {
		for i, c := range part {
			sum += uint32(c) << (8 * (1 - i&1))
		}
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return uint16(sum)
}

// capitals rewrites the TCP payload of b and its checksum.
func capitals(b []byte) {
	copy(data(b), bytes.ToUpper(data(b)))
	seg := segment(b)
	seg[16], seg[17] = 0, 0
	binary.BigEndian.PutUint16(seg[16:], ^checksum(b))
}

// sumHeader makes the checksum of an IPv4 header right.
func sumHeader(b []byte) {
	b[10], b[11] = 0, 0
	sum := uint32(0)
	for i := 0; i < int(b[0]&15)*4; i += 2 {
		sum += uint32(binary.BigEndian.Uint16(b[i:]))
	}
	sum = sum>>16 + sum&0xffff
	binary.BigEndian.PutUint16(b[10:], ^uint16(sum+sum>>16))
}
