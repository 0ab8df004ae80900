package lab

import (
	"context"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"b4/packet"
	"b4/quic"
	"b4/tlshello"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// An Attack is packets that a client sends to do b4 harm. Packet writes the i-th
// to b; they are the same in each run.
type Attack struct {
	Name   string
	Packet func(b []byte, i int, rnd *rand.Rand) []byte
}

// Attacks are those that a router has to stand.
var Attacks = []Attack{
	{"half a ClientHello", func(b []byte, i int, _ *rand.Rand) []byte {
		hello := tlshello.AppendDecoy(nil, "half.example", 1)
		return attackSegment(b, i, packet.PSH|packet.ACK, hello[:len(hello)/2])
	}},
	{"SYN", func(b []byte, i int, _ *rand.Rand) []byte { return attackSegment(b, i, packet.SYN, nil) }},
	{"garbage on udp/443", func(b []byte, i int, rnd *rand.Rand) []byte {
		payload := make([]byte, 40+rnd.IntN(1200))
		for at := 0; at+8 <= len(payload); at += 8 {
			binary.NativeEndian.PutUint64(payload[at:], rnd.Uint64())
		}
		payload[0] |= 0x80
		if i%2 == 0 { // an Initial of version 1 that does not open
			payload[0] = 0xc0 | payload[0]&0x0f
			copy(payload[1:], []byte{0, 0, 0, 1, 8})
			payload[14], payload[15] = 0, 0 // no source connection id, no token
			binary.BigEndian.PutUint16(payload[16:], 0x4000|uint16(len(payload)-18))
		}
		return attackDatagram(b, i, payload)
	}},
	{"absurd lengths", func(b []byte, i int, rnd *rand.Rand) []byte {
		hello := tlshello.AppendDecoy(nil, "long.example", 1)
		for range 1 + i%4 { // of the record, the hello, its lists and extensions
			at := []int{3, 6, 43, 76, 78, 112}[rnd.IntN(6)] % (len(hello) - 2)
			binary.BigEndian.PutUint16(hello[at:], []uint16{0xffff, 0, 0x4000, uint16(rnd.Uint32())}[rnd.IntN(4)])
		}
		return attackSegment(b, i, packet.PSH|packet.ACK, hello)
	}},
	{"a name never seen, over TCP", func(b []byte, i int, _ *rand.Rand) []byte {
		return attackSegment(b, i, packet.PSH|packet.ACK, tlshello.AppendDecoy(nil, fmt.Sprintf("n%d.example", i), uint64(i)))
	}},
	{"a name never seen, over QUIC", func(b []byte, i int, _ *rand.Rand) []byte {
		var s quic.Sealer
		initial, err := s.AppendDecoy(nil, quic.V1, fmt.Sprintf("n%d.example", i), uint64(i))
		if err != nil {
			panic(err) // it is of our own making
		}
		return attackDatagram(b, i, initial)
	}},
}

// attacked is where attacks go to: no route leads there behind the censor. RFC 2544
// keeps the network for such use.
var attacked = netip.MustParsePrefix("198.18.0.0/15")

// endpoints are those of the i-th packet: each connection is another one.
func endpoints(i int) (src, dst netip.AddrPort) {
	const ports = 60000
	to := attacked.Addr().As4()
	to[2], to[3] = byte(i/ports>>8), byte(i/ports)
	return netip.AddrPortFrom(ClientAddr4, uint16(2000+i%ports)), netip.AddrPortFrom(netip.AddrFrom4(to), 443)
}

func attackSegment(b []byte, i int, flags uint8, payload []byte) []byte {
	src, dst := endpoints(i)
	s := packet.Segment{Src: src, Dst: dst, Seq: uint32(i) * 2654435761, Flags: flags, Window: 64240, ID: uint16(i), Payload: payload}
	if flags&packet.ACK != 0 {
		s.Ack = 1
	}
	return s.Append(b)
}

func attackDatagram(b []byte, i int, payload []byte) []byte {
	src, dst := endpoints(i)
	from := len(b)
	b = append(b, 0x45, 0, 0, 0, 0, 0, 0x40, 0, 64, unix.IPPROTO_UDP, 0, 0)
	b = append(append(b, src.Addr().AsSlice()...), dst.Addr().AsSlice()...)
	b = binary.BigEndian.AppendUint16(b, src.Port())
	b = binary.BigEndian.AppendUint16(b, dst.Port())
	b = append(append(b, 0, 0, 0, 0), payload...)
	packet.Finish(b[from:], 20, unix.IPPROTO_UDP)
	return b
}

// attackSlice is how often an attack's pace is looked at.
const attackSlice = 5 * time.Millisecond

// Attack sends the packets from up to to-1 of a from the client, at most rate of
// them a second, or as many as it can where rate is 0, until ctx ends. It returns
// how many it has sent.
func (l *Lab) Attack(ctx context.Context, a Attack, from, to, rate int) (sent int, err error) {
	fd := -1
	err = l.Client.Do(func() (err error) {
		fd, err = unix.Socket(unix.AF_INET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.IPPROTO_RAW)
		return err
	})
	if err != nil {
		return 0, fmt.Errorf("attack by a raw socket: %w", err)
	}
	defer unix.Close(fd)
	rnd, b, start := rand.New(rand.NewPCG(1, uint64(from))), []byte(nil), time.Now()
	for i := from; i < to && ctx.Err() == nil; i++ {
		if rate > 0 && sent > int(time.Since(start).Seconds()*float64(rate)) {
			time.Sleep(attackSlice)
		}
		b = a.Packet(b[:0], i, rnd)
		_, dst := endpoints(i)
		if err := unix.Sendto(fd, b, 0, &unix.SockaddrInet4{Addr: dst.Addr().As4()}); err != nil && err != unix.ENOBUFS {
			return sent, fmt.Errorf("send packet %d of %q: %w", i, a.Name, err)
		}
		sent++
	}
	return sent, nil
}

// Brace prepares the lab for attacks: their packets leave the router and get no
// further, and conntrack forgets them soon, as it does by itself when it is full.
func (l *Lab) Brace() error {
	for _, name := range []string{"tcp_timeout_established", "tcp_timeout_unacknowledged", "tcp_timeout_syn_sent", "udp_timeout"} {
		if err := l.Router.Sysctl("net/netfilter/nf_conntrack_"+name, "2"); err != nil {
			return err
		}
	}
	return l.Censor.blackhole(attacked)
}

// blackhole gives a host a route on which packets end.
func (h *Host) blackhole(p netip.Prefix) error {
	return h.Do(func() error {
		dst := &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
		if err := netlink.RouteAdd(&netlink.Route{Dst: dst, Type: unix.RTN_BLACKHOLE}); err != nil {
			return fmt.Errorf("route %v to nowhere in %s: %w", p, h.Name, err)
		}
		return nil
	})
}

// Peak is the most memory that b4d has taken so far, in KiB.
func (d *B4D) Peak() (kib int64, err error) { return StatusNumber(d.PID(), "VmHWM") }

// CPU is the time that b4d has computed so far, in the kernel too.
func (d *B4D) CPU() (all time.Duration, err error) {
	tasks, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/schedstat", d.PID()))
	for _, t := range tasks {
		b, err := os.ReadFile(t) // nanoseconds on a CPU come first
		if err != nil {
			return 0, err
		}
		on, _, _ := strings.Cut(string(b), " ")
		n, err := strconv.ParseInt(on, 10, 64)
		if err != nil {
			return 0, err
		}
		all += time.Duration(n)
	}
	return all, err
}
