package main

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"b4/lab"
)

// storm starts b4d, and stops or kills it, again and again under load, and
// watches all of the router's devices for packets that look as b4 hides them.
func (s *show) storm() error {
	l, err := lab.New(lab.Options{Direct: true, Slow: s.small, Firewall: behind(false)})
	if err != nil {
		return err
	}
	defer l.Close()
	server, err := serve(l, crumbSize)
	if err != nil {
		return err
	}
	defer server.Close()
	// Connections that were reset are forgotten at once, and their ports used again.
	if err := l.Router.Sysctl("net/netfilter/nf_conntrack_tcp_timeout_close", "1"); err != nil {
		return err
	}
	if err := s.closing(l); err != nil {
		return fmt.Errorf("see what is not hidden: %w", err)
	}
	for _, engine := range s.engines {
		if err := s.cycle(l, engine); err != nil {
			return err
		}
	}
	return nil
}

// closing shows that the watch sees what it is to see: a true FIN, and a packet of
// the number that hides UDP.
func (s *show) closing(l *lab.Lab) error {
	w, err := l.Router.WatchMasked()
	if err != nil {
		return err
	}
	for _, v6 := range []bool{false, true} {
		err = errors.Join(err, greet(l, v6), experiment(l, v6))
	}
	_, all, closeErr := w.Close()
	err = errors.Join(err, closeErr)
	for _, want := range []lab.Masked{
		{Device: lab.RouterLAN, Proto: tcp}, {Device: lab.RouterWAN, Proto: tcp}, {Device: lab.RouterWAN, Proto: masked},
	} {
		for _, v6 := range []bool{false, true} {
			seen := slices.ContainsFunc(all, func(m lab.Masked) bool {
				return m.Leaves && m.Device == want.Device && m.Proto == want.Proto && m.Src.Is6() == v6
			})
			if !seen {
				err = errors.Join(err, fmt.Errorf("none of protocol %d left by %s (IPv6 %t)", want.Proto, want.Device, v6))
			}
		}
	}
	return err
}

// cycle is storm for one engine.
func (s *show) cycle(l *lab.Lab, engine string) error {
	w, err := l.Router.WatchMasked()
	if err != nil {
		return err
	}
	first, err := l.Passed()
	room, roomErr := l.Router.Refused()
	err = errors.Join(err, roomErr)
	start := time.Now()
	var t traffic
	t.start(l)
	n, cycleErr := s.repeat(l, engine)
	lost := t.end()
	if lost != nil {
		lost = errors.Join(lost, refused(l, room))
	}
	took := time.Since(start)
	last, lastErr := l.Passed()
	hidden := last.Since(first)
	s.check(fmt.Sprintf("%-7s %v, in %.0f s", engine, n, took.Seconds()), errors.Join(err, cycleErr, lastErr))
	s.check(fmt.Sprintf("%-7s %d connections and %d flows of UDP meanwhile, all of them well", engine, t.done.Load(), t.flows.Load()), lost)

	count, some, err := w.Close()
	switch {
	case err != nil:
	case count > 0:
		err = fmt.Errorf("the first: %v", some[:min(len(some), 5)])
	case hidden.FIN == 0:
		err = errors.New("no packet of TCP was hidden from the flowtable")
	case hidden.UDP == 0 && engine == queueEngine:
		err = errors.New("no packet of UDP was hidden from the flowtable")
	}
	s.check(fmt.Sprintf("%-7s %d packets of TCP hidden by a FIN, and %d of UDP; %d were so at any device",
		engine, hidden.FIN, hidden.UDP, count), err)
	return nil
}

// refused is an error if the router's conntrack has dropped more than so many packets,
// which explains what is lost without b4's doing.
func refused(l *lab.Lab, before uint64) error {
	n, err := l.Router.Refused()
	if err == nil && n > before {
		err = fmt.Errorf("conntrack has dropped %d packets for want of room: see nf_conntrack_max", n-before)
	}
	return err
}

// ends counts how b4d ended.
type ends struct {
	stopped, killed int
	starts, ends    []time.Duration
}

func (e ends) String() string {
	return fmt.Sprintf("%d starts, %d stops and %d kills under load, of %.1f and %.1f s in the median",
		e.stopped+e.killed, e.stopped, e.killed, median(e.starts).Seconds(), median(e.ends).Seconds())
}

// liveTime is how long b4d is left alone at most, once it hides packets. It ends
// now and then as soon as its rules are there.
const (
	liveTime = 100 * time.Millisecond
	early    = 5
)

// repeat does an engine's share of the cycles.
func (s *show) repeat(l *lab.Lab, engine string) (n ends, err error) {
	r := rand.New(rand.NewPCG(1, uint64(len(engine)))) // the same each time
	share := (s.cycles + len(s.engines) - 1) / len(s.engines)
	for i := range share {
		begun := time.Now()
		b, err := l.LaunchB4D(s.b4d, s.config(engine))
		if err != nil {
			return n, fmt.Errorf("start %d: %w", i+1, err)
		}
		if i%early != 0 {
			err = hides(l)
			time.Sleep(time.Duration(r.Int64N(int64(liveTime))))
		}
		n.starts = append(n.starts, time.Since(begun))
		begun = time.Now()
		if i%2 == 0 {
			n.stopped++
			err = errors.Join(err, b.Stop())
		} else {
			n.killed++
			err = errors.Join(err, b.Kill())
		}
		n.ends = append(n.ends, time.Since(begun))
		if s.verbose && i < 2 {
			fmt.Print(b.Log())
		}
		if err != nil {
			return n, fmt.Errorf("end %d: %w", i+1, err)
		}
	}
	return n, nil
}

// hides waits until a packet is hidden.
func hides(l *lab.Lab) error {
	first, err := l.Passed()
	for start := time.Now(); err == nil && time.Since(start) < patience; time.Sleep(10 * time.Millisecond) {
		var p lab.Passed
		if p, err = l.Passed(); err == nil && p.Since(first).FIN > 0 {
			return nil
		}
	}
	return errors.Join(err, errors.New("no packet is hidden"))
}

// traffic is the load: connections one after another, one that lasts, and flows of
// UDP one after another, of each family.
type traffic struct {
	stop        chan struct{}
	live        sync.WaitGroup
	done, flows atomic.Int64
	mu          sync.Mutex
	errs        []error
}

// breath is what a client waits between two connections.
const breath = 5 * time.Millisecond

// shortSize is how much a short connection fetches, in bytes: more than fits into
// the packets that are hidden, if superpackets are counted as what they carry.
const shortSize = 30 << 10

func (t *traffic) start(l *lab.Lab) {
	t.stop = make(chan struct{})
	for _, v6 := range []bool{false, true} {
		t.live.Add(4)
		go t.last(l, v6)
		go t.repeat(&t.done, func() error { return fetch(l, v6, shortSize, nil) })
		go t.repeat(&t.flows, func() error { return talk(l, v6) })
		go t.repeat(&t.flows, func() error { return scatter(l, v6) })
	}
}

func fetch(l *lab.Lab, v6 bool, n int64, stop <-chan struct{}) error {
	_, err := ask(l, v6, lab.Blocked, n, stop)
	return err
}

func (t *traffic) repeat(n *atomic.Int64, once func() error) {
	defer t.live.Done()
	for {
		select {
		case <-t.stop:
			return
		case <-time.After(breath):
		}
		t.note(once())
		n.Add(1)
	}
}

func (t *traffic) last(l *lab.Lab, v6 bool) {
	defer t.live.Done()
	t.note(fetch(l, v6, endless, t.stop))
	t.done.Add(1)
}

func (t *traffic) note(err error) {
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
