package tun

import (
	"sync/atomic"
	"time"

	"b4/engine"
)

// A Link is what an Engine needs of a Device. Package tuntest has a fake.
type Link interface {
	Read(wait time.Duration, h *Header, p []byte) (int, error)
	Write(h Header, p []byte) error
	WriteParts(h Header, headers []byte, payload [][]byte) error
	Index() int32
	Offloads() Offloads
	SetMTU(n int) error
	Dropped() uint64
	Close() error
}

// A Config says which device to make and what to do with what comes out of it.
type Config struct {
	Device DeviceConfig
	Out    int32         // index of the WAN device that packets leave by; 0 leaves it to the routes. See SetOut
	Send   engine.Sender // carries all that leaves; used by Run's goroutine only

	// Signal shows a connection that is Done to conntrack: see the package's
	// documentation for the rule it needs.
	Signal bool

	// Whole tells of a superpacket whether it reaches the Handler in one
	// piece. It must not keep the bytes. Nil is never: what may be treated
	// has to be seen as the wire's own segments.
	Whole func(pkt []byte) bool

	// Groups are mark bits, of which packets carry some in a label: see the
	// package's documentation for the rules it needs. Zero leaves labels alone.
	Groups uint32

	// Back gives accepted packets back to the kernel by the device, where
	// they go on as if they had come from there, superpackets in one write,
	// and so what of a burst the kernel can cut again as it came.
	// It is for a mode that takes all traffic. What comes from the device
	// must be forwarded, and not tracked a second time (notrack at -300, all
	// but signals); as after source NAT its sources are the router's own,
	// IPv4 needs accept_local=1 and rp_filter=0 of the device.
	Back bool

	// Report is given what went wrong. It must not block and may be called
	// for every packet: the caller samples. Nil drops it.
	Report func(error)

	// Open makes the link; nil is Open(Device).
	Open func() (Link, error)
}

// An Engine serves one TUN device. It implements engine.Engine.
type Engine struct {
	c    Config
	n    engine.Tally
	out  atomic.Int32
	link atomic.Pointer[Link] // nil before Start
	life engine.Life[stream]
}

// New returns an engine for a device of its own. It makes nothing.
func New(c Config) *Engine {
	if c.Report == nil {
		c.Report = func(error) {}
	}
	if c.Open == nil {
		c.Open = func() (Link, error) {
			d, err := Open(c.Device)
			if err != nil {
				return nil, err // and no Link that holds a nil
			}
			return d, nil
		}
	}
	e := &Engine{c: c}
	e.out.Store(c.Out)
	return e
}

// Name is "tun".
func (e *Engine) Name() string { return "tun" }

// Supported opens the file that makes devices, and makes none. The error wraps
// engine.ErrNotSupported where the kernel has no TUN.
func (e *Engine) Supported() error { return supported() }

// Start makes the device and brings it up. What is steered there from then on
// waits in its queue for Run. After an error Start may be tried again; after
// Close it is os.ErrClosed.
func (e *Engine) Start() error {
	return e.life.Start(func() (*stream, error) {
		l, err := e.c.Open()
		if err != nil {
			return nil, err
		}
		e.link.Store(&l)
		return newStream(e, l), nil
	})
}

// Run serves h until Close. Only one Run can be under way.
func (e *Engine) Run(h engine.Handler) error {
	return e.life.Run(func(s *stream) error { return engine.Run(s, h, s, e.c.Report) })
}

// Close ends Run and removes the device with all that waits in it. It returns
// after Run has, so a Handler must not call it.
func (e *Engine) Close() error {
	return e.life.Close(func(s *stream) error { return s.link.Close() }, func(*stream) error { return nil })
}

// SetOut changes the device that packets leave by from now on.
func (e *Engine) SetOut(index int32) { e.out.Store(index) }

// SetMTU changes the device's MTU to WAN's.
func (e *Engine) SetMTU(n int) error {
	l := e.link.Load()
	if l == nil {
		return engine.ErrNotStarted
	}
	return (*l).SetMTU(n)
}

// Index is the device's number; zero before Start.
func (e *Engine) Index() int32 {
	if l := e.link.Load(); l != nil {
		return (*l).Index()
	}
	return 0
}

// Offloads are those of the device; none before Start.
func (e *Engine) Offloads() Offloads {
	if l := e.link.Load(); l != nil {
		return (*l).Offloads()
	}
	return 0
}

// Capabilities are zero before Start. A full device drops what comes: it never
// fails open.
func (e *Engine) Capabilities() engine.Capabilities {
	if e.link.Load() == nil {
		return engine.Capabilities{}
	}
	return engine.Capabilities{GSO: e.c.Whole != nil && e.Offloads()&(TCP4|TCP6) != 0, Buffer: readBuffer}
}

// Counters may be read at any time. Read counts segments where a superpacket was
// cut. Lost counts what found the device's queue full, and what the kernel handed
// over in a shape that could not be sent on.
func (e *Engine) Counters() engine.Counters {
	n := e.n.Counters()
	if l := e.link.Load(); l != nil {
		n.Lost += (*l).Dropped()
	}
	return n
}
