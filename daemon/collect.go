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

// A collector has the last collection. The zero collector is ready.
type collector struct {
	mu   sync.Mutex
	last *collection
	stop func() // ends it
}

// A collection gathers the events of one host for a while.
type collection struct {
	host  string
	until time.Time
	core  *core // whose connections it sees

	mu     sync.Mutex
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

// begin ends the last collection and begins another.
func (c *collector) begin(core *core, q CollectRequest, hosts *match.Set) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.last != nil {
		c.stop()
		c.last = nil
	}
	limit := time.Duration(q.Seconds) * time.Second
	g := &collection{host: q.Host, until: time.Now().Add(limit), core: core}
	stop, ok := core.pipe.Trace(&pipeline.Tracer{Hosts: hosts, Each: g.add})
	if !ok {
		return errors.New("another trace is running: end it first")
	}
	timer := time.AfterFunc(limit, stop)
	c.last, c.stop = g, func() { timer.Stop(); stop() }
	return nil
}

// add is called on the packet path.
func (g *collection) add(e pipeline.Event) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if len(g.events) == collectRoom {
		g.lost++
		return
	}
	g.events = append(g.events, e)
}

// gathered is what there is so far.
func (c *collector) gathered() Collected {
	c.mu.Lock()
	g := c.last
	c.mu.Unlock()
	if g == nil {
		return Collected{Events: []pipeline.Event{}}
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	return Collected{
		Host: g.host, Running: time.Now().Before(g.until) && g.core.running(),
		Events: append([]pipeline.Event{}, g.events...), Lost: g.lost,
	}
}

// running reports whether packets are treated.
func (c *core) running() bool {
	select {
	case <-c.done:
		return false
	default:
		return true
	}
}
