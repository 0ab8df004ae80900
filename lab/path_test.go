package lab

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"time"

	"b4/censor"
	"b4/packet"
)

// sent collects what leaves a path.
type sent struct {
	dir []Direction
	pkt [][]byte
}

func (s *sent) add(d Direction, pkt []byte) error {
	s.dir, s.pkt = append(s.dir, d), append(s.pkt, slices.Clone(pkt))
	return nil
}

var (
	from4 = netip.MustParseAddrPort("198.51.100.2:40000")
	from6 = netip.MustParseAddrPort("[2001:db8:1::2]:40000")
)

// segment is a TCP packet from the client's side.
func segment(v6 bool, ttl uint8, id int, payload int) []byte {
	s := packet.Segment{Src: from4, Dst: Modern.Addr(v6), TTL: ttl, Seq: uint32(id), Flags: packet.ACK, Payload: make([]byte, payload)}
	if v6 {
		s.Src = from6
	}
	return s.Append(nil)
}

func TestPathHops(t *testing.T) {
	tests := []struct {
		name   string
		ttl    uint8
		size   int
		answer int // hop that answers, -1 is none
		kind   [2]uint8
		left   uint8 // TTL at the end
	}{
		{"dies at the first", 1, 100, 0, [2]uint8{11, 3}, 0},
		{"dies behind the censor", 2, 100, 1, [2]uint8{11, 3}, 0},
		{"dies at the last", 3, 100, 2, [2]uint8{11, 3}, 0},
		{"arrives", 4, 100, -1, [2]uint8{}, 1},
		{"too big for the last", 64, 1400, 2, [2]uint8{3, 2}, 0},
	}
	for _, tt := range tests {
		for _, v6 := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s v6=%t", tt.name, v6), func(t *testing.T) {
				var out sent
				p := newPath(1, 2, 1400, 0, [2]Impairment{}, out.add)
				p.push(time.Time{}, ToServer, segment(v6, tt.ttl, 0, tt.size))
				if len(out.pkt) != 1 {
					t.Fatalf("%d packets left", len(out.pkt))
				}
				var v packet.View
				if !v.Decode(out.pkt[0]) || !packet.ChecksumOK(out.pkt[0]) {
					t.Fatalf("%x is no good packet", out.pkt[0])
				}
				if tt.answer < 0 {
					if out.dir[0] != ToServer || v.TTL != tt.left {
						t.Errorf("direction %d, TTL %d", out.dir[0], v.TTL)
					}
					return
				}
				hop, kind := p.hops[tt.answer].v4, tt.kind[0]
				if v6 {
					hop, kind = p.hops[tt.answer].v6, tt.kind[1]
				}
				if out.dir[0] != ToClient || v.Src.Addr() != hop || out.pkt[0][v.IPLen] != kind {
					t.Errorf("direction %d, from %v, ICMP type %d", out.dir[0], v.Src, out.pkt[0][v.IPLen])
				}
			})
		}
	}
}

// The censor's place: a packet that dies before it is not judged.
func TestPathCensorsPlace(t *testing.T) {
	for _, v6 := range []bool{false, true} {
		var out sent
		j := &counting{verdict: censor.Verdict{Forward: true}}
		p := newPath(1, 2, 0, 0, [2]Impairment{}, out.add)
		var judge Judge = j
		p.judge.Store(&judge)
		for ttl := uint8(1); ttl <= 4; ttl++ {
			p.push(time.Time{}, ToServer, segment(v6, ttl, 0, 10))
		}
		if j.n != 3 {
			t.Errorf("v6=%t: the censor saw %d of 4 packets, want those with TTL 2 to 4", v6, j.n)
		}
		if n := p.lines[ToServer].n.snapshot(); n.Expired != 3 || n.Packets != 4 {
			t.Errorf("v6=%t: %+v", v6, n)
		}
	}
}

type counting struct {
	n       int
	verdict censor.Verdict
}

func (c *counting) Judge(time.Time, []byte, bool) censor.Verdict { c.n++; return c.verdict }

