package lab

import (
	"errors"
	"fmt"
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
	const tries = 3
	for range tries {
		stood, err := stand(t, engine)
		switch {
		case err == nil:
			return
		case stood <= standLimit:
			t.Fatal(err)
		}
		t.Logf("b4d stood still for %v, in which the rules may have forgotten it: %v", stood, err)
	}
	t.Errorf("b4d stood still for more than %v, %d times", standLimit, tries)
}

// standLimit is how long b4d may stand still: the rules hold for two seconds without
// it, and it takes up its work a moment after it is told to.
const standLimit = 1500 * time.Millisecond

// stand has b4d stand still while connections are opened, until each hello has come
// to it three times. It tells how long that was, and what is wrong then.
func stand(t *testing.T, engine string) (stood time.Duration, err error) {
	const connections, copies = 16, 3
	l := build(t, Options{})
	d := launchB4D(t, l, configure(engine)+"\nconfig strategy 'default'\n\toption tls 'fake(ttl=3) split(1, midsld) disorder'\n")
	p := profile(t)
	p.Residual.For = 0
	l.SetCensor(p)
	seen, err := l.watchFlows()
	must(t, err)
	must(t, d.Freeze())
	from := time.Now()
	var live sync.WaitGroup
	errs := make([]error, connections)
	for i := range errs {
		live.Add(1)
		go func() {
			defer live.Done()
			if err := l.Open(Request{Host: Blocked, Site: Retry, V6: i%2 == 1, Hello: Hello(i / 2 % 2)}); err != nil {
				errs[i] = fmt.Errorf("v6 %t %v: %w", i%2 == 1, Hello(i/2%2), err)
			}
		}()
	}
	for seen.sent(copies) < connections && time.Since(from) < standLimit {
		time.Sleep(5 * time.Millisecond)
	}
	must(t, d.Signal(syscall.SIGCONT))
	mustStatus(t, d) // it goes on
	stood = time.Since(from)
	n := seen.sent(copies)
	live.Wait()
	must(t, seen.close())
	if n < connections {
		errs = append(errs, fmt.Errorf("%d hellos of %d came %d times", n, connections, copies))
	}
	if s := l.CensorStats(); s.Blocked != 0 || s.Packets == 0 {
		errs = append(errs, fmt.Errorf("censor: %+v", s))
	}
	return stood, errors.Join(errs...)
}

// sent counts the connections whose first byte the client has sent so many times.
func (s *flows) sent(times int) (n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, f := range s.open {
		copies := 0
		for _, x := range f[ToServer].in {
			if x.from <= 1 && x.to > 1 {
				copies++
			}
		}
		if copies >= times {
			n++
		}
	}
	return n
}
