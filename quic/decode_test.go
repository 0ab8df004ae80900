package quic

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/rand"
	"testing"

	"b4/tlshello"
)

// A wire is an Initial packet with any frames, to be sealed.
type wire struct {
	version    Version
	dcid, keys string // keys: the id they follow from, if not dcid
	token      string
	number     uint32
	size       int // bytes of the packet number, 0 is 1
	reserved   byte
	short      bool // the length stands in one byte
	frames     []byte
}

func (w wire) seal() []byte {
	if w.version == 0 {
		w.version = V1
	}
	if w.keys == "" {
		w.keys = w.dcid
	}
	w.size = max(w.size, 1)
	if len(w.frames) < maxNumber {
		w.frames = append(w.frames, make([]byte, maxNumber-len(w.frames))...)
	}
	b := []byte{0xc0 | w.version.profile().first<<4 | w.reserved | byte(w.size-1)}
	b = binary.BigEndian.AppendUint32(b, uint32(w.version))
	b = append(append(b, byte(len(w.dcid))), w.dcid...)
	b = append(b, 0)
	b = append(appendVarint(b, len(w.token)), w.token...)
	n := w.size + len(w.frames) + tagLen
	if w.short {
		b = append(b, byte(n))
	} else {
		b = append(b, 0x40|byte(n>>8), byte(n))
	}
	number := len(b)
	for i := w.size - 1; i >= 0; i-- {
		b = append(b, byte(w.number>>(8*i)))
	}
	head := len(b)
	b = append(append(b, w.frames...), make([]byte, tagLen)...)
	var k keys
	k.derive(origin{w.version, newCID([]byte(w.keys))})
	k.setNonce(uint64(w.number))
	k.suite.seal(b[head:], k.nonce[:], b[:head])
	k.protect(b, number, false)
	return b
}

func crypto(off int, data []byte) []byte {
	b := append([]byte{frameCrypto}, 0x80, 0, byte(off>>8), byte(off)) // the offset in four bytes
	return append(appendVarint(b, len(data)), data...)
}

func hello(name string) []byte { return tlshello.AppendDecoy(nil, name, 1)[len(recordHeader):] }

func join(bs ...[]byte) []byte { return bytes.Join(bs, nil) }

func name(c *Conn) string {
	h, _ := c.Hello()
	return string(c.AppendName(nil, &h))
}

// Every length of connection id, of token and of packet number, in each version.
func TestDatagramForms(t *testing.T) {
	const id = "0123456789abcdefghij"
	for _, v := range []Version{V1, V2, Draft29} {
		for n := range maxCID + 1 {
			var d Decoder
			var c Conn
			w := wire{version: v, dcid: id[:n], number: uint32(n), size: 1 + n%4, token: string(make([]byte, 13*n)), frames: crypto(0, hello("www.example.org"))}
			kind, err := d.Datagram(&c, w.seal())
			if kind != Initial || err != nil || name(&c) != "www.example.org" {
				t.Errorf("%x, id of %d: %v, %v, %q", v, n, kind, err, name(&c))
			}
		}
	}
}

// A hello in CRYPTO frames that are cut, shuffled and repeated, among PADDING,
// PING and ACK, in several packets and datagrams of any order.
func TestDatagramScattered(t *testing.T) {
	r := rand.New(rand.NewSource(4))
	msg := join(hello("scattered.example"), random(r, 1200)) // as long as post-quantum hellos are
	skipped := [][]byte{
		{framePing}, make([]byte, 1), make([]byte, 40),
		{frameAck, 5, 0, 1, 2, 0, 1}, {frameAckECN, 5, 0x40, 9, 0, 1, 1, 2, 3},
	}
	for round := range 200 {
		var pieces [][]byte
		for at := 0; at < len(msg); {
			n := 1 + r.Intn(min(150, len(msg)-at))
			back := r.Intn(min(at, 20) + 1)
			pieces = append(pieces, crypto(at-back, msg[at-back:at+n]), skipped[r.Intn(len(skipped))])
			at += n
		}
		r.Shuffle(len(pieces), func(i, j int) { pieces[i], pieces[j] = pieces[j], pieces[i] })
		var d Decoder
		var c Conn
		for i := 0; len(pieces) > 0; {
			var datagram []byte
			for range 1 + r.Intn(2) {
				n := min(len(pieces), 1+r.Intn(8))
				if n > 0 {
					datagram = append(datagram, wire{dcid: "client's", number: uint32(i), frames: join(pieces[:n]...)}.seal()...)
				}
				pieces = pieces[n:]
				i++
			}
			if kind, err := d.Datagram(&c, datagram); kind != Initial || err != nil {
				t.Fatalf("round %d: %v, %v", round, kind, err)
			}
		}
		if !bytes.Equal(c.Message(), msg) || name(&c) != "scattered.example" {
			t.Fatalf("round %d: %d bytes of %d, %q", round, len(c.Message()), len(msg), name(&c))
		}
	}
}

