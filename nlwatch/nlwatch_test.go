package nlwatch

import (
	"net/netip"
	"os"
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
// within a second, and its last is told.
func TestStorm(t *testing.T) {
	w := watchAddrs(t)
	const lasts = 20 * settle
	type outcome struct {
		events int
		widest time.Duration // between two of them
		err    error
	}
	ended := make(chan outcome, 1)
	go func() {
		var o outcome
		for o.err == nil {
			before := w.told
			if o.err = w.Wait(2 * settle); w.told.Equal(before) {
				break
			}
			if o.events++; o.events > 1 {
				o.widest = max(o.widest, w.told.Sub(before))
			}
		}
		ended <- o
	}()
	start := time.Now()
	for i := 0; time.Since(start) < lasts; i++ {
		readdress(t, i)
		time.Sleep(time.Millisecond)
	}
	last := time.Now()
	o := <-ended
	if o.err != nil {
		t.Fatal(o.err)
	}
	if w.told.Before(last) {
		t.Errorf("the last change is told %v early", last.Sub(w.told))
	}
	if o.widest > time.Second {
		t.Errorf("a change is told as late as after %v", o.widest)
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
		if got := wait(t, w, 3*settle); got != tt.want {
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
	w.gather, w.told = longest, time.Now()
	readdress(t, 1)
	done := make(chan error, 1)
	go func() { done <- w.Wait(0) }()
	time.Sleep(20 * time.Millisecond)
	start := time.Now()
	if err := w.Close(); err != nil {
		t.Error(err)
	}
	if err := <-done; err != os.ErrClosed || time.Since(start) > longest/2 {
		t.Errorf("Wait returned %v after %v", err, time.Since(start))
	}
}
