package packet

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"testing"
)

var (
	a4, b4 = netip.MustParseAddrPort("192.0.2.1:40000"), netip.MustParseAddrPort("198.51.100.7:443")
	a6, b6 = netip.MustParseAddrPort("[2001:db8::1]:40000"), netip.MustParseAddrPort("[2001:db8:1::7]:443")
)

func segment(src, dst netip.AddrPort, payload string) []byte {
	s := Segment{Src: src, Dst: dst, Seq: 0xfffffffe, Ack: 7, Flags: ACK | PSH, Window: 512, TTL: 63, ID: 9,
		Options: []byte{1, 1, 8, 10, 0, 0, 0, 1, 0, 0, 0, 2}, Payload: []byte(payload)}
	return s.Append(nil)
}

func edit(b []byte, mut func([]byte)) []byte {
	b = bytes.Clone(b)
	mut(b)
	return b
}

// withExtension puts an IPv6 extension header of n*8+8 bytes in front of the
// transport header.
func withExtension(b []byte, kind uint8, n int) []byte {
	ext := make([]byte, n*8+8)
	ext[0], ext[1] = b[6], uint8(n)
	out := append(append(bytes.Clone(b[:40]), ext...), b[40:]...)
	out[6] = kind
	binary.BigEndian.PutUint16(out[4:], uint16(len(out)-40))
	return out
}

func TestDecode(t *testing.T) {
	tests := []struct {
		name     string
		in       []byte
		src, dst netip.AddrPort
		ipLen    int
	}{
		{"v4", segment(a4, b4, "hello"), a4, b4, 20},
		{"v6", segment(a6, b6, "hello"), a6, b6, 40},
		{"v4 trailing bytes", append(segment(a4, b4, "hello"), 1, 2, 3), a4, b4, 20},
		{"v6 trailing bytes", append(segment(a6, b6, "hello"), 1, 2, 3), a6, b6, 40},
		{"v6 hop-by-hop", withExtension(segment(a6, b6, "hello"), 0, 0), a6, b6, 48},
		{"v6 two extensions", withExtension(withExtension(segment(a6, b6, "hello"), 60, 1), 43, 0), a6, b6, 64},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var v View
			if !v.Decode(tt.in) {
				t.Fatal("refused")
			}
			if v.Src != tt.src || v.Dst != tt.dst || v.Proto != TCP || v.TTL != 63 || v.Seq != 0xfffffffe ||
				v.Ack != 7 || v.Flags != ACK|PSH || v.Window != 512 || v.IPLen != tt.ipLen ||
				v.Hdr != tt.ipLen+32 || string(v.Payload) != "hello" {
				t.Errorf("%+v", v)
			}
			if ts, ok := v.TCPOption(tt.in, 8); !ok || !bytes.Equal(ts, []byte{0, 0, 0, 1, 0, 0, 0, 2}) {
				t.Errorf("timestamp option %x %v", ts, ok)
			}
			if _, ok := v.TCPOption(tt.in, 19); ok {
				t.Error("found an option that is not there")
			}
		})
	}
}

func TestDecodeRefuses(t *testing.T) {
	v4, v6 := segment(a4, b4, "hello"), segment(a6, b6, "hello")
	tests := []struct {
		name string
		in   []byte
	}{
		{"empty", nil},
		{"version 5", edit(v4, func(b []byte) { b[0] = 0x55 })},
		{"v4 short", v4[:19]},
		{"v4 IHL below 20", edit(v4, func(b []byte) { b[0] = 0x41 })},
		{"v4 IHL past total", edit(v4, func(b []byte) { b[0] = 0x4f; b[3] = 40 })},
		{"v4 total past buffer", edit(v4, func(b []byte) { b[3]++ })},
		{"v4 total inside header", edit(v4, func(b []byte) { b[3] = 10 })},
		{"v4 data offset past total", edit(v4, func(b []byte) { b[3] = 40; b[32] = 0xf0 })},
		{"v4 data offset below 20", edit(v4, func(b []byte) { b[32] = 0x40 })},
		{"v4 first fragment", edit(v4, func(b []byte) { b[6] = 0x20 })},
		{"v4 last fragment", edit(v4, func(b []byte) { b[7] = 1 })},
		{"v4 other protocol", edit(v4, func(b []byte) { b[9] = 47 })},
		{"v6 short", v6[:39]},
		{"v6 length past buffer", edit(v6, func(b []byte) { b[5]++ })},
		{"v6 fragment", withExtension(v6, 44, 0)},
		{"v6 routing header with segments left", edit(withExtension(v6, 43, 0), func(b []byte) { b[43] = 1 })},
		{"v6 extension past end", edit(withExtension(v6, 0, 0), func(b []byte) { b[41] = 200 })},
		{"v6 extension cut", append(edit(v6[:44], func(b []byte) { b[5] = 4; b[6] = 0 }), 0)},
		{"v6 data offset past total", edit(v6, func(b []byte) { b[52] = 0xf0 })},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			v := View{TTL: 1}
			if v.Decode(tt.in) {
				t.Errorf("decoded as %+v", v)
			}
			if v.TTL != 0 || v.Payload != nil || v.Src.IsValid() {
				t.Errorf("refused, but half filled: %+v", v)
			}
		})
	}
}