func TestDatagramSpread(t *testing.T) {
	msg := hello("spread.example")
	var d Decoder
	var c Conn
	second := wire{dcid: "client's", number: 1, frames: crypto(100, msg[100:])}.seal()
	if kind, err := d.Datagram(&c, second); kind != Initial || err != nil || c.Message() != nil {
		t.Fatalf("%v, %v, %d bytes", kind, err, len(c.Message()))
	}
	if _, st := c.Hello(); st != tlshello.Partial {
		t.Errorf("status %d before the first byte", st)
	}
	first := wire{dcid: "client's", frames: crypto(0, msg[:100])}.seal()
	d.Datagram(&c, first)
	h, st := c.Hello()
	if st != tlshello.Complete || h.Len != len(msg) || string(c.Message()[h.Host:h.HostEnd]) != "spread.example" {
		t.Errorf("status %d, %+v", st, h)
	}
}

// Coalesced with an Initial are packets that are skipped, or end the datagram.
func TestDatagramCoalesced(t *testing.T) {
	id := "\x0d\x0d\x0d\x0d\x0d\x0d\x0d\x0d"
	sealed := make([]byte, 4500)
	zero := long(0xd0, V1, 8, 0, append([]byte{0x51, 0x94}, sealed[:0x1194]...)...) // 0-RTT over 4 KB
	shake := long(0xe0, V1, 8, 0, append([]byte{40}, sealed[:40]...)...)
	short := append([]byte{0x40}, id...)
	other := wire{dcid: "another", frames: crypto(0, hello("wrong.example"))}.seal()
	initial := wire{dcid: id, frames: crypto(0, hello("coalesced.example"))}.seal()
	bad := bytes.Clone(initial)
	bad[len(bad)-1] ^= 1
	tests := []struct {
		name string
		in   []byte
		kind Kind
		err  error
		want string
	}{
		{"0-rtt behind", join(initial, zero), Initial, nil, "coalesced.example"},
		{"0-rtt before", join(zero, initial), Initial, nil, "coalesced.example"},
		{"handshake and 1-rtt", join(initial, shake, short), Initial, nil, "coalesced.example"},
		{"zeros behind", join(initial, make([]byte, 300)), Initial, nil, "coalesced.example"},
		{"another connection's behind", join(initial, other), Initial, nil, "coalesced.example"},
		{"one that does not open behind", join(initial, bad), Initial, nil, "coalesced.example"},
		{"one that does not open before", join(bad, initial), Initial, nil, "coalesced.example"},
		{"alone and not opening", bad, Initial, ErrSealed, ""},
		{"0-rtt alone", zero, ZeroRTT, nil, ""},
		{"handshake and 1-rtt alone", join(shake, short), Handshake, nil, ""},
		{"too many", join(shake, shake, shake, shake, shake, shake, initial), Handshake, nil, ""},
		{"nothing", nil, NotQUIC, nil, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var d Decoder
			var c Conn
			in := bytes.Clone(tt.in)
			kind, err := d.Datagram(&c, in)
			if kind != tt.kind || err != tt.err || name(&c) != tt.want {
				t.Errorf("%v, %v, %q", kind, err, name(&c))
			}
			if !bytes.Equal(in, tt.in) {
				t.Error("changed the datagram")
			}
		})
	}
}

// Which keys open what follows the first datagram.
func TestDatagramKeys(t *testing.T) {
	one, two := hello("one.example"), hello("two.example")
	first := wire{dcid: "chosen by client", frames: crypto(0, one[:200])}
	rest := crypto(200, one[200:])
	tests := []struct {
		name string
		next wire
		want string
	}{
		{"to the id the server chose", wire{dcid: "server's", keys: "chosen by client", number: 1, frames: rest}, "one.example"},
		{"in the version the server chose", wire{dcid: "server's", keys: "chosen by client", version: V2, number: 1, frames: rest}, "one.example"},
		{"after a retry", wire{dcid: "retry's", token: "token", number: 1, frames: crypto(0, one)}, "one.example"},
		{"another connection's", wire{dcid: "of another", frames: crypto(0, two)}, "two.example"},
		{"in another version, begun anew", wire{dcid: "of another", version: V2, frames: crypto(0, two)}, "two.example"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var d Decoder
			var c Conn
			d.Datagram(&c, first.seal())
			kind, err := d.Datagram(&c, tt.next.seal())
			_, st := c.Hello()
			if kind != Initial || err != nil || name(&c) != tt.want || st != tlshello.Complete {
				t.Errorf("%v, %v, %q, status %d", kind, err, name(&c), st)
			}
			if want := max(tt.next.version, V1); c.keys.of.version != want {
				t.Errorf("keeps keys of version %x, want %x", c.keys.of.version, want)
			}
		})
	}
}

