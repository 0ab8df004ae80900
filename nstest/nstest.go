// Package nstest gives kernel tests network namespaces of their own, and devices,
// addresses and routes in them. All but Enter and NewSpace act on the namespace
// of the calling thread, and end the test where the kernel refuses. It asks the
// kernel by itself, not by package rtnl, whose tests it serves as well.
package nstest

import (
	"errors"
	"os"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// Enter moves the test into a fresh network namespace, its loopback up. The
// thread is never unlocked, so the runtime discards it, and the namespace with
// it, when the test returns. Subtests, and goroutines that open something, would
// do so outside. Without root, and in a short run, the test is skipped.
func Enter(t testing.TB) {
	t.Helper()
	if testing.Short() {
		t.Skip("asks the kernel")
	}
	runtime.LockOSThread()
	if err := unix.Unshare(unix.CLONE_NEWNET); errors.Is(err, unix.EPERM) {
		t.Skip("needs root")
	} else if err != nil {
		t.Fatal(err)
	}
	Up(t, "lo")
}

// A Space is a network namespace on a thread of its own, for tests that need
// several, or one in many goroutines.
type Space struct {
	acts chan func()
	gone chan struct{} // closed when the thread is
}

// NewSpace makes a namespace as Enter does. It ends with the test.
func NewSpace(t testing.TB) *Space {
	t.Helper()
	s := &Space{make(chan func()), make(chan struct{})}
	go func() {
		defer close(s.gone)
		Enter(t)
		for f := range s.acts {
			f()
		}
	}()
	t.Cleanup(func() { close(s.acts) })
	s.Do(func() {}) // not where Enter has ended the test
	return s
}

// Do runs f in the namespace. Where f ends the test, as t.Fatal does, Do does not
// return, and the namespace is gone.
func (s *Space) Do(f func()) {
	done := make(chan bool, 1)
	act := func() {
		returned := false
		defer func() { done <- returned }()
		f()
		returned = true
	}
	select {
	case s.acts <- act:
		if <-done {
			return
		}
	case <-s.gone:
	}
	runtime.Goexit()
}

// Sysctl does what lines of sysctl.conf(5) say, of net only: no other part of it
// belongs to a network namespace.
func Sysctl(t testing.TB, lines ...string) {
	t.Helper()
	for _, line := range lines {
		name, value, _ := strings.Cut(line, "=")
		path, ours := strings.CutPrefix(strings.ReplaceAll(name, ".", "/"), "net/")
		if !ours {
			t.Fatalf("sysctl %s: not of a network namespace", line)
		}
		if err := os.WriteFile("/proc/sys/net/"+path, []byte(value), 0); err != nil {
			t.Fatal(err)
		}
	}
}