func TestPathInjects(t *testing.T) {
	var out sent
	var judge Judge = &counting{verdict: censor.Verdict{Inject: []censor.Injected{
		{Bytes: segment(false, 64, 0, 1)},
		{Bytes: segment(false, 64, 0, 2), ToClient: true},
	}}}
	p := newPath(1, 2, 0, 0, [2]Impairment{}, out.add)
	p.judge.Store(&judge)
	p.push(time.Time{}, ToServer, segment(false, 64, 0, 100))
	if !slices.Equal(out.dir, []Direction{ToServer, ToClient}) || out.pkt[0][8] != 62 || out.pkt[1][8] != 63 {
		t.Errorf("left: %v %x", out.dir, out.pkt)
	}
}

// The n-th packet of a seed has one fate, whatever the packets are.
func TestPathIsReproducible(t *testing.T) {
	imp := [2]Impairment{{Loss: 0.1, Reorder: 0.2}, {Loss: 0.1, Reorder: 0.2, Delay: time.Millisecond}}
	run := func(seed uint64) (ids []uint32, lost uint64) {
		var out sent
		p := newPath(1, 2, 0, seed, imp, out.add)
		now := time.Unix(0, 0)
		for i := range 1000 {
			now = now.Add(500 * time.Microsecond)
			d := Direction(i % 2)
			p.push(now, d, segment(i%3 == 0, 64, i, 10))
			p.release(now, ToServer)
			p.release(now, ToClient)
		}
		p.release(now.Add(time.Second), ToServer)
		p.release(now.Add(time.Second), ToClient)
		for _, b := range out.pkt {
			var v packet.View
			v.Decode(b)
			ids = append(ids, v.Seq)
		}
		return ids, p.lines[0].n.lost.Load() + p.lines[1].n.lost.Load()
	}
	a, lost := run(1)
	b, _ := run(1)
	c, _ := run(2)
	if !slices.Equal(a, b) {
		t.Error("the same seed gave two runs")
	}
	if slices.Equal(a, c) || slices.IsSorted(a) {
		t.Error("another seed gave the same run, or nothing was reordered")
	}
	if lost < 50 || lost > 150 || len(a)+int(lost) != 1000 {
		t.Errorf("%d lost and %d delivered of 1000 at 10 %%", lost, len(a))
	}
}

func TestPathEcho(t *testing.T) {
	var out sent
	p := newPath(1, 2, 0, 0, [2]Impairment{}, out.add)
	req := make([]byte, 28)
	copy(req, []byte{0x45, 0, 0, 28, 0, 0, 0, 0, 64, 1})
	copy(req[12:], from4.Addr().AsSlice())
	copy(req[16:], p.hops[1].v4.AsSlice())
	req[20] = 8
	packet.Finish(req, 20, packet.ICMP)
	p.push(time.Time{}, ToServer, req)
	if len(out.pkt) != 1 || out.dir[0] != ToClient || out.pkt[0][20] != 0 || !packet.ChecksumOK(out.pkt[0]) ||
		[4]byte(out.pkt[0][16:]) != from4.Addr().As4() {
		t.Errorf("%x", out.pkt)
	}
}

func TestAge(t *testing.T) {
	for ttl := 2; ttl < 256; ttl++ {
		b := segment(false, uint8(ttl), ttl, 0)
		binary.BigEndian.PutUint16(b[4:], uint16(ttl*257))
		packet.Finish(b, 20, packet.TCP)
		age(b)
		if int(b[8]) != ttl-1 || !packet.ChecksumOK(b) {
			t.Errorf("TTL %d: %x", ttl, b[:20])
		}
	}
}

func TestQueueIsBounded(t *testing.T) {
	var q queue
	for i := range queueCap {
		if !q.push(time.Unix(int64(i), 0), []byte{1}) {
			t.Fatal("refused packet", i)
		}
	}
	if q.push(time.Time{}, nil) {
		t.Error("took one more than it holds")
	}
	n := 0
	if wait := q.release(time.Unix(9, 0), func([]byte) { n++ }); n != 10 || wait != time.Second {
		t.Errorf("released %d, next in %v", n, wait)
	}
}

func TestPathAllocs(t *testing.T) {
	p := newPath(1, 2, 1500, 0, [2]Impairment{}, func(Direction, []byte) error { return nil })
	for _, v6 := range []bool{false, true} {
		b := segment(v6, 64, 0, 1400)
		n := testing.AllocsPerRun(1000, func() {
			if v6 {
				b[7] = 64
			} else {
				b[8] = 64
			}
			p.push(time.Time{}, ToServer, b)
		})
		if n != 0 {
			t.Errorf("v6=%t: %v allocations per packet", v6, n)
		}
	}
}
