package pipeline

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"slices"
	"testing"
	"time"

	"b4/engine"
	"b4/flow"
	"b4/packet"
)

// sized is a ClientHello for host of exactly size bytes, its name in front or
// behind what fills it.
func sized(size int, nameLast bool) []byte {
	b := append([]byte{22, 3, 1, 0, 0, 1, 0, 0, 0, 3, 3}, make([]byte, 32)...)
	b = append(append(append(b, 32), make([]byte, 32)...), 0, 2, 0x13, 1, 1, 0, 0, 0)
	exts := len(b)
	name := []byte{0, 0, 0, byte(len(host) + 5), 0, byte(len(host) + 3), 0, 0, byte(len(host))}
	name = append(name, host...)
	n := size - len(b) - len(name) - 4
	fill := append([]byte{0xfa, 0xfa, byte(n >> 8), byte(n)}, make([]byte, n)...)
	for i := range n {
		fill[4+i] = byte(i * 7)
	}
	if nameLast {
		b = append(append(b, fill...), name...)
	} else {
		b = append(append(b, name...), fill...)
	}
	for _, at := range []int{3, 7, exts - 2} {
		binary.BigEndian.PutUint16(b[at:], uint16(len(b)-at-2))
	}
	return b
}

// records cuts a hello of one record into records of n bytes.
func records(msg []byte, n int) (out []byte) {
	for body := msg[5:]; len(body) > 0; {
		k := min(n, len(body))
		out = append(append(out, 22, 3, 1, byte(k>>8), byte(k)), body[:k]...)
		body = body[k:]
	}
	return out
}

// A line is a client, a pipeline and a server that puts together what it gets.
type line struct {
	t      testing.TB
	p      *Pipeline
	out    engine.Batch
	now    time.Time
	client netip.AddrPort
	base   uint32
	msg    []byte
	have   []bool
	wrong  bool // a byte came that the client did not write
	shown  bool // a packet had the whole name
	left   int
}

// begin is another connection, which says msg.
func (l *line) begin(msg []byte) {
	l.client = netip.AddrPortFrom(l.client.Addr(), l.client.Port()%50000+10000)
	l.base += 0x01234567
	l.msg, l.have, l.wrong, l.shown, l.left = msg, make([]bool, len(msg)), false, false, 0
}

// takes is the server's side: who fails a checksum is not heard, and what lies
// below the message is trimmed.
func (l *line) takes(b []byte) {
	var v packet.View
	l.left++
	if !packet.ChecksumOK(b) || !v.Decode(b) {
		return
	}
	off := int(int32(v.Seq - l.base))
	for i, c := range v.Payload {
		if at := off + i; at >= 0 && at < len(l.msg) {
			l.wrong = l.wrong || l.msg[at] != c
			l.have[at] = true
		}
	}
	l.shown = l.shown || bytes.Contains(v.Payload, []byte(host))
}

// batch delivers what the pipeline sends of its own.
func (l *line) batch() {
	for i := range l.out.Len() {
		l.takes(l.out.At(i).Bytes)
	}
}

// say sends bytes [off, end) of the message as one packet.
func (l *line) say(off, end int) {
	s := packet.Segment{Src: l.client, Dst: netip.MustParseAddrPort("198.51.100.7:443"), Seq: l.base + uint32(off), Ack: 1,
		Flags: packet.ACK | packet.PSH, TTL: 63, Payload: l.msg[off:end]}
	if l.client.Addr().Is6() {
		s.Dst = netip.MustParseAddrPort("[2001:db8:1::7]:443")
	}
	b := s.Append(nil)
	l.out.Reset()
	v := l.p.Handle(l.now, &engine.Packet{Bytes: b, Full: len(b)}, &l.out)
	l.batch()
	if v.Act() == engine.Accept {
		l.takes(b)
	}
}

func (l *line) wait(d time.Duration) {
	l.now = l.now.Add(d)
	l.out.Reset()
	l.p.Tick(l.now, &l.out)
	l.batch()
}

// over asserts that the server has read the message once the client waited for
// it, that nothing is held any more, and that the flow will be forgotten.
func (l *line) over(what string, args ...any) {
	l.t.Helper()
	l.wait(flow.Wait)
	n := l.left
	l.wait(2 * flow.Idle)
	if l.wrong || slices.Contains(l.have, false) {
		l.t.Fatalf(what+": the server reads something else", args...)
	}
	if l.left != n || l.p.flows.Len() != 0 || len(l.p.wheel.order) != 0 {
		l.t.Fatalf(what+": something is kept", args...)
	}
}

