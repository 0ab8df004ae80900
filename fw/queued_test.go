package fw

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
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
	return RefreshEvery
}

func (s *script) Drain(*engine.Batch) {}

// queue has what edit makes of the usual rules answered by handle.
func (h *house) queue(edit func(*Config), handle func(p *engine.Packet, out, due *engine.Batch) engine.Verdict) {
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
		if err := e.Run(&script{alive: h.rules.Refresh, handle: handle}); err != nil {
			h.t.Error(err)
		}
	}()
	h.t.Cleanup(func() { e.Close(); wg.Wait(); send.Close() })
	mustApply(h.t, h.rules, rules, "wan0")
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
				enterHouse(t, func(h *house) { f(t, h, v6) }, tt.masq4, tt.masq6)
			})
		}
	}
}

// udp dials from the client, and listens at the server.
func (h *house) udp(v6 bool) (client, server *net.UDPConn) {
	h.t.Helper()
	to := netip.MustParseAddrPort("192.0.2.2:443")
	if v6 {
		to = netip.MustParseAddrPort("[fd00:b::2]:443")
	}
	var err, err2 error
	h.server.Do(func() { server, err = net.ListenUDP("udp", net.UDPAddrFromAddrPort(to)) })
	h.client.Do(func() { client, err2 = net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(to)) })
	if err := errors.Join(err, err2); err != nil {
		h.t.Fatal(err)
	}
	for _, c := range []*net.UDPConn{client, server} {
		c.SetDeadline(time.Now().Add(5 * time.Second))
		h.t.Cleanup(func() { c.Close() })
	}
	return client, server
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
	if _, err := server.WriteToUDPAddrPort(msg, from); err != nil {
		return err
	}
	if n, err = client.Read(b); err != nil || !bytes.Equal(b[:n], msg) {
		return fmt.Errorf("client: %d bytes, %w", n, err)
	}
	return nil
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
			start := time.Now()
			if n, err := client.Read(make([]byte, 10)); !errors.Is(err, unix.ECONNREFUSED) {
				t.Fatalf("client read %d bytes, %v", n, err)
			}
			if d := time.Since(start); d > time.Second {
				t.Errorf("refused after %v", d)
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
	start := time.Now()
	if _, err := c.Read(make([]byte, 10)); !errors.Is(err, unix.ECONNRESET) {
		h.t.Errorf("client: %v", err)
	}
	if d := time.Since(start); d > time.Second {
		h.t.Errorf("reset after %v", d)
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

// A SYN leaves with data, behind a decoy of it that the server must not take.
func TestReplaceSYN(t *testing.T) {
	eachFamily(t, func(t *testing.T, h *house, v6 bool) {
		h.serve()
		h.wan.watch(func(p []byte) bool { return protocol(p) == unix.IPPROTO_TCP && p[ipLen(p)+13] == syn })
		h.queue(func(c *Config) { c.SYN = true }, func(p *engine.Packet, out, _ *engine.Batch) engine.Verdict {
			n := ipLen(p.Bytes)
			if p.Bytes[n+13] != syn {
				return engine.Accept
			}
			decoy := bytes.Clone(p.Bytes)
			decoy[n+16] ^= 0x55 // its checksum
			out.Add(decoy, p.Meta)
			b := append(bytes.Clone(p.Bytes), "GET / HTTP/1.1\r\nHost: www.example.org\r\n\r\n"...)
			packet.Finish(b, n, packet.TCP)
			out.Add(b, p.Meta)
			return engine.Replace
		})
		if err := talk(h.client.Do, v6); err != nil {
			t.Fatal(err)
		}
		got := h.wan.packets()
		if len(got) != 2 || len(got[0]) >= len(got[1]) || packet.ChecksumOK(got[0]) || !packet.ChecksumOK(got[1]) {
			t.Errorf("%d SYNs left: %.80x", len(got), got)
		}
	})
}

// A SYN,ACK whose window is changed ahead of destination NAT bounds what the
// client sends first.
func TestReplaceSYNACK(t *testing.T) {
	const window = 100
	eachFamily(t, func(t *testing.T, h *house, v6 bool) {
		h.serve()
		h.wan.watch(func(p []byte) bool {
			n := ipLen(p)
			return protocol(p) == unix.IPPROTO_TCP && len(p) > n+int(p[n+12]>>4)*4
		})
		h.queue(func(c *Config) { c.Replies = Replies{SYNACK: true} }, func(p *engine.Packet, out, _ *engine.Batch) engine.Verdict {
			if p.Dir != engine.Reply {
				return engine.Accept
			}
			b, n := bytes.Clone(p.Bytes), ipLen(p.Bytes)
			binary.BigEndian.PutUint16(b[n+14:], window)
			packet.Finish(b, n, packet.TCP)
			out.Add(b, p.Meta)
			return engine.Replace
		})
		if err := talk(h.client.Do, v6); err != nil {
			t.Fatal(err)
		}
		if got := h.wan.packets(); len(got) == 0 {
			t.Error("no data left")
		} else if n := ipLen(got[0]); len(got[0])-n-int(got[0][n+12]>>4)*4 != window {
			t.Errorf("the first segment has %d bytes of IP", len(got[0]))
		}
	})
}

// fragments cuts a packet in two behind so many bytes of what its IP header
// carries.
func fragments(p []byte, at int, id uint16) (first, last []byte) {
	n, body := ipLen(p), p[ipLen(p):]
	if n == 40 {
		head := func(off uint16, more byte, part []byte) []byte {
			b := append(bytes.Clone(p[:40]), p[6], 0, byte(off>>8), byte(off)|more, 0, 0, byte(id>>8), byte(id))
			b[6] = unix.IPPROTO_FRAGMENT
			b = append(b, part...)
			binary.BigEndian.PutUint16(b[4:], uint16(len(b)-40))
			return b
		}
		return head(0, 1, body[:at]), head(uint16(at), 0, body[at:])
	}
	head := func(off uint16, part []byte) []byte {
		b := append(bytes.Clone(p[:20]), part...)
		binary.BigEndian.PutUint16(b[2:], uint16(len(b)))
		binary.BigEndian.PutUint16(b[4:], id)
		binary.BigEndian.PutUint16(b[6:], off)
		b[10], b[11] = 0, 0
		binary.BigEndian.PutUint16(b[10:], checksum(b[:20]))
		return b
	}
	return head(0x2000, body[:at]), head(uint16(at/8), body[at:])
}

func isFragment(p []byte) bool {
	if p[0]>>4 == 6 {
		return p[6] == unix.IPPROTO_FRAGMENT
	}
	return binary.BigEndian.Uint16(p[6:])&0x3fff != 0
}

// Fragments leave as they are made, the last by the verdict, and in any order,
// also where a decoy stands for the verdict. Done is confirmed by a fragment too.
func TestFragmentUDP(t *testing.T) {
	for _, order := range []string{"first, last", "last, first", "first, last, decoy"} {
		t.Run(order, func(t *testing.T) {
			eachFamily(t, func(t *testing.T, h *house, v6 bool) {
				client, server := h.udp(v6)
				h.wan.watch(isFragment)
				h.queue(func(c *Config) { c.UDP = []uint16{443} }, func(p *engine.Packet, out, _ *engine.Batch) engine.Verdict {
					first, last := fragments(p.Bytes, 8, 0x1234)
					switch order {
					case "last, first":
						first, last = last, first
					case "first, last, decoy":
						out.Add(first, p.Meta)
						out.Add(last, p.Meta)
						decoy := bytes.Clone(p.Bytes)
						decoy[ipLen(decoy)+6] ^= 0x55
						out.Add(decoy, p.Meta)
						return engine.Replace | engine.Done
					}
					out.Add(first, p.Meta)
					out.Add(last, p.Meta)
					return engine.Replace | engine.Done
				})
				for range 2 {
					if err := converseUDP(client, server, long(1200)); err != nil {
						t.Fatal(err)
					}
				}
				got := h.wan.packets()
				if len(got) != 2 {
					t.Fatalf("%d fragments left: %.60x", len(got), got)
				}
				if n := h.counters(h.rules).QUIC; n != 1 {
					t.Errorf("%d datagrams were shown, want that which was done", n)
				}
			})
		})
	}
}

// The first fragment of IPv6 has all headers: without (a cut at 8) it is
// discarded, RFC 8200 section 4.5.
func TestFragmentTCP(t *testing.T) {
	eachFamily(t, func(t *testing.T, h *house, v6 bool) {
		at := 8
		if v6 {
			at = 24
		}
		h.serve()
		h.wan.watch(isFragment)
		h.queue(nil, func(p *engine.Packet, out, _ *engine.Batch) engine.Verdict {
			first, last := fragments(p.Bytes, at, 0x1234)
			out.Add(first, p.Meta)
			out.Add(last, p.Meta)
			return engine.Replace | engine.Done
		})
		if err := talk(h.client.Do, v6); err != nil {
			t.Fatal(err)
		}
		if got := h.wan.packets(); len(got) != 2 {
			t.Errorf("%d fragments left, want 2 of the one packet that was shown", len(got))
		}
	})
}

// A verdict's identification leaves as it is, zero too.
func TestVerdictKeepsID(t *testing.T) {
	enterHouse(t, func(h *house) {
		client, server := h.udp(false)
		h.wan.watch(func(p []byte) bool { return protocol(p) == unix.IPPROTO_UDP && p[0]>>4 == 4 })
		flags := byte(0x40) // DF
		h.queue(func(c *Config) { c.UDP = []uint16{443} }, func(p *engine.Packet, out, _ *engine.Batch) engine.Verdict {
			b := bytes.Clone(p.Bytes)
			b[4], b[5], b[6] = 0, 0, flags
			packet.Finish(b, 20, packet.UDP)
			out.Add(b, p.Meta)
			return engine.Replace
		})
		for _, flags = range []byte{0x40, 0} {
			if err := converseUDP(client, server, long(1200)); err != nil {
				t.Fatal(err)
			}
		}
		for _, p := range h.wan.packets() {
			if binary.BigEndian.Uint16(p[4:]) != 0 {
				t.Errorf("left with %.20x", p)
			}
		}
	}, true, false)
}

// Two datagrams of a flow that wait at the same time, as a long hello's do, both
// open it. They arrive from one port.
func TestTwoFirstDatagrams(t *testing.T) {
	eachFamily(t, func(t *testing.T, h *house, v6 bool) {
		client, server := h.udp(v6)
		written, shown := make(chan bool), 0
		h.queue(func(c *Config) { c.UDP = []uint16{443} }, func(p *engine.Packet, out, _ *engine.Batch) engine.Verdict {
			if shown++; shown == 1 {
				<-written
			}
			decoy := bytes.Clone(p.Bytes)
			decoy[ipLen(decoy)+6] ^= 0x55
			out.Add(decoy, p.Meta)
			out.Add(p.Bytes, p.Meta)
			return engine.Replace
		})
		for range 2 {
			if _, err := client.Write(long(1200)); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(20 * time.Millisecond) // until the second waits too
		close(written)
		var from [2]netip.AddrPort
		for i := range from {
			var err error
			if _, from[i], err = server.ReadFromUDPAddrPort(make([]byte, 2048)); err != nil {
				t.Fatal(err)
			}
		}
		if from[0] != from[1] {
			t.Errorf("from %v and %v", from[0], from[1])
		}
		if _, err := server.WriteToUDPAddrPort(long(100), from[0]); err != nil {
			t.Fatal(err)
		}
		if n, err := client.Read(make([]byte, 2048)); n != 100 || err != nil {
			t.Errorf("client read %d bytes, %v", n, err)
		}
	})
}
