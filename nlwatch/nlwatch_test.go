package nlwatch

import (
	"net/netip"
	"os"
	"sync/atomic"
	"testing"
	"time"

	"b4/nstest"

	"golang.org/x/sys/unix"
)

const patience = 5 * time.Second

// watchAddrs watches the addresses of lo in a namespace of the test's.
func watchAddrs(t *testing.T) *Watcher {
	t.Helper()
	nstest.Enter(t)
	w, err := Open(unix.NETLINK_ROUTE, unix.RTMGRP_IPV4_IFADDR, []unix.SockFilter{Keep()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { w.Close() })
	return w
}

// readdress gives lo one more address, number i.
func readdress(t *testing.T, i int) {
	nstest.Addr(t, "lo", netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(i >> 8), byte(i), 1}), 24))
}

func wait(t *testing.T, w *Watcher, limit time.Duration) (told bool) {
	t.Helper()
	start := time.Now()
	if err := w.Wait(limit); err != nil {
		t.Fatal(err)
	}
	return time.Since(start) < limit
}

// A burst is one event, and one that overflows the socket's buffer is too.
func TestBurst(t *testing.T) {
	w := watchAddrs(t)
	for round, what := range []string{"burst", "overflow"} {
		for i := range 100 {
			readdress(t, 100*round+i)
		}
		if !wait(t, w, patience) {
			t.Errorf("%s: no event", what)
		}
		if wait(t, w, 3*settle) {
			t.Errorf("%s: another event", what)
		}
		if err := w.control(func(fd int) { unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, 1) }); err != nil {
			t.Fatal(err)
		}
	}
}

// News without end is told more and more seldom, but each
// within a second, and its last is told. Whoever makes it may be held up meanwhile,
// as by what else holds the kernel's lock.
func TestStorm(t *testing.T) {
	w := watchAddrs(t)
	const lasts = 20 * settle
	type outcome struct {
		events int
		widest time.Duration // between two of them
		last   time.Time     // when Wait returned with it
		err    error
	}
	var done atomic.Bool
	ended := make(chan outcome, 1)
	go func() {
		var o outcome
		for over := false; o.err == nil && !over; {
			before, all := w.told, done.Load()
			if o.err = w.Wait(2 * settle); w.told.Equal(before) {
				over = all
				continue
			}
			o.last = time.Now()
			if o.events++; o.events > 1 {
				o.widest = max(o.widest, w.told.Sub(before))
			}
		}
		ended <- o
	}()
	start := time.Now()
	last, gap := start, time.Duration(0) // the last change's beginning, and the longest way from one to the next
	for i := 0; time.Since(start) < lasts; i++ {
		before := last
		last = time.Now()
		readdress(t, i)
		gap = max(gap, time.Since(before))
		time.Sleep(time.Millisecond)
	}
	done.Store(true)
	o := <-ended
	if o.err != nil {
		t.Fatal(o.err)
	}
	if o.last.Before(last) {
		t.Errorf("the last change is told %v early", last.Sub(o.last))
	}
	if o.widest > time.Second+gap {
		t.Errorf("a change is told as late as after %v, with changes %v apart", o.widest, gap)
	}
	// 1 and 2 times settle, then longest, and what comes after the last.
	if most := 4 + int(lasts/longest); o.events > most {
		t.Errorf("%d events in %v", o.events, lasts)
	}
}

// What the program leaves wakes nobody.
func TestProgram(t *testing.T) {
	nstest.Enter(t)
	for i, tt := range []struct {
		what    string
		program []unix.SockFilter
		want    bool
	}{
		{"left", []unix.SockFilter{Leave()}, false},
		{"kept by type", []unix.SockFilter{Load(unix.BPF_H, TypeAt), Equal(Network(unix.RTM_NEWADDR), 0, 1), Keep(), Leave()}, true},
		{"left by type", []unix.SockFilter{Load(unix.BPF_H, TypeAt), Equal(Network(unix.RTM_NEWRULE), 0, 1), Keep(), Leave()}, false},
	} {
		w, err := Open(unix.NETLINK_ROUTE, unix.RTMGRP_IPV4_IFADDR, tt.program)
		if err != nil {
			t.Fatal(err)
		}
		readdress(t, i)
		limit := 3 * settle
		if tt.want {
			limit = patience
		}
		if got := wait(t, w, limit); got != tt.want {
			t.Errorf("%s: told %v", tt.what, got)
		}
		w.Close()
	}
}

func TestClose(t *testing.T) {
	w := watchAddrs(t)
	done := make(chan error, 1)
	go func() { done <- w.Wait(0) }()
	time.Sleep(20 * time.Millisecond)
	for range 2 {
		if err := w.Close(); err != nil {
			t.Error(err)
		}
	}
	select {
	case err := <-done:
		if err != os.ErrClosed {
			t.Errorf("woken with %v", err)
		}
	case <-time.After(patience):
		t.Error("Close did not wake Wait")
	}
	if err := w.Wait(0); err != os.ErrClosed {
		t.Errorf("after Close: %v", err)
	}
}

// Close does not wait for the end of what is gathered.
func TestCloseGathering(t *testing.T) {
	w := watchAddrs(t)
	before := time.Now()
	w.gather, w.told = longest, before
	readdress(t, 1)
	done := make(chan error, 1)
	go func() { done <- w.Wait(0) }()
	time.Sleep(20 * time.Millisecond)
	if err := w.Close(); err != nil {
		t.Error(err)
	}
	if err := <-done; err != os.ErrClosed || !w.told.Equal(before) {
		t.Errorf("Wait returned %v, at the end of what it gathered: %t", err, !w.told.Equal(before))
	}
}
