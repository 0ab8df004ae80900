package tun

import (
	"errors"
	"net/netip"
	"os"
	"testing"
	"time"

	"b4/engine"
	"b4/nstest"
	"b4/packet"
)

// A belt is a Link that gives the same packets again and again.
type belt struct {
	heads []Header
	pkts  [][]byte
	next  int
	limit int // packets until it pauses
}

func (b *belt) Read(_ time.Duration, h *Header, p []byte) (int, error) {
	if b.next == b.limit {
		return 0, nil
	}
	i := b.next % len(b.pkts)
	b.next++
	*h = b.heads[i]
	return copy(p, b.pkts[i]), nil
}
func (b *belt) Write(Header, []byte) error                { return nil }
func (b *belt) WriteParts(Header, []byte, [][]byte) error { return nil }
func (b *belt) Index() int32                              { return 1 }
func (b *belt) Offloads() Offloads                        { return 0 }
func (b *belt) SetMTU(int) error                          { return nil }
func (b *belt) Dropped() uint64                           { return 0 }
func (b *belt) Close() error                              { return nil }

// add puts a packet on the belt.
func (b *belt) add(pkt []byte, size int) {
	h := super(pkt, size)
	if size == 0 {
		h = Header{}
		l, _ := transport(pkt)
		packet.Finish(pkt, l.l4, l.proto)
	}
	b.heads, b.pkts = append(b.heads, h), append(b.pkts, pkt)
}

// testStream is a stream over a belt.
func testStream(b *belt, c Config) *stream {
	c.Send = sender(func(engine.Out) error { return nil })
	return newStream(New(c), b)
}

// All that the device gives comes out, in order and whole, in bursts that the
// buffers hold, whatever is cut in between.
func TestReadOrder(t *testing.T) {
	var b belt
	for i, n := range []int{1000, 60_000, 20, 65_000, 65_000, 65_000, 65_000, 1400, 9} {
		b.add(sample([]string{"v4", "v6"}[i%2], packet.TCP, n), []int{0, 700, 0, 1448, 9000, 20, 65_000}[i%7])
	}
	b.limit = 10 * len(b.pkts)
	s := testStream(&b, Config{})
	var got, reads int
	for b.next < b.limit || s.cut.Len() > 0 {
		pkts, err := s.Read(time.Second)
		if err != nil || len(pkts) == 0 || len(pkts) > burst {
			t.Fatalf("%d packets, %v", len(pkts), err)
		}
		reads++
		for _, p := range pkts {
			var v packet.View
			if !v.Decode(p.Bytes) || !packet.ChecksumOK(p.Bytes) || v.Hdr+len(v.Payload) != len(p.Bytes) {
				t.Fatalf("packet %x", p.Bytes)
			}
			got += len(v.Payload)
		}
	}
	want := 0
	for _, p := range b.pkts {
		l, _ := transport(p)
		want += 10 * (len(p) - l.hdr)
	}
	if got != want {
		t.Errorf("%d bytes of payload in %d reads, want %d", got, reads, want)
	}
}

func TestStreamAllocs(t *testing.T) {
	var b belt
	b.add(sample("v4", packet.TCP, 1400), 0)
	b.add(sample("v6", packet.TCP, 20_000), 1400)
	for _, c := range []Config{{Signal: true}, {Whole: func([]byte) bool { return true }}, {Back: true}} {
		s := testStream(&b, c)
		round := func() {
			b.limit += 2
			for b.next < b.limit || s.cut.Len() > 0 {
				pkts, err := s.Read(time.Second)
				if err != nil {
					t.Fatal(err)
				}
				for i := range pkts {
					for _, v := range []engine.Verdict{engine.Accept, engine.Drop, engine.Replace, engine.Accept | engine.Done} {
						if err := s.Settle(&pkts[i], v, pkts[0].Bytes); err != nil {
							t.Fatal(err)
						}
					}
				}
				if err := s.Flush(); err != nil {
					t.Fatal(err)
				}
			}
		}
		round() // a superpacket sent whole makes its arena once
		if n := testing.AllocsPerRun(200, round); n != 0 {
			t.Errorf("%+v: %v allocations a burst", c, n)
		}
	}
}

