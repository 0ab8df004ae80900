package main

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"b4/lab"
)

// storm starts b4d, and stops or kills it, again and again under load, and
// watches all of the router's devices for packets with a false FIN.
func (s *show) storm() error {
	l, err := lab.New(lab.Options{Direct: true, Slow: s.small, Firewall: behind(false)})
	if err != nil {
		return err
	}
	defer l.Close()
	server, err := serve(l)
	if err != nil {
		return err
	}
	defer server.Close()
	// Connections that were reset are forgotten at once, and their ports used again.
	if err := l.Router.Sysctl("net/netfilter/nf_conntrack_tcp_timeout_close", "1"); err != nil {
		return err
	}
	if err := s.closing(l); err != nil {
		return fmt.Errorf("see a FIN that is a true one: %w", err)
	}
	for _, engine := range s.engines {
		if err := s.cycle(l, engine); err != nil {
			return err
		}
	}
	return nil
}

// closing shows that the watch sees FINs: a connection's ends close it.
func (s *show) closing(l *lab.Lab) error {
	w, err := l.Router.WatchFins()
	if err != nil {
		return err
	}
	defer w.Close()
	for _, v6 := range []bool{false, true} {
		if err := greet(l, v6); err != nil {
			return err
		}
	}
	time.Sleep(100 * time.Millisecond)
	_, all, err := w.Seen()
	for _, v6 := range []bool{false, true} {
		for _, device := range []string{lab.RouterLAN, lab.RouterWAN} {
			seen := slices.ContainsFunc(all, func(f lab.Fin) bool {
				return f.Leaves && f.Device == device && (f.Src.Addr().Is6() == v6)
			})
			if !seen {
				err = errors.Join(err, fmt.Errorf("none left by %s (IPv6 %t)", device, v6))
			}
		}
	}
	return err
}

// cycle is storm for one engine.
func (s *show) cycle(l *lab.Lab, engine string) error {
	w, err := l.Router.WatchFins()
	if err != nil {
		return err
	}
	defer w.Close()
	first, err := l.Passed()
	if err != nil {
		return err
	}
	start := time.Now()
	var t traffic
	t.start(l)
	n, err := s.repeat(l, engine)
	lost := t.end()
	took := time.Since(start)
	last, passedErr := l.Passed()
	hidden := last.Since(first).FIN
	s.check(fmt.Sprintf("%-7s %v in %.0f s under load", engine, n, took.Seconds()), errors.Join(err, passedErr))
	s.check(fmt.Sprintf("%-7s %d connections meanwhile, all of them well", engine, t.done.Load()), lost)

	time.Sleep(100 * time.Millisecond)
	count, all, err := w.Seen()
	switch {
	case err != nil:
	case count > 0:
		var some []string
		for _, f := range all[:min(len(all), 5)] {
			some = append(some, f.String())
		}
		err = fmt.Errorf("%d with a false one:\n%s", count, strings.Join(some, "\n"))
	case hidden == 0:
		err = errors.New("no packet was hidden from the flowtable by a FIN")
	}
	s.check(fmt.Sprintf("%-7s %d packets hidden from the flowtable, %d with a false FIN at any device", engine, hidden, count), err)
	return nil
}

// ends counts how b4d ended.
type ends struct{ stopped, killed, early int }

func (e ends) String() string {
	return fmt.Sprintf("%d starts, %d stops, %d kills (%d while it started)", e.stopped+e.killed, e.stopped, e.killed, e.early)
}

// liveTime is how long b4d is left alone at most, once it serves.
const liveTime = 200 * time.Millisecond

// repeat does an engine's share of the cycles.
func (s *show) repeat(l *lab.Lab, engine string) (n ends, err error) {
	r := rand.New(rand.NewPCG(1, uint64(len(engine)))) // the same each time
	share := (s.cycles + len(s.engines) - 1) / len(s.engines)
	for i := range share {
		b, err := l.StartB4D(s.b4d, s.config(engine))
		if err != nil {
			return n, fmt.Errorf("start %d: %w", i+1, err)
		}
		time.Sleep(time.Duration(r.Int64N(int64(liveTime))))
		if i%2 == 0 {
			n.stopped++
			err = b.Stop()
		} else {
			n.killed++
			err = b.Kill()
		}
		if s.verbose && i < 2 {
			fmt.Print(b.Log())
		}
		if err != nil {
			return n, fmt.Errorf("end %d: %w", i+1, err)
		}
	}
	return n, nil
}

// traffic is the load: connections one after another, and one that lasts, of
// each family.
type traffic struct {
	stop chan struct{}
	live sync.WaitGroup
	done atomic.Int64
	mu   sync.Mutex
	errs []error
}

// breath is what a client waits between two connections.
const breath = 3 * time.Millisecond

// shortSize is how much a short connection fetches, in bytes: more than fits into
// the packets that are hidden.
const shortSize = 100 << 10

func (t *traffic) start(l *lab.Lab) {
	t.stop = make(chan struct{})
	for _, v6 := range []bool{false, true} {
		t.live.Add(3)
		go t.last(l, v6)
		for range 2 {
			go t.short(l, v6)
		}
	}
}

func (t *traffic) short(l *lab.Lab, v6 bool) {
	defer t.live.Done()
	for {
		select {
		case <-t.stop:
			return
		case <-time.After(breath):
		}
		t.note(ask(l, v6, lab.Blocked, shortSize, nil))
	}
}

func (t *traffic) last(l *lab.Lab, v6 bool) {
	defer t.live.Done()
	t.note(ask(l, v6, lab.Blocked, endless, t.stop))
}

func (t *traffic) note(err error) {
	t.done.Add(1)
	if err == nil {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.errs) < 5 { // more tell no more
		t.errs = append(t.errs, err)
	}
}

// end ends the load, and returns what went wrong.
func (t *traffic) end() error {
	close(t.stop)
	t.live.Wait()
	return errors.Join(t.errs...)
}
