// Package wait waits for a file descriptor or for a time to pass, in a way that
// costs a busy daemon little and wakes an idle one least.
package wait

import (
	"errors"
	"fmt"
	"os"
	"sync/atomic"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// A Waiter waits for a descriptor or for a time to pass, in one of two ways. One
// goroutine may wait.
//
// While packets come, the thread sleeps in ppoll for some milliseconds, and Go's
// scheduler is not told. Told, it would look for other work, sleep in its own poller,
// and wake its monitor thread, which naps for 20 µs fifty times before it trusts the
// peace: a connection that comes alone took 17 system calls, and takes 7. What others
// have to do runs meanwhile on another processor; where there is but one, the monitor
// interrupts whoever has kept it for 10 ms, by a signal that ends ppoll too.
//
// When nothing has come for so long, it sleeps in Go's poller and by a clock of the
// kernel's. Measured, in context switches of all threads a tick: 3 this way, 4 with a
// thread blocked in poll, 14 with a timer of Go's.
type Waiter struct {
	fd    int
	epoll int      // an epoll instance over the descriptor and the clock
	file  *os.File // the same
	raw   interface {
		Read(func(fd uintptr) bool) error
	}
	clock int       // timerfd
	rings time.Time // when the clock will; zero is never
	woken atomic.Bool

	busy    bool // the last attempt found something
	watched bool // Go's poller is told of what comes
}

// linger is how long to sleep behind Go's back. It is less than the 10 ms after which
// the monitor steps in (forcePreemptNS in runtime/proc.go).
const linger = 5 * time.Millisecond

// New returns a Waiter for what can be read from fd, which stays the caller's.
func New(fd int) (*Waiter, error) {
	epoll, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("make epoll instance: %w", err)
	}
	unix.SetNonblock(epoll, true) // which is how NewFile knows that it can be polled
	w := &Waiter{fd: fd, epoll: epoll, file: os.NewFile(uintptr(epoll), "epoll"), clock: -1, watched: true}
	if w.raw, err = w.file.SyscallConn(); err == nil {
		w.clock, err = unix.TimerfdCreate(unix.CLOCK_MONOTONIC, unix.TFD_CLOEXEC|unix.TFD_NONBLOCK)
	}
	for _, f := range []int{fd, w.clock} {
		if err == nil {
			err = unix.EpollCtl(epoll, unix.EPOLL_CTL_ADD, f, &unix.EpollEvent{Events: unix.EPOLLIN})
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
	if w.woken.Load() {
		return os.ErrDeadlineExceeded
	}
	if w.busy && d >= linger {
		if err := w.watch(false); err != nil {
			return err
		}
		if w.linger() && attempt(uintptr(w.fd)) {
			return nil
		}
	}
	if err := errors.Join(w.watch(true), w.arm(time.Now(), d)); err != nil {
		return err
	}
	w.busy = true
	return w.raw.Read(attempt)
}

// watch has Go's poller told of what comes, or not: it is not to be woken by what
// comes while somebody lingers. It costs a system call only where that changes.
func (w *Waiter) watch(on bool) error {
	if on == w.watched {
		return nil
	}
	var e unix.EpollEvent
	if on {
		e.Events = unix.EPOLLIN
	}
	if err := unix.EpollCtl(w.epoll, unix.EPOLL_CTL_MOD, w.fd, &e); err != nil {
		return fmt.Errorf("watch for packets: %w", err)
	}
	w.watched = on
	return nil
}

// linger sleeps until something has come, and reports whether it has.
func (w *Waiter) linger() bool {
	p, t := unix.PollFd{Fd: int32(w.fd), Events: unix.POLLIN}, unix.NsecToTimespec(int64(linger))
	n, _, errno := unix.RawSyscall6(unix.SYS_PPOLL, uintptr(unsafe.Pointer(&p)), 1, uintptr(unsafe.Pointer(&t)), 0, 0, 0)
	return errno == 0 && n > 0
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
	w.rings, w.busy = time.Time{}, false
	return true
}

// Wake ends a Wait within some milliseconds, or when it next begins. Any goroutine
// may call it.
func (w *Waiter) Wake() error {
	w.woken.Store(true)
	return w.file.SetReadDeadline(time.Unix(1, 0))
}

// Close gives the Waiter's own descriptors back.
func (w *Waiter) Close() error {
	err := w.file.Close()
	if w.clock >= 0 {
		err = errors.Join(err, unix.Close(w.clock))
	}
	return err
}
