package censor

import (
	"net/netip"
	"slices"
	"testing"
	"time"

	"b4/packet"
	"b4/quic"
	"b4/tlshello"
)

func TestHost(t *testing.T) {
	tests := []struct {
		name, in      string
		strict, loose string
		stS, stL      status
	}{
		{"plain", "GET / HTTP/1.1\r\nHost: a.example\r\n\r\n", "a.example", "a.example", whole, whole},
		{"port", "GET / HTTP/1.1\r\nA: b\r\nHost: a.example:80\r\n\r\n", "a.example", "a.example", whole, whole},
		{"case", "GET / HTTP/1.1\r\nhoSt: a.example\r\n\r\n", "", "a.example", whole, whole},
		{"no space", "GET / HTTP/1.1\r\nHost:a.example\r\n\r\n", "", "a.example", whole, whole},
		{"empty line ahead", "\r\nGET / HTTP/1.1\r\nHost: a.example\r\n\r\n", "", "a.example", alien, whole},
		{"LF alone", "GET / HTTP/1.1\nHost: a.example\n\n", "", "a.example", partial, whole},
		{"absolute", "GET http://a.example/ HTTP/1.1\r\nHost: b.example\r\n\r\n", "b.example", "a.example", whole, whole},
		{"cut in the name", "GET / HTTP/1.1\r\nHost: a.exa", "", "", partial, partial},
		{"cut in the method", "GE", "", "", partial, partial},
		{"none", "GET / HTTP/1.0\r\n\r\n", "", "", whole, whole},
		{"another protocol", "SSH-2.0-x\r\n", "", "", alien, alien},
		{"hello", "\x16\x03\x01", "", "", alien, alien},
	}
	for _, tt := range tests {
		for r, want := range map[Reading]struct {
			host string
			st   status
		}{Strict: {tt.strict, tt.stS}, Loose: {tt.loose, tt.stL}, Unread: {"", alien}} {
			if host, st := r.host([]byte(tt.in)); string(host) != want.host || st != want.st {
				t.Errorf("%s, reading %d: %q, status %d, want %q, %d", tt.name, r, host, st, want.host, want.st)
			}
		}
	}
}

// A request is answered by resets, by a page, or not at all.
func TestRequest(t *testing.T) {
	req := []byte("GET / HTTP/1.1\r\nHost: " + blockedName + "\r\n\r\n")
	for _, f := range families {
		for _, name := range []string{"http-rst", "http-redirect", "http-drop", "tm-2023", "in-airtel", "tr-2024", "iran-2024"} {
			p := profile(t, name)
			p.Action.PerMille = 0
			f.server = netip.AddrPortFrom(f.server.Addr(), 80)
			w := newWire(t, p, f)
			w.open()
			v := w.send(0, req)
			if !w.blocked() || v.Forward == p.Action.DropHello {
				t.Errorf("%s, %s: %+v", name, f.name, v)
			}
			if p.Action.Page == "" {
				continue
			}
			page := decoded(t, v.Inject[0].Bytes)
			if len(v.Inject) != 1 || !v.Inject[0].ToClient || string(page.Payload) != p.Action.Page ||
				page.Seq != w.ack || page.Ack != firstSeq+uint32(len(req)) || page.Flags&packet.FIN == 0 {
				t.Errorf("%s: %+v", f.name, page)
			}
		}
	}
}

