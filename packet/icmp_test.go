package packet

import (
	"bytes"
	"encoding/hex"
	"net/netip"
	"testing"
)

// A UDP packet of four bytes in each family, as originals of errors.
func original4(mut func([]byte)) []byte {
	b, _ := hex.DecodeString("4500002000014000011100000a000002cb0071" + "0a" + "9c4001bb000c0000" + "61626364")
	if mut != nil {
		mut(b)
	}
	return b
}

func original6(mut func([]byte)) []byte {
	b, _ := hex.DecodeString("60000000000c1101" + "20010db8000100000000000000000002" +
		"20010db8000300000000000000000010" + "9c4001bb000c0000" + "61626364")
	if mut != nil {
		mut(b)
	}
	return b
}

var (
	hop4 = netip.MustParseAddr("192.0.2.1")
	hop6 = netip.MustParseAddr("2001:db8:2::1")
)

func TestICMPError(t *testing.T) {
	tests := []struct {
		name string
		kind ICMPKind
		mtu  int
		v4   [2]byte
		rest string // the four bytes after the checksum, v4
		v6   [2]byte
		mtu6 string
	}{
		{"time exceeded", TimeExceeded, 0, [2]byte{11, 0}, "00000000", [2]byte{3, 0}, "00000000"},
		{"too big", TooBig, 1400, [2]byte{3, 4}, "00000578", [2]byte{2, 0}, "00000578"},
		{"port unreachable", PortUnreachable, 1400, [2]byte{3, 3}, "00000000", [2]byte{1, 4}, "00000000"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			p := ICMPError([]byte("ahead"), tt.kind, hop4, tt.mtu, original4(nil))[5:]
			checkICMP(t, p, 20, tt.v4, tt.rest, original4(nil))
			if Fold(Sum(0, p[:20])) != 0xffff || transportSum(p, 20, ICMP) != 0xffff {
				t.Errorf("v4 checksums of %x", p)
			}
			p = ICMPError([]byte("ahead"), tt.kind, hop6, tt.mtu, original6(nil))[5:]
			checkICMP(t, p, 40, tt.v6, tt.mtu6, original6(nil))
			if transportSum(p, 40, ICMPv6) != 0xffff {
				t.Errorf("v6 checksum of %x", p)
			}
		})
	}
}

func checkICMP(t *testing.T, p []byte, hdr int, kind [2]byte, rest string, quote []byte) {
	t.Helper()
	if [2]byte(p[hdr:]) != kind || hex.EncodeToString(p[hdr+4:hdr+8]) != rest {
		t.Errorf("message %x, want type and code %d and rest %s", p[hdr:hdr+8], kind, rest)
	}
	if !bytes.Equal(p[hdr+8:], quote) {
		t.Errorf("quotes %x, want %x", p[hdr+8:], quote)
	}
	from, to := p[12:16], p[16:20]
	src := quote[12:16]
	want := hop4.AsSlice()
	if hdr == 40 {
		from, to, src, want = p[8:24], p[24:40], quote[8:24], hop6.AsSlice()
	}
	if !bytes.Equal(from, want) || !bytes.Equal(to, src) {
		t.Errorf("from %x to %x, want %x to %x", from, to, want, src)
	}
}

func TestICMPErrorRefuses(t *testing.T) {
	tests := []struct {
		name string
		from netip.Addr
		in   []byte
	}{
		{"empty", hop4, nil},
		{"other family", hop6, original4(nil)},
		{"other family v6", hop4, original6(nil)},
		{"short", hop4, original4(nil)[:19]},
		{"short v6", hop6, original6(nil)[:39]},
		{"IHL below 20", hop4, original4(func(b []byte) { b[0] = 0x44 })},
		{"total past buffer", hop4, original4(func(b []byte) { b[3]++ })},
		{"length past buffer v6", hop6, original6(func(b []byte) { b[5]++ })},
		{"later fragment", hop4, original4(func(b []byte) { b[7] = 1 })},
		{"ICMP error", hop4, original4(func(b []byte) { b[9] = 1; b[20] = 3 })},
		{"ICMP error v6", hop6, original6(func(b []byte) { b[6] = 58; b[40] = 1 })},
		{"ICMP without a type", hop4, original4(func(b []byte) { b[9], b[3] = 1, 20 })},
		{"from multicast", hop4, original4(func(b []byte) { b[12] = 224 })},
		{"from broadcast", hop4, original4(func(b []byte) { copy(b[12:], "\xff\xff\xff\xff") })},
		{"from nobody", hop4, original4(func(b []byte) { copy(b[12:], "\x00\x00\x00\x00") })},
		{"from multicast v6", hop6, original6(func(b []byte) { b[8] = 0xff })},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if p := ICMPError(nil, TimeExceeded, tt.from, 0, tt.in); len(p) != 0 {
				t.Errorf("sent %x", p)
			}
		})
	}
	asks := original4(func(b []byte) { b[9], b[20] = 1, 8 })
	if len(ICMPError(nil, TimeExceeded, hop4, 0, asks)) == 0 {
		t.Error("no error about an echo request")
	}
}

func TestICMPErrorCutsTheQuote(t *testing.T) {
	big4 := append(original4(func(b []byte) { b[2], b[3] = 0x05, 0xdc }), make([]byte, 1500-32)...)
	if n := len(ICMPError(nil, TooBig, hop4, 1400, big4)); n != 576 {
		t.Errorf("v4 error has %d bytes, want 576", n)
	}
	big6 := append(original6(func(b []byte) { b[4], b[5] = 0x05, 0xb4 }), make([]byte, 1500-52)...)
	if n := len(ICMPError(nil, TooBig, hop6, 1400, big6)); n != 1280 {
		t.Errorf("v6 error has %d bytes, want 1280", n)
	}
}
