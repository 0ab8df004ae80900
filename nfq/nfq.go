package nfq

import (
	"errors"
	"os"
	"sync"
	"sync/atomic"

	"b4/engine"
)

// A Config says which queue to serve and how.
type Config struct {
	Num  uint16        // queue number
	Len  uint32        // packets the kernel holds at most, the others pass; 0 leaves its 1024
	Done uint32        // fwmark bit that the verdict Done sets on the packet
	Send engine.Sender // carries packets of our own; used by Run's goroutine only

	// Report is given what went wrong without costing a packet. It must not
	// block and may be called for every packet: the caller samples. Nil drops it.
	Report func(error)

	// GSO asks for superpackets whole (NFQA_CFG_F_GSO), as only a mode that
	// sees all traffic needs for its speed. Without it the kernel cuts them
	// to the wire's own segments and fills in the checksums, so that what is
	// judged is what would leave, and raw copies of it are valid as they are.
	GSO bool
}

// An Engine serves one NFQUEUE. It implements engine.Engine.
type Engine struct {
	c     Config
	n     counters
	caps  atomic.Pointer[engine.Capabilities]
	serve sync.Mutex // held by Run

	mu     sync.Mutex // guards what follows; Close holds it until the queue is given back
	q      *queue     // nil before Start
	closed bool
}

// counters are the live engine.Counters.
type counters struct {
	read, accepted, dropped, replaced, sent, sendFailed, lost atomic.Uint64
}

var errBusy = errors.New("engine already runs")

// New returns an engine for queue c.Num. It opens nothing.
func New(c Config) *Engine {
	if c.Report == nil {
		c.Report = func(error) {}
	}
	return &Engine{c: c}
}

// Name is "nfqueue".
func (e *Engine) Name() string { return "nfqueue" }

// Supported asks the kernel for its NFQUEUE subsystem, touching no queue. The
// error wraps engine.ErrNotSupported where the subsystem is missing, and not
// where only CAP_NET_ADMIN is.
func (e *Engine) Supported() error { return probe() }

// Start binds the queue. Packets that reach it while Start is still at work go
// on untouched. After an error Start may be tried again; after Close it is
// os.ErrClosed.
func (e *Engine) Start() error {
	e.mu.Lock()
	defer e.mu.Unlock()
	switch {
	case e.closed:
		return os.ErrClosed
	case e.q != nil:
		return engine.ErrStarted
	}
	q, err := open(e.c, &e.n)
	if err != nil {
		return err
	}
	e.q = q
	e.caps.Store(&q.caps)
	return nil
}

// Run serves h until Close. Only one Run can be under way.
func (e *Engine) Run(h engine.Handler) error {
	q, err := e.enter()
	if q == nil {
		return err
	}
	defer e.serve.Unlock()
	return engine.Run(q, h, q, e.c.Report)
}

// enter takes the queue for Run. It is nil with a nil error after Close.
func (e *Engine) enter() (*queue, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	switch {
	case e.closed:
		return nil, nil
	case e.q == nil:
		return nil, errors.New("engine is not started")
	case !e.serve.TryLock():
		return nil, errBusy
	}
	return e.q, nil
}

// Close ends Run, lets every packet go that still waits in the queue, and gives
// the queue back. It returns after Run has, so a Handler must not call it.
func (e *Engine) Close() error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.closed {
		return nil
	}
	e.closed = true
	if e.q == nil {
		return nil
	}
	err := e.q.Close()
	e.serve.Lock() // the descriptors are Run's until it has returned
	defer e.serve.Unlock()
	return errors.Join(err, e.q.release())
}

// Capabilities are zero before Start.
func (e *Engine) Capabilities() engine.Capabilities {
	if c := e.caps.Load(); c != nil {
		return *c
	}
	return engine.Capabilities{}
}

// Counters may be read at any time. Lost counts the gaps in the kernel's packet
// numbers: packets that found no room in the receive buffer.
func (e *Engine) Counters() engine.Counters {
	return engine.Counters{
		Read:       e.n.read.Load(),
		Accepted:   e.n.accepted.Load(),
		Dropped:    e.n.dropped.Load(),
		Replaced:   e.n.replaced.Load(),
		Sent:       e.n.sent.Load(),
		SendFailed: e.n.sendFailed.Load(),
		Lost:       e.n.lost.Load(),
	}
}
