package main

import (
	"b4/lab"
	"fmt"
	"time"
)

const (
	calmTime = 2 * time.Second       // after which a daemon that has had work is idle
	idleStep = 20 * time.Millisecond // how often it is looked at
)

// idle watches all daemons doing nothing, at once.
func (b *bench) idle() error {
	time.Sleep(calmTime)
	type watched struct {
		first, last, wakes int64
	}
	all := make([]watched, len(b.sites))
	start := time.Now()
	for first := true; time.Since(start) < b.plan.idle; first = false {
		for i, s := range b.sites {
			if s.daemon == nil {
				continue
			}
			n, err := lab.Switches(s.daemon.PID())
			if err != nil {
				return fmt.Errorf("%s: %w", s.name, err)
			}
			w := &all[i]
			if first {
				w.first = n
			} else if n != w.last {
				w.wakes++
			}
			w.last = n
		}
		time.Sleep(idleStep)
	}
	seconds := time.Since(start).Seconds()
	for i, s := range b.sites {
		if s.daemon != nil {
			b.add(rowWakes, s, float64(all[i].wakes)/seconds)
			b.add(rowSwitches, s, float64(all[i].last-all[i].first)/seconds)
		}
	}
	return nil
}
