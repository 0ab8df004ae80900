package main

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"
)

// What happens.
type happening int

const (
	pull   happening = iota // all houses: the WAN's cable is out for a while
	hangUp                  // all houses: the provider ends the session for a while
	reload
	kill
	look // at b4d's size
	happenings
)

func (h happening) String() string {
	return [...]string{"pull", "hang up", "reload", "kill", "look"}[h]
}

// away is how long WAN is.
const away = 2 * time.Second

// settled is how long after WAN's return old connections may still end: a server
// that goes on talking is told then that nobody is there.
const settled = 2 * time.Second

// train is how many reloads the house without kills has each time: more than a
// thousand in half an hour.
const train = 18

type event struct {
	at   time.Duration
	what happening
}

// plan is what happens when. Within its time each moment is random, so that now
// and then one comes into the other.
func (s *soak) plan() (list []event) {
	add := func(what happening, every, from time.Duration) {
		for at := from; at < s.length; at += every {
			list = append(list, event{at + time.Duration(s.rand.Int64N(int64(10*time.Second))), what})
		}
	}
	add(reload, 30*time.Second, 5*time.Second)
	add(kill, time.Minute, 40*time.Second)
	add(pull, 2*time.Minute, 15*time.Second)
	add(hangUp, 2*time.Minute, 75*time.Second)
	for at := 5 * time.Second; at < s.length; at += 5 * time.Second {
		list = append(list, event{at, look})
	}
	list = slices.DeleteFunc(list, func(e event) bool { return e.at > s.length-away })
	slices.SortStableFunc(list, func(a, b event) int { return cmp.Compare(a.at, b.at) })
	return list
}

// happen lets it happen, and returns at the end.
func (s *soak) happen() {
	minute := time.Minute
	for _, e := range s.plan() {
		time.Sleep(time.Until(s.start.Add(e.at)))
		if s.counts[e.what]++; e.what != look {
			s.log("%v", e.what)
		}
		switch e.what {
		case pull, hangUp:
			s.flap(e.what == hangUp)
		case reload:
			s.reload()
		case kill:
			s.note(s.killed, "kill", s.killed.kill(s.program))
		case look:
			for _, h := range s.houses() {
				s.note(h, "look", h.sample(e.at))
			}
		}
		if e.at > minute {
			s.progress(minute)
			minute += time.Minute
		}
	}
	time.Sleep(time.Until(s.start.Add(s.length)))
}

// log says what happens, when asked to.
func (s *soak) log(format string, a ...any) {
	if s.verbose {
		fmt.Printf("%8v  %s\n", time.Since(s.start).Round(time.Millisecond), fmt.Sprintf(format, a...))
	}
}

// progress says how b4d is.
func (s *soak) progress(at time.Duration) {
	x := s.kept.samples[len(s.kept.samples)-1]
	y := s.killed.samples[len(s.killed.samples)-1]
	fmt.Printf("%5v  b4d that goes on: %.1f MiB, %d files, %d threads; the killed one: %.1f MiB; connections tracked: %d, %d, plain %d\n",
		at, mib(x.rss), x.files, x.threads, mib(y.rss), x.tracked, y.tracked, s.plain.samples[len(s.plain.samples)-1].tracked)
}

func mib(n int64) float64 { return float64(n) / (1 << 20) }

// flap takes WAN away from all houses, and gives it back.
func (s *soak) flap(hungUp bool) {
	var live sync.WaitGroup
	errs := make([]error, len(s.houses()))
	for i, h := range s.houses() {
		live.Add(1)
		go func() { defer live.Done(); errs[i] = h.flap(hungUp, i == 2) }()
	}
	live.Wait()
	for i, h := range s.houses() {
		s.note(h, "flap", errs[i])
	}
}

// flap takes WAN away for a while, perhaps with a reload meanwhile.
func (h *house) flap(hungUp, reload bool) (err error) {
	from := time.Now()
	down, up := h.lab.PullWAN, h.lab.PlugWAN
	if hungUp {
		down, up = h.lab.HangUp, h.lab.Redial
	}
	err = down()
	reloaded := make(chan error, 1)
	go func() {
		if !reload || h.b4d == nil {
			reloaded <- nil
			return
		}
		reloaded <- h.reload(len(configs))
	}()
	time.Sleep(time.Until(from.Add(away)))
	err = errors.Join(err, up())
	over := span{from, time.Now().Add(settled)}
	if h.shut = append(h.shut, over); hungUp {
		h.hungUp = append(h.hungUp, over)
	} else {
		h.pulled = append(h.pulled, over)
	}
	return errors.Join(err, <-reloaded)
}

// reload reloads both b4ds: the one that is killed to the next of its
// configurations, the other many times to those of one engine, and then to one
// of the other.
func (s *soak) reload() {
	s.note(s.killed, "reload", s.killed.reload(1))
	s.log("a train of reloads begins")
	for i := range train {
		n := 2
		if i == train-1 {
			n = 1
		}
		s.note(s.kept, "reload", s.kept.reload(n))
	}
	s.log("it is over, with engine %s", engineOf(s.kept.turn))
	s.counts[reload] += train
	s.note(s.kept, "count files", s.kept.countFiles())
}

// countFiles holds b4d to having no more files open than the fewest it had with its
// engine, once it has hung up on who asked it to reload. It had one more for a while
// where that took long.
func (h *house) countFiles() error {
	const limit = 3 * time.Second
	engine := engineOf(h.turn)
	was, known := h.counts[engine]
	for start := time.Now(); ; time.Sleep(50 * time.Millisecond) {
		n, err := h.b4d.Files()
		switch {
		case err != nil:
			return err
		case !known && time.Since(start) > limit/3:
			h.counts[engine] = n
			return nil
		case known && n <= was:
			h.counts[engine] = n
			return nil
		case known && time.Since(start) > limit:
			return fmt.Errorf("%d open files with engine %s, there were %d", n, engine, was)
		}
	}
}
