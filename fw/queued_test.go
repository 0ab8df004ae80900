package fw

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"sync"
	"testing"
	"time"

	"b4/engine"
	"b4/inject"
	"b4/nfq"
	"b4/packet"

	"golang.org/x/sys/unix"
)

// A script answers a queue's packets as a test says. What is due leaves right
// after the verdict.
type script struct {
	alive  func() error
	handle func(p *engine.Packet, out, due *engine.Batch) engine.Verdict
	due    engine.Batch
}

func (s *script) Handle(_ time.Time, p *engine.Packet, out *engine.Batch) engine.Verdict {
	return s.handle(p, out, &s.due)
}

func (s *script) Tick(_ time.Time, out *engine.Batch) time.Duration {
	for i := range s.due.Len() {
		o := s.due.At(i)
		out.Add(o.Bytes, o.Meta)
	}
	s.due.Reset()
	s.alive()
	return AnswerWithin
}

func (s *script) Drain(*engine.Batch) {}

// queue has what edit makes of the usual rules answered by handle, until the test
// ends or before.
func (h *house) queue(edit func(*Config), handle func(p *engine.Packet, out, due *engine.Batch) engine.Verdict) (stop func()) {
	h.t.Helper()
	rules := mustPlan(h.t, edit) // skips where there is no queue
	marks := config(h.t, Native).Marks
	send, err := inject.Open(marks)
	if err != nil {
		h.t.Fatal(err)
	}
	e := nfq.New(nfq.Config{Num: 537, Len: 1024, Done: marks.Done, Send: send, Report: func(err error) { h.t.Error(err) }})
	if err := e.Start(); err != nil {
		h.t.Fatal(err)
	}
	var wg sync.WaitGroup
	wg.Add(1)
	go func() {
		defer wg.Done()
		if err := e.Run(&script{alive: h.rules.Answer, handle: handle}); err != nil {
			h.t.Error(err)
		}
	}()
	stop = func() { e.Close(); wg.Wait(); send.Close() }
	h.t.Cleanup(stop)
	mustApply(h.t, h.rules, rules, "wan0")
	return stop
}

// Each way that a connection's source can have gone.
var translations = []struct {
	name         string
	masq4, masq6 bool
}{
	{"masqueraded", true, true},
	{"routed", false, false},
}

// eachFamily runs f in houses of their own.
func eachFamily(t *testing.T, f func(t *testing.T, h *house, v6 bool)) {
	for _, tt := range translations {
		for _, v6 := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, v6 %v", tt.name, v6), func(t *testing.T) {
				t.Parallel()
				enterHouse(t, func(h *house) { f(t, h, v6) }, tt.masq4, tt.masq6)
			})
		}
	}
}

// udp dials from the client, and listens at the server.
func (h *house) udp(v6 bool) (client, server *net.UDPConn) {
	h.t.Helper()
	server = h.udpOf(h.server.Do, func() (*net.UDPConn, error) { return net.ListenUDP("udp", udpServer(v6)) })
	return h.dialUDP(h.client.Do, v6), server
}

// udpServer is where the server listens.
func udpServer(v6 bool) *net.UDPAddr {
	return net.UDPAddrFromAddrPort(newFlow(v6, 1, 443).dst)
}

// dialUDP returns a new flow to the server.
func (h *house) dialUDP(from func(func()), v6 bool) *net.UDPConn {
	h.t.Helper()
	return h.udpOf(from, func() (*net.UDPConn, error) { return net.DialUDP("udp", nil, udpServer(v6)) })
}

func (h *house) udpOf(do func(func()), open func() (*net.UDPConn, error)) (c *net.UDPConn) {
	h.t.Helper()
	var err error
	do(func() { c, err = open() })
	if err != nil {
		h.t.Fatal(err)
	}
	c.SetDeadline(time.Now().Add(3 * soon))
	h.t.Cleanup(func() { c.Close() })
	return c
}

// long is a datagram that begins like QUIC's handshake.
func long(n int) []byte {
	b := bytes.Repeat([]byte("QUIC"), n/4)
	b[0] = 0xc3
	return b
}

// ipLen is the length of a packet's IP header.
func ipLen(p []byte) int {
	if p[0]>>4 == 6 {
		return 40
	}
	return 20
}

// converseUDP sends one datagram, which the server returns.
func converseUDP(client, server *net.UDPConn, msg []byte) error {
	if _, err := client.Write(msg); err != nil {
		return err
	}
	b := make([]byte, 4096)
	n, from, err := server.ReadFromUDPAddrPort(b)
	if err != nil {
		return fmt.Errorf("server: %w", err)
	}
	if !bytes.Equal(b[:n], msg) {
		return fmt.Errorf("server read %d bytes, want %d", n, len(msg))
	}
	awaitTracked(client) // an answer ahead of the verdict would open the flow from the wrong side
	if _, err := server.WriteToUDPAddrPort(msg, from); err != nil {
		return err
	}
	if n, err = client.Read(b); err != nil || !bytes.Equal(b[:n], msg) {
		return fmt.Errorf("client: %d bytes, %w", n, err)
	}
	return nil
}

