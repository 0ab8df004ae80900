package quic

import (
	"bytes"
	"fmt"
	"math/rand"
	"testing"

	"b4/tlshello"
)

// framesIn opens the Initial packets of b, a datagram of c, and tells their packet
// numbers and frames.
func framesIn(t testing.TB, c *Conn, b []byte) (s string) {
	t.Helper()
	for len(b) > 0 {
		h := Parse(b)
		if h.Kind != Initial {
			return s + fmt.Sprintf("and %d", len(b))
		}
		pkt := bytes.Clone(b[:h.Len])
		payload, n, ok := c.keys.open(pkt, h.number, c.largest)
		if !ok {
			return s + "sealed "
		}
		s += fmt.Sprintf("#%d ", n)
		r := reader{b: payload}
		for r.pos < len(payload) {
			at := r.pos
			switch f := r.frame(); f.typ {
			case framePadding:
				s += "- "
			case frameCrypto:
				s += fmt.Sprintf("%d+%d ", f.off, len(f.data))
			default:
				s += fmt.Sprintf("%x ", payload[at:r.pos])
			}
		}
		b = b[h.Len:]
	}
	return s
}

func TestReseal(t *testing.T) {
	msg := hello("www.example.org")
	n := len(msg)
	ack := []byte{frameAck, 5, 0, 0, 1}
	padded := func(frames ...[]byte) []byte { return join(join(frames...), make([]byte, 200)) }
	all := Layout{Cuts: []int{100, 50, 9999}, Reverse: true, Max: 4000}
	first := wire{dcid: "client's", frames: padded(crypto(0, msg))}
	id := "\x0d\x0d\x0d\x0d\x0d\x0d\x0d\x0d"
	shake := long(0xe0, V1, 8, 0, append([]byte{40}, make([]byte, 40)...)...)
	tests := []struct {
		name string
		in   []byte
		l    Layout
		want string // empty: left alone
		grow int
	}{
		{"cut", first.seal(), Layout{Cuts: []int{100}, Max: 4000}, "#0 0+100 100+412 - ", 0},
		{"cut and turned", first.seal(), all, "#0 100+412 50+50 0+50 - ", 0},
		{"turned as cut by the client", wire{dcid: "client's", frames: padded(crypto(0, msg[:9]), crypto(9, msg[9:]))}.seal(),
			Layout{Reverse: true, Max: 4000}, "#0 9+503 0+9 - ", 0},
		{"turned already", wire{dcid: "client's", frames: padded(crypto(9, msg[9:]), crypto(0, msg[:9]))}.seal(), Layout{Reverse: true, Max: 4000}, "", 0},
		{"cut nowhere", first.seal(), Layout{Cuts: []int{-5, 0, n, n + 7}, Max: 4000}, "", 0},
		{"nothing asked", first.seal(), Layout{Max: 4000}, "", 0},
		{"padding ahead", first.seal(), Layout{Ahead: true, Max: 4000}, "#0 - 0+512 ", 0},
		{"padding behind, grown", first.seal(), Layout{Size: len(first.seal()) + 30, Max: 4000}, "#0 0+512 - ", 30},
		{"grown no further than allowed", first.seal(), Layout{Size: 3000, Max: len(first.seal()) + 9, Ahead: true}, "#0 - 0+512 ", 9},
		{"already as long", first.seal(), Layout{Size: 100, Max: 4000}, "", 0},
		{"other frames stay", wire{dcid: "client's", frames: padded(ack, crypto(0, msg), []byte{framePing})}.seal(), all,
			"#0 0205000001 01 100+412 50+50 0+50 - ", 0},
		{"no padding, room to grow", wire{dcid: "client's", frames: crypto(0, msg)}.seal(), all, "#0 100+412 50+50 0+50 ", 4},
		{"no padding, no room", wire{dcid: "client's", frames: crypto(0, msg)}.seal(), Layout{Cuts: []int{100, 200}, Max: 100}, "", 0},
		{"a length of one byte", shortLength(wire{dcid: "client's", frames: crypto(0, msg[:30])}), Layout{Cuts: []int{1, 2, 3, 4, 5}, Max: 4000}, "#0 0+1 1+1 2+1 3+1 4+1 5+25 ", 13},
		{"two packets", join(wire{dcid: "client's", frames: padded(crypto(0, msg[:60]))}.seal(), wire{dcid: "client's", number: 1, frames: padded(crypto(60, msg[60:]))}.seal()), all,
			"#0 50+10 0+50 - #1 100+412 60+40 - ", 0},
		{"another behind", join(wire{dcid: id, frames: padded(crypto(0, msg))}.seal(), shake), all, "#0 100+412 50+50 0+50 - and 56", 0},
		{"junk behind", join(first.seal(), make([]byte, 9)), all, "#0 100+412 50+50 0+50 - and 9", 0},
		{"no crypto", wire{dcid: "client's", frames: padded(ack)}.seal(), Layout{Ahead: true, Max: 4000}, "", 0},
		{"another frame", wire{dcid: "client's", frames: padded(crypto(0, msg), []byte{0x1e})}.seal(), all, "", 0},
		{"close", wire{dcid: "client's", frames: padded(crypto(0, msg), []byte{frameClose, 0, 0, 0})}.seal(), all, "", 0},
		{"reserved bit", wire{dcid: "client's", reserved: 4, frames: padded(crypto(0, msg))}.seal(), all, "", 0},
		{"not quic", []byte("\x12\x34 dns"), all, "", 0},
		{"nothing", nil, all, "", 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			for _, known := range []bool{true, false} {
				var d Decoder
				var c, again Conn
				var s Sealer
				d.Datagram(&c, tt.in)
				keysOf := &c
				if !known {
					keysOf = nil
				}
				in := bytes.Clone(tt.in)
				got, ok := s.AppendReseal([]byte("x"), keysOf, in, &tt.l)
				if !bytes.Equal(in, tt.in) {
					t.Fatal("changed the datagram")
				}
				if ok != (tt.want != "") || !ok && string(got) != "x" {
					t.Fatalf("%v, %d bytes", ok, len(got))
				}
				if !ok {
					continue
				}
				got = got[1:]
				if f := framesIn(t, &c, got); f != tt.want || len(got)-len(in) != tt.grow {
					t.Errorf("%s, %d bytes more, want %s, %d", f, len(got)-len(in), tt.want, tt.grow)
				}
				if _, err := d.Datagram(&again, got); err != nil || !bytes.Equal(again.Message(), c.Message()) {
					t.Errorf("%v, %d bytes of %d", err, len(again.Message()), len(c.Message()))
				}
			}
		})
	}
}

