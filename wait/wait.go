// Package wait waits for a file descriptor or for a time to pass, in a way that
// wakes an idle daemon least.
package wait

import (
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// A Waiter waits for a descriptor or for a time to pass. It does so in Go's
// poller and by a clock of the kernel's, which wakes an idle daemon least:
// besides our thread, Go's monitor thread wakes each time, and naps until it
// finds all idle again. Measured, in context switches of all threads a tick: 3
// this way, 4 with a thread blocked in poll, 14 with a timer of Go's. One
// goroutine may wait.
type Waiter struct {
	file *os.File // an epoll instance over the descriptor and the clock
	raw  interface {
		Read(func(fd uintptr) bool) error
	}
	clock int       // timerfd
	rings time.Time // when the clock will; zero is never
}

// New returns a Waiter for what can be read from fd, which stays the caller's.
func New(fd int) (*Waiter, error) {
	epoll, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("make epoll instance: %w", err)
	}
	unix.SetNonblock(epoll, true) // which is how NewFile knows that it can be polled
	w := &Waiter{file: os.NewFile(uintptr(epoll), "epoll"), clock: -1}
	if w.raw, err = w.file.SyscallConn(); err == nil {
		w.clock, err = unix.TimerfdCreate(unix.CLOCK_MONOTONIC, unix.TFD_CLOEXEC|unix.TFD_NONBLOCK)
	}
	for _, f := range []int{fd, w.clock} {
		if err == nil {
			err = unix.EpollCtl(epoll, unix.EPOLL_CTL_ADD, f, &unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(f)})
		}
	}
	if err != nil {
		w.Close()
		return nil, fmt.Errorf("wait for packets: %w", err)
	}
	return w, nil
}

// Wait calls attempt until it returns true, each time something may have come.
// An attempt that found nothing should return Rung, which is true once d is
// over. After Wake the error is os.ErrDeadlineExceeded.
func (w *Waiter) Wait(d time.Duration, attempt func(fd uintptr) bool) error {
	if err := w.arm(time.Now(), d); err != nil {
		return err
	}
	return w.raw.Read(attempt)
}

// arm sets the clock, unless it rings by then anyway.
func (w *Waiter) arm(now time.Time, d time.Duration) error {
	end := now.Add(max(d, 1))
	if !w.rings.IsZero() && !end.Before(w.rings) {
		return nil
	}
	spec := unix.ItimerSpec{Value: unix.NsecToTimespec(int64(max(d, 1)))}
	if err := unix.TimerfdSettime(w.clock, 0, &spec, nil); err != nil {
		return fmt.Errorf("set timerfd: %w", err)
	}
	w.rings = end
	return nil
}

// Rung reports whether the clock has rung since it was set. It may ring early,
// by the clock of an earlier Wait.
func (w *Waiter) Rung() bool {
	var times [8]byte
	if _, err := unix.Read(w.clock, times[:]); err != nil {
		return false
	}
	w.rings = time.Time{}
	return true
}

// Wake ends a Wait, now or when it next begins. Any goroutine may call it.
func (w *Waiter) Wake() error { return w.file.SetReadDeadline(time.Unix(1, 0)) }

// Close gives the Waiter's own descriptors back.
func (w *Waiter) Close() error {
	err := w.file.Close()
	if w.clock >= 0 {
		err = errors.Join(err, unix.Close(w.clock))
	}
	return err
}