// awaitTracked waits until the router's conntrack has what c has opened, or a moment
// where the kernel does not list connections.
func awaitTracked(c *net.UDPConn) {
	port := fmt.Sprintf(" sport=%d ", c.LocalAddr().(*net.UDPAddr).Port)
	for end := time.Now().Add(soon); time.Now().Before(end); time.Sleep(time.Millisecond) {
		b, err := os.ReadFile("/proc/thread-self/net/nf_conntrack")
		if err != nil {
			time.Sleep(50 * time.Millisecond)
		}
		if err != nil || bytes.Contains(b, []byte(port)) {
			return
		}
	}
}

// empty is an empty datagram in place of p, that no further router passes on.
func empty(p []byte) []byte {
	n := ipLen(p)
	b := bytes.Clone(p[:n+8])
	if n == 20 {
		b[8] = 1
	} else {
		b[7] = 1
	}
	packet.Finish(b, n, packet.UDP)
	return b
}

// A client whose handshake is refused learns it at once: the datagram leaves
// empty, so that conntrack has the connection, and an ICMP error comes back.
func TestRejectUDP(t *testing.T) {
	eachFamily(t, func(t *testing.T, h *house, v6 bool) {
		dropInvalid(t)
		client, server := h.udp(v6)
		h.queue(func(c *Config) { c.UDP = []uint16{443} }, func(p *engine.Packet, out, due *engine.Batch) engine.Verdict {
			m := p.Meta
			m.Back = true
			to := netip.MustParseAddr("192.0.2.2")
			if v6 {
				to = netip.MustParseAddr("fd00:b::2")
			}
			due.Add(packet.ICMPError(nil, packet.PortUnreachable, to, 0, p.Bytes), m)
			out.Add(empty(p.Bytes), p.Meta)
			return engine.Replace
		})
		for range 3 {
			if _, err := client.Write(long(1200)); err != nil {
				t.Fatal(err)
			}
			if n, err := client.Read(make([]byte, 10)); !errors.Is(err, unix.ECONNREFUSED) {
				t.Fatalf("client read %d bytes, %v", n, err)
			}
			if n, err := server.Read(make([]byte, 10)); n != 0 || err != nil {
				t.Errorf("server read %d bytes, %v", n, err)
			}
		}
	})
}

// A reset for the client, as if of the server, by both engines.
func TestRejectTCP(t *testing.T) {
	eachFamily(t, func(t *testing.T, h *house, v6 bool) {
		h.queue(nil, func(p *engine.Packet, _, due *engine.Batch) engine.Verdict {
			refuse(p, due)
			return engine.Drop
		})
		h.reset(v6)
	})
}

func TestTunRejectTCP(t *testing.T) {
	eachFamily(t, func(t *testing.T, h *house, v6 bool) {
		h.judge.refuse = true
		h.steer(func(c *Config) { toTUN(c, pick(h.masq4, wanAddr4.String()), pick(h.masq6, wanAddr6.String())) })
		h.reset(v6)
	})
}

// refuse answers a segment of a client with a reset.
func refuse(p *engine.Packet, out *engine.Batch) {
	m, tcp := p.Meta, p.Bytes[ipLen(p.Bytes):]
	m.Back = true
	src, dst := addresses(p.Bytes)
	out.Add(segment(dst, src, binary.BigEndian.Uint32(tcp[8:]), 0, rst, 0), m)
}

// reset wants a client's connection reset at its first data.
func (h *house) reset(v6 bool) {
	h.t.Helper()
	dropInvalid(h.t)
	h.serve()
	c, err := dialFrom(h.client.Do, v6)
	if err != nil {
		h.t.Fatal(err)
	}
	defer c.Close()
	if _, err := c.Write(make([]byte, 600)); err != nil {
		h.t.Fatal(err)
	}
	if _, err := c.Read(make([]byte, 10)); !errors.Is(err, unix.ECONNRESET) {
		h.t.Errorf("client: %v", err)
	}
}

// addresses are those of a packet without options and extension headers.
func addresses(p []byte) (src, dst netip.AddrPort) {
	n := ipLen(p)
	from, to := p[n-8:n-4], p[n-4:n]
	if n == 40 {
		from, to = p[8:24], p[24:40]
	}
	a, _ := netip.AddrFromSlice(from)
	b, _ := netip.AddrFromSlice(to)
	return netip.AddrPortFrom(a, binary.BigEndian.Uint16(p[n:])), netip.AddrPortFrom(b, binary.BigEndian.Uint16(p[n+2:]))
}