// Over a real device: reading, waiting, cutting and writing allocate nothing.
func TestKernelAllocs(t *testing.T) {
	for _, tt := range []struct {
		name    string
		segment int // size of what a datagram is cut to, 0 is not at all
		whole   bool
		want    int // packets of each write, at least
	}{{"small", 0, false, 1}, {"cut", 1000, false, 10}, {"whole and back", 1000, true, 1}} {
		t.Run(tt.name, func(t *testing.T) {
			s := nstest.NewSpace(t)
			d := openIn(t, s, DeviceConfig{Name: "b4tun0", Addrs: []netip.Prefix{net4}})
			c := udpTo(t, s, far4, 4433)
			question := make([]byte, 1400)
			if tt.segment > 0 {
				if d.Offloads()&UDP == 0 {
					t.Skip("no USO in this kernel")
				}
				inBursts(t, c, tt.segment)
				question = make([]byte, 10*tt.segment)
			}
			st := newStream(New(Config{
				Send: sender(func(engine.Out) error { return nil }),
				Back: tt.whole, Whole: func([]byte) bool { return tt.whole },
			}), d)
			var got int
			n := testing.AllocsPerRun(200, func() {
				for range 3 {
					if _, err := c.Write(question); err != nil {
						t.Fatal(err)
					}
				}
				for range 2 { // the second waits in vain
					pkts, err := st.Read(time.Millisecond)
					if err != nil {
						t.Fatal(err)
					}
					for i := range pkts {
						if err := st.Settle(&pkts[i], engine.Accept, nil); err != nil {
							t.Fatal(err)
						}
					}
					if err := st.Flush(); err != nil {
						t.Fatal(err)
					}
					got += len(pkts)
				}
			})
			if n != 0 {
				t.Errorf("%v allocations a burst", n)
			}
			if got < 600*tt.want {
				t.Errorf("%d packets came", got)
			}
		})
	}
}

// Close wakes a Read that waits, at once and each time, and both return.
func TestKernelClose(t *testing.T) {
	s := nstest.NewSpace(t)
	openIn(t, s, DeviceConfig{Name: "first"}).Close() // so that Go's poller is there
	const late = 10 * time.Second                     // by itself the read ends after a minute; others' devices hold the kernel's lock, too
	before, rounds := fds(t), 200
	var slowest, read time.Duration
	for i := range rounds {
		e := New(Config{Device: DeviceConfig{Name: "b4tun0"}, Report: func(err error) { t.Error(err) }})
		var err error
		s.Do(func() { err = e.Start() })
		if err != nil {
			t.Fatal(err)
		}
		if err := e.Start(); err != engine.ErrStarted {
			t.Fatalf("second start: %v", err)
		}
		d, end, begun := (*e.link.Load()).(*Device), make(chan time.Time, 1), make(chan bool)
		go func() {
			close(begun)
			for buf := make([]byte, maxPacket); ; {
				var h Header
				if _, err := d.Read(time.Minute, &h, buf); err == os.ErrClosed {
					break
				} else if err != nil {
					t.Error(err)
					break
				}
			}
			end <- time.Now()
		}()
		<-begun
		time.Sleep(time.Duration(i%5) * 100 * time.Microsecond) // closed before it waits, or while it does
		start := time.Now()
		if err := errors.Join(e.Close(), e.Close()); err != nil {
			t.Fatal(err)
		}
		closed := time.Since(start)
		returned := (<-end).Sub(start)
		if slowest, read = max(slowest, closed), max(read, returned); max(closed, returned) > late {
			t.Fatalf("round %d: a close took %v, a read %v", i, closed, returned)
		}
	}
	t.Logf("the slowest of %d closes took %v, of reads %v", rounds, slowest, read)
	if n := fds(t); n != before {
		t.Errorf("%d descriptors, %d before", n, before)
	}
}

func BenchmarkStream(b *testing.B) {
	var l belt
	l.add(sample("v4", packet.TCP, 1400), 0)
	l.limit = -1
	s := testStream(&l, Config{})
	b.ReportAllocs()
	for n := 0; n < b.N; {
		pkts, _ := s.Read(time.Second)
		for i := range pkts {
			s.Settle(&pkts[i], engine.Accept, nil)
		}
		s.Flush()
		n += len(pkts)
	}
}
