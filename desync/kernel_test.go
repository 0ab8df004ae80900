package desync

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"testing"
	"time"

	"b4/engine"
	"b4/nstest"
	"b4/packet"
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
	return w
}

// connect opens a connection as env's client from port and fits e's header to it.
func (w *wireTo) connect(t *testing.T, e *Env, port uint16) net.Conn {
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
	w.put(t, syn.Append(nil))
	w.SetReadDeadline(time.Now().Add(2 * time.Second))
	for b := make([]byte, 2048); ; {
		n, err := w.Read(b)
		if err != nil {
			t.Fatalf("no SYN,ACK: %v", err)
		}
		if v.Decode(b[:n]) && v.Dst.Port() == port && v.Flags == packet.SYN|packet.ACK {
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
	texts := append([]string(nil), strategies...)
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

// carry sends a message by s, its packets in one of orders.
func (w *wireTo) carry(t *testing.T, s *Strategy, e *Env, port uint16, order int) error {
	c := w.connect(t, e, port)
	defer c.Close()
	var p Plan
	var out engine.Batch
	if s.Plan(&p, e) != nil {
		return nil
	}
	p.Emit(&out, engine.Meta{}, e, 0, len(e.Msg.Bytes))
	for _, i := range orders(out.Len(), uint64(port))[order] {
		b := out.At(i).Bytes
		if ttl := b[map[byte]int{4: 8, 6: 7}[b[0]>>4]]; ttl >= 50 {
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
