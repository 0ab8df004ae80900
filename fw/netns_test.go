package fw

import (
	"encoding/binary"
	"errors"
	"net/netip"
	"os"
	"testing"
	"time"

	"b4/nstest"

	"golang.org/x/sys/unix"
)

// A router forwards between two TUN devices whose other ends the test holds.
type router struct {
	t        testing.TB
	lan, wan *os.File
}

var (
	lanAddr4, wanAddr4 = netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("192.0.2.1")
	lanAddr6, wanAddr6 = netip.MustParseAddr("fd00:a::1"), netip.MustParseAddr("fd00:b::1")
)

func newRouter(t testing.TB) *router {
	t.Helper()
	r := &router{t, nstest.TUN(t, "lan0"), nstest.TUN(t, "wan0")}
	setUpLink(t, "lan0", lanAddr4, lanAddr6)
	setUpLink(t, "wan0", wanAddr4, wanAddr6)
	nstest.Sysctl(t, "net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1")
	return r
}

// setUpLink brings a device up and gives it both addresses, as /24 and /64.
func setUpLink(t testing.TB, name string, v4, v6 netip.Addr) {
	t.Helper()
	nstest.Up(t, name)
	nstest.Addr(t, name, netip.PrefixFrom(v4, 24))
	nstest.Addr(t, name, netip.PrefixFrom(v6, 64))
}

// A flow is one TCP connection through the router; src opened it.
type flow struct {
	src, dst netip.AddrPort
	seq, ack uint32
}

func newFlow(v6 bool, sport, dport uint16) *flow {
	src, dst := netip.MustParseAddr("10.0.0.2"), netip.MustParseAddr("192.0.2.2")
	if v6 {
		src, dst = netip.MustParseAddr("fd00:a::2"), netip.MustParseAddr("fd00:b::2")
	}
	return &flow{netip.AddrPortFrom(src, sport), netip.AddrPortFrom(dst, dport), 1000, 5000}
}

// out is the flow's next packet from the opener, back from the other side.
func (f *flow) out(flags uint8, payload int) []byte {
	p := segment(f.src, f.dst, f.seq, f.ack, flags, payload)
	f.seq += advance(flags, payload)
	return p
}

func (f *flow) back(flags uint8, payload int) []byte {
	p := segment(f.dst, f.src, f.ack, f.seq, flags, payload)
	f.ack += advance(flags, payload)
	return p
}

func advance(flags uint8, payload int) uint32 {
	if flags&(syn|fin) != 0 {
		payload++
	}
	return uint32(payload)
}

func segment(src, dst netip.AddrPort, seq, ackNo uint32, flags uint8, payload int) []byte {
	tcp := binary.BigEndian.AppendUint16(nil, src.Port())
	tcp = binary.BigEndian.AppendUint16(tcp, dst.Port())
	tcp = binary.BigEndian.AppendUint32(tcp, seq)
	tcp = binary.BigEndian.AppendUint32(tcp, ackNo)
	tcp = append(tcp, 5<<4, flags, 0x40, 0, 0, 0, 0, 0)
	tcp = append(tcp, make([]byte, payload)...)
	pseudo := append(src.Addr().AsSlice(), dst.Addr().AsSlice()...)
	pseudo = append(pseudo, 0, unix.IPPROTO_TCP, byte(len(tcp)>>8), byte(len(tcp)))
	binary.BigEndian.PutUint16(tcp[16:], checksum(append(pseudo, tcp...)))

	return ipPacket(src.Addr(), dst.Addr(), unix.IPPROTO_TCP, tcp)
}

// ipPacket is a packet around a transport header.
func ipPacket(src, dst netip.Addr, proto byte, body []byte) []byte {
	if src.Is6() {
		ip := []byte{0x60, 0, 0, 0, byte(len(body) >> 8), byte(len(body)), proto, 64}
		return append(append(append(ip, src.AsSlice()...), dst.AsSlice()...), body...)
	}
	total := 20 + len(body)
	ip := []byte{0x45, 0, byte(total >> 8), byte(total), 0, 0, 0x40, 0, 64, proto, 0, 0}
	ip = append(append(ip, src.AsSlice()...), dst.AsSlice()...)
	binary.BigEndian.PutUint16(ip[10:], checksum(ip))
	return append(ip, body...)
}

func checksum(b []byte) uint16 {
	var sum uint32
	for i := 0; i < len(b); i += 2 {
		sum += uint32(b[i]) << 8
		if i+1 < len(b) {
			sum += uint32(b[i+1])
		}
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return ^uint16(sum)
}

// forward sends p into the router at one side and waits until it has left at
// the other. It reports whether it did, within the time given.
func (r *router) forward(from, to *os.File, p []byte, wait time.Duration) bool {
	r.t.Helper()
	if _, err := from.Write(p); err != nil {
		r.t.Fatal(err)
	}
	_, ok := r.receive(to, wait)
	return ok
}

// soon is when what is to come has come, on a machine that stalls too.
const soon = 10 * time.Second

// await waits until ok, for as long as what is to come may take, and reports which.
func await(ok func() bool) bool {
	for end := time.Now().Add(soon); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			return false
		}
	}
	return true
}

// receive returns the next TCP or UDP packet that leaves by a device: the router
// also sends router solicitations and the like.
func (r *router) receive(f *os.File, wait time.Duration) ([]byte, bool) {
	r.t.Helper()
	f.SetReadDeadline(time.Now().Add(wait))
	for buf := make([]byte, 2048); ; {
		n, err := f.Read(buf)
		switch {
		case errors.Is(err, os.ErrDeadlineExceeded):
			return nil, false
		case err != nil:
			r.t.Fatal(err)
		case protocol(buf[:n]) == unix.IPPROTO_TCP || protocol(buf[:n]) == unix.IPPROTO_UDP:
			return buf[:n], true
		}
	}
}

// protocol is the number that stands in the IP header.
func protocol(p []byte) byte {
	if p[0]>>4 == 6 {
		return p[6]
	}
	return p[9]
}

// arrive fails the test unless p passes.
func (r *router) arrive(from, to *os.File, p []byte) {
	r.t.Helper()
	if !r.forward(from, to, p, soon) {
		r.t.Fatal("a packet did not pass the router")
	}
}

// shake opens f: SYN, SYN,ACK, ACK.
func (r *router) shake(f *flow) {
	r.t.Helper()
	r.arrive(r.lan, r.wan, f.out(syn, 0))
	r.arrive(r.wan, r.lan, f.back(syn|ack, 0))
	r.arrive(r.lan, r.wan, f.out(ack, 0))
}
