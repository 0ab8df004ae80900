package lab

import (
	"sync"
	"syscall"
	"testing"
	"time"
)

// While b4d is slower than its clients' timers, each hello comes to it several
// times, and to the server: the second hello, behind HelloRetryRequest, is late
// among the packets of its connection then. It is treated all the same.
func TestSlow(t *testing.T) {
	engines(t, slow)
}

func slow(t *testing.T, engine string) {
	t.Parallel() // it waits for what is sent again
	l := build(t, Options{})
	d := launchB4D(t, l, configure(engine)+"\nconfig strategy 'default'\n\toption tls 'fake(ttl=3) split(1, midsld) disorder'\n")
	p := profile(t)
	p.Residual.For = 0
	l.SetCensor(p)
	if err := d.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	var live sync.WaitGroup
	for i := range 16 {
		live.Add(1)
		go func() {
			defer live.Done()
			if err := l.Open(Request{Host: Blocked, Site: Retry, V6: i%2 == 1, Hello: Hello(i / 2 % 2)}); err != nil {
				t.Errorf("v6 %t %v: %v", i%2 == 1, Hello(i/2%2), err)
			}
		}()
	}
	time.Sleep(700 * time.Millisecond) // the rules hold for two seconds without it
	if err := d.Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	live.Wait()
	clean(t, l)
}
