package rtnl

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"b4/nlwatch"
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

func addRoute(c *Conn, dst []byte, oif uint32) error {
	r := Route{Family: unix.AF_INET, DstLen: uint8(8 * len(dst)), Table: unix.RT_TABLE_MAIN, Type: unix.RTN_UNICAST}
	b := r.Append(nil)
	if len(dst) > 0 {
		b = AppendAttr(b, unix.RTA_DST, dst)
	}
	return c.Do(unix.RTM_NEWROUTE, create, AppendUint32(b, unix.RTA_OIF, oif))
}

func wait(t *testing.T, w *nlwatch.Watcher, limit time.Duration) (told bool) {
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

// Routes but the default ones are left in the kernel.
func TestWatchConcern(t *testing.T) {
	c := enterNetNS(t)
	w, err := Watch(Links | Addrs | Routes)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	for i := range byte(100) {
		if err := addRoute(c, []byte{10, 200, 1, i}, 1); err != nil {
			t.Fatal(err)
		}
	}
	if wait(t, w, calmness) {
		t.Error("routes of no concern are told")
	}
	if err := addRoute(c, nil, 1); err != nil {
		t.Fatal(err)
	}
	if !wait(t, w, patience) {
		t.Error("a default route: no event")
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
	if wait(t, others, calmness) {
		t.Error("a rule is told as something else")
	}
}
