package desync

import (
	"bytes"
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"b4/engine"
	"b4/packet"
)

// synOptions are a Linux client's: MSS, SACK, timestamps, window scale.
var synOptions = []byte{2, 4, 5, 0xb4, 4, 2, 8, 10, 0, 0, 0, 1, 0, 0, 0, 0, 1, 3, 3, 7}

// synEnv is a client's SYN, or with answer the server's SYN,ACK.
func synEnv(v6, answer bool) *Env {
	src, dst := netip.MustParseAddrPort("192.0.2.1:40000"), netip.MustParseAddrPort("198.51.100.7:443")
	if v6 {
		src, dst = netip.MustParseAddrPort("[2001:db8::1]:40000"), netip.MustParseAddrPort("[2001:db8:1::7]:443")
	}
	s := packet.Segment{Src: src, Dst: dst, Seq: 0xfffffeff, Flags: packet.SYN | packet.ECE | packet.CWR,
		Window: 64240, TTL: 63, ID: 1000, Options: synOptions}
	if answer {
		s.Src, s.Dst, s.Seq, s.Ack, s.Flags = dst, src, 76, s.Seq+1, packet.SYN|packet.ACK
	}
	header := s.Append(nil)
	return &Env{Conn: Conn{Header: header, IPLen: len(header) - 40, Base: s.Seq, MTU: 1500, Hops: 9, First: true}, Rand: 42}
}

func plan(s *Strategy, p *Plan, e *Env, answer bool) error {
	if answer {
		return s.PlanReply(p, e)
	}
	return s.PlanSYN(p, e)
}

var synStrategies = []string{
	"split(1)", "syndata", "syndata(http)", "syndata(zero)", "syndata(random)", "syndata(quic)",
	"synfake(ttl=4)", "synfake(ttl=auto, repeat=2)", "synfake(synack, badsum)", "synfake(md5, hopbyhop)",
	"synfake(ttl=auto) syndata(sni=a.example) split(1)", "wsize(40)", "wsize(65535)",
}

// What every strategy makes of a handshake, kept as text.
func TestSYNWire(t *testing.T) {
	var b strings.Builder
	for _, text := range synStrategies {
		for i := range 4 {
			e := synEnv(i%2 == 1, i >= 2)
			fmt.Fprintf(&b, "== %q, v6 %v, answer %v\n", text, i%2 == 1, i >= 2)
			var p Plan
			var out engine.Batch
			if err := plan(mustParse(t, text), &p, e, i >= 2); err != nil {
				fmt.Fprintf(&b, "error: %v\n", err)
			}
			if p.Whole() != (p.Emit(&out, engine.Meta{}, e, 0, 0) == 0) {
				t.Errorf("%s: whole %v, %d packets", text, p.Whole(), out.Len())
			}
			for i := range out.Len() {
				s := line(t, out.At(i).Bytes, e)
				var v packet.View
				v.Decode(out.At(i).Bytes)
				fmt.Fprintf(&b, "%s win %d\n", strings.TrimSuffix(s, "\n"), v.Window)
			}
		}
	}
	golden(t, "syn.txt", b.String())
}

// A SYN that brings data, or may, is left as it is, and so is what no step is for.
func TestSYNLeftAlone(t *testing.T) {
	tests := []struct {
		name string
		text string
		edit func(*Env)
		want bool
	}{
		{"plain", "syndata", func(*Env) {}, false},
		{"data", "syndata synfake(badsum)", func(e *Env) { e.Msg.Bytes = []byte("data") }, true},
		{"cookie asked for", "syndata", func(e *Env) { copy(e.Conn.Header[40:], []byte{34, 2, 1, 1}) }, true},
		{"experimental cookie", "syndata", func(e *Env) { copy(e.Conn.Header[40:], []byte{254, 4, 0xf9, 0x89}) }, true},
		{"no room", "syndata", func(e *Env) { e.Conn.MTU = 60 }, true},
		{"unknown distance", "synfake(ttl=auto)", func(e *Env) { e.Conn.Hops = 0 }, true},
		{"nothing for it", "split(1) fake(badsum)", func(*Env) {}, true},
	}
	for _, tt := range tests {
		e := synEnv(false, false)
		tt.edit(e)
		before := bytes.Clone(e.Conn.Header)
		var p Plan
		err := mustParse(t, tt.text).PlanSYN(&p, e)
		if p.Whole() != tt.want || (err != nil) != (tt.name == "unknown distance") || !bytes.Equal(before, e.Conn.Header) {
			t.Errorf("%s: whole %v, error %v", tt.name, p.Whole(), err)
		}
	}
	e := synEnv(true, true)
	e.Msg.Bytes = []byte("data")
	var p Plan
	if mustParse(t, "wsize(9)").PlanReply(&p, e); !p.Whole() {
		t.Error("an answer with data is changed")
	}
	e = synEnv(true, true)
	if mustParse(t, "wsize(64240)").PlanReply(&p, e); !p.Whole() {
		t.Error("a window is made what it is")
	}
}

