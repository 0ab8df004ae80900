package lab

import (
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"
)

// kills is how often b4d is killed, at any moment up to killWithin after its
// start: most of them while it still starts, which takes a tenth of that.
const (
	kills      = 100
	killWithin = 400 * time.Millisecond
)

// Whenever b4d is killed, the router's routes, rules and tables are as they
// were, connections open, and those under way go on.
func TestKilledAnyTime(t *testing.T) {
	t.Parallel()
	path, err := program()
	if err != nil {
		t.Fatal(err)
	}
	engines(t, func(t *testing.T, engine string) {
		t.Parallel()
		l := build(t, Options{Firewall: &Firewall{Masq4: true, Masq6: true}})
		seed := uint64(time.Now().UnixNano())
		t.Logf("seed %d", seed)
		rnd := rand.New(rand.NewPCG(seed, 0))
		before := stateOf(t, l)
		first := launchB4D(t, l, configure(engine))
		files := openFiles(t, first.PID())
		if err := first.Stop(); err != nil {
			t.Fatal(err)
		}
		const size = 32 << 20
		load := startLoad(l, size)
		clients := startClients(l)
		for i := range kills {
			at := time.Duration(rnd.Float64() * rnd.Float64() * float64(killWithin))
			d, err := l.launch(path, configure(engine))
			if err != nil {
				t.Fatal(err)
			}
			time.Sleep(at)
			if err := d.Kill(); err != nil {
				t.Errorf("killed after %v: %v", at, err)
			}
			load.allow(int64(i+1) * size / kills)
		}
		if err := load.wait(); err != nil {
			t.Error(err)
		}
		opened, err := clients.stop()
		if err != nil {
			t.Error(err)
		}
		t.Logf("%d connections were opened meanwhile", opened)
		last := launchB4D(t, l, configure(engine))
		if n := openFiles(t, last.PID()); n != files {
			t.Errorf("b4d has %d open files, the first one had %d", n, files)
		}
		for _, v6 := range []bool{false, true} {
			if err := l.CheckOpen(profile(t), Request{Host: Blocked, V6: v6}); err != nil {
				t.Error(err)
			}
		}
		if err := last.Stop(); err != nil {
			t.Fatal(err)
		}
		if diff := Changes(before, stateOf(t, l)); len(diff) != 0 {
			t.Errorf("in the end: %v", diff)
		}
	})
}

// clients open one connection after the other, in both families.
type clients struct {
	end  chan struct{}
	live sync.WaitGroup
	mu   sync.Mutex
	n    int
	err  error // the first
}

func startClients(l *Lab) *clients {
	c := &clients{end: make(chan struct{})}
	for _, r := range []Request{{V6: false}, {V6: true}, {V6: true, Hello: PostQuantum}} {
		r.Host = Blocked
		c.live.Add(1)
		go func() {
			defer c.live.Done()
			for {
				select {
				case <-c.end:
					return
				case <-time.After(10 * time.Millisecond):
				}
				start := time.Now()
				err := l.Open(r)
				c.mu.Lock()
				c.n++
				if err != nil && c.err == nil {
					c.err = fmt.Errorf("connection %d, v6 %t, %v hello, after %v: %w", c.n, r.V6, r.Hello, time.Since(start), err)
				}
				c.mu.Unlock()
			}
		}()
	}
	return c
}

func (c *clients) stop() (opened int, err error) {
	close(c.end)
	c.live.Wait()
	return c.n, c.err
}
