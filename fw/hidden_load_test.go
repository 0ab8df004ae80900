package fw

import (
	"errors"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"b4/nstest"

	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// A pump sends packets through a router that are all hidden, and looks at those
// that leave.
type pump struct {
	sent, left, strange atomic.Int64
	wg                  sync.WaitGroup
	stop                chan struct{}
}

func (r *router) pump() *pump {
	r.t.Helper()
	p := &pump{stop: make(chan struct{})}
	var packets [][]byte
	for _, v6 := range []bool{false, true} {
		f, u := newFlow(v6, 40000, 443), newFlow(v6, 40001, 443)
		r.shake(f)
		r.arrive(r.lan, r.wan, u.datagram(false, 0xc3))
		packets = append(packets, f.out(psh|ack, 300), u.datagram(false, 0xc3))
	}
	r.wan.SetReadDeadline(time.Time{})
	p.wg.Add(2)
	go func() {
		defer p.wg.Done()
		for i := 0; ; i++ {
			select {
			case <-p.stop:
				return
			default:
			}
			if _, err := r.lan.Write(packets[i%len(packets)]); err == nil {
				p.sent.Add(1)
			}
		}
	}()
	go func() {
		defer p.wg.Done()
		for b := make([]byte, 2048); ; {
			n, err := r.wan.Read(b)
			if errors.Is(err, os.ErrDeadlineExceeded) {
				return
			} else if err != nil {
				r.t.Error(err)
				return
			}
			p.look(b[:n])
		}
	}()
	return p
}

func (p *pump) look(b []byte) {
	switch protocol(b) {
	case hiddenUDP:
		p.strange.Add(1)
	case unix.IPPROTO_TCP:
		p.left.Add(1)
		if b[ipLen(b)+flagsAt]&fin != 0 {
			p.strange.Add(1)
		}
	}
}

// end stops the pump and fails the test if a packet left as it was hidden.
func (p *pump) end(r *router) {
	r.t.Helper()
	close(p.stop)
	time.Sleep(20 * time.Millisecond)
	r.wan.SetReadDeadline(time.Now())
	p.wg.Wait()
	r.t.Logf("%d packets sent, %d of TCP left", p.sent.Load(), p.left.Load())
	if n := p.strange.Load(); n != 0 {
		r.t.Errorf("%d packets left as they were hidden", n)
	}
	if p.left.Load() == 0 {
		r.t.Error("nothing left")
	}
}

// slowly is a firewall that takes its time, so that packets are mostly on their way
// through it when something changes.
func slowly(t testing.TB) {
	t.Helper()
	var conditions, jumps []rule
	for range 100 {
		conditions = append(conditions, rule{exprs{meta(expr.MetaKeyMARK), unequal(1, 2, 3, 4)}})
		jumps = append(jumps, rule{jump("slow")})
	}
	jumps = append(jumps, rule{established{}, accept}) // keeps connections, when nobody else asks for them
	table(t, "slow", on("slow", conditions...), chain{"forward", &hook{filter, forward, 0}, jumps})
}

// Whatever is done to the rules while packets pass, none leaves as it was hidden.
func TestHideUnderLoad(t *testing.T) {
	if os.Getenv("B4_SLOW") != "" {
		t.Skip("an emulated machine has one processor: the rules do not change while a packet is forwarded")
	}
	off := func(c *Config) { c.UDP = []uint16{443} }
	hiding := func(c *Config) { hideAll(c); c.All = true }
	for _, tt := range []struct {
		name  string
		flags uint32
		step  func(t *testing.T, c **Conn, i int)
	}{
		{"on and off", tableOwner, func(t *testing.T, c **Conn, i int) {
			mustApply(t, *c, mustPlan(t, []func(*Config){hiding, off}[i%2]), "wan0")
		}},
		{"on and on", tableOwner, func(t *testing.T, c **Conn, i int) {
			mustApply(t, *c, mustPlan(t, func(c *Config) { hiding(c); c.Replies.SYNACK = i%2 == 0 }), "wan0")
		}},
		{"closed", tableOwner, func(t *testing.T, c **Conn, i int) {
			mustApply(t, *c, mustPlan(t, hiding), "wan0")
			if err := (*c).Close(); err != nil {
				t.Fatal(err)
			}
			*c = mustOpen(t)
		}},
		{"killed", tableOwner, func(t *testing.T, c **Conn, i int) {
			mustApply(t, *c, mustPlan(t, hiding), "wan0")
			if err := (*c).s.close(); err != nil {
				t.Fatal(err)
			}
			(*c).s = nil
			*c = mustOpen(t)
		}},
		{"plain, killed", 0, func(t *testing.T, c **Conn, i int) {
			mustApply(t, *c, mustPlan(t, hiding), "wan0")
			if err := (*c).s.close(); err != nil {
				t.Fatal(err)
			}
			(*c).s = nil
			if i%2 == 0 {
				if err := Cleanup(); err != nil {
					t.Fatal(err)
				}
			}
			var err error
			if *c, err = open(0, usual); err != nil {
				t.Fatal(err)
			}
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			nstest.Enter(t)
			r := newRouter(t)
			slowly(t)
			c, err := open(tt.flags, usual)
			if err != nil {
				t.Fatal(err)
			}
			if tt.flags != 0 && c.flags == 0 {
				t.Skip("tables have no owner on this kernel")
			}
			mustApply(t, c, mustPlan(t, hiding), "wan0")
			p := r.pump()
			const n = 20
			start := time.Now()
			for i := range n {
				tt.step(t, &c, i)
			}
			t.Logf("%d times in %v", n, time.Since(start))
			p.end(r)
			c.Close()
		})
	}
}

// What hiding costs each packet that is forwarded by the rules, one of a long
// connection to a watched port or of any other.
func BenchmarkHide(b *testing.B) {
	for _, tt := range []struct {
		name string
		hide bool
		port uint16
	}{{"off, watched", false, 443}, {"on, watched", true, 443}, {"off, other", false, 8443}, {"on, other", true, 8443}} {
		b.Run(tt.name, func(b *testing.B) {
			nstest.Enter(b)
			r, c := newRouter(b), mustOpen(b)
			mustApply(b, c, mustPlan(b, func(c *Config) {
				hideAll(c)
				if !tt.hide {
					c.Offload = Offload{}
				}
			}), "wan0")
			f := newFlow(false, 40000, tt.port)
			r.shake(f)
			p := f.out(psh|ack, 300)
			for range 20 {
				r.arrive(r.lan, r.wan, p)
			}
			b.ResetTimer()
			for range b.N {
				if _, err := r.lan.Write(p); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
