package lab

import (
	"errors"
	"os"
	"runtime"
	"sync"
	"testing"

	"golang.org/x/sys/unix"
)

// newTrace is NewTrace for a test, which is skipped where there is no tracing.
func newTrace(t *testing.T, pid int, events ...Event) *Trace {
	t.Helper()
	tr, err := NewTrace(pid, events...)
	if errors.Is(err, ErrNoTracing) {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { tr.Close() })
	return tr
}

// Every call is counted, and no other, on threads that are there and on new ones.
func TestTrace(t *testing.T) {
	// Nothing else here asks for these.
	rare, rarer := SystemCall("getpgid", unix.SYS_GETPGID), SystemCall("getsid", unix.SYS_GETSID)
	tr := newTrace(t, os.Getpid(), rare, rarer, SystemCalls, ContextSwitches)
	before, err := tr.Counts()
	if err != nil {
		t.Fatal(err)
	}
	const goroutines, calls = 20, 50
	var live sync.WaitGroup
	for range goroutines {
		live.Add(1)
		go func() {
			defer live.Done()
			runtime.LockOSThread() // and never unlock: the thread ends with it
			for range calls {
				unix.Getpgid(0)
			}
			unix.Getsid(0)
		}()
	}
	live.Wait()
	after, err := tr.Counts()
	if err != nil {
		t.Fatal(err)
	}
	var n [4]uint64
	for i := range n {
		n[i] = after[i] - before[i]
	}
	if n[0] != goroutines*calls || n[1] != goroutines || n[2] < n[0]+n[1] || n[3] == 0 {
		t.Errorf("counted %d", n)
	}
}