func TestDecodeUDPAndICMP(t *testing.T) {
	for _, ip := range [][2]netip.AddrPort{{a4, b4}, {a6, b6}} {
		for _, proto := range []uint8{UDP, ICMP, ICMPv6} {
			var b []byte
			ipLen := appendIP(&b, ip[0].Addr(), ip[1].Addr(), proto, 5, 0)
			echo := byte(8)
			if proto == ICMPv6 {
				echo = 128
			}
			b = append(b, echo, 1, 2, 3, 0x12, 0x34, 0, 0, 'x')
			Finish(b, ipLen, proto)
			var v View
			if !v.Decode(b) || v.Proto != proto || string(v.Payload) != "x" || v.TTL != 5 {
				t.Errorf("proto %d: %+v", proto, v)
			}
			if !ChecksumOK(b) {
				t.Errorf("proto %d: checksum wrong: %x", proto, b)
			}
			if proto != UDP && (v.Src.Port() != 0x1234 || v.Dst.Port() != uint16(echo)) {
				t.Errorf("proto %d: identifier %#x, type %d", proto, v.Src.Port(), v.Dst.Port())
			}
		}
	}
}

// A checksum known from outside: the example of RFC 1071 section 3.
func TestSumKnown(t *testing.T) {
	if got := Fold(Sum(0, []byte{0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7})); got != 0xddf2 {
		t.Errorf("%#x, want 0xddf2", got)
	}
}

func TestChecksumOK(t *testing.T) {
	for _, b := range [][]byte{segment(a4, b4, "hello"), segment(a6, b6, "hello!"), segment(a4, b4, "")} {
		if !ChecksumOK(b) {
			t.Errorf("wrong: %x", b)
		}
		if ChecksumOK(edit(b, func(b []byte) { b[len(b)-1] ^= 1 })) {
			t.Errorf("flipped bit not seen: %x", b)
		}
	}
	if ChecksumOK(edit(segment(a4, b4, "x"), func(b []byte) { b[8]-- })) {
		t.Error("IPv4 header checksum not checked")
	}
}

func TestTCPOption(t *testing.T) {
	const mss = 2
	for _, tt := range []struct {
		options []byte
		want    []byte
	}{
		{[]byte{2, 4, 5, 180}, []byte{5, 180}},
		{[]byte{1, 2, 4, 5, 180}, []byte{5, 180}},
		{[]byte{1, 1, 1, 2, 4, 5, 180}, []byte{5, 180}},
		{[]byte{3, 3, 7, 2, 4, 5, 180, 2, 4, 9, 9}, []byte{5, 180}},
		{[]byte{4, 2, 2, 2}, []byte{}},
		{[]byte{0, 2, 4, 5, 180}, nil},
		{[]byte{3, 1, 2, 4, 5, 180}, nil},
		{[]byte{3, 0, 2, 4, 5, 180}, nil},
		{[]byte{3, 3, 7, 2}, nil},
		{[]byte{2, 5, 1, 1}, nil},
		{nil, nil},
	} {
		for _, ends := range [][2]netip.AddrPort{{a4, b4}, {a6, b6}} {
			b := (&Segment{Src: ends[0], Dst: ends[1], Options: tt.options}).Append(nil)
			var v View
			v.Decode(b)
			if got, ok := v.TCPOption(b, mss); !bytes.Equal(got, tt.want) || ok != (tt.want != nil) {
				t.Errorf("%v: %v %v", tt.options, got, ok)
			}
		}
	}
}

