package inject

import (
	"bytes"
	"encoding/binary"
	"errors"
	"net/netip"
	"strings"
	"testing"

	"b4/engine"
	"b4/nstest"

	"golang.org/x/sys/unix"
)

// Two uplinks, a and b. What is routed at all goes to a, unless a mark or a
// source says otherwise.
const (
	linkMTU  = 1400
	userMark = 0x100
	table    = 200
)

type family struct {
	name           string
	source, remote netip.Addr // a foreign source, as those of forwarded packets are
	policy         netip.Addr // a source whose packets a rule sends to b
	all            netip.Prefix
	own            [2]netip.Prefix
	header         int
}

var families = []family{
	{"v4", netip.MustParseAddr("192.168.7.2"), netip.MustParseAddr("203.0.113.9"), netip.MustParseAddr("198.51.100.7"),
		netip.MustParsePrefix("0.0.0.0/0"), [2]netip.Prefix{netip.MustParsePrefix("10.1.0.1/24"), netip.MustParsePrefix("10.2.0.1/24")}, 20},
	{"v6", netip.MustParseAddr("2001:db8:7::2"), netip.MustParseAddr("2001:db8:99::9"), netip.MustParseAddr("2001:db8:8::7"),
		netip.MustParsePrefix("::/0"), [2]netip.Prefix{netip.MustParsePrefix("2001:db8:1::1/64"), netip.MustParsePrefix("2001:db8:2::1/64")}, 40},
}

func (f family) packet(source netip.Addr, n int) []byte {
	b := make([]byte, n)
	if f.header == 20 {
		b[0], b[8], b[9] = 0x45, 64, testProto
		binary.BigEndian.PutUint16(b[2:], uint16(n))
		binary.BigEndian.PutUint16(b[4:], 0x1234)
		copy(b[12:], source.AsSlice())
		copy(b[16:], f.remote.AsSlice())
		binary.BigEndian.PutUint16(b[10:], sumHeader(b))
	} else {
		b[0], b[6], b[7] = 0x60, testProto, 64
		binary.BigEndian.PutUint16(b[4:], uint16(n-40))
		copy(b[8:], source.AsSlice())
		copy(b[24:], f.remote.AsSlice())
	}
	for i := f.header; i < n; i++ {
		b[i] = byte(i)
	}
	return b
}

func sumHeader(b []byte) uint16 {
	sum := uint32(0)
	for i := 0; i < 20; i += 2 {
		if i != 10 {
			sum += uint32(binary.BigEndian.Uint16(b[i:]))
		}
	}
	sum = sum>>16 + sum&0xffff
	return ^uint16(sum + sum>>16)
}

// uplinks makes devices a and b with routes for both families.
func uplinks(t *testing.T) (a, b *link) {
	a, b = newLink(t, "a", linkMTU), newLink(t, "b", linkMTU)
	for _, f := range families {
		for i, l := range []*link{a, b} {
			nstest.Addr(t, l.Name(), f.own[i])
			nstest.Route(t, l.Name(), f.all, unix.RT_TABLE_MAIN, uint32(1+i)) // a is the better one
		}
		nstest.Route(t, b.Name(), f.all, table, 1)
		rules(t, userMark, f.policy)
	}
	return a, b
}

// send sends one packet.
func send(s *Sender, o engine.Out) error {
	_, err := s.Send([]engine.Out{o})
	return err
}

