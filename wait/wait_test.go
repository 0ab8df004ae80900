package wait

import (
	"errors"
	"os"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// pair returns a Waiter over the reading end of a pipe, and both ends.
func pair(t *testing.T) (w *Waiter, in, out int) {
	t.Helper()
	var fds [2]int
	if err := unix.Pipe2(fds[:], unix.O_NONBLOCK|unix.O_CLOEXEC); err != nil {
		t.Fatal(err)
	}
	w, err := New(fds[0])
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := errors.Join(w.Close(), unix.Close(fds[0]), unix.Close(fds[1])); err != nil {
			t.Error(err)
		}
	})
	return w, fds[1], fds[0]
}

func TestWait(t *testing.T) {
	w, in, out := pair(t)
	var got int
	attempt := func(uintptr) bool {
		var b [8]byte
		n, err := unix.Read(out, b[:])
		if err == unix.EAGAIN {
			return w.Rung()
		}
		got = n
		return true
	}
	start := time.Now()
	if err := w.Wait(20*time.Millisecond, attempt); err != nil || got != 0 || time.Since(start) < 20*time.Millisecond {
		t.Errorf("%v, %d bytes after %v", err, got, time.Since(start))
	}
	time.AfterFunc(20*time.Millisecond, func() { unix.Write(in, []byte("abc")) })
	if err := w.Wait(time.Minute, attempt); err != nil || got != 3 {
		t.Errorf("%v, %d bytes", err, got)
	}
	time.AfterFunc(20*time.Millisecond, func() { w.Wake() })
	for range 2 { // it ends this one and all later ones
		if err := w.Wait(time.Minute, attempt); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("woken: %v", err)
		}
	}
}

func TestNewFails(t *testing.T) {
	if _, err := New(-1); !errors.Is(err, unix.EBADF) {
		t.Errorf("error %v", err)
	}
}

// What comes soon behind something else is found without Go's poller, which is
// watched for neither before nor after.
func TestLinger(t *testing.T) {
	w, in, out := pair(t)
	var b [1]byte
	attempt := func(uintptr) bool {
		_, err := unix.Read(out, b[:])
		return err == nil || w.Rung()
	}
	unix.Write(in, b[:])
	if err := w.Wait(time.Minute, attempt); err != nil || !w.watched || !w.busy {
		t.Fatalf("%v, watched %t, busy %t", err, w.watched, w.busy)
	}
	if n := testing.AllocsPerRun(20, func() {
		unix.Write(in, b[:])
		if err := w.Wait(time.Minute, attempt); err != nil || w.watched {
			t.Fatalf("%v, watched %t", err, w.watched)
		}
	}); n != 0 {
		t.Errorf("%v allocations a wait", n)
	}
	// Nothing comes: it falls asleep, and what comes only then wakes it.
	var once sync.Once
	if err := w.Wait(time.Minute, func(fd uintptr) bool {
		found := attempt(fd)
		if !found && w.watched {
			once.Do(func() { time.AfterFunc(linger, func() { unix.Write(in, []byte{0}) }) })
		}
		return found
	}); err != nil || !w.watched || !w.busy {
		t.Errorf("%v, watched %t, busy %t", err, w.watched, w.busy)
	}
	// Neither is a lingering wait deaf to Wake, nor one that always finds something.
	unix.Write(in, b[:])
	w.Wake()
	if err := w.Wait(time.Minute, attempt); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("woken: %v", err)
	}
}
