package engine

import (
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// A counting handler is called by one at a time, or its counts go wrong.
type counting struct {
	handles, ticks, drains int
	in                     atomic.Int32
	t                      *testing.T
}

func (c *counting) enter(n *int) {
	if c.in.Add(1) != 1 {
		c.t.Error("two calls at a time")
	}
	*n++
	c.in.Add(-1)
}

func (c *counting) Handle(_ time.Time, p *Packet, out *Batch) Verdict {
	c.enter(&c.handles)
	out.Add(p.Bytes, p.Meta)
	return Replace
}
func (c *counting) Tick(time.Time, *Batch) time.Duration { c.enter(&c.ticks); return time.Minute }
func (c *counting) Drain(*Batch)                         { c.enter(&c.drains) }

// Runs that share a handler call it one at a time, and wait as it says.
func TestShared(t *testing.T) {
	const runs, bursts = 2, 1000
	h := &counting{t: t}
	s := Shared(h)
	var wg sync.WaitGroup
	for range runs {
		wg.Add(1)
		go func() {
			defer wg.Done()
			src := &source{bursts: bursts, pkts: []Packet{{Bytes: ip4(1)}, {Bytes: ip4(2)}}, err: os.ErrClosed}
			if err := Run(src, s, &sink{quiet: true}, func(err error) { t.Error(err) }); err != nil {
				t.Error(err)
			}
			if src.waits[1] != time.Minute {
				t.Errorf("waits %v", src.waits[1])
			}
		}()
	}
	wg.Wait()
	if h.handles != 2*runs*bursts || h.ticks != runs*bursts || h.drains != runs {
		t.Errorf("%d packets, %d ticks, %d drains", h.handles, h.ticks, h.drains)
	}
}
