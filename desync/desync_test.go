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
		Msg:  Message{Bytes: hello, Hello: h},
		Conn: Conn{Header: header, IPLen: len(header) - 32, Base: s.Seq, MTU: 1500, Hops: 9, First: true},
		Rand: 42,
	}
}

func mustParse(t testing.TB, text string) *Strategy {
	t.Helper()
	s, err := TLS.Parse(text)
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
		s := line(t, out.At(i).Bytes, e)
		if d := out.At(i).After; d > 0 {
			s = strings.TrimSuffix(s, "\n") + fmt.Sprintf(" after %v\n", d)
		}
		b.WriteString(s)
	}
	return b.String(), &out
}

func line(t testing.TB, pkt []byte, e *Env) string {
	if _, f, ok := fragmentOf(pkt); ok {
		return fmt.Sprintf("part  %4d+%-4d more %v id %d\n", f.off, len(f.data), f.more, f.id.id)
	}
	var v packet.View
	if !v.Decode(pkt) {
		t.Fatalf("not a packet: %x", pkt)
	}
	off := int(int32(v.Seq - e.Conn.Base))
	kind := "decoy"
	switch end := off + len(v.Payload); {
	case end <= off || end > len(e.Msg.Bytes):
	case off >= 0 && bytes.Equal(v.Payload, e.Msg.Bytes[off:end]):
		kind = "real "
	case off < 0 && end > 0 && bytes.Equal(v.Payload[-off:], e.Msg.Bytes[:end]):
		kind = "ahead"
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
	if v.Ack != 77 {
		s += fmt.Sprintf(" ack %d", v.Ack)
	}
	if ts, ok := v.TCPOption(pkt, 8); ok && ts[3] != 1 {
		s += fmt.Sprintf(" ts %d", int32(binary.BigEndian.Uint32(ts)))
	}
	if pkt[0]>>4 == 6 && v.IPLen > 40 {
		s += fmt.Sprintf(" ext %x", pkt[40:v.IPLen])
	}
	if !packet.ChecksumOK(pkt) {
		s += " badsum"
	}
	if h, st := tlshello.Parse(v.Payload); st == tlshello.Complete || h.Named() {
		s += " says " + string(v.Payload[h.Host:h.HostEnd])
	}
	if bytes.HasPrefix(v.Payload, []byte("GET ")) {
		s += fmt.Sprintf(" says %q", v.Payload)
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
	"fake(badseq) split(1)",
	"fake(clone, badack, noack)",
	"fake(ts, repeat=2) disorder",
	"fake(badsum, hopbyhop, destopt)",
	"fake(destopt)",
	"fake(http, badseq, place=after)",
	"fake(zero, ttl=3) fake(random, badsum)",
	"split(host, endhost) fake(clone, badack, place=each)",
	"split(midsld) disorder fake(sni=a.example, ts, place=around)",
	"split(1) fake(md5, place=after, repeat=2)",
	"rst(badseq)",
	"split(1) rst(ttl=4, repeat=2) rst(badsum, place=after)",
	"rst(hopbyhop, md5)",
	"seqovl(1, zero)",
	"seqovl(517, sni=www.w3.org) split(midsld)",
	"split(1, midsld) seqovl(336, random) disorder",
	"dup(1)",
	"fake(ttl=4) split(midsld) disorder ipid(seq) dup(2)",
	"ipfrag(24)",
	"split(midsld) seqovl(9, zero) disorder ipfrag(48)",
	"fake(hopbyhop, badsum) ipid(rnd) ipfrag(1480) dup(1)",
	"split(exts, alpn+3, ech) ipid(zero)",
	"fake(ttl=auto) split(midsld)",
	"fake(quic, sni=a.example, ttl=auto-2, place=after)",
	"fake(zero, ttl=auto+1, badsum, place=each) split(host) rst(ttl=auto-20)",
	"split(midsld) disorder delay(5)",
	"fake(badsum) split(1) ipfrag(24) dup(1) delay(200)",
	"syndata wsize(40) split(1)",
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

func TestServerReadsTheSame(t *testing.T) {
	for _, text := range strategies {
		s := mustParse(t, text)
		for size := 517; size < 3000; size += short(61, 61*9) {
			for _, mtu := range []int{576, 1280, 1500} {
				e := env(t, size%2 == 0, size)
				e.Conn.MTU = mtu
				check(t, s, e)
			}
		}
	}
}

// short returns n for the whole run, and less under -short.
func short(n, less int) int {
	if testing.Short() {
		return less
	}
	return n
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
	for _, tt := range []struct {
		from, to int
		want     string
	}{
		{0, 1, "ahead   -7+8    ttl 63 id 1000  ACK CWR\n"},
		{10, 30, "real    10+10   ttl 63 id 1000  ACK\nreal    20+10   ttl 63 id 1001  ACK\n"},
	} {
		if got, _ := wire(t, mustParse(t, "seqovl(7) split(20)"), e, tt.from, tt.to); got != tt.want {
			t.Errorf("%d-%d: %s, want %s", tt.from, tt.to, got, tt.want)
		}
	}
	for _, tt := range []struct {
		text     string
		from, to int
	}{
		{"fake(ttl=3) split(600)", 700, 900}, {"fake(ttl=3) split(600)", 600, 601},
		{"split(600) fake(ttl=3, place=after)", 599, 600}, {"split(600, 600)", 0, 600},
	} {
		if got, out := wire(t, mustParse(t, tt.text), e, tt.from, tt.to); out.Len() != 1 {
			t.Errorf("%s: want the part alone, its decoy belongs to another piece:\n%s", tt.text, got)
		}
	}
}

// Flags keep the meaning that they have in the client's segment, on the packet they
// are for.
func TestFlags(t *testing.T) {
	const all = packet.FIN | packet.PSH | packet.ACK | packet.ECE | packet.CWR
	tests := []struct {
		counter uint8 // AE, with which ECE and CWR are a number
		want    []uint8
	}{
		{0, []uint8{packet.PSH | packet.ACK | packet.ECE, packet.ACK | packet.ECE | packet.CWR, packet.FIN | packet.PSH | packet.ACK | packet.ECE}},
		{1, []uint8{packet.PSH | packet.ACK | packet.ECE | packet.CWR, packet.ACK | packet.ECE | packet.CWR, all}},
	}
	for _, tt := range tests {
		e := env(t, false, 517)
		h := e.Conn.Header[e.Conn.IPLen:]
		h[12], h[13] = h[12]|tt.counter, all
		_, out := wire(t, mustParse(t, "fake(badsum) split(1)"), e, 0, len(e.Msg.Bytes))
		for i, want := range tt.want {
			b := out.At(i).Bytes[e.Conn.IPLen:]
			if b[13] != want || b[12] != h[12] {
				t.Errorf("AE %d, packet %d: flags %08b, want %08b, %x beside the header's length", tt.counter, i, b[13], want, b[12]&15)
			}
		}
	}
}

func TestMD5NeedsRoom(t *testing.T) {
	e := env(t, false, 517)
	long := packet.Segment{Src: netip.MustParseAddrPort("192.0.2.1:1"), Dst: netip.MustParseAddrPort("192.0.2.2:443"), Options: make([]byte, 24)}
	e.Conn.Header = long.Append(nil)
	var p Plan
	if err := mustParse(t, "fake(md5)").Plan(&p, e); err != errUnfooled || len(p.pkts) != 0 {
		t.Errorf("error %v, %d packets", err, len(p.pkts))
	}
}

// Foolings a connection has no place for are left out if another one stays, and
// a ttl is none to rely on.
func TestFoolingLeftOut(t *testing.T) {
	tests := []struct {
		text    string
		v6      bool
		options []byte
		want    Fool // 0 is an error
	}{
		{"fake(ts)", false, nil, 0},
		{"fake(ts, ttl=255)", true, nil, 0},
		{"fake(ts, badack)", true, nil, BadAck},
		{"fake(ts)", true, []byte{1, 1, 8, 10, 0, 0, 0, 1, 0, 0, 0, 2}, TS},
		{"rst(hopbyhop, destopt)", false, nil, 0},
		{"rst(hopbyhop, destopt)", true, nil, HopByHop | DestOpt},
		{"fake(hopbyhop, md5)", false, nil, MD5},
		{"fake(md5)", true, make([]byte, 24), 0},
	}
	for _, tt := range tests {
		e := env(t, tt.v6, 517)
		e.Conn.Header = append(e.Conn.Header[:e.Conn.IPLen+20:e.Conn.IPLen+20], tt.options...)
		e.Conn.Header[e.Conn.IPLen+12] = uint8(20+len(tt.options)) << 2
		var p Plan
		err := mustParse(t, tt.text).Plan(&p, e)
		if err == nil && p.pkts[0].Fool != tt.want || (err == errUnfooled) != (tt.want == 0) {
			t.Errorf("%s, v6 %v, options %x: error %v, want %b", tt.text, tt.v6, tt.options, err, tt.want)
		}
	}
	e := env(t, true, 517) // extension headers of the client's own
	e.Conn.Header = append(append(e.Conn.Header[:40:40], 6, 0, 1, 4, 0, 0, 0, 0), e.Conn.Header[40:]...)
	e.Conn.Header[6], e.Conn.IPLen = 60, 48
	if err := mustParse(t, "fake(destopt)").Plan(new(Plan), e); err != errUnfooled {
		t.Errorf("behind another extension header: %v", err)
	}
	check(t, mustParse(t, "fake(badsum) split(9) ipfrag(24)"), e)
}

func TestPlanRefuses(t *testing.T) {
	e := env(t, false, 517)
	e.Conn.MTU = 576
	cuts := "split(1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16) "
	for text, want := range map[string]error{
		"seqovl(523)": nil,
		"seqovl(524)": errNoOverlap,
		cuts + "fake(md5, place=around, repeat=10)":                                          nil,
		cuts + "fake(md5, place=around, repeat=10) fake(md5, place=around, repeat=10)":       errTooMany,
		cuts + "fake(md5, place=each, repeat=10) fake(clone, badack, place=each, repeat=10)": nil,
	} {
		var p Plan
		if err := mustParse(t, text).Plan(&p, e); err != want || err != nil && (len(p.pkts) != 0 || !p.Whole()) {
			t.Errorf("%s: %v, %d packets, want %v", text, err, len(p.pkts), want)
		}
	}
}

// The packets of a message have identifications of their own, but for the zero that
// one which must not be cut may always have.
func TestIdentification(t *testing.T) {
	for _, tt := range []struct {
		text string
		id   uint16
		df   byte
		want [2]uint16
	}{
		{"split(1)", 1000, 0x40, [2]uint16{1000, 1001}},
		{"split(1)", 0xffff, 0, [2]uint16{0xffff, 0}},
		{"split(1)", 0, 0x40, [2]uint16{0, 0}},
		{"split(1) ipid(zero)", 1000, 0x40, [2]uint16{0, 0}},
		{"split(1) ipid(zero)", 1000, 0, [2]uint16{1000, 1001}},
		{"split(1) ipid(seq)", 0, 0x40, [2]uint16{1, 2}},
		{"split(1) ipid(seq)", 1000, 0, [2]uint16{1001, 1002}},
	} {
		e := env(t, false, 517)
		binary.BigEndian.PutUint16(e.Conn.Header[4:], tt.id)
		e.Conn.Header[6] = tt.df
		_, out := wire(t, mustParse(t, tt.text), e, 0, len(e.Msg.Bytes))
		for i, want := range tt.want {
			if got := binary.BigEndian.Uint16(out.At(i).Bytes[4:]); got != want {
				t.Errorf("%s of %d, DF %x, packet %d: %d, want %d", tt.text, tt.id, tt.df, i, got, want)
			}
		}
	}
}

func TestUrgentDataStays(t *testing.T) {
	e := env(t, true, 517)
	e.Conn.Header[e.Conn.IPLen+13] |= packet.URG
	var p Plan
	if err := mustParse(t, "split(1)").Plan(&p, e); err != errUrgent || !p.Whole() {
		t.Errorf("%v, whole %v", err, p.Whole())
	}
}

// Where the server may lack what comes below the message, nothing is sent there.
func TestOverlapNeedsAllBelow(t *testing.T) {
	e := env(t, false, 517)
	e.Conn.First = false
	var p Plan
	if err := mustParse(t, "seqovl(1)").Plan(&p, e); err != nil || !p.Whole() {
		t.Errorf("%v, whole %v", err, p.Whole())
	}
}

// What leaves the message unchanged is told from what does not.
func TestWhole(t *testing.T) {
	for text, want := range map[string]bool{
		"": true, "split(9999) disorder": true, "split(9)": false, "fake(badsum)": false, "rst(badsum)": false,
		"seqovl(1)": false, "ipid(rnd)": false, "dup(1)": false, "ipfrag(24)": false,
	} {
		var p Plan
		if err := mustParse(t, text).Plan(&p, env(t, false, 517)); err != nil || p.Whole() != want {
			t.Errorf("%q: whole %v, error %v", text, p.Whole(), err)
		}
	}
}

func TestPlanAllocs(t *testing.T) {
	e := env(t, false, 1800)
	for _, text := range strategies {
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
	for _, text := range []string{"split(midsld) disorder", "fake(ttl=4) split(midsld) disorder"} {
		bm.Run(text, func(bm *testing.B) { benchmark(bm, mustParse(bm, text), env(bm, false, 517)) })
	}
}

func benchmark(bm *testing.B, s *Strategy, e *Env) {
	var p Plan
	var out engine.Batch
	bm.ReportAllocs()
	for range bm.N {
		out.Reset()
		s.Plan(&p, e)
		p.Emit(&out, engine.Meta{}, e, 0, len(e.Msg.Bytes))
	}
}
