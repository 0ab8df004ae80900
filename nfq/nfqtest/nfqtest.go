// Package nfqtest is a fake of engine nfqueue and of the kernel behind it, so
// that everything above the engine runs in tests without root.
package nfqtest

import (
	"bytes"
	"errors"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"b4/engine"
)

// An Outcome is what became of a pushed packet.
type Outcome struct {
	Verdict engine.Verdict
	Wire    [][]byte      // all that left, in order: our own packets, then the one judged
	Meta    []engine.Meta // what each of Wire left with; Done's mark is not in it
}

// A Queue is an engine.Engine whose packets come from Push. Its methods may be
// called by any goroutine.
type Queue struct {
	started atomic.Bool
	once    sync.Once
	closed  chan struct{}
	serve   sync.Mutex // held by Run
	packets chan *item
	k       kernel
}

// An item is a packet on its way through the engine.
type item struct {
	p       engine.Packet
	out     Outcome
	settled bool
	done    chan struct{}
}

// A kernel is the queue's Source and Sink. Its unguarded fields are Run's.
type kernel struct {
	q   *Queue
	cur *item
	buf []byte
	pkt [1]engine.Packet

	mu       sync.Mutex // guards what follows
	fail     error
	late     [][]byte
	lateNews chan struct{}
	id       uint32
	n        engine.Counters
}

// New returns a queue that, like the kernel's, lets packets pass until it is
// started.
func New() *Queue {
	q := &Queue{closed: make(chan struct{}), packets: make(chan *item)}
	q.k.q, q.k.lateNews = q, make(chan struct{}, 1)
	return q
}

// Push gives p to the engine and returns once it is settled. It waits for Run
// where Start has been called, and lets p pass before that and after Close. An
// ID or Full of zero is filled in. p.Bytes is copied.
func (q *Queue) Push(p engine.Packet) Outcome {
	it := &item{p: p, done: make(chan struct{})}
	if q.started.Load() {
		select {
		case q.packets <- it:
			<-it.done
			return it.out
		case <-q.closed:
		}
	}
	it.leave(p.Bytes, p.Meta)
	return it.out
}

// FailSend makes each later send of our own packets fail with err, until it is
// called with nil.
func (q *Queue) FailSend(err error) {
	q.k.mu.Lock()
	defer q.k.mu.Unlock()
	q.k.fail = err
}

// Late waits until n packets have left that no pushed packet was the occasion
// of, those a Handler's Tick adds, and removes and returns them; after wait it
// returns fewer.
func (q *Queue) Late(n int, wait time.Duration) [][]byte {
	end := time.After(wait)
	for {
		if got := q.k.takeLate(n, false); got != nil {
			return got
		}
		select {
		case <-q.k.lateNews:
		case <-end:
			return q.k.takeLate(n, true)
		}
	}
}

// Name is that of the engine it stands for.
func (q *Queue) Name() string { return "nfqueue" }

// Supported is always nil.
func (q *Queue) Supported() error { return nil }

// Start makes Push wait for Run.
func (q *Queue) Start() error {
	select {
	case <-q.closed:
		return os.ErrClosed
	default:
	}
	if q.started.Swap(true) {
		return engine.ErrStarted
	}
	return nil
}

// Run is engine.Run between Push and h. Errors that cost no packet are ignored,
// as Outcome shows what they lead to.
func (q *Queue) Run(h engine.Handler) error {
	if !q.started.Load() {
		return errors.New("engine is not started")
	}
	if !q.serve.TryLock() {
		return errors.New("engine already runs")
	}
	defer q.serve.Unlock()
	return engine.Run(&q.k, h, &q.k, func(error) {})
}

// Close ends Run and returns after it has, so a Handler must not call it.
func (q *Queue) Close() error {
	q.k.Close()
	q.serve.Lock()
	defer q.serve.Unlock()
	return nil
}

// Capabilities are those of an NFQUEUE on a current kernel.
func (q *Queue) Capabilities() engine.Capabilities {
	return engine.Capabilities{FailOpen: true, Buffer: 1 << 20}
}

// Counters count as the real engine does; nothing is ever lost.
func (q *Queue) Counters() engine.Counters {
	q.k.mu.Lock()
	defer q.k.mu.Unlock()
	return q.k.n
}

func (it *item) leave(b []byte, m engine.Meta) {
	it.out.Wire = append(it.out.Wire, bytes.Clone(b))
	it.out.Meta = append(it.out.Meta, m)
}

// Read implements engine.Source. The last packet's bytes are spoilt, so that a
// Handler that kept them is found out.
func (k *kernel) Read(wait time.Duration) ([]engine.Packet, error) {
	for i := range k.buf {
		k.buf[i] = 0xdb
	}
	t := time.NewTimer(wait)
	defer t.Stop()
	select {
	case <-k.q.closed:
		return nil, os.ErrClosed
	case <-t.C:
		return nil, nil
	case it := <-k.q.packets:
		k.take(it)
		return k.pkt[:], nil
	}
}

func (k *kernel) take(it *item) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.id++
	k.n.Read++
	k.cur = it
	k.buf = append(k.buf[:0], it.p.Bytes...)
	k.pkt[0] = it.p
	p := &k.pkt[0]
	p.Bytes = k.buf[:len(k.buf):len(k.buf)]
	if p.ID == 0 {
		p.ID = k.id
	}
	p.Full = max(p.Full, len(p.Bytes))
}

// Close implements engine.Source.
func (k *kernel) Close() error {
	k.q.once.Do(func() { close(k.q.closed) })
	return nil
}

// Send implements engine.Sink.
func (k *kernel) Send(outs []engine.Out) (int, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.fail != nil {
		k.n.SendFailed++
		return 0, k.fail
	}
	k.n.Sent += uint64(len(outs))
	for _, o := range outs {
		if k.cur != nil {
			k.cur.leave(o.Bytes, o.Meta)
			continue
		}
		k.late = append(k.late, bytes.Clone(o.Bytes))
	}
	select {
	case k.lateNews <- struct{}{}:
	default:
	}
	return len(outs), nil
}

// takeLate removes and returns n late packets. Where there are fewer it returns
// those if short ones will do, else nil.
func (k *kernel) takeLate(n int, short bool) [][]byte {
	k.mu.Lock()
	defer k.mu.Unlock()
	if len(k.late) < n {
		if !short {
			return nil
		}
		n = len(k.late)
	}
	got := k.late[:n:n]
	k.late = k.late[n:]
	return got
}

// Settle implements engine.Sink.
func (k *kernel) Settle(p *engine.Packet, v engine.Verdict, payload []byte) error {
	if p != &k.pkt[0] || k.cur == nil || k.cur.settled {
		return errors.New("settled a packet that does not wait")
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.cur.settled, k.cur.out.Verdict = true, v
	switch v.Act() {
	case engine.Drop:
		k.n.Dropped++
	case engine.Replace:
		k.n.Replaced++
		k.cur.leave(payload, p.Meta)
	default:
		k.n.Accepted++
		k.cur.leave(k.cur.p.Bytes, p.Meta)
	}
	return nil
}

// Flush implements engine.Sink: what has been settled leaves.
func (k *kernel) Flush() error {
	if k.cur != nil && k.cur.settled {
		close(k.cur.done)
		k.cur = nil
	}
	return nil
}
