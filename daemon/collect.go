package daemon

import (
	"errors"
	"fmt"
	"sync"
	"time"

	"b4/match"
	"b4/pipeline"
)

const (
	maxCollect  = 120 // seconds: so long a person looks at it
	collectRoom = 64  // events; a page shows no more
)

// CollectRequest is the parameter of the method collect. A host, which is as in
// a TraceRequest, begins a new collection of so many seconds; without one
// collect returns what the last has gathered so far.
type CollectRequest struct {
	Host    string `json:"host"`
	Seconds int    `json:"seconds"`
}

// Collected is what the method collect returns: a trace for who cannot stay on
// the line, like rpcd, which serves nobody else while it waits.
type Collected struct {
	Host    string           `json:"host"`    // "" before the first collection
	Running bool             `json:"running"` // whether more may come
	Events  []pipeline.Event `json:"events"`
	Lost    uint64           `json:"lost"` // events there was no room for
}

// A collector gathers the events of one host at a time. The zero collector is
// ready.
type collector struct {
	mu     sync.Mutex
	host   string
	core   *core // whose pipeline it listens to; nil once it has ended
	stop   func()
	events []pipeline.Event
	lost   uint64
}

func (d *Daemon) collect(c *collector, q CollectRequest) (any, error) {
	if q.Host == "" {
		if q.Seconds != 0 {
			return nil, errors.New("seconds go with a host")
		}
		return c.gathered(), nil
	}
	if q.Seconds < 1 || q.Seconds > maxCollect {
		return nil, fmt.Errorf("want seconds from 1 to %d", maxCollect)
	}
	var b match.Builder
	if err := b.Add(q.Host); err != nil {
		return nil, err
	}
	d.mu.Lock()
	core := d.core
	d.mu.Unlock()
	if core == nil {
		return nil, errors.New("b4 is off: there is nothing to trace")
	}
	if err := c.begin(core, q, b.Set()); err != nil {
		return nil, err
	}
	return c.gathered(), nil
}

// begin ends what is under way and listens to core.
func (c *collector) begin(core *core, q CollectRequest, hosts *match.Set) error {
	c.end()
	c.mu.Lock()
	defer c.mu.Unlock()
	stop, ok := core.pipe.Trace(&pipeline.Tracer{Hosts: hosts, Each: c.add})
	if !ok {
		return errors.New("another trace is running: end it first")
	}
	limit := time.AfterFunc(time.Duration(q.Seconds)*time.Second, c.end)
	c.host, c.core, c.events, c.lost = q.Host, core, nil, 0
	c.stop = func() { limit.Stop(); stop() }
	return nil
}
