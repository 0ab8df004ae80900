package nfq

import (
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// A waiter waits for a socket or for a time to pass. It does so in Go's poller
// and by a clock of the kernel's, which wakes an idle daemon least: besides our
// thread, Go's monitor thread wakes each time, and naps until it finds all idle
// again. Measured, in context switches of all threads a tick: 3 this way, 4 with
// a thread blocked in poll, 14 with a timer of Go's. One goroutine may wait.
type waiter struct {
	file *os.File // an epoll instance over the socket and the clock
	raw  interface {
		Read(func(fd uintptr) bool) error
	}
	clock int       // timerfd
	rings time.Time // when the clock will; zero is never
}

func newWaiter(socket int) (*waiter, error) {
	epoll, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("make epoll instance: %w", err)
	}
	unix.SetNonblock(epoll, true) // which is how NewFile knows that it can be polled
	w := &waiter{file: os.NewFile(uintptr(epoll), "epoll"), clock: -1}
	if w.raw, err = w.file.SyscallConn(); err == nil {
		w.clock, err = unix.TimerfdCreate(unix.CLOCK_MONOTONIC, unix.TFD_CLOEXEC|unix.TFD_NONBLOCK)
	}
	for _, fd := range []int{socket, w.clock} {
		if err == nil {
			err = unix.EpollCtl(epoll, unix.EPOLL_CTL_ADD, fd, &unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(fd)})
		}
	}
	if err != nil {
		w.close()
		return nil, fmt.Errorf("wait for packets: %w", err)
	}
	return w, nil
}

// wait calls attempt until it returns true, each time something may have come,
// and at most for d. After wake it returns os.ErrDeadlineExceeded.
func (w *waiter) wait(d time.Duration, attempt func(fd uintptr) bool) error {
	if err := w.arm(time.Now(), d); err != nil {
		return err
	}
	return w.raw.Read(attempt)
}

// arm sets the clock, unless it rings by then anyway.
func (w *waiter) arm(now time.Time, d time.Duration) error {
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

// rung reports whether the clock has rung since it was set.
func (w *waiter) rung() bool {
	var times [8]byte
	if _, err := unix.Read(w.clock, times[:]); err != nil {
		return false
	}
	w.rings = time.Time{}
	return true
}

// wake ends a wait, now or when it next begins.
func (w *waiter) wake() error { return w.file.SetReadDeadline(time.Unix(1, 0)) }

func (w *waiter) close() error {
	err := w.file.Close()
	if w.clock >= 0 {
		err = errors.Join(err, unix.Close(w.clock))
	}
	return err
}
