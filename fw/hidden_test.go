package fw

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"os"
	"testing"

	"b4/nstest"

	"golang.org/x/sys/unix"
)

// sawHidden is what a witness writes into packets that looked hidden to the
// firewall, where IPv4 has its type of service and IPv6 a part of its class.
const sawHidden = 0x40

type testify struct{ family uint8 }

func (testify) String() string { return "@nh,8,8 set 0x40" }
func (testify) code(c *coder)  { c.writeByte(sawHidden, 1) }

// witness stands where the firewall forwards. What passes it with a false mark
// afterwards does not leave.
func witness(t testing.TB) {
	t.Helper()
	var rules []rule
	for _, family := range []uint8{4, 6} {
		rules = append(rules,
			rule{nfproto(family), tcpFlags{fin, fin}, testify{family}},
			rule{nfproto(family), isProtocol{family, hiddenUDP}, testify{family}})
	}
	table(t, "witness",
		chain{"forward", &hook{filter, forward, 0}, rules},
		chain{"after", &hook{filter, forward, 2}, []rule{{bits{metaMark, config(t, Native).Marks.Hide, true}, drop}}})
}

// hidden sends p through the router and reports whether it was hidden on its way.
// It must leave as it came, but for one hop less.
func (r *router) hidden(from, to *os.File, p []byte) bool {
	r.t.Helper()
	if _, err := from.Write(p); err != nil {
		r.t.Fatal(err)
	}
	got, ok := r.receive(to, soon)
	if !ok {
		r.t.Fatalf("a packet did not pass the router: %x", p)
	}
	saw := got[1] == sawHidden
	got[1] = p[1]
	if got[0]>>4 == 6 {
		got[7]++
	} else {
		if sum := checksum(got[:20]); sum != 0 {
			r.t.Errorf("a packet (hidden %v) has a header checksum that is off by %#x", saw, sum)
		}
		got[8]++
		copy(got[10:12], p[10:12])
	}
	if !bytes.Equal(got, p) {
		r.t.Errorf("a packet changed (hidden %v):\n%x, sent\n%x", saw, got, p)
	}
	return saw
}

// A way is a packet that is to be seen hidden or not.
type way struct {
	what   string
	back   bool
	packet []byte
	hidden bool
}

func (r *router) see(ways ...way) {
	r.t.Helper()
	for _, w := range ways {
		from, to := r.lan, r.wan
		if w.back {
			from, to = to, from
		}
		if got := r.hidden(from, to, w.packet); got != w.hidden {
			r.t.Errorf("%s: hidden %v", w.what, got)
		}
	}
}

func hideAll(c *Config) { c.UDP, c.Offload = []uint16{443}, Offload{TCP: true, UDP: true} }

func TestHide(t *testing.T) {
	nstest.Enter(t)
	r, c := newRouter(t), mustOpen(t)
	witness(t)
	mustApply(t, c, mustPlan(t, hideAll), "wan0")
	for _, v6 := range []bool{false, true} {
		f := newFlow(v6, 40000, 443)
		r.see(
			way{"SYN", false, f.out(syn, 0), false},
			way{"SYN,ACK", true, f.back(syn|ack, 0), false},
			way{"ACK", false, f.out(ack, 0), true},
			way{"a hello", false, f.out(psh|ack, 517), true},
			way{"its answer", true, f.back(ack, 1300), true},
		)
		for range 7 { // packets 6 to 12
			r.see(way{"up to the bound", false, f.out(psh|ack, 301), true})
		}
		r.see(
			way{"behind the bound", false, f.out(psh|ack, 300), false},
			way{"an answer behind the bound", true, f.back(psh|ack, 300), false},
		)
		other := newFlow(v6, 40001, 8443)
		r.shake(other)
		r.see(way{"another port", false, other.out(psh|ack, 300), false})

		u := newFlow(v6, 40002, 443)
		r.see(
			way{"first datagram", false, u.datagram(false, 0xc3, 0, 0, 0, 1), false},
			way{"second datagram", false, u.datagram(false, 0xc3, 0, 0, 0, 1), true},
			way{"a server's", true, u.datagram(true, 0xc3, 0, 0, 0, 1), true},
		)
		for range 9 {
			r.see(way{"datagrams up to the bound", false, u.datagram(false, 0x43), true})
		}
		r.see(
			way{"a datagram behind the bound", false, u.datagram(false, 0xc3), false},
			way{"a server's behind the bound", true, u.datagram(true, 0x43), false},
			way{"another port of UDP", false, newFlow(v6, 40003, 53).datagram(false, 0xc3), false},
		)
		pause := newFlow(v6, 40004, 443)
		r.shake(pause)
		if err := c.Watch(nil); err != nil {
			t.Fatal(err)
		}
		r.see(way{"while nothing is watched", false, pause.out(psh|ack, 300), false})
		if err := c.Watch([]string{"wan0"}); err != nil {
			t.Fatal(err)
		}
		r.see(way{"watched again", false, pause.out(psh|ack, 300), true})
	}
}

