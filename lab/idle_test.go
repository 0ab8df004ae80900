package lab

import (
	"errors"
	"testing"
	"time"
)

// A b4d without packets does not wake, once it has answered the last. What it renews
// every 40 seconds, and Go's collector every two minutes, comes later than the test looks.
func TestIdle(t *testing.T) {
	t.Parallel()
	engines(t, func(t *testing.T, engine string) {
		t.Parallel()
		const seconds, most = 4, 2
		l := build(t, Options{})
		d := launchB4D(t, l, configure(engine))
		if err := l.Open(Request{Host: Allowed}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(3 * time.Second) // the answer to that, and what the kernel says on a new device
		before, err1 := Switches(d.PID())
		time.Sleep(seconds * time.Second)
		after, err2 := Switches(d.PID())
		if err := errors.Join(err1, err2); err != nil {
			t.Fatal(err)
		}
		n := after - before
		t.Logf("%d context switches in %d s", n, seconds)
		if n > most {
			t.Errorf("%d context switches in %d s, want at most %d", n, seconds, most)
		}
	})
}
