package desync

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"b4/engine"
	"b4/packet"
	"b4/quic"
	"b4/tlshello"
)

// quicEnv is a client's datagram of size bytes, whose hello is about hello bytes,
// decoded, in a connection of either family.
func quicEnv(t testing.TB, v6 bool, hello, size int) *Env {
	t.Helper()
	b := tlshello.AppendQUICDecoy(nil, name, 3)
	if more := hello - len(b); more >= 4 {
		h, _ := tlshello.Parse(b)
		b = slices.Insert(b, h.Extensions, append([]byte{0xfa, 0xfa, byte((more - 4) >> 8), byte(more - 4)}, make([]byte, more-4)...)...)
		for _, at := range []int{3, 7, h.Extensions - 2} {
			binary.BigEndian.PutUint16(b[at:], binary.BigEndian.Uint16(b[at:])+uint16(more))
		}
	}
	var s quic.Sealer
	out, err := s.Append(nil, &quic.Packet{Version: quic.V1, DCID: []byte("client's"), SCID: []byte("own"), Number: 1, Crypto: b[tlsRecord:]}, size)
	if err != nil {
		t.Fatal(err)
	}
	return decoded(t, out, v6)
}

// decoded is the environment of datagram b, the first of its connection.
func decoded(t testing.TB, b []byte, v6 bool) *Env {
	t.Helper()
	src, dst := netip.MustParseAddrPort("192.0.2.1:40000"), netip.MustParseAddrPort("198.51.100.7:443")
	if v6 {
		src, dst = netip.MustParseAddrPort("[2001:db8::1]:40000"), netip.MustParseAddrPort("[2001:db8:1::7]:443")
	}
	header := make([]byte, 28)
	header[0], header[8], header[9] = 0x45, 63, packet.UDP
	binary.BigEndian.PutUint16(header[4:], 1000)
	copy(header[12:], src.Addr().AsSlice())
	copy(header[16:], dst.Addr().AsSlice())
	if v6 {
		header = make([]byte, 48)
		header[0], header[6], header[7] = 0x60, packet.UDP, 63
		copy(header[8:], src.Addr().AsSlice())
		copy(header[24:], dst.Addr().AsSlice())
	}
	udp := header[len(header)-8:]
	binary.BigEndian.PutUint16(udp, src.Port())
	binary.BigEndian.PutUint16(udp[2:], dst.Port())
	var d quic.Decoder
	c := new(quic.Conn)
	if kind, err := d.Datagram(c, b); kind != quic.Initial || err != nil {
		t.Fatalf("the test's datagram: %v, %v", kind, err)
	}
	h, _ := c.Hello()
	return &Env{
		Msg:  Message{Proto: QUIC, Bytes: b, Hello: h, Crypto: c.Message(), QUIC: c},
		Conn: Conn{Header: header, IPLen: len(header) - 8, MTU: 1500},
		Rand: 42,
	}
}

