package censor

import (
	"encoding/binary"
	"net/netip"
	"slices"
	"testing"
	"time"

	"b4/packet"
)

// What lies past the limit is cut off, wherever it begins.
func TestStreamLimit(t *testing.T) {
	var s stream
	r := Reassembly{Mode: Full, Gap: 1 << 20}
	for _, off := range []uint32{0, 90, 99, 100, 101, 5000, 1 << 31, 0xffffffff} {
		s.add(&r, off, make([]byte, 20), 100)
		if len(s.buf) > 100 {
			t.Fatalf("holds %d bytes", len(s.buf))
		}
	}
	if want := []span{{0, 20}, {90, 100}}; !slices.Equal(s.held, want) {
		t.Errorf("holds %v, want %v", s.held, want)
	}
}

// A new connection on the old ports gives back what the old one had gathered.
func TestBufferedGivenBack(t *testing.T) {
	w := newWire(t, profile(t, "full"), families[0])
	w.open()
	w.send(0, hello(t, otherName, false)[:50])
	if n := w.c.Stats().Buffered; n < 50 {
		t.Errorf("%d bytes held of 50", n)
	}
	w.judge(w.out(99, packet.SYN, nil), true)
	if n := w.c.Stats().Buffered; n != 0 {
		t.Errorf("%d bytes held of a connection that is over", n)
	}
}

// A stream of islands is followed up to a bound, and the islands stay few.
func TestIslands(t *testing.T) {
	h := hello(t, blockedName, false)
	for islands, want := range map[int]bool{maxSpans: true, maxSpans + 1: false} {
		w := newWire(t, profile(t, "full"), families[0])
		w.open()
		for i := islands; i > 0; i-- { // bytes 2, 4, 6 ... from behind
			w.send(2*i, h[2*i:2*i+1])
		}
		k := tuple{w.client, w.server}
		if n := len(w.c.flows.get(k).half[fromNear].stream.held); n > maxSpans {
			t.Errorf("%d islands", n)
		}
		w.send(0, h[:2])
		for i := 1; i <= islands; i++ { // the gaps, and then what is behind them
			w.send(2*i+1, h[2*i+1:2*i+2])
		}
		w.send(2*islands+2, h[2*islands+2:])
		if w.blocked() != want {
			t.Errorf("%d islands: blocked %v", islands, w.blocked())
		}
	}
}

// A flood of connections that never finish their hello costs bounded memory,
// and a blocked one is still found behind it.
func TestBounded(t *testing.T) {
	h := hello(t, blockedName, true)
	flood := 100_000
	if testing.Short() {
		flood = maxFlows + 1000
	}
	for _, f := range families {
		w := newWire(t, profile(t, "full"), f)
		for i := range flood {
			var id [4]byte
			binary.BigEndian.PutUint32(id[:], uint32(i))
			a := netip.AddrFrom4([4]byte{10, id[1], id[2], id[3]})
			if f.client.Addr().Is6() {
				a = netip.AddrFrom16([16]byte{0: 0x20, 1: 1, 13: id[1], 14: id[2], 15: id[3]})
			}
			w.client = netip.AddrPortFrom(a, 40000)
			w.send(10000, h[:50])   // begins the stream: it has no SYN
			w.send(12000, h[:1000]) // waits beyond a gap
		}
		s := w.c.Stats()
		if s.Flows > maxFlows || s.Buffered > maxBuffered || s.Buffered <= 0 {
			t.Errorf("%s: %+v", f.name, s)
		}
		w.client = f.client
		w.open()
		w.send(0, h[:segmentSize])
		w.send(segmentSize, h[segmentSize:])
		if !w.blocked() {
			t.Errorf("%s: not found behind the flood", f.name)
		}
		// When all are idle, the next packet ends them all.
		w.now = w.now.Add(time.Hour)
		w.client = nextPort(f.client)
		w.send(0, []byte("x"))
		if s = w.c.Stats(); s.Flows != 1 || s.Buffered != 0 {
			t.Errorf("%s: after an hour: %+v", f.name, s)
		}
	}
}

func TestPenaltiesBounded(t *testing.T) {
	h := hello(t, blockedName, false)
	w := newWire(t, profile(t, "gfw-2022"), families[0])
	for i := range maxPenalties + 1000 {
		w.client = netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)}), 40000)
		w.send(0, h)
	}
	if n := w.c.penalties.len(); n != maxPenalties {
		t.Errorf("%d penalties, want %d", n, maxPenalties)
	}
}

// Whatever comes, no censor panics, what it makes is well formed, and its
// books agree. The input is a train of packets, each behind a byte of length.
func FuzzJudge(f *testing.F) {
	h := hello(f, blockedName, false)
	for _, fam := range families {
		s := packet.Segment{Src: fam.client, Dst: fam.server, Seq: 1, Flags: packet.PSH | packet.ACK, Payload: h}
		syn := packet.Segment{Src: fam.client, Dst: fam.server, Flags: packet.SYN}
		f.Add(train(syn.Append(nil), s.Append(nil)))
		s.Payload = h[:100]
		rest := s
		rest.Seq, rest.Payload = 101, h[100:]
		f.Add(train(syn.Append(nil), rest.Append(nil), s.Append(nil)))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		throughBoxes(t, b)
		for _, p := range Profiles() {
			p.Checksum, p.MD5, p.AckRange = false, p.JoinRecords, p.InsideSYN // let more in
			c := New(p, []string{"blocked.example"}, 1)
			now := epoch
			for in := b; len(in) > 1; {
				n := min(int(binary.BigEndian.Uint16(in)), len(in)-2)
				v := c.Judge(now, in[2:2+n], n%5 != 0)
				in = in[2+n:]
				now = now.Add(time.Second)
				if v.Rewritten != nil {
					decoded(t, v.Rewritten)
				}
				for _, i := range v.Inject {
					decoded(t, i.Bytes)
				}
			}
			if s := c.Stats(); s.Buffered < 0 || s.Buffered > len(b)+c.p.MaxHello*4*s.Flows {
				t.Errorf("%s: %+v", p.Name, s)
			}
		}
	})
}

// throughBoxes gives a train to the boxes that put TCP in order.
func throughBoxes(t *testing.T, in []byte) {
	boxes := []*Inline{NewNormaliser(), NewProxy()}
	for len(in) > 1 {
		n := min(int(binary.BigEndian.Uint16(in)), len(in)-2)
		for _, x := range boxes {
			v := x.Judge(epoch, in[2:2+n], n%5 != 0)
			if v.Rewritten != nil && x.view.Proto == packet.TCP {
				decoded(t, v.Rewritten)
			}
			for _, i := range v.Inject {
				decoded(t, i.Bytes)
			}
		}
		in = in[2+n:]
	}
}

func train(pkts ...[]byte) []byte {
	var out []byte
	for _, p := range pkts {
		out = binary.BigEndian.AppendUint16(out, uint16(len(p)))
		out = append(out, p...)
	}
	return out
}