// A UDP checksum that comes out as zero is written as all ones: zero says that
// there is none.
func TestZeroChecksum(t *testing.T) {
	found := false
	for n := range 1 << 16 {
		var b []byte
		ipLen := appendIP(&b, a6.Addr(), b6.Addr(), UDP, 5, 0)
		b = append(b, 1, 2, 3, 4, 0, 0, 0, 0, byte(n>>8), byte(n))
		Finish(b, ipLen, UDP)
		sum := binary.BigEndian.Uint16(b[ipLen+6:])
		if sum == 0 || !ChecksumOK(b) {
			t.Fatalf("%d: checksum %#x", n, sum)
		}
		found = found || sum == 0xffff
	}
	if !found {
		t.Error("none came out as zero")
	}
}

func TestDecodeAllocs(t *testing.T) {
	for _, b := range [][]byte{segment(a4, b4, "hello"), withExtension(segment(a6, b6, "hello"), 0, 0)} {
		var v View
		if n := testing.AllocsPerRun(1000, func() { v.Decode(b); v.TCPOption(b, 19) }); n != 0 {
			t.Errorf("%v allocations per packet, want 0", n)
		}
	}
}

func FuzzDecode(f *testing.F) {
	f.Add(segment(a4, b4, "hello"))
	f.Add(withExtension(segment(a6, b6, "hello"), 0, 0))
	f.Fuzz(func(t *testing.T, b []byte) {
		var v View
		ok := v.Decode(b)
		ChecksumOK(b)
		if !ok {
			return
		}
		v.TCPOption(b, 5)
		if v.Hdr+len(v.Payload) > len(b) || !v.Src.IsValid() || v.IPLen < 20 || v.Hdr < v.IPLen+8 {
			t.Errorf("%x: %+v", b, v)
		}
		whole := bytes.Clone(b[:v.Hdr+len(v.Payload)])
		Finish(whole, v.IPLen, v.Proto)
		if v.IPLen+16 < 65535 && !ChecksumOK(whole) {
			t.Errorf("%x: finished, and wrong", whole)
		}
	})
}

func BenchmarkDecode(bm *testing.B) {
	b := segment(a4, b4, "hello")
	var v View
	bm.ReportAllocs()
	for range bm.N {
		v.Decode(b)
	}
}

// Of a packet that was cut, what is there is shown.
func TestDecodeStart(t *testing.T) {
	for _, src := range []string{"192.0.2.1:1", "[2001:db8::1]:1"} {
		from := netip.MustParseAddrPort(src)
		s := Segment{Src: from, Dst: netip.AddrPortFrom(from.Addr().Next(), 443), Options: []byte{1, 1, 1, 1}, Payload: []byte("0123456789")}
		b := s.Append(nil)
		var whole, v View
		whole.Decode(b)
		for n := range len(b) {
			ok := v.DecodeStart(b[:n])
			if ok != (n >= whole.Hdr) {
				t.Errorf("%s: %d bytes: %v", src, n, ok)
			}
			if ok && (string(v.Payload) != "0123456789"[:n-whole.Hdr] || v.Dst != whole.Dst || v.Seq != whole.Seq) {
				t.Errorf("%s: %d bytes: %+v", src, n, v)
			}
			if v.Decode(b[:n]) {
				t.Errorf("%s: %d bytes are whole", src, n)
			}
		}
		if !v.DecodeStart(append(b, "more"...)) || string(v.Payload) != "0123456789" {
			t.Errorf("%s: %+v", src, v)
		}
	}
	for _, b := range [][]byte{original4(nil), original6(nil)} {
		hdr := len(b) - len("abcd")
		var v View
		for n := range b {
			if ok := v.DecodeStart(b[:n]); ok != (n >= hdr) || ok && (string(v.Payload) != "abcd"[:n-hdr] || v.Dst.Port() != 443) {
				t.Errorf("%d bytes of UDP: %v, %+v", n, ok, v)
			}
		}
	}
	s := Segment{Src: netip.MustParseAddrPort("192.0.2.1:1"), Dst: netip.MustParseAddrPort("192.0.2.2:443"), Payload: make([]byte, 100)}
	b := s.Append(nil)
	b[0] = 0x4f // a header of 60 bytes
	var v View
	for n := range 60 {
		if v.DecodeStart(b[:n]) {
			t.Errorf("%d bytes hold a header of 60", n)
		}
	}
}