// Of a packet number one byte is sent, which is read against the largest so far.
func TestDatagramNumbers(t *testing.T) {
	var d Decoder
	var c Conn
	for _, n := range []uint32{100, 220, 340, 250, 460} {
		w := wire{dcid: "client's", number: n, frames: []byte{framePing}}
		if kind, err := d.Datagram(&c, w.seal()); kind != Initial || err != nil {
			t.Errorf("number %d: %v, %v", n, kind, err)
		}
	}
}

func TestDatagramRefuses(t *testing.T) {
	far := join([]byte{frameCrypto, 0xc0, 0, 0, 1, 0, 0, 0, 0}, []byte{1, 'x'})
	tests := []struct {
		name     string
		frames   []byte
		reserved byte
		want     error
	}{
		{"stream frame", []byte{0x08, 0, 0, 0}, 0, ErrFrame},
		{"new token frame", []byte{0x07, 1, 0, 0}, 0, ErrFrame},
		{"frame type of two bytes", []byte{0x41, 0x00, 0, 0}, 0, ErrFrame},
		{"crypto past the end", []byte{frameCrypto, 0, 9, 0}, 0, ErrFrame},
		{"crypto cut", []byte{0, 0, 0, frameCrypto}, 0, ErrFrame},
		{"ack with ranges past the end", []byte{frameAck, 9, 0, 0x80, 255, 255, 255, 0}, 0, ErrFrame},
		{"crypto too far", far, 0, ErrFull},
		{"close", []byte{frameClose, 0, 0, 0}, 0, ErrClosed},
		{"application's close", []byte{0x1d, 0, 0, 0}, 0, ErrFrame},
		{"reserved bit", make([]byte, 20), 4, ErrClosed},
		{"the other reserved bit", make([]byte, 20), 8, ErrClosed},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var d Decoder
			var c Conn
			w := wire{dcid: "client's", frames: tt.frames, reserved: tt.reserved}
			if kind, err := d.Datagram(&c, w.seal()); kind != Initial || err != tt.want {
				t.Errorf("%v, %v", kind, err)
			}
		})
	}
}

func TestDatagramAfterClose(t *testing.T) {
	var d Decoder
	var c Conn
	d.Datagram(&c, wire{dcid: "client's", frames: []byte{frameClose, 0, 0, 0}}.seal())
	w := wire{dcid: "client's", number: 1, frames: crypto(0, hello("late.example"))}
	if _, err := d.Datagram(&c, w.seal()); err != ErrClosed || c.Message() != nil {
		t.Errorf("%v, %d bytes", err, len(c.Message()))
	}
	c.Reset()
	if _, err := d.Datagram(&c, w.seal()); err != nil || name(&c) != "late.example" {
		t.Errorf("after a reset: %v, %q", err, name(&c))
	}
}

func TestDecoy(t *testing.T) {
	var s Sealer
	for _, v := range []Version{V1, V2, Draft29} {
		b, err := s.AppendDecoy([]byte("x"), v, "www.w3.org", 7)
		if err != nil || len(b) != 1+MinDatagram {
			t.Fatalf("%x: %d bytes, %v", v, len(b), err)
		}
		var d Decoder
		var c Conn
		if kind, err := d.Datagram(&c, b[1:]); kind != Initial || err != nil || name(&c) != "www.w3.org" {
			t.Errorf("%x: %v, %v, %q", v, kind, err, name(&c))
		}
		same, _ := s.AppendDecoy(nil, v, "www.w3.org", 7)
		other, _ := s.AppendDecoy(nil, v, "www.w3.org", 8)
		if !bytes.Equal(same, b[1:]) || bytes.Equal(other, same) {
			t.Errorf("%x: does not follow the seed", v)
		}
	}
}

