// Package nlwatch tells when the kernel has had something to say over netlink, and
// gathers what belongs together.
package nlwatch

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// settle gathers what belongs together: a WAN that comes up brings a dozen
	// messages within some tens of milliseconds.
	settle = 150 * time.Millisecond
	// longest bounds what a storm costs, and for how long it may hide the news
	// that counts: all is to be followed within a second, the look included.
	longest = 500 * time.Millisecond
	// drainReads is more messages than the socket's buffer holds: each takes up
	// a kilobyte at least of some 200.
	drainReads = 1 << 10
)

// A Watcher tells when something has changed.
type Watcher struct {
	f      *os.File
	closed chan struct{}
	once   sync.Once
	told   time.Time     // when Wait last had something to tell
	gather time.Duration // for how long it gathered that
}

// Open subscribes to groups of a netlink protocol, a bit for each group's number
// as bind(2) takes it, in the calling thread's network namespace. Subscribe
// first, look then: what changes in between is told. The program picks out what
// is worth a look; the rest is left in the kernel and wakes nobody. It sees a
// notification from its struct nlmsghdr on.
func Open(protocol int, groups uint32, program []unix.SockFilter) (*Watcher, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, protocol)
	if err != nil {
		return nil, fmt.Errorf("open netlink socket: %w", err)
	}
	filter := unix.SockFprog{Len: uint16(len(program)), Filter: &program[0]}
	if err = unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &filter); err != nil {
		err = fmt.Errorf("filter netlink events: %w", err)
	} else if err = unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK, Groups: groups}); err != nil {
		err = fmt.Errorf("bind netlink socket: %w", err)
	}
	if err != nil {
		unix.Close(fd)
		return nil, err
	}
	// The runtime's poller waits for it, so reads end on deadlines and on Close.
	return &Watcher{f: os.NewFile(uintptr(fd), "netlink"), closed: make(chan struct{})}, nil
}

func (w *Watcher) control(do func(fd int)) error {
	raw, err := w.f.SyscallConn()
	if err != nil {
		return err
	}
	return raw.Control(func(fd uintptr) { do(int(fd)) })
}

// Wait blocks until something has happened, gathers what follows at its heels
// and returns nil: look again. It gathers for 150 ms, and longer the longer it
// goes on, up to half a second. It also returns nil if nothing has happened within limit,
// if that is above zero. After Close it returns os.ErrClosed. One goroutine may
// wait.
func (w *Watcher) Wait(limit time.Duration) error {
	var until time.Time
	if limit > 0 {
		until = time.Now().Add(limit)
	}
	switch err := w.read(until); {
	case errors.Is(err, os.ErrDeadlineExceeded):
		return nil
	case errors.Is(err, os.ErrClosed):
		return os.ErrClosed
	case err != nil && !errors.Is(err, unix.ENOBUFS): // ENOBUFS: some were lost, so anything may have happened
		return fmt.Errorf("read netlink events: %w", err)
	}
	if time.Since(w.told) < 2*w.gather {
		w.gather = min(2*w.gather, longest)
	} else {
		w.gather = settle
	}
	timer := time.NewTimer(w.gather)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-w.closed:
		return os.ErrClosed
	}
	w.told = time.Now()
	return w.drain()
}

// read reads one message, of which a byte tells enough. On a closed file no
// deadline can be set, and Read gives the better error.
func (w *Watcher) read(until time.Time) error {
	if err := w.f.SetReadDeadline(until); errors.Is(err, os.ErrNoDeadline) {
		return err
	}
	_, err := w.f.Read(make([]byte, 1))
	return err
}

// drain throws away what waits. An error, as of messages lost, is no news.
func (w *Watcher) drain() error {
	err := w.control(func(fd int) {
		b := make([]byte, 1)
		for range drainReads {
			if _, err := unix.Read(fd, b); err == unix.EAGAIN {
				return
			}
		}
	})
	if err != nil {
		return os.ErrClosed
	}
	return nil
}

// Close ends Wait and the subscription. It is idempotent.
func (w *Watcher) Close() error {
	w.once.Do(func() { close(w.closed) })
	if err := w.f.Close(); err != nil && !errors.Is(err, os.ErrClosed) {
		return fmt.Errorf("close netlink events: %w", err)
	}
	return nil
}

// The instructions of a program, as far as it takes any.

// Load loads a number of the given size (unix.BPF_B, BPF_H or BPF_W) that begins
// at byte at. Programs read everything in network order: see [Network].
func Load(size uint16, at uint32) unix.SockFilter {
	return unix.SockFilter{Code: unix.BPF_LD | unix.BPF_ABS | size, K: at}
}

// Equal skips then or otherwise instructions, as the number loaded is k or not.
func Equal(k uint32, then, otherwise uint8) unix.SockFilter {
	return unix.SockFilter{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: k, Jt: then, Jf: otherwise}
}

// Keep and Leave end a program.
func Keep() unix.SockFilter  { return unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: ^uint32(0)} }
func Leave() unix.SockFilter { return unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K} }

// Network is what a program reads of a number in host byte order.
func Network(v uint16) uint32 {
	return uint32(binary.BigEndian.Uint16(binary.NativeEndian.AppendUint16(nil, v)))
}

// TypeAt is where a notification has its message type, in host byte order.
const TypeAt = 4