// What goes to a listener ahead of the client's SYN, or with it, changes nothing
// of the connection that it then has.
func TestSYNServerFollowsTheClient(t *testing.T) {
	for _, text := range synStrategies {
		for _, v6 := range []bool{false, true} {
			checkSYN(t, mustParse(t, text), synEnv(v6, false))
		}
	}
	l := &listener{}
	e := synEnv(false, false)
	var p Plan
	var out engine.Batch
	newStrategy(TLS, []Step{&synfake{decoy: decoy{repeat: 1}}}).PlanSYN(&p, e)
	p.Emit(&out, engine.Meta{}, e, 0, 0)
	if l.take(out.At(0).Bytes); l.taken != 1 {
		t.Error("the model is fooled by nothing")
	}
}

// checkSYN asserts that a server follows the client's SYN and hears of no other.
func checkSYN(t *testing.T, s *Strategy, e *Env) {
	t.Helper()
	var p Plan
	var out engine.Batch
	if s.PlanSYN(&p, e) != nil || p.Emit(&out, engine.Meta{}, e, 0, 0) == 0 {
		return
	}
	l := &listener{}
	for i := range out.Len() {
		if b := out.At(i).Bytes; len(b) > e.Conn.MTU {
			t.Errorf("%s: %d bytes", s, len(b))
		}
		l.take(out.At(i).Bytes)
	}
	if l.first != e.Conn.Base || l.taken != 1 {
		t.Errorf("%s: the server follows %x after %d SYNs", s, l.first, l.taken)
	}
}

// A listener is a server that waits for a SYN, behind 10 hops.
type listener struct {
	first uint32
	taken int // packets that would change what it does
}

func (l *listener) take(b []byte) {
	var v packet.View
	if !v.Decode(b) || v.TTL < reach || !packet.ChecksumOK(b) || discards(b, v.IPLen) {
		return
	}
	if _, signed := v.TCPOption(b, 19); signed || v.Flags&packet.RST != 0 {
		return
	}
	l.taken++
	if v.Flags&packet.ACK == 0 {
		l.first = v.Seq // its data is not kept
	}
}

// With auto a decoy dies at the last router ahead of the server; a model of the
// way there tells.
func TestTTLAuto(t *testing.T) {
	for hops := 0; hops < 256; hops++ {
		for k := -maxFurther; k <= maxFurther; k++ {
			e := env(t, hops%2 == 0, 0)
			e.Conn.Hops = uint8(hops)
			d := decoy{ttl: ttl{k, true}, fool: BadSum, repeat: 1}
			var s Seg
			if !d.spoil(&s, e) || s.Fool != BadSum {
				t.Fatalf("hops %d, auto%+d: fool %b", hops, k, s.Fool)
			}
			d.fool = 0
			sent := d.spoil(&s, e)
			if known := hops > 0 && hops < 63; sent && k > 0 || sent != known && k <= 0 || (s.TTL != 0) != known {
				t.Fatalf("hops %d, auto%+d: ttl %d, sent %v", hops, k, s.TTL, sent)
			}
			if s.TTL == 0 {
				continue
			}
			if at := min(hops+1, int(s.TTL)); at > hops != (k > 0) || k > -hops && k <= 0 && at != hops+k {
				t.Fatalf("hops %d, auto%+d: ttl %d ends at %d", hops, k, s.TTL, at)
			}
		}
	}
	var p Plan
	e := env(t, false, 0)
	e.Conn.Hops = 0
	if err := mustParse(t, "fake(ttl=auto)").Plan(&p, e); err != errUnfooled {
		t.Errorf("unknown distance: %v", err)
	}
	if err := mustParse(t, "fake(ttl=auto, badsum)").Plan(&p, e); err != nil || p.pkts[0].TTL != 0 || p.pkts[0].Fool != BadSum {
		t.Errorf("unknown distance: %v, %+v", err, p.pkts[0].Seg)
	}
}

func TestSYNAllocs(t *testing.T) {
	for _, text := range synStrategies {
		s := mustParse(t, text)
		for i := range 2 {
			e := synEnv(false, i == 1)
			var p Plan
			var out engine.Batch
			if n := testing.AllocsPerRun(100, func() {
				out.Reset()
				if plan(s, &p, e, i == 1) == nil {
					p.Emit(&out, engine.Meta{}, e, 0, 0)
				}
			}); n != 0 {
				t.Errorf("%s: %v allocations, want 0", text, n)
			}
		}
	}
}
