package tun

import (
	"bytes"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
	"time"

	"b4/engine"
	"b4/nstest"
	"b4/packet"
)

// A kernel is a belt that cuts what is written to it, as the kernel would.
type kernel struct {
	belt
	t      *testing.T
	got    [][]byte
	writes int
	fail   bool // of superpackets
}

func (k *kernel) Write(h Header, p []byte) error {
	k.writes++
	k.got = append(k.got, bytes.Clone(p))
	return nil
}

func (k *kernel) WriteParts(h Header, headers []byte, payload [][]byte) error {
	if k.fail {
		return errWire
	}
	k.writes++
	p := slices.Concat(headers, bytes.Join(payload, nil))
	var c Cutter
	if err := c.Reset(&h, p); err != nil || int(h.HdrLen) != len(headers) || len(p) > maxMerged {
		k.t.Fatalf("%+v of %d bytes: %v", h, len(p), err)
	}
	for c.Len() > 0 {
		k.got = append(k.got, bytes.Clone(c.Next(make([]byte, c.Len()))))
	}
	return nil
}

// giveBack has a stream read the packets and give all of them back.
func giveBack(t *testing.T, k *kernel, pkts [][]byte) {
	t.Helper()
	k.t = t
	for _, p := range pkts {
		k.pkts, k.heads = append(k.pkts, p), append(k.heads, Header{})
	}
	k.limit = len(pkts)
	s := newStream(New(Config{Back: true, Send: sender(func(engine.Out) error { return nil })}), k)
	for n := 0; n < len(pkts); {
		read, err := s.Read(time.Second)
		if err != nil || len(read) == 0 {
			t.Fatal(len(read), err)
		}
		for i := range read {
			if err := s.Settle(&read[i], engine.Accept, nil); err != nil {
				t.Fatal(err)
			}
		}
		if err := s.Flush(); err != nil {
			t.Fatal(err)
		}
		n += len(read)
	}
	if n := s.e.n.Counters(); n.Accepted != uint64(len(pkts)) || n.SendFailed != 0 {
		t.Errorf("counters %+v", n)
	}
}

// flight is a segment of a stream, from byte off on; more changes it.
func flight(v6 bool, n, off, size int, more func(*packet.Segment)) []byte {
	s := packet.Segment{
		Src: netip.AddrPortFrom(net4.Addr(), 40000), Dst: netip.AddrPortFrom(far4, 443), Flags: packet.ACK,
		Seq: 0xffffff00 + uint32(off), Ack: 7, Window: 500, ID: 0xfffe + uint16(n),
		Options: []byte{1, 1, 8, 10, 0, 0, 0, 1, 0, 0, 0, 2}, Payload: make([]byte, size),
	}
	if v6 {
		s.Src, s.Dst = netip.AddrPortFrom(net6.Addr(), 40000), netip.AddrPortFrom(far6, 443)
	}
	for i := range s.Payload {
		s.Payload[i] = byte(off + i)
	}
	if more != nil {
		more(&s)
	}
	return s.Append(nil)
}