func sender(t *testing.T) *Sender {
	s, err := Open(testMarks(t))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func TestKernelRoute(t *testing.T) {
	nstest.Enter(t)
	a, b := uplinks(t)
	s := sender(t)
	marks := testMarks(t)
	for _, f := range families {
		for _, c := range []struct {
			name   string
			meta   engine.Meta
			source netip.Addr
			want   *link
		}{
			{"by route", engine.Meta{}, f.source, a},
			{"by device", engine.Meta{Out: b.index}, f.source, b},
			{"by device, as routed", engine.Meta{Out: a.index}, f.source, a},
			{"by mark", engine.Meta{Mark: userMark | marks.Done}, f.source, b},
			{"by source", engine.Meta{}, f.policy, b},
			{"by source and device", engine.Meta{Out: b.index}, f.policy, b},
			{"back, against mark and device", engine.Meta{Mark: userMark | marks.Done, Out: b.index, Back: true}, f.source, a},
			{"by device against mark", engine.Meta{Mark: userMark, Out: b.index}, f.source, b},
		} {
			p := f.packet(c.source, 600)
			if err := send(s, engine.Out{Bytes: p, Meta: c.meta}); err != nil {
				t.Errorf("%s %s: %v", f.name, c.name, err)
				continue
			}
			if got := c.want.read(); !bytes.Equal(got, p) {
				t.Errorf("%s %s: device %s has %d bytes: %.40x", f.name, c.name, c.want.Name(), len(got), got)
			}
		}
	}
}

// Other programs may give what the router itself sends another mark on its way,
// and the kernel routes it anew by that: it leaves by its device all the same.
func TestKernelRerouted(t *testing.T) {
	nstest.Enter(t)
	a, b := uplinks(t)
	s := sender(t)
	marker(t, userMark)
	for _, f := range families {
		for _, l := range []*link{b, a, b, a} {
			p := f.packet(f.source, 100)
			if err := send(s, engine.Out{Bytes: p, Meta: engine.Meta{Out: l.index}}); err != nil || !bytes.Equal(l.read(), p) {
				t.Errorf("%s, device %s: %v", f.name, l.Name(), err)
			}
		}
		p := f.packet(f.source, 100)
		if err := send(s, engine.Out{Bytes: p}); err != nil || !bytes.Equal(b.read(), p) {
			t.Errorf("%s, no device, so by the mark: %v", f.name, err)
		}
	}
}

// netifd installs IPv6 default routes for the uplink's own prefixes only, so
// there is none for a packet without its source.
func TestKernelSourceRoute(t *testing.T) {
	nstest.Enter(t)
	links := []*link{newLink(t, "a", linkMTU), newLink(t, "b", linkMTU)}
	f, s := families[1], sender(t)
	sources := []netip.Addr{f.source, f.policy}
	for i, l := range links {
		nstest.Addr(t, l.Name(), f.own[i])
		l.routeFrom(t, netip.PrefixFrom(sources[i], 48), f.all)
	}
	for i, l := range links {
		for _, out := range []int32{0, l.index} {
			p := f.packet(sources[i], 100)
			if err := send(s, engine.Out{Bytes: p, Meta: engine.Meta{Out: out}}); err != nil || !bytes.Equal(l.read(), p) {
				t.Errorf("source %v, device %d: %v", sources[i], out, err)
			}
		}
	}
}

// The mark arrives before the first rule: other programs' bits are kept, ours
// replaced.
func TestKernelMark(t *testing.T) {
	nstest.Enter(t)
	uplinks(t)
	s := sender(t)
	m := testMarks(t)
	count := markCounter(t, m.Injected|userMark)
	for i, f := range families {
		o := engine.Out{Bytes: f.packet(f.source, 100), Meta: engine.Meta{Mark: userMark | m.Done | m.Steer}}
		if err := send(s, o); err != nil {
			t.Fatal(f.name, err)
		}
		if n := count(); n != uint64(i+1) {
			t.Errorf("%s: %d packets with the mark", f.name, n)
		}
	}
}

// Answers have no mark at all: the packet's leads to the server.
func TestKernelBackMark(t *testing.T) {
	nstest.Enter(t)
	uplinks(t)
	s := sender(t)
	count := markCounter(t, 0)
	for i, f := range families {
		o := engine.Out{Bytes: f.packet(f.source, 100), Meta: engine.Meta{Mark: userMark | testMarks(t).Done, Back: true}}
		if err := send(s, o); err != nil {
			t.Fatal(f.name, err)
		}
		if n := count(); n != uint64(i+1) {
			t.Errorf("%s: %d packets without a mark", f.name, n)
		}
	}
}

func TestKernelLength(t *testing.T) {
	nstest.Enter(t)
	a, _ := uplinks(t)
	s := sender(t)
	for _, f := range families {
		if err := send(s, engine.Out{Bytes: f.packet(f.source, linkMTU+1)}); !errors.Is(err, unix.EMSGSIZE) {
			t.Errorf("%s, mtu + 1: %v", f.name, err)
		}
		p := f.packet(f.source, linkMTU)
		if err := send(s, engine.Out{Bytes: p}); err != nil || !bytes.Equal(a.read(), p) {
			t.Errorf("%s, mtu: %v", f.name, err)
		}
		p = f.packet(f.source, f.header)
		if err := send(s, engine.Out{Bytes: p}); err != nil || !bytes.Equal(a.read(), p) {
			t.Errorf("%s, header only: %v", f.name, err)
		}
	}
}

// What the kernel changes in an IPv4 header, as Send's comment says.
func TestKernelHeader(t *testing.T) {
	nstest.Enter(t)
	a, _ := uplinks(t)
	s := sender(t)
	f := families[0]
	want := f.packet(f.source, 100)
	p := bytes.Clone(want)
	binary.BigEndian.PutUint16(p[2:], 99)
	binary.BigEndian.PutUint16(p[10:], 0xbad)
	if err := send(s, engine.Out{Bytes: p}); err != nil || !bytes.Equal(a.read(), want) {
		t.Errorf("wrong length and sum: %v", err)
	}
	for _, c := range []struct {
		name    string
		flags   uint16 // and offset
		becomes bool   // something else
	}{
		{"may be fragmented", 0, true},
		{"may not", 0x4000, false},
		{"first fragment", 0x2000, true},
		{"last fragment", 2, true},
		{"first fragment that may not", 0x6000, false},
		{"last fragment that may not", 0x4002, false},
	} {
		binary.BigEndian.PutUint16(p[4:], 0)
		binary.BigEndian.PutUint16(p[6:], c.flags)
		if err := send(s, engine.Out{Bytes: p}); err != nil {
			t.Fatal(err)
		}
		got := a.read()
		if len(got) != 100 || binary.BigEndian.Uint16(got[4:]) != 0 != c.becomes || binary.BigEndian.Uint16(got[6:]) != c.flags {
			t.Errorf("identification zero, %s: %.20x", c.name, got)
		}
	}
}

// Empty datagrams and fragments, later ones first, leave as they are.
func TestKernelOddPackets(t *testing.T) {
	const later, first = 4, 0x2000 // at byte 32; more to come
	nstest.Enter(t)
	a, _ := uplinks(t)
	s := sender(t)
	for _, f := range families {
		empty := f.packet(f.source, f.header+8)
		binary.BigEndian.PutUint16(empty[f.header+4:], 8)
		f.become(empty, unix.IPPROTO_UDP, 0)
		for i, p := range [][]byte{empty, f.fragment(later), f.fragment(first), f.fragment(later)} {
			if err := send(s, engine.Out{Bytes: p}); err != nil || !bytes.Equal(a.read(), p) {
				t.Errorf("%s, packet %d: %v", f.name, i, err)
			}
		}
	}
}

// fragment is one of a UDP datagram, given the flags and offset of IPv4.
func (f family) fragment(flags uint16) []byte {
	p := f.packet(f.source, f.header+40)
	if f.header == 20 {
		f.become(p, unix.IPPROTO_UDP, flags)
		return p
	}
	f.become(p, unix.IPPROTO_FRAGMENT, 0)
	p[40], p[41] = unix.IPPROTO_UDP, 0
	binary.BigEndian.PutUint16(p[42:], flags<<3|flags>>13)
	return p
}

// become changes the protocol of a packet and IPv4's flags.
func (f family) become(p []byte, proto byte, flags uint16) {
	if f.header == 40 {
		p[6] = proto
		return
	}
	p[9] = proto
	binary.BigEndian.PutUint16(p[6:], flags)
	binary.BigEndian.PutUint16(p[10:], sumHeader(p))
}

func TestKernelErrors(t *testing.T) {
	nstest.Enter(t)
	_, b := uplinks(t)
	s := sender(t)
	for _, f := range families {
		if err := send(s, engine.Out{Bytes: f.packet(f.source, 100), Meta: engine.Meta{Out: 9999}}); !errors.Is(err, unix.ENODEV) {
			t.Errorf("%s, no such device: %v", f.name, err)
		}
	}
	b.Close()
	for _, f := range families {
		var errno Error
		if err := send(s, engine.Out{Bytes: f.packet(f.source, 100), Meta: engine.Meta{Out: b.index}}); !errors.As(err, &errno) {
			t.Errorf("%s, device gone: %v", f.name, err)
		}
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	if err := send(s, engine.Out{Bytes: families[0].packet(families[0].source, 100)}); !errors.Is(err, unix.EBADF) {
		t.Errorf("after close: %v", err)
	}
}

func TestKernelAllocs(t *testing.T) {
	nstest.Enter(t)
	_, b := uplinks(t)
	s := sender(t)
	for _, f := range families {
		for _, size := range []int{600, linkMTU + 1} {
			outs := []engine.Out{{Bytes: f.packet(f.source, size), Meta: engine.Meta{Out: b.index, Mark: 1}}}
			var err error
			if n := testing.AllocsPerRun(100, func() { _, err = s.Send(outs) }); n != 0 {
				t.Errorf("%s, %d bytes: %v allocations", f.name, size, n)
			}
			if (err == nil) != (size <= linkMTU) {
				t.Errorf("%s, %d bytes: %v", f.name, size, err)
			}
		}
	}
}

func TestKernelWithoutCapability(t *testing.T) {
	nstest.Enter(t)
	hdr := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var none [2]unix.CapUserData
	if err := unix.Capset(&hdr, &none[0]); err != nil {
		t.Fatal(err)
	}
	if s, err := Open(testMarks(t)); s != nil || err == nil || !strings.Contains(err.Error(), "CAP_NET_RAW") {
		t.Errorf("without capabilities: %v", err)
	}
}
