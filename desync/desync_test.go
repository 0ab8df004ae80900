package desync

import (
	"bytes"
	"encoding/binary"
	"flag"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"b4/engine"
	"b4/packet"
	"b4/tlshello"
)

var update = flag.Bool("update", false, "write the golden files anew")

const name = "www.blocked.example"

// env is a client's hello of about size bytes in a connection of either family.
func env(t testing.TB, v6 bool, size int) *Env {
	t.Helper()
	hello := tlshello.AppendDecoy(nil, name, 3)
	if more := size - len(hello); more >= 4 { // a large extension first, as a key share can stand
		h, _ := tlshello.Parse(hello)
		hello = slices.Insert(hello, h.Extensions, append([]byte{0xfa, 0xfa, byte((more - 4) >> 8), byte(more - 4)}, make([]byte, more-4)...)...)
		for _, at := range []int{3, 7, h.Extensions - 2} { // record, handshake, extensions
			binary.BigEndian.PutUint16(hello[at:], binary.BigEndian.Uint16(hello[at:])+uint16(more))
		}
	}
	h, st := tlshello.Parse(hello)
	if st != tlshello.Complete {
		t.Fatal("the test's hello is none")
	}
	src, dst := netip.MustParseAddrPort("192.0.2.1:40000"), netip.MustParseAddrPort("198.51.100.7:443")
	if v6 {
		src, dst = netip.MustParseAddrPort("[2001:db8::1]:40000"), netip.MustParseAddrPort("[2001:db8:1::7]:443")
	}
	s := packet.Segment{Src: src, Dst: dst, Seq: 0xffffff00, Ack: 77, Flags: packet.ACK | packet.PSH | packet.CWR,
		Window: 500, TTL: 63, ID: 1000, Options: []byte{1, 1, 8, 10, 0, 0, 0, 1, 0, 0, 0, 2}}
	header := s.Append(nil)
	return &Env{
		Msg:  Message{hello, h},
		Conn: Conn{Header: header, IPLen: len(header) - 32, Base: s.Seq, MTU: 1500},
		Rand: 42,
	}
}

func mustParse(t testing.TB, text string) *Strategy {
	t.Helper()
	s, err := Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// wire runs a strategy and says what leaves, a line a packet.
func wire(t testing.TB, s *Strategy, e *Env, from, to int) (string, *engine.Batch) {
	t.Helper()
	var p Plan
	var out engine.Batch
	if err := s.Plan(&p, e); err != nil {
		return "error: " + err.Error() + "\n", &out
	}
	p.Emit(&out, engine.Meta{}, e, from, to)
	var b strings.Builder
	for i := range out.Len() {
		b.WriteString(line(t, out.At(i).Bytes, e))
	}
	return b.String(), &out
}

func line(t testing.TB, pkt []byte, e *Env) string {
	var v packet.View
	if !v.Decode(pkt) {
		t.Fatalf("not a packet: %x", pkt)
	}
	off := int(v.Seq - e.Conn.Base)
	kind := "decoy"
	if off+len(v.Payload) <= len(e.Msg.Bytes) && bytes.Equal(v.Payload, e.Msg.Bytes[off:off+len(v.Payload)]) {
		kind = "real "
	}
	s := fmt.Sprintf("%s %4d+%-4d ttl %-2d", kind, off, len(v.Payload), v.TTL)
	if pkt[0]>>4 == 4 {
		s += fmt.Sprintf(" id %-5d", int(pkt[4])<<8|int(pkt[5]))
	}
	for i, f := range []string{"FIN", "SYN", "RST", "PSH", "ACK", "URG", "ECE", "CWR"} {
		if v.Flags>>i&1 == 1 {
			s += " " + f
		}
	}
	if _, ok := v.TCPOption(pkt, 19); ok {
		s += " md5"
	}
	if !packet.ChecksumOK(pkt) {
		s += " badsum"
	}
	if h, st := tlshello.Parse(v.Payload); st == tlshello.Complete || h.Named() {
		s += " says " + string(v.Payload[h.Host:h.HostEnd])
	}
	return strings.TrimRight(s, " ") + "\n"
}

var strategies = []string{
	"",
	"split(1)",
	"split(midsld)",
	"split(-1)",
	"split(9999)",
	"split(1, midsld) disorder",
	"split(midsld) disorder",
	"split(sniext+1, host, sld, endsld-1, endhost)",
	"disorder",
	"fake(ttl=4) split(midsld) disorder",
	"split(midsld) disorder fake(ttl=4)",
	"fake(clone, badsum)",
	"fake(clone, sni=ok.example, md5, repeat=2) split(1)",
	"split(1, 2) ipid(seq)",
	"split(midsld) ipid(rnd)",
}

// What every strategy puts on the wire, kept as text.
func TestWire(t *testing.T) {
	var b strings.Builder
	for _, text := range strategies {
		for _, size := range []int{517, 1800} {
			fmt.Fprintf(&b, "== %q, hello of %d\n", text, size)
			e := env(t, size == 1800, size)
			s, _ := wire(t, mustParse(t, text), e, 0, len(e.Msg.Bytes))
			b.WriteString(s)
		}
	}
	golden(t, "wire.txt", b.String())
}

func golden(t *testing.T, file, got string) {
	t.Helper()
	file = filepath.Join("testdata", file)
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s differs; run with -update and read the change. Now:\n%s", file, got)
	}
}

