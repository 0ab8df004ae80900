package nfq

import (
	"sync/atomic"

	"b4/engine"
)

// A Config says which queue to serve and how.
type Config struct {
	Num  uint16        // queue number
	Len  uint32        // packets the kernel holds at most, the others pass; 0 leaves its 1024
	Done uint32        // fwmark bit that the verdict Done sets on the packet
	Send engine.Sender // carries packets of our own; used by one goroutine of Run's

	// More are the senders of further queues, Num+1 and so on, each used by a goroutine
	// of its own. The rules must bring all packets of a connection by the same queue.
	More []engine.Sender

	// Report is given what went wrong without costing a packet. It must not
	// block and may be called for every packet: the caller samples. It is called by
	// several goroutines where there are More. Nil drops it.
	Report func(error)

	// GSO asks for superpackets whole (NFQA_CFG_F_GSO), as only a mode that
	// sees all traffic needs for its speed. Without it the kernel cuts them
	// to the wire's own segments and fills in the checksums, so that what is
	// judged is what would leave, and raw copies of it are valid as they are.
	// Of a superpacket that is replaced, all leaves by Send.
	GSO bool

	// Whole tells by the first 2048 bytes or more of a superpacket, or by all,
	// whether it may reach the Handler in one piece. Those that may not are
	// passed on to queue Cut, which is served as well and for which the
	// kernel cuts: what may be treated is seen as the wire's own segments,
	// with GSO too. Of the rest just the beginning is copied. Whole must
	// not keep the bytes. Nil is always, and needs no second queue.
	Whole func(pkt []byte) bool
	Cut   uint16 // number of the queue for what is cut, before those of More; unused without GSO and Whole
}

// cuts reports whether there is a second queue.
func (c *Config) cuts() bool { return c.GSO && c.Whole != nil }

// An Engine serves an NFQUEUE, or several. It implements engine.Engine.
type Engine struct {
	c    Config
	n    engine.Tally
	caps atomic.Pointer[engine.Capabilities]
	life engine.Life[queues]
}

// New returns an engine for queue c.Num and those of c.More. It opens nothing.
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

// Start binds the queues, all or none. Packets that reach them while Start is still at
// work go on untouched. After an error Start may be tried again; after Close it is
// os.ErrClosed.
func (e *Engine) Start() error {
	return e.life.Start(func() (*queues, error) {
		qs, err := openAll(e.c, &e.n)
		if err == nil {
			e.caps.Store(&(*qs)[0].caps)
		}
		return qs, err
	})
}

// Run serves h, which one goroutine calls at a time, until Close or until a queue
// fails. Only one Run can be under way.
func (e *Engine) Run(h engine.Handler) error {
	return e.life.Run(func(qs *queues) error { return qs.run(h, e.c.Report) })
}

// Close ends Run, lets every packet go that still waits in a queue, and gives the
// queues back. It returns after Run has, so a Handler must not call it.
func (e *Engine) Close() error { return e.life.Close((*queues).close, (*queues).release) }

// Capabilities are zero before Start.
func (e *Engine) Capabilities() engine.Capabilities {
	if c := e.caps.Load(); c != nil {
		return *c
	}
	return engine.Capabilities{}
}

// Counters may be read at any time. Lost counts the gaps in the kernel's packet
// numbers: packets that found no room in the receive buffer.
func (e *Engine) Counters() engine.Counters { return e.n.Counters() }