// ways are the orders in which a message's segments may come.
var ways = []struct {
	name string
	hide bool // the name never leaves in one packet
	say  func(l *line, mss int)
}{
	{"in order", true, func(l *line, mss int) {
		for off := 0; off < len(l.msg); off += mss {
			l.say(off, min(off+mss, len(l.msg)))
		}
	}},
	{"last first", false, func(l *line, mss int) {
		for off := (len(l.msg) - 1) / mss * mss; off >= 0; off -= mss {
			l.say(off, min(off+mss, len(l.msg)))
		}
	}},
	{"the second behind the others", true, func(l *line, mss int) {
		l.say(0, min(mss, len(l.msg)))
		for off := 2 * mss; off < len(l.msg); off += mss {
			l.say(off, min(off+mss, len(l.msg)))
		}
		if mss < len(l.msg) {
			l.say(mss, min(2*mss, len(l.msg)))
		}
	}},
	{"overlapping", true, func(l *line, mss int) {
		for off := 0; off < len(l.msg); off += mss - 100 {
			l.say(off, min(off+mss, len(l.msg)))
		}
	}},
	{"each twice, and all again", true, func(l *line, mss int) {
		for i := range 2 {
			for off := 0; off < len(l.msg); off += mss {
				for range 2 - i {
					l.say(off, min(off+mss, len(l.msg)))
				}
			}
		}
	}},
	{"late", false, func(l *line, mss int) {
		for off := 0; off < len(l.msg); off += mss {
			l.say(off, min(off+mss, len(l.msg)))
			l.wait(flow.Wait)
		}
	}},
}

// However long a hello, however it is cut and in whatever order it comes, the
// server reads it, and nothing of it is kept.
func TestSweep(t *testing.T) {
	step := 1
	if testing.Short() {
		step = 67
	}
	for _, text := range []string{"split(midsld) disorder", "seqovl(9) fake(badsum) split(1, midsld)"} {
		l := &line{t: t, p: New(64, &Config{Rules: []Rule{{For: treat(Desync, strategy(t, text))}}}), now: time.Unix(1000, 0)}
		for size := 200; size <= 3000; size += step {
			l.client = netip.AddrPortFrom(netip.MustParseAddr([]string{"192.0.2.1", "2001:db8::1"}[size/step%2]), 1)
			for i, mss := range []int{536, 1220, 1400, 1460} {
				msg := sized(size, (size+i)%2 == 0)
				if i == 3 {
					msg = records(msg, 50+size%400)
				}
				for _, w := range ways {
					l.begin(msg)
					w.say(l, mss)
					if w.hide && l.shown {
						t.Fatalf("%s: %d bytes in segments of %d, %s: name shown", text, size, mss, w.name)
					}
					l.over("%s: %d bytes in segments of %d, %s", text, size, mss, w.name)
				}
			}
		}
	}
}

// Segments of a few bytes are bounded: beyond that all goes as it came.
func TestSweepTiny(t *testing.T) {
	l := &line{t: t, p: New(64, &Config{Rules: []Rule{{For: treat(Desync, strategy(t, "split(midsld) disorder"))}}}), now: time.Unix(1000, 0)}
	l.client = netip.MustParseAddrPort("192.0.2.1:1")
	for mss := 1; mss < 120; mss++ {
		for _, nameLast := range []bool{false, true} {
			l.begin(sized(600, nameLast))
			ways[0].say(l, mss)
			l.over("segments of %d", mss)
			l.begin(sized(600, nameLast))
			ways[1].say(l, mss)
			l.over("segments of %d, last first", mss)
		}
	}
}

// Two clients may use the same port.
func TestSharedPort(t *testing.T) {
	p := New(64, &Config{Rules: []Rule{{For: treat(Desync, strategy(t, "split(midsld) disorder"))}}})
	a := &line{t: t, p: p, now: time.Unix(1000, 0), client: netip.MustParseAddrPort("192.0.2.1:1")}
	b := &line{t: t, p: p, now: time.Unix(1000, 0), client: netip.MustParseAddrPort("192.0.2.2:1")}
	a.begin(sized(1800, true))
	b.begin(sized(1700, false))
	for off := 0; off < 1700; off += 600 {
		a.say(off, off+600)
		b.say(off, min(off+600, 1700))
	}
	if a.shown || b.shown || slices.Contains(a.have, false) || slices.Contains(b.have, false) || a.wrong || b.wrong {
		t.Error("the two are mixed up")
	}
	a.over("the first")
	b.over("the second")
}
