package desync

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"math/rand"
	"net"
	"net/netip"
	"os"
	"slices"
	"testing"
	"time"

	"b4/engine"
	"b4/nstest"
	"b4/packet"

	"golang.org/x/sys/unix"
)

// A wireTo is a device behind which the kernel is env's server.
type wireTo struct {
	*os.File
	listeners [2]net.Listener
}

func newWireTo(t *testing.T) *wireTo {
	nstest.Enter(t)
	w := &wireTo{File: nstest.TUN(t, "wire")}
	for _, p := range []string{"198.51.100.7/32", "2001:db8:1::7/128"} {
		nstest.Addr(t, "wire", netip.MustParsePrefix(p))
	}
	nstest.Up(t, "wire")
	const mainTable = 254
	nstest.Route(t, "wire", netip.MustParsePrefix("192.0.2.0/24"), mainTable, 0)
	nstest.Route(t, "wire", netip.MustParsePrefix("2001:db8::/64"), mainTable, 1)
	for i, at := range []string{"198.51.100.7:443", "[2001:db8:1::7]:443"} {
		l, err := net.Listen("tcp", at)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { l.Close() })
		w.listeners[i] = l
	}
	w.awaitIPv6(t)
	return w
}

// awaitIPv6 asks for a port that nobody listens on until the kernel answers: a
// device that has just come up takes no IPv6 yet.
func (w *wireTo) awaitIPv6(t *testing.T) {
	t.Helper()
	syn := packet.Segment{Src: netip.MustParseAddrPort("[2001:db8::1]:9"), Dst: netip.MustParseAddrPort("[2001:db8:1::7]:9"), Flags: packet.SYN}
	for range 100 {
		w.put(t, syn.Append(nil))
		w.SetReadDeadline(time.Now().Add(20 * time.Millisecond))
		for b := make([]byte, 2048); ; {
			n, err := w.Read(b)
			if err != nil {
				break
			}
			if v := (packet.View{}); v.Decode(b[:n]) && v.Src == syn.Dst {
				return
			}
		}
	}
	t.Fatal("the kernel takes no IPv6")
}

// far is the least TTL that gets to the kernel, taken to be 49 routers away.
const far = 50

// connect opens a connection as env's client from port and fits e's header to it.
func (w *wireTo) connect(t *testing.T, e *Env, port uint16) net.Conn {
	t.Helper()
	return w.open(t, &Strategy{}, e, port)
}

// open is connect with the client's SYN treated by s.
func (w *wireTo) open(t *testing.T, s *Strategy, e *Env, port uint16) net.Conn {
	t.Helper()
	h, n := e.Conn.Header, e.Conn.IPLen
	binary.BigEndian.PutUint16(h[n:], port)
	var v packet.View
	packet.Finish(h, n, packet.TCP)
	if !v.Decode(h) {
		t.Fatal("the header is none")
	}
	syn := packet.Segment{Src: v.Src, Dst: v.Dst, Seq: e.Conn.Base - 1, Flags: packet.SYN, Window: 500,
		Options: []byte{2, 4, 5, 0xb4, 1, 1, 8, 10, 0, 0, 0, 1, 0, 0, 0, 0}}
	for _, b := range synPackets(t, s, &syn) {
		w.put(t, b)
	}
	w.SetReadDeadline(time.Now().Add(2 * time.Second))
	for b := make([]byte, 2048); ; {
		n, err := w.Read(b)
		if err != nil {
			t.Fatalf("%s: no SYN,ACK: %v", s, err)
		}
		if v.Decode(b[:n]) && v.Dst.Port() == port && v.Flags == packet.SYN|packet.ACK {
			if v.Ack != e.Conn.Base {
				t.Fatalf("%s: the kernel acknowledges %d bytes of the SYN", s, v.Ack-e.Conn.Base)
			}
			ts, _ := v.TCPOption(b[:n], 8)
			copy(h[e.Conn.IPLen+28:], ts[:4])
			binary.BigEndian.PutUint32(h[e.Conn.IPLen+8:], v.Seq+1)
			break
		}
	}
	ack := bytes.Clone(h)
	ack[n+13] = packet.ACK
	packet.Finish(ack, n, packet.TCP)
	w.put(t, ack)
	l := w.listeners[0]
	if h[0]>>4 == 6 {
		l = w.listeners[1]
	}
	c, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	c.(*net.TCPConn).SetLinger(0)
	return c
}