// shortLength seals w, of less than 64 bytes behind the length, with a length of
// one byte.
func shortLength(w wire) []byte {
	w.short = true
	return w.seal()
}

// Where a length of one byte becomes one of two, the datagram still fits, to the byte.
func TestResealFitsToTheByte(t *testing.T) {
	msg := hello("www.example.org")
	var s Sealer
	for n := 20; n < 41; n++ {
		frames := crypto(0, msg[:n])
		in := shortLength(wire{dcid: "client's", frames: frames})
		least, had := 0, false
		for limit := len(in); limit < len(in)+30; limit++ {
			out, ok := s.AppendReseal(nil, nil, in, &Layout{Cuts: []int{1, 2, 3}, Max: limit})
			if ok && !had {
				least = len(out)
			}
			if had && !ok || ok && (len(out) > limit || len(out) != least) {
				t.Fatalf("%d bytes of a hello in %d: %v, %d bytes, %d by a lower limit", n, limit, ok, len(out), least)
			}
			had = ok
			if !ok {
				continue
			}
			var d Decoder
			var c Conn
			if _, err := d.Datagram(&c, out); err != nil || !bytes.Equal(c.Message(), msg[:n]) {
				t.Fatalf("%d bytes of a hello in %d: %v, reads %d", n, limit, err, len(c.Message()))
			}
		}
		want := 6 // three headers more, and the first shorter
		if 1+len(frames)+want+tagLen >= 1<<6 {
			want++
		}
		if least-len(in) != want {
			t.Errorf("%d bytes of a hello: grows by %d, want %d", n, least-len(in), want)
		}
	}
}