func TestSealRefuses(t *testing.T) {
	long := make([]byte, 1<<14)
	tests := []struct {
		p    Packet
		size int
		want error
	}{
		{Packet{Version: 0x1a2a3a4a}, 1200, errVersion},
		{Packet{Version: V1, DCID: long[:21]}, 1200, errCID},
		{Packet{Version: V1, SCID: long[:21]}, 1200, errCID},
		{Packet{Version: V1, Crypto: long}, 1 << 15, errFit},
		{Packet{Version: V1, Token: long}, 1 << 15, errFit},
		{Packet{Version: V1, Offset: -1}, 1200, errFit},
		{Packet{Version: V1, Offset: 1 << 14}, 1200, errFit},
		{Packet{Version: V1, Crypto: long[:1200]}, 1200, errFit},
		{Packet{Version: V1, Crypto: long[:100]}, 0, errFit},
		{Packet{Version: V1, Crypto: long[:100]}, 1 << 15, errFit},
	}
	var s Sealer
	for _, tt := range tests {
		if b, err := s.Append([]byte("x"), &tt.p, tt.size); err != tt.want || string(b) != "x" {
			t.Errorf("%x, %d bytes: %v, %d bytes", tt.p.Version, tt.size, err, len(b))
		}
	}
	// The least size that fits does, at every offset.
	for _, off := range []int{0, 63, 64, 1<<14 - 1} {
		p := Packet{Version: V1, DCID: []byte("client's"), Offset: off, Crypto: long[:100]}
		n := 0
		for err := errFit; err != nil; n++ {
			_, err = s.Append(nil, &p, n)
		}
		b, _ := s.Append(nil, &p, n-1)
		if h := Parse(b); h.Kind != Initial || h.Len != n-1 || h.Len != len(b) {
			t.Errorf("offset %d: %v of %d, want %d", off, h.Kind, h.Len, n-1)
		}
	}
}

// After the first datagram nothing allocates; nor does a new connection where
// the ciphers are ours.
func TestAllocs(t *testing.T) {
	var s Sealer
	var d Decoder
	var c Conn
	b := wire{dcid: "client's", frames: crypto(0, hello("www.example.org"))}.seal()
	d.Datagram(&c, b)
	if n := testing.AllocsPerRun(200, func() {
		d.Datagram(&c, b)
		c.Hello()
	}); n != 0 {
		t.Errorf("%v allocations per datagram, want 0", n)
	}
	want := 0.0
	if _, soft := any(&c.keys.suite).(*softSuite); !soft {
		want = 2 // a cipher and GCM
	}
	if n := testing.AllocsPerRun(200, func() {
		c.Reset()
		d.Datagram(&c, b)
	}); n > want {
		t.Errorf("%v allocations per connection, want %v", n, want)
	}
	p := Packet{Version: V1, DCID: []byte("client's"), Crypto: hello("www.example.org")}
	out, _ := s.Append(nil, &p, MinDatagram)
	if n := testing.AllocsPerRun(200, func() { out, _ = s.Append(out[:0], &p, MinDatagram) }); n != 0 {
		t.Errorf("%v allocations per sealed packet, want 0", n)
	}
}

func FuzzDatagram(f *testing.F) {
	f.Add(vector(f, "v1"), vector(f, "v2"), false)
	f.Add(unhex(f, vectorRetryV1), unhex(f, vectorServer), false)
	f.Add(crypto(0, hello("www.example.org")), crypto(30, hello("b")), true)
	f.Add([]byte{frameAck, 5, 0, 1, 2, 0, 1}, []byte{frameClose, 0, 0, 0}, true)
	f.Fuzz(func(t *testing.T, one, two []byte, frames bool) {
		var d Decoder
		var c Conn
		for i, b := range [][]byte{one, two} {
			if frames { // otherwise hardly a packet opens
				b = wire{dcid: "client's", number: uint32(i), frames: b[:min(len(b), 16000)]}.seal()
			}
			kind, err := d.Datagram(&c, b)
			if err != nil && kind != Initial || frames && kind != Initial {
				t.Fatalf("%v: %v", kind, err)
			}
			if frames && i == 0 && err == ErrSealed {
				t.Fatal("does not open what was sealed")
			}
		}
		h, st := c.Hello()
		if n := len(c.Message()); n > MaxMessage || cap(c.stream.buf) > 2*(MaxMessage+len(recordHeader)) || h.Len > n || h.HostEnd > n {
			t.Fatalf("%d bytes in %d: %+v", n, cap(c.stream.buf), h)
		}
		if got := c.AppendName(nil, &h); st == tlshello.NotHello && len(got) > 0 {
			t.Fatalf("no hello, and yet named %q", got)
		}
	})
}

func BenchmarkDatagram(bm *testing.B) {
	var d Decoder
	var c Conn
	for _, name := range []string{"v1", "v2"} {
		b := vector(bm, name)
		bm.Run(fmt.Sprintf("%s/first", name), func(bm *testing.B) {
			bm.ReportAllocs()
			for range bm.N {
				c.Reset()
				d.Datagram(&c, b)
				c.Hello()
			}
		})
		bm.Run(fmt.Sprintf("%s/later", name), func(bm *testing.B) {
			bm.ReportAllocs()
			for range bm.N {
				d.Datagram(&c, b)
			}
		})
	}
}

func BenchmarkParse(bm *testing.B) {
	b := vector(bm, "v1")
	for range bm.N {
		Parse(b)
	}
}

func BenchmarkDecoy(bm *testing.B) {
	var s Sealer
	var b []byte
	bm.ReportAllocs()
	for range bm.N {
		b, _ = s.AppendDecoy(b[:0], V1, "www.w3.org", 1)
	}
}