// What acts on no name.
func TestRules(t *testing.T) {
	h := hello(t, otherName, false)
	big := hello(t, otherName, true)
	at := nameAt(t, h, otherName)
	pieces := func(h []byte, cuts ...int) func(w *wire) {
		return func(w *wire) {
			from := 0
			for _, to := range append(cuts, len(h)) {
				w.send(from, h[from:to])
				from = to
			}
		}
	}
	tests := []struct {
		name, profile string
		send          func(w *wire)
		want          bool
	}{
		{"nameless", "iran-2024", pieces(clientHelloWithout(t)), true},
		{"named", "iran-2024", pieces(h), false},
		{"named, in pieces", "iran-2024", pieces(h, 1, at), false},
		{"first record without the name", "iran-2024", pieces(splitRecord(h, 30)), true},
		{"whole", "iran-2026", pieces(h), false},
		{"large, as it must", "iran-2026", pieces(big, segmentSize), false},
		{"pieces", "iran-2026", pieces(h, at), true},
		{"large, small first piece", "iran-2026", pieces(big, 1), true},
		{"records", "iran-2026", pieces(splitRecord(h, 30)), true},
		{"later piece first", "iran-2026", func(w *wire) { w.send(at, h[at:]) }, true},
		{"TLS", "iran-2020", pieces(h), false},
		{"HTTP", "iran-2020", func(w *wire) { w.send(0, []byte("GET / HTTP/1.1\r\n\r\n")) }, false},
		{"DNS", "iran-2020", func(w *wire) { w.send(0, append([]byte{0, 17}, make([]byte, 17)...)) }, false},
		{"another", "iran-2020", func(w *wire) { w.send(0, []byte("SSH-2.0-OpenSSH\r\n")) }, true},
		{"second packet", "iran-2020", pieces(h, at), true},
		{"third packet", "iran-2020", func(w *wire) { w.send(0, h); w.send(600, h); w.send(1200, []byte("SSH")) }, false},
	}
	for _, tt := range tests {
		for _, f := range families {
			w := newWire(t, profile(t, tt.profile), f)
			w.open()
			tt.send(w)
			if w.blocked() != tt.want {
				t.Errorf("%s, %s, %s: blocked %v", tt.profile, tt.name, f.name, w.blocked())
			}
		}
	}
}

// With Any, one familiar packet is enough.
func TestProtocolsAny(t *testing.T) {
	for _, tt := range []struct {
		packets []string
		want    bool
	}{{[]string{"SSH", "GET /"}, false}, {[]string{"GET /", "SSH"}, false}, {[]string{"SSH", "SSH"}, true}} {
		p := profile(t, "iran-2020")
		p.Protocols.Any = true
		w := newWire(t, p, families[0])
		w.open()
		for i, b := range tt.packets {
			w.send(i*100, []byte(b))
		}
		if w.blocked() != tt.want {
			t.Errorf("%q: blocked %v", tt.packets, w.blocked())
		}
	}
}

// An encrypted hello is acted on beside the one outer name only.
func TestECH(t *testing.T) {
	const outer = "cloudflare-ech.com"
	plain := hello(t, outer, false)
	with := func(h []byte) []byte {
		pos, _ := tlshello.Parse(h)
		h = slices.Insert(slices.Clone(h), pos.Len, 0xfe, 0x0d, 0, 2, 0, 0)
		for _, at := range []int{3, 7, pos.Extensions - 2} {
			n := int(h[at])<<8 + int(h[at+1]) + 6
			h[at], h[at+1] = byte(n>>8), byte(n)
		}
		return h
	}
	for _, tt := range []struct {
		hello []byte
		want  bool
	}{{plain, false}, {with(plain), true}, {with(hello(t, otherName, false)), false}} {
		w := newWire(t, profile(t, "tspu-2024"), families[0])
		w.open()
		if w.send(0, tt.hello); w.blocked() != tt.want {
			t.Errorf("blocked %v, want %v", w.blocked(), tt.want)
		}
	}
}

// The fourth hello within the time is one too many, to one server.
func TestPolice(t *testing.T) {
	h := hello(t, blockedName, false)
	for _, f := range families {
		for _, tt := range []struct {
			apart time.Duration
			want  bool
		}{{100 * time.Millisecond, true}, {200 * time.Millisecond, false}} {
			w := newWire(t, profile(t, "tspu-par"), f)
			for range 4 {
				w.client, w.seq = nextPort(w.client), firstSeq
				w.open()
				w.send(0, h)
				w.now = w.now.Add(tt.apart)
			}
			if w.blocked() != tt.want {
				t.Errorf("%s, %v apart: blocked %v", f.name, tt.apart, w.blocked())
			}
		}
	}
}

// Only servers in its networks are seen.
func TestNetworks(t *testing.T) {
	p := Profile{Networks: []netip.Prefix{netip.MustParsePrefix("203.0.113.0/24")}}
	for server, want := range map[string]bool{"203.0.113.9:443": true, "198.51.100.7:443": false} {
		f := families[0]
		f.server = netip.MustParseAddrPort(server)
		w := newWire(t, p, f)
		w.open()
		if w.send(0, hello(t, blockedName, false)); w.blocked() != want {
			t.Errorf("%s: blocked %v", server, w.blocked())
		}
	}
}