// synPackets is what gets to the server of what s makes of a client's SYN.
func synPackets(t *testing.T, s *Strategy, syn *packet.Segment) (pkts [][]byte) {
	t.Helper()
	b := syn.Append(nil)
	var v packet.View
	v.Decode(b)
	e := &Env{Conn: Conn{Header: b, IPLen: v.IPLen, Base: v.Seq, MTU: 1500, Hops: far - 1}, Rand: 42}
	var p Plan
	var out engine.Batch
	if s.PlanSYN(&p, e) != nil || p.Emit(&out, engine.Meta{}, e, 0, 0) == 0 {
		return [][]byte{b}
	}
	for i := range out.Len() {
		if b := out.At(i).Bytes; ttlOf(b) >= far {
			pkts = append(pkts, bytes.Clone(b))
		}
	}
	return pkts
}

func (w *wireTo) put(t *testing.T, b []byte) {
	t.Helper()
	if _, err := w.Write(b); err != nil {
		t.Fatal(err)
	}
}

// The kernel's own TCP, taken to be 50 hops behind the client, reads what the client wrote
// and goes on with the connection, in any order of arrival.
func TestKernelReadsTheSame(t *testing.T) {
	w := newWireTo(t)
	texts := append(slices.Clone(strategies), synStrategies...)
	for i, name := range foolNames {
		texts = append(texts, "fake(zero, "+name+") split(9)")
		if rstFools>>i&1 == 1 {
			texts = append(texts, "rst("+name+") split(9) rst("+name+", place=after)")
		}
	}
	port := uint16(20000)
	for _, text := range texts {
		for _, v6 := range []bool{false, true} {
			for i := range 3 {
				port++
				if err := w.carry(t, mustParse(t, text), env(t, v6, 1800), port, i); err != nil {
					t.Errorf("%s, v6 %v, order %d: %v", text, v6, i, err)
				}
			}
		}
	}
	for _, st := range []Step{zeroes(ttl{}), &rst{decoy{repeat: 1}}} {
		port++
		if w.carry(t, newStrategy(TLS, []Step{st}), env(t, false, 1800), port, 0) == nil {
			t.Errorf("%s: the kernel does not see it, so that this test says nothing", st)
		}
	}
}

// And so it does by strategies of all words there are.
func TestKernelReadsTheSameByRandomStrategies(t *testing.T) {
	w := newWireTo(t)
	r := rand.New(rand.NewSource(7))
	for port := uint16(30000); port < 30200; {
		s, err := TLS.ParseWith(compose(r, TLS), readAny)
		if err != nil {
			continue
		}
		port++
		e := env(t, r.Intn(2) == 0, 200+r.Intn(2800))
		e.Rand = r.Uint64()
		if err := w.carry(t, s, e, port, r.Intn(3)); err != nil {
			t.Errorf("%s: %v", s, err)
		}
	}
}

