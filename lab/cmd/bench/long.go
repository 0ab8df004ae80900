package main

import (
	"b4/lab"
	"errors"
	"fmt"
	"math"

	"golang.org/x/sys/unix"
)

// A long load of connections tells what only shows in many: the time in user space,
// which is sampled, and what the daemon does with its memory.
func (b *bench) long(s *site) error {
	if s.rate == 0 {
		if err := b.prepareLong(s); err != nil {
			return err
		}
	}
	before, err := s.now()
	if err != nil {
		return err
	}
	user, c, err := b.sampled(s)
	if err != nil {
		return err
	}
	after, err := s.now()
	if err != nil {
		return err
	}
	packets := float64(max(after.packets-before.packets, 1))
	if !math.IsNaN(user) { // else nobody samples here
		b.add(rowUser, s, user*c.own.Seconds()/packets)
	}
	if s.b4d() != nil {
		b.add(rowAllocs, s, max(0, after.allocations-before.allocations-s.asking)/packets)
		b.add(rowGCs, s, (after.collections-before.collections)*10/c.Took.Seconds()/float64(b.plan.rounds))
	}
	return nil
}

// prepareLong finds out how many connections make a long load, and how much the
// daemon allocates to answer the questions about it.
func (b *bench) prepareLong(s *site) error {
	c, err := s.load(connections(b.plan.conns))
	if err != nil {
		return err
	}
	s.rate = float64(b.plan.conns) / c.Took.Seconds()
	once, err1 := s.now()
	twice, err2 := s.now()
	s.asking = twice.allocations - once.allocations
	return errors.Join(err1, err2)
}

// sampled does the long load, and tells the share of the daemon's time in user space,
// NaN where the kernel lets nobody sample.
func (b *bench) sampled(s *site) (user float64, c cost, err error) {
	l := connections(max(1, int(s.rate*b.plan.long.Seconds())))
	p, err := startSampler(s.daemon.PID())
	switch {
	case errors.Is(err, unix.EPERM), errors.Is(err, unix.EACCES), errors.Is(err, unix.ENOSYS), errors.Is(err, unix.ENOENT):
		c, err = s.load(l)
		return math.NaN(), c, err
	case err != nil:
		return 0, c, err
	}
	c, err = s.load(l)
	user, err2 := p.stop()
	return user, c, errors.Join(err, err2)
}

// connections is a load of so many.
func connections(n int) load {
	return load{Kind: bare, Count: n, Clients: clients, Down: answerSize}
}

// A moment is how far a daemon's counters have come.
type moment struct {
	packets                  uint64
	allocations, collections float64 // of b4d's
}

func (s *site) now() (m moment, err error) {
	if m.packets, _, err = s.packets(); err != nil {
		return m, err
	}
	d := s.b4d()
	if d == nil {
		return m, nil
	}
	st, err := d.Status()
	m.allocations, m.collections = float64(st.Memory.Allocations), float64(st.Memory.Collections)
	return m, err
}

// finish asks a b4d what must not have happened, and how large it has been.
func (b *bench) finish(s *site, peak bool) error {
	if s.daemon != nil && peak {
		kib, err := lab.StatusNumber(s.daemon.PID(), "VmHWM")
		if err != nil {
			return err
		}
		b.add(rowPeak, s, float64(kib<<10))
	}
	d := s.b4d()
	if d == nil {
		return nil
	}
	st, err := d.Status()
	if err == nil && st.Engine.Counters.Lost != 0 {
		err = fmt.Errorf("b4d lost %d packets", st.Engine.Counters.Lost)
	}
	return err
}
