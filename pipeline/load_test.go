package pipeline

import (
	"encoding/binary"
	"fmt"
	"runtime"
	"testing"
	"time"

	"b4/desync"
	"b4/engine"
	"b4/packet"
)

// load is a house's worth of connections through one pipeline, from many clients.
type load struct {
	r     *rig
	hello *engine.Packet
	data  *engine.Packet // the first behind the answer
	began int
}

func newLoad(t testing.TB, flows int) *load {
	r := newRig(t)
	r.p = New(flows, r.p.config.Load())
	msg := hello(host, 0, false)
	return &load{r: r, hello: r.segment(0, msg, 1), data: r.segment(len(msg), []byte{23, 3, 3, 0, 1, 9}, 2)}
}

// handle hands over a packet as if it were of the n-th connection.
func (l *load) handle(pkt *engine.Packet, n int) engine.Verdict {
	binary.BigEndian.PutUint16(pkt.Bytes[20:], uint16(1024+n%60_000))
	binary.BigEndian.PutUint16(pkt.Bytes[14:], uint16(n/60_000))
	l.r.out.Reset()
	return l.r.p.Handle(l.r.now, pkt, &l.r.out)
}

// next begins one connection, and carries on the one that began open connections ago.
func (l *load) next(open int) {
	l.handle(l.hello, l.began)
	if l.began >= open {
		l.handle(l.data, l.began-open)
	}
	l.began++
	if l.began%16 == 0 {
		l.r.now = l.r.now.Add(time.Millisecond)
		l.r.out.Reset()
		l.r.p.Tick(l.r.now, &l.r.out)
	}
}

// However many connections come, they leave no garbage: b4d has nothing to collect
// while it carries them.
func TestLoadLeavesNothing(t *testing.T) {
	const connections, open = 100_000, 1000
	l := newLoad(t, 4096)
	for range 2 * open {
		l.next(open)
	}
	treated := l.r.p.counts[Treated].Load()
	runtime.GC() // one that has begun over what other tests left would be counted
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for range connections {
		l.next(open)
	}
	runtime.ReadMemStats(&after)
	const own = 20 // the runtime's own, now and then
	if n := after.Mallocs - before.Mallocs; n > own || after.NumGC != before.NumGC {
		t.Errorf("%d allocations and %d collections in %d connections, want none", n, after.NumGC-before.NumGC, connections)
	}
	if n := l.r.p.counts[Treated].Load() - treated; n != connections || l.r.p.counts[Evicted].Load() != 0 {
		t.Errorf("%d treated of %d: %v", n, connections, l.r.p.Counts())
	}
}

// BenchmarkLoad is a connection among many that are open. Those that are remembered
// are bounded, by number and by memory.
func BenchmarkLoad(b *testing.B) {
	for _, open := range []int{1, 1000, 10_000, 100_000} {
		b.Run(fmt.Sprintf("open=%d", open), func(b *testing.B) {
			l := newLoad(b, 1<<16)
			for range 2 * open {
				l.next(open)
			}
			b.ReportAllocs()
			b.ResetTimer()
			for range b.N {
				l.next(open)
			}
		})
	}
}

// What a connection costs is counted: allocations, packets that are sent for it, and
// bytes that are written for them. Those are the message's own, once, and one header
// for each piece.
func TestCosts(t *testing.T) {
	const header = 40
	small, long := hello(host, 0, false), hello(host, 1760, true)
	ask := request(host, 400, false)
	for _, tt := range []struct {
		name     string
		msg      []byte
		sizes    []int // of the segments it comes in
		strategy string
		again    bool // the client sends all of it twice
		pieces   int
	}{
		{"hello", small, nil, "split(midsld) disorder", false, 2},
		{"hello in three pieces", small, nil, "split(1, midsld) disorder", false, 3},
		{"hello with a decoy", small, nil, "fake(badsum) split(midsld)", false, 3},
		{"hello sent again", small, nil, "split(midsld) disorder", true, 4},
		{"long hello", long, []int{1400}, "split(midsld) disorder", false, 2},
		{"long hello in small segments", long, []int{500, 500, 500}, "split(midsld)", false, 4},
		{"untreated hello", small, nil, "", false, 0},
		{"request", ask, nil, "split(midsld) disorder", false, 2},
	} {
		t.Run(tt.name, func(t *testing.T) {
			rule := Rule{Name: "all"}
			if tt.strategy != "" {
				rule.For = treat(Desync, strategy(t, tt.strategy))
				rule.For[desync.HTTP] = web(t, Desync, "split(midsld) disorder")[desync.HTTP]
			}
			r := newRig(t, rule)
			var pkts []*engine.Packet
			for i, off := 0, 0; off < len(tt.msg); i++ {
				n := len(tt.msg) - off
				if i < len(tt.sizes) {
					n = tt.sizes[i]
				}
				pkts = append(pkts, r.segment(off, tt.msg[off:off+n], 1))
				off += n
			}
			copies := 1
			if tt.again {
				copies, pkts = 2, append(pkts, pkts...)
			}
			pkts = append(pkts, r.segment(len(tt.msg), []byte{23, 3, 3, 0, 1, 9}, 2), r.segment(len(tt.msg)+6, nil, 2))
			var pieces, bytes, decoys int
			connection := func() {
				pieces, bytes, decoys = 0, 0, 0
				for _, k := range pkts {
					r.out.Reset()
					r.p.Handle(r.now, k, &r.out)
					for i := range r.out.Len() {
						b := r.out.At(i).Bytes
						pieces, bytes = pieces+1, bytes+len(b)-header
						if !packet.ChecksumOK(b) {
							decoys += len(b) - header
						}
					}
				}
			}
			if n := testing.AllocsPerRun(100, connection); n != 0 {
				t.Errorf("%v allocations", n)
			}
			want := len(tt.msg) * copies
			if tt.pieces == 0 {
				want = 0
			}
			if pieces != tt.pieces || bytes-decoys != want {
				t.Errorf("%d packets with %d bytes of the client's, want %d with %d", pieces, bytes-decoys, tt.pieces, want)
			}
		})
	}
}
