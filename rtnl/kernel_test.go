package rtnl

import (
	"errors"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"b4/nstest"

	"golang.org/x/sys/unix"
)

// enterNetNS moves the test into a network namespace of its own, whose only
// device is lo, index 1, and returns a connection to it.
func enterNetNS(t *testing.T) *Conn {
	t.Helper()
	nstest.Enter(t)
	c, err := Dial()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

const create = unix.NLM_F_CREATE | unix.NLM_F_EXCL

func addAddr(t *testing.T, c *Conn, i byte) {
	t.Helper()
	b := append([]byte{unix.AF_INET, 24, 0, 0}, u32(1)...)
	if err := c.Do(unix.RTM_NEWADDR, create, AppendAttr(b, unix.IFA_LOCAL, []byte{10, i, 0, 1})); err != nil {
		t.Fatal(err)
	}
}

func addRoute(c *Conn, dst []byte, oif uint32) error {
	r := Route{Family: unix.AF_INET, DstLen: uint8(8 * len(dst)), Table: unix.RT_TABLE_MAIN, Type: unix.RTN_UNICAST}
	return c.Do(unix.RTM_NEWROUTE, create, AppendUint32(AppendAttr(r.Append(nil), unix.RTA_DST, dst), unix.RTA_OIF, oif))
}

func wait(t *testing.T, w *Watcher, limit time.Duration) (told bool) {
	t.Helper()
	start := time.Now()
	if err := w.Wait(limit); err != nil {
		t.Fatal(err)
	}
	return time.Since(start) < limit
}

// The kernel's refusal comes with its reason.
func TestRefusal(t *testing.T) {
	c := enterNetNS(t)
	nstest.Down(t, "lo")
	err := addRoute(c, []byte{10, 0, 0, 1}, 1)
	if !errors.Is(err, unix.ENETDOWN) || !strings.HasSuffix(err.Error(), "is not up)") {
		t.Errorf("route by a device that is down: %v", err)
	}
}

// The kernel tells of no other protocol's routes than asked for.
func TestDumpRoutes(t *testing.T) {
	c := enterNetNS(t)
	for i, protocol := range []uint8{unix.RTPROT_STATIC, 98, unix.RTPROT_BGP} {
		r := Route{Family: unix.AF_INET, DstLen: 32, Table: unix.RT_TABLE_MAIN, Protocol: protocol, Type: unix.RTN_UNICAST}
		body := AppendUint32(AppendAttr(r.Append(nil), unix.RTA_DST, []byte{10, 0, 0, byte(i)}), unix.RTA_OIF, 1)
		if err := c.Do(unix.RTM_NEWROUTE, create, body); err != nil {
			t.Fatal(err)
		}
	}
	got, err := DumpRoutes(c, unix.AF_INET, 98, func(all []uint8, m Message) []uint8 {
		r, _ := ParseRoute(m.Body)
		return append(all, r.Protocol)
	})
	if err != nil || !slices.Equal(got, []uint8{98}) {
		t.Errorf("protocols %v, %v", got, err)
	}
}

// A burst is one event, and one that overflows the socket's buffer is too.
// Routes of no concern are none.
func TestWatchBurst(t *testing.T) {
	c := enterNetNS(t)
	w, err := Watch(Links | Addrs | Routes)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	for i := range byte(100) {
		addAddr(t, c, i)
	}
	if !wait(t, w, patience) {
		t.Error("100 addresses: no event")
	}
	if wait(t, w, 3*settle) {
		t.Error("another event after 100 addresses")
	}
	if err := w.control(func(fd int) { unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, 1) }); err != nil {
		t.Fatal(err)
	}
	for i := range byte(100) {
		if err := addRoute(c, []byte{10, 200, 1, i}, 1); err != nil {
			t.Fatal(err)
		}
	}
	if wait(t, w, 3*settle) {
		t.Error("routes of no concern are told")
	}
	for i := range byte(100) {
		addAddr(t, c, 100+i)
	}
	if !wait(t, w, patience) {
		t.Error("overflow: no event")
	}
	if wait(t, w, 3*settle) {
		t.Error("another event after the overflow")
	}
}

// News without end is told ever more seldom, and its last is told.
func TestWatchStorm(t *testing.T) {
	c := enterNetNS(t)
	w, err := Watch(Routes)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	const lasts = 20 * settle
	var storm sync.WaitGroup
	storm.Add(1)
	last := make(chan time.Time, 1)
	go func() {
		defer storm.Done()
		head := AppendUint32(Route{Family: unix.AF_INET, Table: unix.RT_TABLE_MAIN, Type: unix.RTN_UNICAST, Scope: unix.RT_SCOPE_LINK}.Append(nil), unix.RTA_OIF, 1)
		for start := time.Now(); time.Since(start) < lasts; time.Sleep(time.Millisecond) {
			if err := errors.Join(c.Do(unix.RTM_NEWROUTE, create, head), c.Do(unix.RTM_DELROUTE, 0, head)); err != nil {
				t.Error(err)
			}
		}
		last <- time.Now()
	}()
	events := 0
	for {
		before := w.told
		if err := w.Wait(2 * settle); err != nil {
			t.Fatal(err)
		}
		if w.told.Equal(before) {
			break
		}
		events++
	}
	storm.Wait()
	if end := <-last; w.told.Before(end) {
		t.Errorf("the last change is told %v early", end.Sub(w.told))
	}
	// 1, 2, 4, 8 times settle, and what comes after 20.
	if events > 7 {
		t.Errorf("%d events in %v", events, lasts)
	}
}

// Each kind is told to who asked for it, and to no one else.
func TestWatchKinds(t *testing.T) {
	c := enterNetNS(t)
	rules, err := Watch(Rules)
	if err != nil {
		t.Fatal(err)
	}
	defer rules.Close()
	others, err := Watch(Links | Addrs | Routes)
	if err != nil {
		t.Fatal(err)
	}
	defer others.Close()
	for _, family := range []uint8{unix.AF_INET, unix.AF_INET6} {
		b := []byte{family, 0, 0, 0, 100, 0, 0, unix.FR_ACT_TO_TBL, 0, 0, 0, 0}
		b = AppendUint32(b, unix.FRA_PRIORITY, 77)
		for _, do := range []struct{ typ, flags uint16 }{{unix.RTM_NEWRULE, create}, {unix.RTM_DELRULE, 0}} {
			if err := c.Do(do.typ, do.flags, b); err != nil {
				t.Fatal(err)
			}
			if !wait(t, rules, patience) {
				t.Errorf("family %d, message %d: no event", family, do.typ)
			}
		}
	}
	if wait(t, others, settle) {
		t.Error("a rule is told as something else")
	}
}

func TestWatchClose(t *testing.T) {
	enterNetNS(t)
	w, err := Watch(Links)
	if err != nil {
		t.Fatal(err)
	}
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
func TestWatchCloseGathering(t *testing.T) {
	c := enterNetNS(t)
	w, err := Watch(Addrs)
	if err != nil {
		t.Fatal(err)
	}
	w.gather, w.told = longest, time.Now()
	addAddr(t, c, 1)
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
