package rtnl

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
	// that counts: a look at a whole internet of routes takes half a second on
	// a small router.
	longest = 2 * time.Second
	// drainReads is more messages than the socket's buffer holds: each takes up
	// a kilobyte at least of some 200.
	drainReads = 1 << 10
)

// What a Watcher may be told of, as bind(2) takes it: a bit for each of the
// RTNLGRP numbers. The links belong to the routes too: when a device goes down
// the kernel removes its IPv4 routes without a word.
const (
	// Links leaves out what bridges say of their ports, at each change of
	// their state.
	Links = unix.RTMGRP_LINK
	Addrs = unix.RTMGRP_IPV4_IFADDR | unix.RTMGRP_IPV6_IFADDR
	// Routes tells of default routes alone, in any table.
	Routes = unix.RTMGRP_IPV4_ROUTE | unix.RTMGRP_IPV6_ROUTE
	Rules  = unix.RTMGRP_IPV4_RULE | 1<<(unix.RTNLGRP_IPV6_RULE-1)
)

// A Watcher tells when something has changed.
type Watcher struct {
	f      *os.File
	closed chan struct{}
	once   sync.Once
	told   time.Time     // when Wait last had something to tell
	gather time.Duration // for how long it gathered that
}

// Watch subscribes to what the kernel says of the given kinds in the calling
// thread's network namespace. Subscribe first, look then: what changes in
// between is reported. What is of no concern is left in the kernel: thousands
// of routes a second, as a router between providers sees them, wake nobody.
func Watch(kinds uint32) (*Watcher, error) {
	f, err := dial(kinds)
	if err != nil {
		return nil, fmt.Errorf("watch routes: %w", err)
	}
	w := &Watcher{f: f, closed: make(chan struct{}), gather: settle}
	var refused error
	err = w.control(func(fd int) { refused = attach(fd) })
	if err := errors.Join(err, refused); err != nil {
		return nil, errors.Join(fmt.Errorf("watch routes: filter events: %w", err), f.Close())
	}
	return w, nil
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
// goes on, up to 2 s. It also returns nil if nothing has happened within limit,
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
		return fmt.Errorf("read route events: %w", err)
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
		return fmt.Errorf("close route events: %w", err)
	}
	return nil
}

// attach makes the kernel drop what is not worth a look: of routes all but the
// default ones, and of links what bridges say of their ports. A notification is
// one message. The program reads struct nlmsghdr's type, in network order as
// programs read everything, then the family of struct ifinfomsg or the length
// of the destination of struct rtmsg behind it.
func attach(fd int) error {
	const (
		typ    = 4
		body   = unix.SizeofNlMsghdr
		dstLen = body + 1
		keep   = ^uint32(0)
	)
	load := func(size uint16, at uint32) unix.SockFilter {
		return unix.SockFilter{Code: unix.BPF_LD | unix.BPF_ABS | size, K: at}
	}
	equal := func(k uint32, then, otherwise uint8) unix.SockFilter {
		return unix.SockFilter{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: k, Jt: then, Jf: otherwise}
	}
	program := []unix.SockFilter{
		load(unix.BPF_H, typ),
		equal(network(unix.RTM_NEWROUTE), 3, 0),
		equal(network(unix.RTM_DELROUTE), 2, 0),
		equal(network(unix.RTM_NEWLINK), 3, 0),
		equal(network(unix.RTM_DELLINK), 2, 4),
		load(unix.BPF_B, dstLen),
		equal(0, 2, 3),
		load(unix.BPF_B, body),
		equal(unix.AF_BRIDGE, 1, 0),
		{Code: unix.BPF_RET | unix.BPF_K, K: keep},
		{Code: unix.BPF_RET | unix.BPF_K},
	}
	return unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER,
		&unix.SockFprog{Len: uint16(len(program)), Filter: &program[0]})
}

// network is what a program reads of a number in host byte order.
func network(v uint16) uint32 {
	return uint32(binary.BigEndian.Uint16(binary.NativeEndian.AppendUint16(nil, v)))
}