// What goes on where the last packet ended goes back with it, and comes out of the
// kernel as it came in. What differs in anything does not.
func TestMerge(t *testing.T) {
	const size = 1400
	last := func(more func(*packet.Segment)) func(bool) [][]byte {
		return func(v6 bool) [][]byte {
			return [][]byte{flight(v6, 0, 0, size, nil), flight(v6, 1, size, size, nil), flight(v6, 2, 2*size, size, more)}
		}
	}
	edit := func(v4, v6 int) func(bool) [][]byte { // a byte of the last one's IP header
		return func(isV6 bool) [][]byte {
			pkts := last(nil)(isV6)
			at := v4
			if isV6 {
				at = v6
			}
			b := pkts[2]
			b[at]++
			l, _ := transport(b)
			packet.Finish(b, l.l4, l.proto)
			return pkts
		}
	}
	for _, tt := range []struct {
		name   string
		pkts   func(v6 bool) [][]byte
		writes int
	}{
		{"all alike", last(nil), 1},
		{"the last has PSH", last(func(s *packet.Segment) { s.Flags |= packet.PSH }), 1},
		{"the last is short", last(func(s *packet.Segment) { s.Payload = s.Payload[:9] }), 1},
		{"the last is long", last(func(s *packet.Segment) { s.Payload = make([]byte, size+1) }), 2},
		{"a gap", last(func(s *packet.Segment) { s.Seq++ }), 2},
		{"again", last(func(s *packet.Segment) { s.Seq -= size }), 2},
		{"acknowledges more", last(func(s *packet.Segment) { s.Ack++ }), 2},
		{"another window", last(func(s *packet.Segment) { s.Window++ }), 2},
		{"another time", last(func(s *packet.Segment) { s.Options = []byte{1, 1, 8, 10, 0, 0, 0, 2, 0, 0, 0, 2} }), 2},
		{"fewer options", last(func(s *packet.Segment) { s.Options = nil }), 2},
		{"FIN", last(func(s *packet.Segment) { s.Flags |= packet.FIN }), 2},
		{"URG", last(func(s *packet.Segment) { s.Flags |= tcpURG }), 2},
		{"nothing in it", last(func(s *packet.Segment) { s.Payload = nil }), 2},
		{"another TTL", edit(8, 7), 2},
		{"another class", edit(1, 1), 2},
		{"another port", last(func(s *packet.Segment) { s.Dst = netip.AddrPortFrom(s.Dst.Addr(), 444) }), 2},
		{"a short one in between", func(v6 bool) [][]byte {
			return [][]byte{flight(v6, 0, 0, size, nil), flight(v6, 1, size, 9, nil), flight(v6, 2, size+9, size, nil)}
		}, 2},
		{"PSH in between", func(v6 bool) [][]byte {
			push := func(s *packet.Segment) { s.Flags |= packet.PSH }
			return [][]byte{flight(v6, 0, 0, size, push), flight(v6, 1, size, size, push), flight(v6, 2, 2*size, size, nil)}
		}, 3},
		{"damaged", func(v6 bool) [][]byte {
			pkts := last(nil)(v6)
			pkts[1][1000]++
			return pkts
		}, 3},
		{"as much as there can be", func(v6 bool) (pkts [][]byte) {
			for i := range 50 {
				pkts = append(pkts, flight(v6, i, i*size, size, nil))
			}
			return pkts
		}, 2},
		{"acknowledged in between", func(v6 bool) (pkts [][]byte) {
			for i := range 30 {
				ack := flight(v6, i, 0, 0, func(s *packet.Segment) { s.Src, s.Dst, s.Ack = s.Dst, s.Src, uint32(i) })
				pkts = append(pkts, flight(v6, i, i*size, size, nil), ack)
			}
			return pkts
		}, 31},
	} {
		for _, v6 := range []bool{false, true} {
			pkts := tt.pkts(v6)
			for _, fail := range []bool{false, true} {
				k, want := kernel{fail: fail}, tt.writes
				if fail { // then each goes by itself, and none is lost
					want = len(pkts)
				}
				giveBack(t, &k, pkts)
				if k.writes != want {
					t.Errorf("%s, v6 %v, refused %v: %d writes, want %d", tt.name, v6, fail, k.writes, want)
				}
				sameFlows(t, tt.name, k.got, pkts)
			}
		}
	}
}

// An IPv4 sender that does not count its packets keeps its numbers.
func TestMergeID(t *testing.T) {
	var k kernel
	pkts := [][]byte{flight(false, 0, 0, 1000, nil), flight(false, 0, 1000, 1000, nil), flight(false, 2, 2000, 1000, nil)}
	giveBack(t, &k, pkts)
	if k.writes != 3 {
		t.Errorf("%d writes", k.writes)
	}
	sameFlows(t, "numbers", k.got, pkts)
}

// sameFlows asserts that each flow has the same packets in the same order.
func sameFlows(t *testing.T, name string, got, want [][]byte) {
	t.Helper()
	split := func(pkts [][]byte) map[string][][]byte {
		flows := map[string][][]byte{}
		for _, b := range pkts {
			l, _ := transport(b)
			at, n := 12, 8
			if b[0]>>4 == 6 {
				at, n = 8, 32
			}
			key := string(b[at:at+n]) + string(b[l.l4:l.l4+4])
			flows[key] = append(flows[key], b)
		}
		return flows
	}
	a, b := split(got), split(want)
	if len(a) != len(b) {
		t.Fatalf("%s: %d flows, want %d", name, len(a), len(b))
	}
	for key := range b {
		if !slices.EqualFunc(a[key], b[key], bytes.Equal) {
			t.Errorf("%s: a flow of %d packets came out as %d, or others", name, len(b[key]), len(a[key]))
		}
	}
}

