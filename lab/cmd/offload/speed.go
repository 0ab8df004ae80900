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
	engine  string          // empty is without b4d
	took    []time.Duration // the second half of each download
	slow    []uint64        // packets that the firewall's rules saw
}

// speed measures downloads by the rules, by the flowtable, and by it with b4d, in
// rounds. That b4d costs nothing is asserted by how few packets meet the rules: the
// clock of an emulated machine tells of the others that run beside it.
func (s *show) speed() error {
	l, err := lab.New(lab.Options{Direct: true, Slow: s.small, Firewall: behind(false)})
	if err != nil {
		return err
	}
	defer l.Close()
	server, err := serve(l, flightSize)
	if err != nil {
		return err
	}
	defer server.Close()
	if err := l.Segment(); err != nil {
		return err
	}
	fmt.Printf("Second halves of downloads of %d MiB in packets of 1500 bytes, the best of each kind.\n", s.long>>20)
	ways := []way{{name: "by the rules"}, {name: "by the flowtable", offload: true}}
	for _, engine := range s.engines {
		ways = append(ways, way{name: "so, with b4d's " + engine, offload: true, engine: engine})
	}
	for round := 0; round < s.rounds || round < patientRounds*s.rounds && !s.even(ways); round++ {
		for i := range ways {
			if err := s.measure(l, &ways[i]); err != nil {
				return fmt.Errorf("%s: %w", ways[i].name, err)
			}
		}
	}
	s.compare(ways)
	return nil
}

// patientRounds is how often the rounds are done again, at most, until what else
// runs on the machine has left each way alone once.
const patientRounds = 4

// even tells whether all ways with b4d are as fast as the one without it.
func (s *show) even(ways []way) bool {
	return !slices.ContainsFunc(ways[2:], func(w way) bool { return w.ratio(&ways[1]) < s.ratio })
}

// ratio is that of the best throughputs. What else runs on the machine that
// emulates a router makes downloads longer, and none shorter.
func (w *way) ratio(base *way) float64 {
	return slices.Min(base.took).Seconds() / slices.Min(w.took).Seconds()
}

// calm is how long b4d is given to come to rest after its start: on an emulated
// machine it reads the firewall once more after its own changes.
const calm = time.Second

// inRound is how many downloads there are on a way in a round.
const inRound = 2

// measure does a round's downloads on one way.
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
	for range inRound {
		if err := s.once(l, w); err != nil {
			return err
		}
	}
	return nil
}

// once does one download.
func (s *show) once(l *lab.Lab, w *way) (err error) {
	var first, last lab.Passed
	if w.offload {
		if first, err = l.Passed(); err != nil {
			return err
		}
	}
	took, err := ask(l, false, lab.Blocked, s.long, nil)
	if err != nil {
		return err
	}
	w.took = append(w.took, took)
	if w.offload {
		last, err = l.Passed()
		w.slow = append(w.slow, last.Since(first).Packets)
	}
	if s.verbose {
		fmt.Printf("        %s took %v, %d packets by the rules\n", w.name, took, last.Since(first).Packets)
	}
	return err
}

// compare prints the best of each way, and checks those of the flowtable.
func (s *show) compare(ways []way) {
	base := &ways[1]
	for i := range ways {
		w := &ways[i]
		ratio := w.ratio(base)
		text := fmt.Sprintf("%-30s %6.1f MB/s, %.2f of the flowtable's", w.name, float64(s.long/2)/1e6/slices.Min(w.took).Seconds(), ratio)
		if !w.offload {
			fmt.Printf("        %s\n", text)
			continue
		}
		var err error
		most, usual := slices.Max(w.slow), slices.Max(base.slow)
		switch {
		case w.engine != "" && ratio < s.ratio:
			err = fmt.Errorf("want %.2f at least: downloads took %v, without b4d %v", s.ratio, w.took, base.took)
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