// received is what a TCP receiver behind 10 hops reads of the packets that start
// at base: it takes the first copy of every byte (RFC 9293 leaves that open) and
// discards what any stack discards.
func received(pkts *engine.Batch, base uint32, size int) (stream []byte, whole bool) {
	stream, have := make([]byte, size), make([]bool, size)
	for i := range pkts.Len() {
		b := pkts.At(i).Bytes
		var v packet.View
		v.Decode(b)
		if _, signed := v.TCPOption(b, 19); signed || v.TTL < 10 || !packet.ChecksumOK(b) {
			continue
		}
		for k, c := range v.Payload {
			if at := int(int32(v.Seq-base)) + k; at >= 0 && at < size && !have[at] {
				stream[at], have[at] = c, true
			}
		}
	}
	for _, h := range have {
		if !h {
			return stream, false
		}
	}
	return stream, true
}

// check asserts the invariant: the server reads exactly what the client wrote.
func check(t *testing.T, s *Strategy, e *Env) {
	t.Helper()
	text, out := wire(t, s, e, 0, len(e.Msg.Bytes))
	if strings.HasPrefix(text, "error") {
		return
	}
	if got, ok := received(out, e.Conn.Base, len(e.Msg.Bytes)); !ok || !bytes.Equal(got, e.Msg.Bytes) {
		t.Errorf("%s: the server reads something else (complete: %v):\n%s", s, ok, text)
	}
	for i := range out.Len() {
		if b := out.At(i).Bytes; len(b) > e.Conn.MTU {
			t.Errorf("%s: packet of %d bytes, MTU %d", s, len(b), e.Conn.MTU)
		}
	}
}

func TestServerReadsTheSame(t *testing.T) {
	for _, text := range strategies {
		s := mustParse(t, text)
		for size := 517; size < 3000; size += 61 {
			for _, mtu := range []int{576, 1280, 1500} {
				e := env(t, size%2 == 0, size)
				e.Conn.MTU = mtu
				check(t, s, e)
			}
		}
	}
}

// A retransmission of part of the message brings that part, the pieces cut where
// they were, and no others.
func TestEmitPart(t *testing.T) {
	e := env(t, false, 1800)
	s := mustParse(t, "split(midsld) disorder")
	for _, r := range [][2]int{{0, 100}, {0, 1400}, {1400, 1800}, {600, 601}} {
		_, out := wire(t, s, e, r[0], r[1])
		got := 0
		for i := range out.Len() {
			var v packet.View
			v.Decode(out.At(i).Bytes)
			off := int(v.Seq - e.Conn.Base)
			got += len(v.Payload)
			if off < r[0] || off+len(v.Payload) > r[1] || !bytes.Equal(v.Payload, e.Msg.Bytes[off:off+len(v.Payload)]) {
				t.Errorf("%v: packet %d+%d", r, off, len(v.Payload))
			}
		}
		if got != r[1]-r[0] {
			t.Errorf("%v: %d bytes", r, got)
		}
	}
	_, out := wire(t, mustParse(t, "fake(ttl=3) split(600)"), e, 700, 900)
	if out.Len() != 1 {
		t.Errorf("%d packets, want the part alone: its decoy belongs to the first piece", out.Len())
	}
}

func TestMD5NeedsRoom(t *testing.T) {
	e := env(t, false, 517)
	long := packet.Segment{Src: netip.MustParseAddrPort("192.0.2.1:1"), Dst: netip.MustParseAddrPort("192.0.2.2:443"), Options: make([]byte, 24)}
	e.Conn.Header = long.Append(nil)
	var p Plan
	if err := mustParse(t, "fake(md5)").Plan(&p, e); err != errNoRoom || len(p.pkts) != 0 {
		t.Errorf("error %v, %d packets", err, len(p.pkts))
	}
}

func TestPlanAllocs(t *testing.T) {
	e := env(t, false, 1800)
	for _, text := range []string{"split(midsld) disorder", "fake(ttl=4, md5) split(1, midsld) disorder ipid(rnd)"} {
		s := mustParse(t, text)
		var p Plan
		var out engine.Batch
		if n := testing.AllocsPerRun(100, func() {
			out.Reset()
			if s.Plan(&p, e) == nil {
				p.Emit(&out, engine.Meta{}, e, 0, len(e.Msg.Bytes))
			}
		}); n != 0 {
			t.Errorf("%s: %v allocations, want 0", text, n)
		}
	}
}

func BenchmarkPlan(bm *testing.B) {
	e := env(bm, false, 517)
	s := mustParse(bm, "split(midsld) disorder")
	var p Plan
	var out engine.Batch
	bm.ReportAllocs()
	for range bm.N {
		out.Reset()
		s.Plan(&p, e)
		p.Emit(&out, engine.Meta{}, e, 0, len(e.Msg.Bytes))
	}
}
