package engine

import (
	"errors"
	"os"
	"sync"
	"sync/atomic"
)

var (
	// ErrNotStarted is the error of a Run ahead of Start.
	ErrNotStarted = errors.New("engine is not started")
	// ErrBusy is the error of a second Run at the same time.
	ErrBusy = errors.New("engine already runs")
)

// A Life keeps the order of an engine's calls: started once, run by one, closed
// once and after Run has ended. T is what the engine has while it lives. The
// zero Life is one that has not begun.
type Life[T any] struct {
	serve sync.Mutex // held by Run

	mu     sync.Mutex // guards what follows; Close holds it until all is given back
	it     *T         // nil before Start
	closed bool
}

// Start keeps what open returns. After an error it may be tried again; after
// Close it is os.ErrClosed, and ErrStarted the second time.
func (l *Life[T]) Start(open func() (*T, error)) (err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case l.closed:
		return os.ErrClosed
	case l.it != nil:
		return ErrStarted
	}
	l.it, err = open()
	return err
}

// Run calls run, unless Close has been called: that is no error.
func (l *Life[T]) Run(run func(*T) error) error {
	it, err := l.enter()
	if it == nil {
		return err
	}
	defer l.serve.Unlock()
	return run(it)
}

// enter takes the right to run. It is nil with a nil error after Close.
func (l *Life[T]) enter() (*T, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case l.closed:
		return nil, nil
	case l.it == nil:
		return nil, ErrNotStarted
	case !l.serve.TryLock():
		return nil, ErrBusy
	}
	return l.it, nil
}

// Close calls wake, which must end a Run under way, and once that has ended
// release. It is idempotent.
func (l *Life[T]) Close(wake, release func(*T) error) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return nil
	}
	l.closed = true
	if l.it == nil {
		return nil
	}
	err := wake(l.it)
	l.serve.Lock()
	defer l.serve.Unlock()
	return errors.Join(err, release(l.it))
}

// Tally is the live form of Counters.
type Tally struct {
	Read, Accepted, Dropped, Replaced, Sent, SendFailed, Lost atomic.Uint64
}

// Counters reads the tally.
func (t *Tally) Counters() Counters {
	return Counters{
		Read: t.Read.Load(), Accepted: t.Accepted.Load(), Dropped: t.Dropped.Load(), Replaced: t.Replaced.Load(),
		Sent: t.Sent.Load(), SendFailed: t.SendFailed.Load(), Lost: t.Lost.Load(),
	}
}
