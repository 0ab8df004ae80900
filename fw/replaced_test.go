package fw

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"b4/engine"
	"b4/packet"

	"golang.org/x/sys/unix"
)

// A SYN leaves with data, behind a decoy of it that the server must not take.
func TestReplaceSYN(t *testing.T) {
	eachFamily(t, func(t *testing.T, h *house, v6 bool) {
		h.serve()
		h.wan.watch(func(p []byte) bool { return protocol(p) == unix.IPPROTO_TCP && p[ipLen(p)+13] == syn })
		var shown atomic.Int64 // more than one if the first is answered late
		h.queue(func(c *Config) { c.SYN = true }, func(p *engine.Packet, out, _ *engine.Batch) engine.Verdict {
			n := ipLen(p.Bytes)
			if p.Bytes[n+13] != syn {
				return engine.Accept
			}
			shown.Add(1)
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
		n := int(shown.Load())
		await(func() bool { return len(h.wan.packets()) == 2*n })
		got := h.wan.packets()
		if n == 0 || len(got) != 2*n {
			t.Fatalf("%d SYNs left of %d that were shown: %.80x", len(got), n, got)
		}
		for i := 0; i < len(got); i += 2 {
			decoy, real := got[i], got[i+1]
			if len(decoy) >= len(real) || packet.ChecksumOK(decoy) || !packet.ChecksumOK(real) {
				t.Errorf("left: %.80x", got[i:i+2])
			}
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

// Fragments leave as they are made, the first by the verdict, also where a decoy
// stands for that. (Of a datagram that opens a flow the last may not stand there:
// it is lost on Linux 6.1 on MIPS.) Done is confirmed by a fragment too.
func TestFragmentUDP(t *testing.T) {
	for _, order := range []string{"last, first", "first, last, decoy"} {
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
		var mu sync.Mutex
		calls, numbers := 0, map[uint32]bool{}
		h.queue(nil, func(p *engine.Packet, out, _ *engine.Batch) engine.Verdict {
			mu.Lock()
			calls++
			numbers[binary.BigEndian.Uint32(p.Bytes[ipLen(p.Bytes)+4:])] = true
			mu.Unlock()
			first, last := fragments(p.Bytes, at, 0x1234)
			out.Add(first, p.Meta)
			out.Add(last, p.Meta)
			return engine.Replace | engine.Done
		})
		if err := talk(h.client.Do, v6); err != nil {
			t.Fatal(err)
		}
		// It may have been sent again, and queued, ahead of the verdict.
		ok := await(func() bool {
			mu.Lock()
			defer mu.Unlock()
			return calls > 0 && len(h.wan.packets()) == 2*calls
		})
		mu.Lock()
		defer mu.Unlock()
		if !ok || len(numbers) != 1 {
			t.Errorf("%d fragments left, want 2 of the one packet; %d were shown %d times", len(h.wan.packets()), len(numbers), calls)
		}
	})
}

// A verdict's identification leaves as it is, zero too.
func TestVerdictKeepsID(t *testing.T) {
	enterHouse(t, func(h *house) {
		client, server := h.udp(false)
		h.wan.watch(func(p []byte) bool { return protocol(p) == unix.IPPROTO_UDP && p[0]>>4 == 4 })
		flags := byte(0) // and DF in turn
		h.queue(func(c *Config) { c.UDP = []uint16{443} }, func(p *engine.Packet, out, _ *engine.Batch) engine.Verdict {
			b := bytes.Clone(p.Bytes)
			flags ^= 0x40
			b[4], b[5], b[6] = 0, 0, flags
			packet.Finish(b, 20, packet.UDP)
			out.Add(b, p.Meta)
			return engine.Replace
		})
		for range 2 {
			if err := converseUDP(client, server, long(1200)); err != nil {
				t.Fatal(err)
			}
		}
		if got := h.wan.packets(); len(got) != 2 {
			t.Errorf("%d datagrams left", len(got))
		}
		for _, p := range h.wan.packets() {
			if binary.BigEndian.Uint16(p[4:]) != 0 {
				t.Errorf("left with %.20x", p)
			}
		}
	}, true, false)
}

// Two datagrams of a flow that wait at the same time, as a long hello's do, both
// open it. They arrive from one port, unless NAT draws ports at random.
func TestTwoFirstDatagrams(t *testing.T) {
	eachFamily(t, func(t *testing.T, h *house, v6 bool) {
		if from := h.twoFirst(v6); from[0] != from[1] {
			t.Errorf("from %v and %v", from[0], from[1])
		}
		if !h.masq4 {
			return
		}
		if os.Getenv("B4_SLOW") != "" {
			return // Linux 6.1 of the emulated machine does not scatter them (measured)
		}
		scatter(t)
		if from := h.twoFirst(v6); from[0] == from[1] {
			t.Errorf("at random: both from %v", from[0])
		}
	})
}

// twoFirst returns where two datagrams came from that were queued together.
func (h *house) twoFirst(v6 bool) (from [2]netip.AddrPort) {
	h.t.Helper()
	client, server := h.udp(v6)
	written, shown := make(chan bool), 0
	stop := h.queue(func(c *Config) { c.UDP = []uint16{443} }, func(p *engine.Packet, out, _ *engine.Batch) engine.Verdict {
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
			h.t.Fatal(err)
		}
	}
	awaitQueued(h.t, 2)
	close(written)
	for i := range from {
		var err error
		if _, from[i], err = server.ReadFromUDPAddrPort(make([]byte, 2048)); err != nil {
			h.t.Fatal(err)
		}
	}
	if _, err := server.WriteToUDPAddrPort(long(100), from[0]); err != nil {
		h.t.Fatal(err)
	}
	if n, err := client.Read(make([]byte, 2048)); n != 100 || err != nil {
		h.t.Errorf("client read %d bytes, %v", n, err)
	}
	stop()
	client.Close()
	server.Close()
	return from
}

// awaitQueued waits until so many packets wait in the one queue there is.
func awaitQueued(t testing.TB, want int) {
	t.Helper()
	for end := time.Now().Add(5 * time.Second); ; time.Sleep(time.Millisecond) {
		b, err := os.ReadFile("/proc/thread-self/net/netfilter/nfnetlink_queue")
		if err != nil {
			t.Fatal(err)
		}
		// Its number, its owner, how many wait in it, and more (seq_show of
		// net/netfilter/nfnetlink_queue.c).
		if f := strings.Fields(string(b)); len(f) > 2 && f[2] == strconv.Itoa(want) {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("no %d packets wait: %s", want, b)
		}
	}
}
