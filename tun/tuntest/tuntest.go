// Package tuntest is engine tun over a fake of its device and of the wire behind
// it, so that everything above the engine runs in tests without root. All but
// the device is the real engine.
package tuntest

import (
	"bytes"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"b4/engine"
	"b4/tun"
)

// An Outcome is what became of a pushed packet.
type Outcome struct {
	Verdicts []engine.Verdict // of each packet the Handler saw: several where a superpacket was cut
	Wire     [][]byte         // all that left, in order
	Meta     []engine.Meta    // what each of Wire left with
	Back     [][]byte         // all that was written to the device: accepted packets, signals
	Heads    []tun.Header     // what each of Back was written with
}

// An Engine is a tun.Engine whose packets come from Push. Its methods may be
// called by any goroutine.
type Engine struct {
	*tun.Engine
	started atomic.Bool
	l       *link
}

// An item is a packet on its way through the engine.
type item struct {
	head tun.Header
	pkt  []byte
	out  Outcome
	done chan struct{}
}

func (it *item) leave(b []byte, m engine.Meta) {
	it.out.Wire = append(it.out.Wire, bytes.Clone(b))
	it.out.Meta = append(it.out.Meta, m)
}

// A link is the fake device and the fake wire. Its unguarded fields are Run's.
type link struct {
	packets chan *item
	once    sync.Once
	closed  chan struct{}
	mtu     atomic.Int32

	cur     *item
	judging bool // between Handle and Tick, when what leaves does so for cur

	mu       sync.Mutex // guards what follows
	fail     error
	late     [][]byte
	lateNews chan struct{}
}

// New returns an engine as c says, except that its device and Send are fakes.
// Until it is started it lets packets pass, as the kernel does that has no such
// device to steer them to.
func New(c tun.Config) *Engine {
	l := &link{packets: make(chan *item), closed: make(chan struct{}), lateNews: make(chan struct{}, 1)}
	l.mtu.Store(int32(c.Device.MTU))
	c.Send, c.Open = l, func() (tun.Link, error) { return l, nil }
	return &Engine{Engine: tun.New(c), l: l}
}

// Push gives b to the device's reader and returns once all that comes of it has
// left. It waits for Run where Start has been called, and lets b pass before
// that and after Close. b is copied.
func (e *Engine) Push(b []byte) Outcome { return e.PushSuper(tun.Header{}, b) }

// PushSuper is Push for a packet that the kernel has left something undone of.
func (e *Engine) PushSuper(h tun.Header, b []byte) Outcome {
	it := &item{head: h, pkt: bytes.Clone(b), done: make(chan struct{})}
	if e.started.Load() {
		select {
		case e.l.packets <- it:
			<-it.done
			return it.out
		case <-e.l.closed:
		}
	}
	it.leave(b, engine.Meta{})
	return it.out
}

// FailSend makes each later send fail with err, until it is called with nil.
func (e *Engine) FailSend(err error) {
	e.l.mu.Lock()
	defer e.l.mu.Unlock()
	e.l.fail = err
}

// Late waits until n packets have left that no pushed packet was the occasion
// of, those a Handler's Tick or Drain adds, and removes and returns them; after
// wait it returns fewer.
func (e *Engine) Late(n int, wait time.Duration) [][]byte {
	end := time.After(wait)
	for {
		if got := e.l.takeLate(n, false); got != nil {
			return got
		}
		select {
		case <-e.l.lateNews:
		case <-end:
			return e.l.takeLate(n, true)
		}
	}
}

// MTU is the fake device's.
func (e *Engine) MTU() int { return int(e.l.mtu.Load()) }

// Supported is always nil.
func (e *Engine) Supported() error { return nil }

// Start makes Push wait for Run.
func (e *Engine) Start() error {
	err := e.Engine.Start()
	if err == nil {
		e.started.Store(true)
	}
	return err
}

// Run serves h until Close.
func (e *Engine) Run(h engine.Handler) error { return e.Engine.Run(&handler{h, e.l}) }

// A handler notes down verdicts, and tells what is sent for a packet from what
// is sent because of the time.
type handler struct {
	engine.Handler
	l *link
}

func (h *handler) Handle(now time.Time, p *engine.Packet, out *engine.Batch) engine.Verdict {
	h.l.judging = true
	v := h.Handler.Handle(now, p, out)
	h.l.cur.out.Verdicts = append(h.l.cur.out.Verdicts, v)
	return v
}

func (h *handler) Tick(now time.Time, out *engine.Batch) time.Duration {
	h.l.judging = false
	return h.Handler.Tick(now, out)
}

// Read implements tun.Link: one packet at a time. That it waits for the next
// means that the last one is settled. The last one's bytes are spoilt, so that a
// Handler that kept them is found out.
func (l *link) Read(wait time.Duration, h *tun.Header, p []byte) (int, error) {
	if wait == 0 {
		return 0, nil
	}
	if l.cur != nil {
		for i := range p[:len(l.cur.pkt)] {
			p[i] = 0xdb
		}
		close(l.cur.done)
		l.cur = nil
	}
	t := time.NewTimer(wait)
	defer t.Stop()
	select {
	case <-l.closed:
		return 0, os.ErrClosed
	case <-t.C:
		return 0, nil
	case l.cur = <-l.packets:
		*h = l.cur.head
		return copy(p, l.cur.pkt), nil
	}
}

// Write implements tun.Link.
func (l *link) Write(h tun.Header, p []byte) error {
	l.cur.out.Back = append(l.cur.out.Back, bytes.Clone(p))
	l.cur.out.Heads = append(l.cur.out.Heads, h)
	return nil
}

// WriteParts implements tun.Link.
func (l *link) WriteParts(h tun.Header, headers []byte, payload [][]byte) error {
	return l.Write(h, append(bytes.Clone(headers), bytes.Join(payload, nil)...))
}

// Index is 1.
func (l *link) Index() int32 { return 1 }

// Offloads are those of Linux 6.2.
func (l *link) Offloads() tun.Offloads {
	return tun.Checksums | tun.TCP4 | tun.TCP6 | tun.ECN | tun.UDP
}

// Dropped is zero: Push waits.
func (l *link) Dropped() uint64 { return 0 }

// SetMTU implements tun.Link.
func (l *link) SetMTU(n int) error {
	l.mtu.Store(int32(n))
	return nil
}

// Close implements tun.Link.
func (l *link) Close() error {
	l.once.Do(func() { close(l.closed) })
	return nil
}

// Send implements engine.Sender.
func (l *link) Send(outs []engine.Out) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.fail != nil {
		return 0, l.fail
	}
	for _, o := range outs {
		if l.judging {
			l.cur.leave(o.Bytes, o.Meta)
			continue
		}
		l.late = append(l.late, bytes.Clone(o.Bytes))
	}
	select {
	case l.lateNews <- struct{}{}:
	default:
	}
	return len(outs), nil
}

// takeLate removes and returns n late packets. Where there are fewer it returns
// those if short ones will do, else nil.
func (l *link) takeLate(n int, short bool) [][]byte {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.late) < n {
		if !short {
			return nil
		}
		n = len(l.late)
	}
	got := l.late[:n:n]
	l.late = l.late[n:]
	return got
}