func mustParseQUIC(t testing.TB, text string) *Strategy {
	t.Helper()
	s, err := QUIC.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func emitQUIC(t testing.TB, s *Strategy, e *Env) *engine.Batch {
	t.Helper()
	var p Plan
	out := new(engine.Batch)
	if err := s.Plan(&p, e); err != nil {
		t.Fatal(err)
	}
	if n := p.Emit(out, engine.Meta{}, e, 0, len(e.Msg.Bytes)); n != out.Len() {
		t.Fatalf("says %d packets, made %d", n, out.Len())
	}
	return out
}

// quicLine says what a packet is.
func quicLine(t testing.TB, b []byte, e *Env) string {
	if _, f, ok := fragmentOf(b); ok {
		return fmt.Sprintf("part  %4d+%-4d more %v id %d\n", f.off, len(f.data), f.more, f.id.id)
	}
	var v packet.View
	if !v.Decode(b) || v.Proto != packet.UDP {
		t.Fatalf("not a datagram: %x", b)
	}
	s := fmt.Sprintf("%4d bytes ttl %d", len(v.Payload), v.TTL)
	if b[0]>>4 == 4 {
		s += fmt.Sprintf(" id %d", binary.BigEndian.Uint16(b[4:]))
	} else if v.IPLen > 40 {
		s += fmt.Sprintf(" ext %x", b[40:v.IPLen])
	}
	if !packet.ChecksumOK(b) {
		s += " badsum"
	}
	h := quic.Parse(v.Payload)
	if h.Kind != quic.Initial {
		return s + fmt.Sprintf(" %v %x...\n", h.Kind, v.Payload[:8])
	}
	frames, crypto := opened(t, v.Payload, h.DCID)
	switch {
	case bytes.Equal(v.Payload, e.Msg.Bytes):
		s += " as it came"
	case bytes.Equal(h.DCID, quic.Parse(e.Msg.Bytes).DCID):
		s += " anew"
	default:
		s += " decoy"
	}
	if h, st := helloIn(crypto); st == tlshello.Complete {
		s += " says " + string(crypto[h.Host:h.HostEnd])
	}
	return s + frames + "\n"
}

// helloIn parses handshake bytes.
func helloIn(crypto []byte) (tlshello.Hello, tlshello.Status) {
	h, st := tlshello.Parse(append([]byte{22, 3, 1, 0x40, 0}, crypto...))
	h.Shift(-tlsRecord)
	return h, st
}

var quicStrategies = []string{
	"",
	"split(midsld)",
	"split(1, midsld, -1) disorder",
	"split(host, endhost)",
	"split(9999)",
	"disorder",
	"pad(1200)",
	"pad(1250)",
	"pad(1452) split(sniext) disorder",
	"udplen(8)",
	"split(midsld) udplen(100)",
	"fake",
	"fake(sni=ok.example, ttl=4, repeat=3)",
	"fake(clone, badsum)",
	"fake(clone, sni=ok.example, place=after)",
	"fake(zero, hopbyhop) fake(random, destopt, ttl=5)",
	"fake(file=/decoy)",
	"fake(repeat=2) split(midsld) disorder",
	"ipfrag(8)",
	"fake(ttl=3) split(midsld) disorder ipid(seq) ipfrag(24)",
	"fake ipid(rnd) dup(1)",
	"pad(1300) udplen(20) ipfrag(800) dup(1)",
}

func noFile(string) ([]byte, error) { return []byte("\x00any bytes"), nil }

// What every strategy puts on the wire, kept as text.
func TestQUICWire(t *testing.T) {
	var b strings.Builder
	for _, text := range quicStrategies {
		s, err := QUIC.ParseWith(text, noFile)
		if err != nil {
			t.Fatal(err)
		}
		for _, st := range s.stream {
			if f, ok := st.(*quicFake); ok && f.made[0] != nil {
				f.seed = 4
				f.seal()
			}
		}
		for _, tt := range []struct {
			v6          bool
			hello, size int
		}{{false, 0, 1200}, {true, 1220, 1300}} {
			fmt.Fprintf(&b, "== %q, datagram of %d\n", text, tt.size)
			e := quicEnv(t, tt.v6, tt.hello, tt.size)
			out := emitQUIC(t, s, e)
			for i := range out.Len() {
				b.WriteString(quicLine(t, out.At(i).Bytes, e))
			}
		}
	}
	golden(t, "quic.txt", b.String())
}

// quicServer joins fragments and returns the payloads of the datagrams that reach
// a server 10 hops away.
func quicServer(t testing.TB, out *engine.Batch, order []int) (payloads [][]byte) {
	r := &receiver{parts: make(map[fragID][]fragPart)}
	for _, i := range order {
		b := out.At(i).Bytes
		if id, f, ok := fragmentOf(b); ok {
			if len(r.parts[id]) == 0 && f.off == 0 && len(f.data) < 8 {
				t.Fatal("a first fragment without the UDP header")
			}
			if b = r.join(id, f); b == nil {
				continue
			}
		}
		var v packet.View
		if !v.Decode(b) || v.TTL < 10 || !packet.ChecksumOK(b) || discards(b, v.IPLen) {
			continue
		}
		payloads = append(payloads, bytes.Clone(v.Payload))
	}
	if r.unaligned {
		t.Error("fragments that no receiver takes")
	}
	return payloads
}

// checkQUIC asserts the invariant: of the client's connection the server reads
// what the client wrote, in whatever order the packets come.
func checkQUIC(t *testing.T, s *Strategy, e *Env) {
	t.Helper()
	out := emitQUIC(t, s, e)
	id := quic.Parse(e.Msg.Bytes).DCID
	number, _, _ := openInitial(t, e.Msg.Bytes, id)
	_, want := opened(t, e.Msg.Bytes, id)
	for _, order := range orders(out.Len(), e.Rand) {
		found := false
		for _, b := range quicServer(t, out, order) {
			if h := quic.Parse(b); h.Kind != quic.Initial || !bytes.Equal(h.DCID, id) {
				continue
			}
			found = true
			n, _, _ := openInitial(t, b, id)
			if _, got := opened(t, b, id); n != number || !bytes.Equal(got, want) {
				t.Fatalf("%s: the server reads packet %d with %d bytes, want %d with %d", s, n, len(got), number, len(want))
			}
		}
		if !found {
			t.Fatalf("%s: the client's datagram does not arrive", s)
		}
	}
	for i := range out.Len() {
		if n := len(out.At(i).Bytes); n > e.Conn.MTU && n > len(e.Msg.Bytes)+len(e.Conn.Header) {
			t.Errorf("%s: packet of %d bytes, MTU %d", s, n, e.Conn.MTU)
		}
	}
}

func TestQUICServerReadsTheSame(t *testing.T) {
	for _, text := range quicStrategies {
		s, _ := QUIC.ParseWith(text, noFile)
		for hello := 250; hello < 1400; hello += short(97, 97*5) {
			for _, mtu := range []int{1280, 1500} {
				e := quicEnv(t, hello%2 == 0, hello, min(max(1200, hello+60), 1420))
				e.Conn.MTU = mtu
				checkQUIC(t, s, e)
				e.Msg.QUIC = nil // the keys follow from the datagram
				checkQUIC(t, s, e)
			}
		}
	}
}

// A datagram that has no PADDING grows, up to a packet that every path carries,
// or, where it is longer itself, to the connection's MTU.
func TestQUICSplitRoom(t *testing.T) {
	s := mustParseQUIC(t, "split(midsld) disorder")
	for _, tt := range []struct {
		size  int
		whole bool
	}{{1200, false}, {1248, false}, {1250, true}, {1252, true}, {1400, false}, {1472, true}} {
		e := quicEnv(t, false, tt.size-41, tt.size) // two bytes of PADDING: one frame header more takes four
		frames, _ := opened(t, e.Msg.Bytes, quic.Parse(e.Msg.Bytes).DCID)
		var p Plan
		if err := s.Plan(&p, e); err != nil || p.Whole() != tt.whole {
			t.Errorf("%d bytes,%s: whole %v, %v", tt.size, frames, p.Whole(), err)
		}
	}
}

// Each strategy has decoys of its own, of the version that the client speaks.
func TestQUICDecoys(t *testing.T) {
	e := quicEnv(t, false, 400, 1200)
	ids := make(map[string]bool)
	for _, text := range []string{"fake", "fake", "fake(clone)", "fake(clone)"} {
		b := emitQUIC(t, mustParseQUIC(t, text), e).At(0).Bytes[len(e.Conn.Header):]
		ids[string(quic.Parse(b).DCID)] = true
	}
	if len(ids) != 4 {
		t.Errorf("%d ids of 4 strategies", len(ids))
	}
	for _, v := range quicVersions {
		e.Msg.Bytes, _ = new(quic.Sealer).AppendDecoy(nil, v, name, 1)
		for _, text := range []string{"fake", "fake(clone)"} {
			b := emitQUIC(t, mustParseQUIC(t, text), e).At(0).Bytes[len(e.Conn.Header):]
			var d quic.Decoder
			var c quic.Conn
			if kind, err := d.Datagram(&c, b); kind != quic.Initial || err != nil || quic.Parse(b).Version != v {
				t.Errorf("%s for %x: %v, %v of %x", text, v, kind, err, quic.Parse(b).Version)
			}
		}
	}
	e.Msg.Bytes = []byte("\xc0\x1a\x2a\x3a\x4a\x00\x00")
	var p Plan
	if err := mustParseQUIC(t, "fake").Plan(&p, e); err != errNoDecoy || !p.Whole() {
		t.Errorf("for another version: %v", err)
	}
}

// A plan is made again for a datagram that comes again, and comes out the same.
func TestQUICPlanRepeats(t *testing.T) {
	var p Plan
	for _, text := range quicStrategies {
		s, _ := QUIC.ParseWith(text, noFile)
		e := quicEnv(t, false, 400, 1200)
		first := emitQUIC(t, s, e)
		out := new(engine.Batch)
		if err := s.Plan(&p, e); err != nil {
			t.Fatal(err)
		}
		p.Emit(out, engine.Meta{}, e, 0, len(e.Msg.Bytes))
		for i := range first.Len() {
			if !bytes.Equal(out.At(i).Bytes, first.At(i).Bytes) {
				t.Errorf("%q: packet %d differs", text, i)
			}
		}
	}
}

func TestQUICHarm(t *testing.T) {
	for text, want := range map[string]Harm{"": Nothing, "split(1)": Segments, "pad(1200)": Segments, "udplen(1)": Decoys, "fake": Decoys} {
		if got := mustParseQUIC(t, text).Harm(); got != want {
			t.Errorf("%q: %v, want %v", text, got, want)
		}
	}
}

func TestQUICAllocs(t *testing.T) {
	s := mustParseQUIC(t, "pad(1220) split(midsld) disorder udplen(9) ipid(seq)")
	e := quicEnv(t, true, 600, 1200)
	var p Plan
	var out engine.Batch
	if n := testing.AllocsPerRun(100, func() {
		out.Reset()
		if s.Plan(&p, e) != nil || p.Emit(&out, engine.Meta{}, e, 0, len(e.Msg.Bytes)) != 1 {
			t.Fatal("no plan")
		}
	}); n != 0 {
		t.Errorf("%v allocations, want 0", n)
	}
}

func BenchmarkQUIC(bm *testing.B) {
	for _, text := range []string{"split(midsld) disorder", "fake", "ipfrag(24)"} {
		s := mustParseQUIC(bm, text)
		e := quicEnv(bm, false, 400, 1200)
		var p Plan
		var out engine.Batch
		bm.Run(text, func(bm *testing.B) {
			bm.ReportAllocs()
			for i := range bm.N {
				out.Reset()
				e.Rand = uint64(i) // another connection
				s.Plan(&p, e)
				p.Emit(&out, engine.Meta{}, e, 0, len(e.Msg.Bytes))
			}
		})
	}
}
