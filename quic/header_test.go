package quic

import (
	"bytes"
	"fmt"
	"testing"
)

// long makes a long header with ids of the given lengths, and what follows it.
func long(first byte, v Version, dcid, scid int, rest ...byte) []byte {
	b := []byte{first, byte(v >> 24), byte(v >> 16), byte(v >> 8), byte(v), byte(dcid)}
	b = append(b, bytes.Repeat([]byte{0xd}, dcid)...)
	b = append(b, byte(scid))
	b = append(b, bytes.Repeat([]byte{0x5}, scid)...)
	return append(b, rest...)
}

func TestParse(t *testing.T) {
	body := make([]byte, 30)
	with := func(head ...byte) []byte { return append(head, body...) }
	tests := []struct {
		name string
		in   []byte
		kind Kind
		len  int // 0 is all
	}{
		{"empty", nil, NotQUIC, 0},
		{"one byte", []byte{0xc0}, NotQUIC, 0},
		{"short header", []byte{0x40, 1, 2}, Short, 0},
		{"dns", []byte{0x12, 0x34, 1, 0, 0, 1}, NotQUIC, 0},
		{"v1 initial", long(0xc0, V1, 8, 0, with(0, 30)...), Initial, 0},
		{"v1 initial, fixed bit clear", long(0x80, V1, 8, 0, with(0, 30)...), Initial, 0},
		{"v1 initial, no id", long(0xc0, V1, 0, 0, with(0, 30)...), Initial, 0},
		{"v1 initial, longest ids", long(0xc0, V1, 20, 20, with(0, 30)...), Initial, 0},
		{"v1 initial, id too long", long(0xc0, V1, 21, 0, with(0, 30)...), NotQUIC, 0},
		{"v1 initial, source id too long", long(0xc0, V1, 8, 21, with(0, 30)...), NotQUIC, 0},
		{"v1 initial, token", long(0xc0, V1, 8, 0, with(3, 't', 'o', 'k', 0x40, 30)...), Initial, 0},
		{"v1 initial, token past the end", long(0xc0, V1, 8, 0, with(0x40, 99, 30)...), NotQUIC, 0},
		{"v1 initial, huge token", long(0xc0, V1, 8, 0, with(0xff, 255, 255, 255, 255, 255, 255, 255)...), NotQUIC, 0},
		{"v1 initial, length past the end", long(0xc0, V1, 8, 0, with(0, 31)...), NotQUIC, 0},
		{"v1 initial, huge length", long(0xc0, V1, 8, 0, with(0, 0xff, 255, 255, 255, 255, 255, 255, 255)...), NotQUIC, 0},
		{"v1 initial, too short for a sample", long(0xc0, V1, 8, 0, with(0, 19)...), NotQUIC, 0},
		{"v1 initial, another packet behind", long(0xc0, V1, 8, 0, with(0, 20)...), Initial, 7 + 8 + 2 + 20},
		{"v1 initial, cut", long(0xc0, V1, 8, 0), NotQUIC, 0},
		{"v1 0-rtt", long(0xd0, V1, 8, 4, with(30)...), ZeroRTT, 0},
		{"v1 handshake", long(0xe0, V1, 8, 4, with(30)...), Handshake, 0},
		{"v1 retry", unhex(t, vectorRetryV1), Retry, 0},
		{"v2 initial", long(0xd0, V2, 8, 0, with(0, 30)...), Initial, 0},
		{"v2 0-rtt", long(0xe0, V2, 8, 4, with(30)...), ZeroRTT, 0},
		{"v2 handshake", long(0xf0, V2, 8, 4, with(30)...), Handshake, 0},
		{"v2 retry", unhex(t, vectorRetryV2), Retry, 0},
		{"draft 29 initial", long(0xc0, Draft29, 8, 0, with(0, 30)...), Initial, 0},
		{"draft 28", long(0xc0, 0xff00001c, 8, 0, with(0, 30)...), UnknownVersion, 0},
		{"greased", long(0xc0, 0x1a2a3a4a, 8, 0, body...), UnknownVersion, 0},
		{"greased, long ids", long(0xc0, 0x1a2a3a4a, 200, 255), UnknownVersion, 0},
		{"greased, id past the end", long(0xc0, 0x1a2a3a4a, 8, 0)[:12], NotQUIC, 0},
		{"version negotiation", long(0xa5, 0, 8, 8, 0, 0, 0, 1), VersionNegotiation, 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			h := Parse(tt.in)
			want := tt.len
			if want == 0 && tt.kind != NotQUIC {
				want = len(tt.in)
			}
			if h.Kind != tt.kind || h.Len != want {
				t.Errorf("%v of %d bytes, want %v of %d", h.Kind, h.Len, tt.kind, want)
			}
			if h.Kind == NotQUIC && fmt.Sprint(h) != fmt.Sprint(Header{}) {
				t.Errorf("not quic, and yet %+v", h)
			}
		})
	}
}

func TestParseFields(t *testing.T) {
	h := Parse(long(0xc0, V1, 3, 2, append([]byte{3, 't', 'o', 'k', 30}, make([]byte, 30)...)...))
	if h.Version != V1 || string(h.DCID) != "\r\r\r" || string(h.SCID) != "\x05\x05" || string(h.Token) != "tok" {
		t.Errorf("%+v", h)
	}
}

// The first row is RFC 9000 appendix A.3's.
func TestFullNumber(t *testing.T) {
	tests := []struct {
		low, largest int64
		size         int
		want         int64
	}{
		{0x9b32, 0xa82f30ea, 2, 0xa82f9b32},
		{0, -1, 1, 0}, {255, -1, 1, 255}, {255, 255, 1, 255}, {1, 255, 1, 257}, {254, 256, 1, 254},
		{0, 126, 1, 0}, {0, 127, 1, 256}, {128, 255, 1, 384}, {129, 255, 1, 129},
		{0, 1<<32 - 1, 4, 1 << 32}, {5, 1 << 33, 4, 1<<33 + 5},
	}
	for _, tt := range tests {
		if got := fullNumber(tt.low, tt.largest, tt.size); got != tt.want {
			t.Errorf("%#x after %#x in %d bytes: %#x, want %#x", tt.low, tt.largest, tt.size, got, tt.want)
		}
	}
}
