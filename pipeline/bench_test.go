package pipeline

import (
	"encoding/binary"
	"fmt"
	"slices"
	"testing"
	"time"

	"b4/desync"
	"b4/engine"
	"b4/match"
)

// many is a set of n names and host's domain.
func many(t testing.TB, n int) *match.Set {
	t.Helper()
	var b match.Builder
	for i := range n {
		if err := b.Add(fmt.Sprintf("host%d.example%d.org", i, i%1000)); err != nil {
			t.Fatal(err)
		}
	}
	if err := b.Add("blocked.example"); err != nil {
		t.Fatal(err)
	}
	return b.Set()
}

// BenchmarkSteered is a connection of which a message is treated, and the first
// data behind the answer.
func BenchmarkSteered(b *testing.B) {
	post := strategy(b, "split(midsld) disorder")
	for _, bm := range []struct {
		name    string
		msg     []byte
		domains int
		steps   *desync.Strategy
	}{
		{"hello", hello(host, 0, false), 0, post},
		{"hello-100k", hello(host, 0, false), 100_000, post},
		{"hello-fake", hello(host, 0, false), 0, strategy(b, "fake(badsum) split(1, midsld) disorder")},
		{"hello-delay", hello(host, 0, false), 0, strategy(b, "split(midsld) delay(1)")},
		{"postquantum", hello(host, 1760, true), 0, post},
		{"request", request(host, 400, false), 0, nil},
	} {
		b.Run(bm.name, func(b *testing.B) {
			rule := Rule{Name: "all", Domains: many(b, bm.domains), For: treat(Desync, bm.steps)}
			rule.For[desync.HTTP] = web(b, Desync, "split(midsld) disorder")[desync.HTTP]
			r := newRig(b, rule)
			var pkts []*engine.Packet
			for off := 0; off < len(bm.msg); off += 1400 {
				pkts = append(pkts, r.segment(off, bm.msg[off:min(off+1400, len(bm.msg))], 1))
			}
			pkts = append(pkts, r.segment(len(bm.msg), []byte{23, 3, 3, 0, 1, 9}, 2))
			b.ReportAllocs()
			b.ResetTimer()
			for range b.N {
				for _, k := range pkts {
					r.out.Reset()
					r.p.Handle(r.now, k, &r.out)
				}
				r.now = r.now.Add(time.Millisecond)
				r.out.Reset()
				r.p.Tick(r.now, &r.out)
			}
			if c := r.p.Counts(); c["treated"] != uint64(b.N) || c["finished"] != uint64(b.N) {
				b.Error(c)
			}
		})
	}
}

// BenchmarkHello is a ClientHello alone, of a connection that is new each time and
// takes the place of an older.
func BenchmarkHello(b *testing.B) {
	for _, domains := range []int{0, 100_000} {
		b.Run(fmt.Sprintf("domains=%d", domains), func(b *testing.B) {
			r := newRig(b, Rule{Name: "all", Domains: many(b, domains), For: treat(Desync, strategy(b, "split(midsld) disorder"))})
			pkt := r.segment(0, hello(host, 0, false), 1)
			b.ReportAllocs()
			b.ResetTimer()
			for i := range b.N {
				binary.BigEndian.PutUint16(pkt.Bytes[20:], uint16(i))
				r.out.Reset()
				r.p.Handle(r.now, pkt, &r.out)
			}
			if c := r.p.Counts(); c["treated"] != uint64(b.N) {
				b.Error(c)
			}
		})
	}
}

// BenchmarkNoInterest is a packet that is looked at and goes on.
func BenchmarkNoInterest(b *testing.B) {
	r := newRig(b)
	reply := r.handshake(2|16, 52, nil)
	data := r.segment(0, make([]byte, 1400), 1)
	whole := all(b)
	for _, bm := range []struct {
		name string
		r    *rig
		pkt  *engine.Packet
	}{
		{"ack", r, r.segment(0, nil, 1)},
		{"syn", r, r.handshake(2, 63, nil)},
		{"synack", r, reply},
		{"data", whole, data},
	} {
		b.Run(bm.name, func(b *testing.B) {
			b.ReportAllocs()
			for range b.N {
				bm.r.out.Reset()
				bm.r.p.Handle(bm.r.now, bm.pkt, &bm.r.out)
			}
		})
	}
}

// crowd is the memory that other programs use between two packets: more than a
// processor has for itself.
var crowd = make([]byte, 8<<20)

// cold tells the median time, and the lower quartile, that a pipeline takes for the
// packet that next gives while nothing of it is in the processor's own caches, as it is
// for the first packet of a burst. The packet is there, as the kernel has just
// written it. It times single calls: b.StopTimer stops the world.
func cold(b *testing.B, r *rig, next func(i int) *engine.Packet) {
	took := make([]time.Duration, b.N)
	for i := range took {
		pkt := next(i)
		r.out.Reset()
		for k := 0; k < len(crowd); k += 64 {
			crowd[k]++
		}
		copy(crowd, pkt.Bytes)
		time.Now() // so is the clock
		start := time.Now()
		r.p.Handle(r.now, pkt, &r.out)
		took[i] = time.Since(start)
	}
	slices.Sort(took)
	b.ReportMetric(float64(took[b.N/2]), "ns/op")
	b.ReportMetric(float64(took[b.N/4]), "quartile-ns/op")
}

// BenchmarkCold is the two packets of a connection that come to user space, the hello
// and what follows the answer, with cold caches.
func BenchmarkCold(b *testing.B) {
	for _, name := range []string{"hello", "done"} {
		b.Run(name, func(b *testing.B) {
			r := newRig(b)
			msg := hello(host, 0, false)
			first, done := r.segment(0, msg, 1), r.segment(len(msg), []byte{20, 3, 3, 0, 1, 1, 23, 3, 3, 0, 1, 9}, 2)
			cold(b, r, func(i int) *engine.Packet {
				for _, pkt := range []*engine.Packet{first, done} {
					binary.BigEndian.PutUint16(pkt.Bytes[20:], uint16(i))
				}
				if name == "hello" {
					return first
				}
				r.out.Reset()
				r.p.Handle(r.now, first, &r.out)
				return done
			})
			if c := r.p.Counts(); c["treated"] != uint64(b.N) || name == "done" && c["finished"] != uint64(b.N) {
				b.Error(c)
			}
		})
	}
}