// Whatever comes, and in whatever order, comes out the same, flow by flow.
func TestMergeRandom(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	merged := 0
	for range 300 {
		var pkts [][]byte
		var off, count [6]int
		for range 100 {
			f := random.IntN(len(off))
			size := []int{0, 9, 1000, 1000, 1000, 1000}[random.IntN(6)]
			pkts = append(pkts, flight(f%2 == 1, count[f], off[f], size, func(s *packet.Segment) {
				s.Src = netip.AddrPortFrom(s.Src.Addr(), uint16(1000+f/2))
				s.Flags |= []uint8{0, 0, 0, 0, 0, 0, packet.PSH, packet.FIN}[random.IntN(8)]
				s.Ack += uint32(random.IntN(10) / 9)
			}))
			if random.IntN(10) > 0 {
				off[f] += size
				count[f]++
			}
		}
		var k kernel
		giveBack(t, &k, pkts)
		sameFlows(t, "random", k.got, pkts)
		merged += len(pkts) - k.writes
	}
	if merged < 1000 {
		t.Errorf("%d packets merged", merged)
	}
}

// The kernel takes what is merged, and cuts it again as it was.
func TestKernelMerge(t *testing.T) {
	for _, v6 := range []bool{false, true} {
		s := nstest.NewSpace(t)
		in := openIn(t, s, DeviceConfig{Name: "in", Addrs: []netip.Prefix{netip.MustParsePrefix("10.9.0.1/24")}})
		out := openIn(t, s, DeviceConfig{Name: "out", Plain: true, Addrs: []netip.Prefix{netip.PrefixFrom(far4.Prev(), 24), netip.PrefixFrom(far6.Prev(), 64)}})
		s.Do(func() {
			nstest.Sysctl(t, "net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1",
				"net.ipv4.conf.all.rp_filter=0", "net.ipv4.conf.in.rp_filter=0")
		})
		// From elsewhere, so that no address of the namespace is forged.
		var pkts [][]byte
		for i := range 20 {
			pkts = append(pkts, flight(v6, i, i*1400, 1400, func(s *packet.Segment) {
				s.Src = netip.AddrPortFrom(netip.MustParseAddr("10.9.0.7"), 1)
				if v6 {
					s.Src = netip.AddrPortFrom(netip.MustParseAddr("fd00:9::7"), 1)
				}
				if i == 19 {
					s.Flags |= packet.PSH
				}
			}))
		}
		st := newStream(New(Config{Back: true}), &feed{Device: in, belt: belt{limit: len(pkts), pkts: pkts, heads: make([]Header, len(pkts))}})
		read, err := st.Read(time.Second)
		if err != nil || len(read) != len(pkts) {
			t.Fatal(len(read), err)
		}
		for i := range read {
			st.Settle(&read[i], engine.Accept, nil)
		}
		if err := st.Flush(); err != nil {
			t.Fatal(err)
		}
		if n := st.link.(*feed).merged; n != 1 {
			t.Errorf("%d superpackets written", n)
		}
		buf := make([]byte, maxPacket)
		for i, want := range pkts {
			var h Header
			got := next(t, out, &h, buf)
			want = bytes.Clone(want)
			if v6 { // a router has counted it
				want[7]--
			} else {
				want[8]--
				sumIPv4(want[:20])
			}
			if !bytes.Equal(got, want) {
				t.Fatalf("v6 %v, packet %d: %d bytes, want %d\n%x\n%x", v6, i, len(got), len(want), got[:60], want[:60])
			}
		}
	}
}

// A feed reads from a belt and writes to a device.
type feed struct {
	*Device
	belt   belt
	merged int
}

func (f *feed) Read(d time.Duration, h *Header, p []byte) (int, error) { return f.belt.Read(d, h, p) }
func (f *feed) WriteParts(h Header, headers []byte, payload [][]byte) error {
	f.merged++
	return f.Device.WriteParts(h, headers, payload)
}