// The kernel as a client takes the window of a treated answer: its first segments
// are small, and all of the message follows once the server says more.
func TestKernelClientSendsSmallSegments(t *testing.T) {
	w := newWireTo(t)
	msg := bytes.Repeat([]byte("message "), 100)
	// Not by package net: its goroutines would be in another namespace.
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	if err := unix.Connect(fd, &unix.SockaddrInet4{Addr: [4]byte{192, 0, 2, 9}, Port: 443}); err != unix.EINPROGRESS {
		t.Fatal(err)
	}
	const size, seq = 40, 5000
	got, b := []byte{}, make([]byte, 2048)
	for base := uint32(0); len(got) < len(msg); {
		w.SetReadDeadline(time.Now().Add(3 * time.Second))
		n, err := w.Read(b)
		if err != nil {
			t.Fatalf("after %d bytes: %v", len(got), err)
		}
		var v packet.View
		if !v.Decode(b[:n]) || v.Proto != packet.TCP || v.Dst.Addr() != netip.MustParseAddr("192.0.2.9") {
			continue
		}
		if v.Flags&packet.SYN != 0 {
			base = v.Seq + 1
			a := packet.Segment{Src: v.Dst, Dst: v.Src, Seq: seq, Ack: base, Flags: packet.SYN | packet.ACK, Window: 65535, Options: []byte{2, 4, 5, 0xb4, 1, 3, 3, 7}}
			e := &Env{Conn: Conn{Header: a.Append(nil), IPLen: 20}}
			var p Plan
			var out engine.Batch
			mustParse(t, "wsize(40)").PlanReply(&p, e)
			if p.Emit(&out, engine.Meta{}, e, 0, 0) != 1 {
				t.Fatal("the answer stays as it is")
			}
			w.put(t, out.At(0).Bytes)
			if n, err := unix.Write(fd, msg); n != len(msg) || err != nil {
				t.Fatal(n, err)
			}
			continue
		}
		if at := int(v.Seq - base); at != len(got) || len(v.Payload) == 0 {
			continue
		}
		if len(got) == 0 && len(v.Payload) > size {
			t.Errorf("the first segment has %d bytes", len(v.Payload))
		}
		got = append(got, v.Payload...)
		a := packet.Segment{Src: v.Dst, Dst: v.Src, Seq: seq + 1, Ack: base + uint32(len(got)), Flags: packet.ACK, Window: 500}
		w.put(t, a.Append(nil))
	}
	if !bytes.Equal(got, msg) {
		t.Error("another message")
	}
}

// A raw socket keeps the identification 0 of a packet that must not be cut, and
// no other packet's.
func TestKernelSendsZeroIdentification(t *testing.T) {
	w := newWireTo(t)
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.IPPROTO_RAW)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	for _, df := range []bool{true, false} {
		e := env(t, false, 517)
		h := e.Conn.Header
		h[6] = map[bool]byte{true: 0x40}[df]
		swap := bytes.Clone(h[12:16]) // from the kernel to the client
		copy(h[12:16], h[16:20])
		copy(h[16:20], swap)
		_, out := wire(t, mustParse(t, "ipid(zero)"), e, 0, len(e.Msg.Bytes))
		sent := out.At(0).Bytes
		if zero := sent[4]|sent[5] == 0; zero != df {
			t.Errorf("DF %v: made identification %x", df, sent[4:6])
		}
		sent[4], sent[5] = 0, 0
		if err := unix.Sendto(fd, sent, 0, &unix.SockaddrInet4{Addr: [4]byte(h[16:20])}); err != nil {
			t.Fatal(err)
		}
		w.SetReadDeadline(time.Now().Add(2 * time.Second))
		for b := make([]byte, 2048); ; {
			n, err := w.Read(b)
			if err != nil {
				t.Fatal(err)
			}
			if n != len(sent) || b[9] != packet.TCP {
				continue
			}
			if zero := b[4]|b[5] == 0; zero != df {
				t.Errorf("DF %v: left with identification %x", df, b[4:6])
			}
			break
		}
	}
}

// carry sends a message by s, its packets in one of orders.
func (w *wireTo) carry(t *testing.T, s *Strategy, e *Env, port uint16, order int) error {
	c := w.open(t, s, e, port)
	e.Conn.Hops = far - 1
	defer c.Close()
	var p Plan
	var out engine.Batch
	if s.Plan(&p, e) != nil {
		return nil
	}
	p.Emit(&out, engine.Meta{}, e, 0, len(e.Msg.Bytes))
	for _, i := range orders(out.Len(), uint64(port))[order] {
		b := out.At(i).Bytes
		if ttlOf(b) >= far {
			w.put(t, b)
		}
	}
	c.SetReadDeadline(time.Now().Add(2 * time.Second))
	got := make([]byte, len(e.Msg.Bytes)+1)
	n, err := io.ReadFull(c, got[:len(e.Msg.Bytes)])
	if err != nil {
		return err
	}
	if !bytes.Equal(got[:n], e.Msg.Bytes) {
		return errors.New("the kernel reads something else")
	}
	c.SetReadDeadline(time.Now().Add(5 * time.Millisecond))
	if _, err = c.Read(got); !errors.Is(err, os.ErrDeadlineExceeded) {
		return errors.Join(errors.New("the connection does not go on"), err)
	}
	return nil
}