// One reset with ten bytes, and only for packets without TCP options.
func TestHenan(t *testing.T) {
	h := hello(t, blockedName, false)
	w := newWire(t, profile(t, "gfw-henan"), families[0])
	w.open()
	s := w.out(firstSeq, packet.PSH|packet.ACK, h)
	s.Options = []byte{1, 1, 8, 10, 0, 0, 0, 1, 0, 0, 0, 2}
	if v := w.judge(s, true); v.Inject != nil {
		t.Error("it acts on a packet with options")
	}
	v := w.send(0, h)
	if len(v.Inject) != 1 || !v.Inject[0].ToClient {
		t.Fatalf("%+v", v)
	}
	if r := decoded(t, v.Inject[0].Bytes); r.Flags != packet.RST|packet.ACK || len(r.Payload) != 10 || r.Payload[8] != 9 {
		t.Errorf("%+v", r)
	}
}

// fragmented cuts an IP packet in two behind n bytes of its payload, n a multiple
// of eight, and returns the parts in the order of their bytes.
func fragmented(b []byte, ipLen, n int) [2][]byte {
	if b[0]>>4 == 4 {
		one, two := slices.Clone(b[:ipLen+n]), append(slices.Clone(b[:ipLen]), b[ipLen+n:]...)
		one[6], one[7] = 0x20, 0
		two[6], two[7] = 0, byte(n/8)
		for _, p := range [][]byte{one, two} {
			p[2], p[3] = byte(len(p)>>8), byte(len(p))
		}
		return [2][]byte{one, two}
	}
	cut := func(from, to int, more byte) []byte {
		p := append(slices.Clone(b[:40]), b[6], 0, byte(from>>8), byte(from)|more, 0, 0, 0, 9)
		p = append(p, b[40+from:40+to]...)
		p[6], p[4], p[5] = 44, byte((len(p)-40)>>8), byte(len(p)-40)
		return p
	}
	return [2][]byte{cut(0, n, 1), cut(n, len(b)-40, 0)}
}

// Fragments pass unread, or are joined, in any order and family.
func TestDefrag(t *testing.T) {
	h := hello(t, blockedName, false)
	for _, f := range families {
		for _, joins := range []bool{false, true} {
			for _, turned := range []bool{false, true} {
				w := newWire(t, Profile{Defrag: joins}, f)
				w.open()
				s := w.out(firstSeq, packet.PSH|packet.ACK, h)
				b := s.Append(nil)
				parts := fragmented(b, len(b)-len(h)-20, 64)
				if turned {
					parts[0], parts[1] = parts[1], parts[0]
				}
				for _, p := range parts {
					w.c.Judge(w.now, p, true)
				}
				if w.blocked() != joins {
					t.Errorf("%s, joins %v, turned %v: blocked %v", f.name, joins, turned, w.blocked())
				}
			}
		}
	}
}

// Initial packets open by the keys of RFC 9001, whoever has sealed them.
func TestOpenInitial(t *testing.T) {
	var s quic.Sealer
	for _, size := range []int{1200, 1400} {
		b, err := s.Append(nil, &quic.Packet{
			Version: quic.V1, DCID: []byte("eight is"), Token: []byte("token"), Number: 70000, Crypto: []byte("hello"),
		}, size)
		if err != nil {
			t.Fatal(err)
		}
		frames, rest, ok := openInitial(append(b, 1, 2, 3))
		if !ok || len(rest) != 3 || string(frames[3:8]) != "hello" {
			t.Errorf("%v, %d bytes left, %.20q", ok, len(rest), frames)
		}
		b[len(b)-1] ^= 1
		if _, _, ok := openInitial(b); ok {
			t.Error("a spoilt packet opens")
		}
	}
}

func FuzzDatagram(f *testing.F) {
	var s quic.Sealer
	b, err := s.Append(nil, &quic.Packet{Version: quic.V1, DCID: []byte("eight is"), Crypto: []byte("hello")}, 1200)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b, b[30:])
	f.Add([]byte{6, 0, 4, 1, 0, 0, 0}, []byte{2, 0, 0, 0, 0, 6, 9, 1})
	f.Fuzz(func(t *testing.T, pkt, frames []byte) {
		openInitial(pkt)
		for _, mode := range []Mode{None, InOrder, Full} {
			c := New(Profile{QUIC: QUIC{Reads: true, Frames: mode}}, nil, 1)
			var h half
			h.stream.begin(0)
			c.gather(&h, frames)
			if len(h.stream.buf) > c.limit() || c.buffered != cap(h.stream.buf) {
				t.Errorf("%d bytes held, %d counted", len(h.stream.buf), c.buffered)
			}
		}
	})
}