// Whatever the header, the server finds the same number and bytes behind it.
func TestResealForms(t *testing.T) {
	const id = "0123456789abcdefghij"
	msg := hello("www.example.org")
	l := Layout{Cuts: []int{70, 99}, Reverse: true, Max: 2000}
	for _, v := range []Version{V1, V2, Draft29} {
		for n := range maxCID + 1 {
			w := wire{version: v, dcid: id[:n], number: uint32(1000 * n), size: 2 + n%3, token: string(make([]byte, 13*n)), frames: join(crypto(0, msg), make([]byte, 20))}
			in := w.seal()
			var d Decoder
			var c, again Conn
			var s Sealer
			d.Datagram(&c, in)
			got, ok := s.AppendReseal(nil, &c, in, &l)
			_, err := d.Datagram(&again, got)
			if !ok || len(got) != len(in) || err != nil || name(&again) != "www.example.org" || again.largest != c.largest {
				t.Errorf("%x, id of %d: %v, %d bytes of %d, %v, number %d of %d", v, n, ok, len(got), len(in), err, again.largest, c.largest)
			}
			head := Parse(in)
			if !bytes.Equal(got[1:head.length], in[1:head.length]) {
				t.Errorf("%x, id of %d: header %x, was %x", v, n, got[:head.length], in[:head.length])
			}
		}
	}
}

// A packet to the id that the server chose opens with the keys of the first.
func TestResealLater(t *testing.T) {
	var d Decoder
	var c Conn
	var s Sealer
	msg := hello("www.example.org")
	d.Datagram(&c, wire{dcid: "client's", frames: []byte{framePing}}.seal())
	later := wire{dcid: "server's", keys: "client's", number: 300, size: 2, frames: join(crypto(0, msg), make([]byte, 20))}.seal()
	d.Datagram(&c, later)
	l := Layout{Cuts: []int{70}, Max: 2000}
	if got, ok := s.AppendReseal(nil, &c, later, &l); !ok || framesIn(t, &c, got) != "#300 0+70 70+442 - " {
		t.Errorf("%v: %s", ok, framesIn(t, &c, got))
	}
	if _, ok := s.AppendReseal(nil, nil, later, &l); ok {
		t.Error("opens without the connection")
	}
}

func TestResealBounds(t *testing.T) {
	var d Decoder
	var c Conn
	var s Sealer
	msg := random(rand.New(rand.NewSource(1)), 3000)
	in := wire{dcid: "client's", frames: crypto(0, msg)}.seal()
	d.Datagram(&c, in)
	for _, n := range []int{maxFrames - 1, maxFrames, 3 * maxFrames} {
		l := Layout{Reverse: true, Max: 9000}
		for i := range n {
			l.Cuts = append(l.Cuts, 5*(i+1))
		}
		if _, ok := s.AppendReseal(nil, &c, in, &l); ok != (n < maxFrames) {
			t.Errorf("%d cuts: %v", n, ok)
		}
	}
}

func TestResealAllocs(t *testing.T) {
	var d Decoder
	var c Conn
	var s Sealer
	in := wire{dcid: "client's", frames: join(crypto(0, hello("www.example.org")), make([]byte, 600))}.seal()
	d.Datagram(&c, in)
	l := Layout{Cuts: []int{70, 99}, Reverse: true, Max: 2000}
	out, _ := s.AppendReseal(nil, &c, in, &l)
	if n := testing.AllocsPerRun(100, func() { out, _ = s.AppendReseal(out[:0], &c, in, &l) }); n != 0 {
		t.Errorf("%v allocations, want 0", n)
	}
}

