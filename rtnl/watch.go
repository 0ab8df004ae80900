package rtnl

import (
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// settle gathers what belongs together: a WAN that comes up brings a dozen
	// messages within some tens of milliseconds.
	settle = 150 * time.Millisecond
	// eventBuffer is more than any notification has: each is one object.
	eventBuffer = 8 << 10
)

// What a Watcher may be told of, as bind(2) takes it: a bit for each of the
// RTNLGRP numbers. The links belong to the routes too: when a device goes down
// the kernel removes its IPv4 routes without a word.
const (
	Links = unix.RTMGRP_LINK
	Addrs = unix.RTMGRP_IPV4_IFADDR | unix.RTMGRP_IPV6_IFADDR
	// Routes tells of default routes alone, in any table.
	Routes = unix.RTMGRP_IPV4_ROUTE | unix.RTMGRP_IPV6_ROUTE
	Rules  = unix.RTMGRP_IPV4_RULE | 1<<(unix.RTNLGRP_IPV6_RULE-1)
)

// A Watcher tells when something has changed.
type Watcher struct{ f *os.File }

// Watch subscribes to what the kernel says of the given kinds in the calling
// thread's network namespace. Subscribe first, look then: what changes in
// between is reported.
func Watch(kinds uint32) (*Watcher, error) {
	f, err := dial(kinds)
	if err != nil {
		return nil, fmt.Errorf("watch routes: %w", err)
	}
	return &Watcher{f}, nil
}

// Wait blocks until something has happened, gathers what follows at its heels
// and returns nil: look again. It also returns nil after limit, if that is
// above zero. After Close it returns os.ErrClosed. One goroutine may wait.
func (w *Watcher) Wait(limit time.Duration) error {
	var until time.Time
	if limit > 0 {
		until = time.Now().Add(limit)
	}
	b := make([]byte, eventBuffer)
	for found := false; ; {
		n, err := w.read(b, until)
		switch {
		case errors.Is(err, os.ErrDeadlineExceeded):
			return nil
		case errors.Is(err, os.ErrClosed):
			return os.ErrClosed
		case err != nil && !errors.Is(err, unix.ENOBUFS): // ENOBUFS: some were lost, so anything may have happened
			return fmt.Errorf("read route events: %w", err)
		case !found && (err != nil || relevant(b[:n])):
			found, until = true, time.Now().Add(settle)
		}
	}
}

// read reads one datagram. On a closed file no deadline can be set, and Read
// gives the better error.
func (w *Watcher) read(b []byte, until time.Time) (int, error) {
	if err := w.f.SetReadDeadline(until); errors.Is(err, os.ErrNoDeadline) {
		return 0, err
	}
	return w.f.Read(b)
}

// Close ends Wait and the subscription. It is idempotent.
func (w *Watcher) Close() error {
	if err := w.f.Close(); err != nil && !errors.Is(err, os.ErrClosed) {
		return fmt.Errorf("close route events: %w", err)
	}
	return nil
}

// relevant tells whether a notification is worth a look: any device, address or
// rule, but of routes only default ones, and of bridge ports, which speak up at
// each change of their state, nothing.
func relevant(b []byte) bool {
	for len(b) > 0 {
		m, rest, ok := CutMessage(b)
		if !ok {
			return true // cut short: look for yourself
		}
		b = rest
		switch m.Type {
		case unix.RTM_NEWLINK, unix.RTM_DELLINK:
			if len(m.Body) > 0 && m.Body[0] != unix.AF_BRIDGE {
				return true
			}
		case unix.RTM_NEWADDR, unix.RTM_DELADDR, unix.RTM_NEWRULE, unix.RTM_DELRULE:
			return true
		case unix.RTM_NEWROUTE, unix.RTM_DELROUTE:
			if r, ok := ParseRoute(m.Body); ok && r.Default() {
				return true
			}
		}
	}
	return false
}
