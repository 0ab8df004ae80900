package main

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"b4/lab"
)

// A way is one of those that downloads are measured on.
type way struct {
	name    string
	offload bool
	engine  string // empty is without b4d
	took    []time.Duration
	slow    []uint64 // packets that the firewall's rules saw
}

// speed measures downloads by the rules, by the flowtable, and by it with b4d, in
// rounds. It fails where the ratio of the last two is far from 1: an emulated
// machine's clock tells no more.
func (s *show) speed() error {
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
	if err := l.Segment(); err != nil {
		return err
	}
	ways := []way{{name: "by the rules"}, {name: "by the flowtable", offload: true}}
	for _, engine := range s.engines {
		ways = append(ways, way{name: "so, with b4d's " + engine, offload: true, engine: engine})
	}
	for range s.rounds {
		for i := range ways {
			if err := s.measure(l, &ways[i]); err != nil {
				return fmt.Errorf("%s: %w", ways[i].name, err)
			}
		}
	}
	s.compare(ways)
	return nil
}

// calm is how long b4d is given to come to rest after its start.
const calm = 500 * time.Millisecond

// measure does one download.
func (s *show) measure(l *lab.Lab, w *way) (err error) {
	f := *behind(false)
	f.Offload = w.offload
	if err := l.SetFirewall(f); err != nil {
		return err
	}
	if w.engine != "" {
		b, startErr := l.StartB4D(s.b4d, s.config(w.engine))
		if startErr != nil {
			return startErr
		}
		defer func() { err = errors.Join(err, b.Stop()) }()
		time.Sleep(calm)
	}
	var first, last lab.Passed
	if w.offload {
		if first, err = l.Passed(); err != nil {
			return err
		}
	}
	start := time.Now()
	if err := ask(l, false, lab.Blocked, s.long, nil); err != nil {
		return err
	}
	w.took = append(w.took, time.Since(start))
	if w.offload {
		last, err = l.Passed()
		w.slow = append(w.slow, last.Since(first).Packets)
	}
	return err
}

// worstRatio is the least throughput with b4d, in those without.
const worstRatio = 0.8

// compare prints the best of each way, and checks those of the flowtable. What
// else runs on the machine that emulates a router makes rounds longer, and none
// shorter.
func (s *show) compare(ways []way) {
	base := &ways[1]
	for i := range ways {
		w := &ways[i]
		best := slices.Min(w.took).Seconds()
		speed, ratio := float64(s.long)/best, slices.Min(base.took).Seconds()/best
		text := fmt.Sprintf("download of %d MiB %-26s %7.1f MB/s, %.3f of the flowtable's", s.long>>20, w.name, speed/1e6, ratio)
		if !w.offload {
			fmt.Printf("        %s\n", text)
			continue
		}
		var err error
		most, usual := slices.Max(w.slow), slices.Max(base.slow)
		switch {
		case ratio < worstRatio:
			err = fmt.Errorf("want %.1f at least: rounds took %v, without b4d %v", worstRatio, w.took, base.took)
		case most > usual+slowPackets:
			err = fmt.Errorf("want at most %d packets more than %d by the rules", slowPackets, usual)
		}
		s.check(fmt.Sprintf("%s, %d packets by the rules", text, most), err)
	}
}

func median(v []time.Duration) time.Duration {
	v = slices.Clone(v)
	slices.Sort(v)
	return (v[(len(v)-1)/2] + v[len(v)/2]) / 2
}