// Who is done with, spared or not of a watched family is not hidden.
func TestHideOnlyWhatIsShown(t *testing.T) {
	nstest.Enter(t)
	r, c := newRouter(t), mustOpen(t)
	witness(t)
	port := uint16(42000)
	for _, tt := range []struct {
		what            string
		edit            func(*Config)
		hidden, hidden6 bool
	}{
		{"all", hideAll, true, true},
		{"IPv4", func(c *Config) { hideAll(c); c.IPv6 = false }, true, false},
		{"IPv6", func(c *Config) { hideAll(c); c.IPv4 = false }, false, true},
		{"no offload", func(c *Config) {}, false, false},
		{"never", func(c *Config) {
			hideAll(c)
			c.Devices.Never = []netip.Prefix{netip.MustParsePrefix("192.0.2.2/32")}
		}, false, true},
		{"everything", func(c *Config) { hideAll(c); c.All = true }, true, true},
		{"done", func(c *Config) { hideAll(c); c.Marks.Done |= 1 }, false, false},
	} {
		mustApply(t, c, mustPlan(t, tt.edit), "wan0")
		if tt.what == "done" {
			table(t, "doer", chain{"done", &hook{filter, prerouting, -149}, []rule{{setBits{ctMark, 1}}}})
		}
		for _, v6 := range []bool{false, true} {
			want := tt.hidden
			if v6 {
				want = tt.hidden6
			}
			f := newFlow(v6, port, 443)
			port++
			r.shake(f)
			r.see(way{tt.what + ": a hello", false, f.out(psh|ack, 300), want}, way{tt.what + ": an answer", true, f.back(psh|ack, 300), want})
		}
	}
}

// What the kernel has merged is cut again as if it had never been hidden.
func TestHideSuperpackets(t *testing.T) {
	nstest.Enter(t)
	r, c := newRouter(t), mustOpen(t)
	witness(t)
	mustApply(t, c, mustPlan(t, func(c *Config) { hideAll(c); c.All = true }), "wan0")
	big := superTUN(t, "big0")
	setUpLink(t, "big0", netip.MustParseAddr("10.0.1.1"), netip.MustParseAddr("fd00:c::1"))
	for _, v6 := range []bool{false, true} {
		f := newFlow(v6, 40000, 443)
		gso := byte(1) // VIRTIO_NET_HDR_GSO_TCPV4
		f.src = netip.AddrPortFrom(netip.MustParseAddr("10.0.1.2"), 40000)
		if v6 {
			f.src, gso = netip.AddrPortFrom(netip.MustParseAddr("fd00:c::2"), 40000), 4
		}
		send := func(flags uint8, n int) {
			p := f.out(flags, n)
			h := make([]byte, 10)
			if at := ipLen(p); n > 0 { // the checksum is of the pseudo-header alone
				h[0], h[1] = 1, gso
				binary.NativeEndian.PutUint16(h[2:], uint16(at+20))
				binary.NativeEndian.PutUint16(h[4:], 1000)
				binary.NativeEndian.PutUint16(h[6:], uint16(at))
				binary.NativeEndian.PutUint16(h[8:], 16)
				binary.BigEndian.PutUint16(p[at+16:], ^checksum(pseudo(p)))
			}
			if _, err := big.Write(append(h, p...)); err != nil {
				t.Fatal(err)
			}
		}
		send(syn, 0)
		r.receive(r.wan, soon)
		if _, err := r.wan.Write(f.back(syn|ack, 0)); err != nil {
			t.Fatal(err)
		}
		send(ack, 0)
		r.receive(r.wan, soon)
		send(psh|ack, 2500)
		for i, n := range []int{1000, 1000, 500} {
			p, ok := r.receive(r.wan, soon)
			if !ok {
				t.Fatalf("v6 %v: segment %d did not leave", v6, i)
			}
			tcp := p[ipLen(p):]
			if len(tcp) != 20+n || tcp[13]&fin != 0 || p[1] != sawHidden {
				t.Errorf("v6 %v, segment %d: %d bytes, flags %#x, seen %#x", v6, i, len(tcp), tcp[13], p[1])
			}
			if sum := checksum(append(pseudo(p), tcp...)); sum != 0 {
				t.Errorf("v6 %v, segment %d: checksum is off by %#x", v6, i, sum)
			}
		}
	}
}

// superTUN takes superpackets, each behind a virtio_net_hdr.
func superTUN(t testing.TB, name string) *os.File {
	t.Helper()
	fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		t.Fatal(err)
	}
	ifr, err := unix.NewIfreq(name)
	if err == nil {
		ifr.SetUint16(unix.IFF_TUN | unix.IFF_NO_PI | unix.IFF_VNET_HDR)
		err = unix.IoctlIfreq(fd, unix.TUNSETIFF, ifr)
	}
	if err != nil {
		unix.Close(fd)
		t.Fatal(err)
	}
	f := os.NewFile(uintptr(fd), name)
	t.Cleanup(func() { f.Close() })
	return f
}

// pseudo is the pseudo-header of a packet of TCP.
func pseudo(p []byte) []byte {
	n := ipLen(p)
	b := bytes.Clone(p[12:20])
	if n == 40 {
		b = bytes.Clone(p[8:40])
	}
	return append(b, 0, unix.IPPROTO_TCP, byte((len(p)-n)>>8), byte(len(p)-n))
}

// A mark that somebody else sets where ours stands costs no packet that could not
// have been hidden, and set ahead of ours nobody's last segment.
func TestShowOthers(t *testing.T) {
	nstest.Enter(t)
	r, c := newRouter(t), mustOpen(t)
	hide := config(t, Native).Marks.Hide
	mustApply(t, c, mustPlan(t, hideAll), "wan0")
	table(t, "early", chain{"early", &hook{filter, prerouting, -150}, []rule{{setBits{metaMark, hide}}}})
	for i, v6 := range []bool{false, true} {
		for _, port := range []uint16{443, 8443} {
			f := newFlow(v6, uint16(41000+i), port)
			r.shake(f)
			r.see(way{"a last segment", false, f.out(fin|ack, 0), false})
		}
	}
	table(t, "late", chain{"late", &hook{filter, forward, 0}, []rule{{setBits{metaMark, hide}}}})
	for _, v6 := range []bool{false, true} {
		r.arrive(r.lan, r.wan, newFlow(v6, 40000, 53).datagram(false, 1))
	}
}