func FuzzReseal(f *testing.F) {
	f.Add(crypto(0, hello("www.example.org")), []byte{}, 60, 70, true, false, 1250)
	f.Add(join(crypto(90, hello("b")), []byte{framePing}, crypto(0, hello("a")[:90])), []byte{1}, 1, 500, true, true, 0)
	f.Add([]byte{frameAck, 5, 0, 1, 2, 0, 1, 0, 0}, long(0xc0, V1, 8, 0, 0, 30), -1, 0, false, true, 1<<15)
	f.Fuzz(func(t *testing.T, frames, behind []byte, one, two int, reverse, ahead bool, size int) {
		in := join(wire{dcid: "client's", number: 7, frames: frames[:min(len(frames), 16000)]}.seal(), behind)
		var d Decoder
		var c, again Conn
		var s Sealer
		_, err := d.Datagram(&c, in)
		l := Layout{Cuts: []int{one, two}, Reverse: reverse, Ahead: ahead, Size: size, Max: 1500}
		got, ok := s.AppendReseal(nil, &c, in, &l)
		if !ok {
			return
		}
		if len(got) < len(in) || len(got) > max(len(in), l.Max) {
			t.Fatalf("%d bytes, had %d", len(got), len(in))
		}
		if n := len(behind); !bytes.Equal(got[len(got)-n:], behind) && err == nil {
			t.Fatal("changed what stands behind")
		}
		_, errAgain := d.Datagram(&again, got)
		if err == nil && (errAgain != nil || !bytes.Equal(again.Message(), c.Message()) || again.largest != c.largest) {
			t.Fatalf("%v, %d bytes of %d", errAgain, len(again.Message()), len(c.Message()))
		}
	})
}

func BenchmarkReseal(bm *testing.B) {
	var d Decoder
	var c Conn
	var s Sealer
	in := vector(bm, "v1")
	d.Datagram(&c, in)
	l := Layout{Cuts: []int{60, 99}, Reverse: true, Max: 1252}
	var out []byte
	bm.ReportAllocs()
	for range bm.N {
		out, _ = s.AppendReseal(out[:0], &c, in, &l)
	}
}

// After HelloRetryRequest the client's second hello stands behind the first.
func TestSecondHello(t *testing.T) {
	first, second := hello("www.example.org"), tlshello.AppendDecoy(nil, "www.example.org", 2)[len(recordHeader):]
	msg := join(first, second)
	var d Decoder
	var c Conn
	host := func() int {
		h, _ := c.Hello()
		return h.Host
	}
	d.Datagram(&c, wire{dcid: "client's", frames: crypto(0, first)}.seal())
	at := host()
	d.Datagram(&c, wire{dcid: "client's", number: 1, frames: crypto(len(first), second[:40])}.seal())
	if host() != at {
		t.Errorf("host at %d before the second hello names it", host())
	}
	d.Datagram(&c, wire{dcid: "client's", number: 2, frames: crypto(len(first)+40, second[40:])}.seal())
	h, st := c.Hello()
	if st != tlshello.Complete || h.Handshake != len(first) || h.Host != len(first)+at || h.Len != len(msg) || name(&c) != "www.example.org" {
		t.Errorf("status %d, %+v, first host at %d", st, h, at)
	}
	if !bytes.Equal(c.Message(), msg) {
		t.Error("looking for it changed the message")
	}
	d.Datagram(&c, wire{dcid: "client's", number: 3, frames: crypto(len(msg), []byte("\x14not a hello"))}.seal())
	if host() != len(first)+at {
		t.Errorf("host at %d with something else behind", host())
	}
}

// Data without any form is no Initial packet, whatever its first bits.
func TestRandomIsNotInitial(t *testing.T) {
	r := rand.New(rand.NewSource(9))
	for n := range 20000 {
		b := random(r, 1+n%1400)
		if k := Parse(b).Kind; k != NotQUIC && k != Short && k != UnknownVersion {
			t.Fatalf("%v: %x", k, b[:min(len(b), 20)])
		}
	}
}
