package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"sync"
	"time"

	"b4/lab"

	"golang.org/x/sys/unix"
)

// clientVerb makes the program a house's client: it makes its traffic, and
// prints its report as JSON.
const clientVerb = "client"

// A try is one that failed.
type try struct {
	Kind         string
	Begun, Ended time.Time
	Why          string
	Unreached    bool // the router said that the provider's is not there
	Last         bool // there was no further one: what was asked for did not come
}

// A tally counts what was asked for of one kind.
type tally struct {
	N        int
	P50, P99 time.Duration // of what came at the first try
	times    []time.Duration
}

// A report is what a client has to tell.
type report struct {
	Kinds  map[string]*tally
	Failed []try
	Bursts []time.Duration // what beginning all connections of each took
}

// asker makes the traffic of a house.
type asker struct {
	lab   *lab.Lab
	end   time.Time
	pause time.Duration // ahead of another try
	live  sync.WaitGroup
	mu    sync.Mutex
	report
}

// What an application does when something fails: it tries again after a while.
const (
	tries    = 3
	tryAgain = 3 * time.Second
)

func client(args []string) error {
	if len(args) != 4 {
		return fmt.Errorf("%d arguments", len(args))
	}
	length, err1 := time.ParseDuration(args[0])
	seed, err2 := strconv.ParseUint(args[1], 10, 64)
	at, err3 := time.ParseDuration(args[2])
	for _, err := range []error{err1, err2, err3} {
		if err != nil {
			return err
		}
	}
	a := &asker{lab: lab.Here(), pause: tryAgain, end: time.Now().Add(length)}
	a.Kinds = map[string]*tally{}
	for i, k := range traffic {
		if k.name == blockedKind && args[3] != "true" {
			continue
		}
		a.Kinds[k.name] = &tally{}
		a.live.Add(1)
		go a.steady(k, rand.New(rand.NewPCG(seed, uint64(i))))
	}
	a.Kinds[burstKind] = &tally{}
	a.live.Add(1)
	go a.bursts(at)
	a.live.Wait()
	for _, t := range a.Kinds {
		if slices.Sort(t.times); len(t.times) > 0 {
			t.P50, t.P99 = t.times[len(t.times)/2], t.times[len(t.times)*99/100]
		}
	}
	return json.NewEncoder(os.Stdout).Encode(&a.report)
}

// steady asks for what is of one kind at random moments. They are the same for
// the same seed, whatever becomes of it.
func (a *asker) steady(k kind, rnd *rand.Rand) {
	defer a.live.Done()
	for next := time.Now(); ; {
		next = next.Add(time.Duration(rnd.ExpFloat64() * float64(k.every)))
		do := k.draw(a.lab, rnd)
		if next.After(a.end) {
			return
		}
		time.Sleep(time.Until(next))
		a.live.Add(1)
		go a.ask(k.name, do)
	}
}

// ask does something, and again where it fails.
func (a *asker) ask(name string, do func() error) {
	defer a.live.Done()
	var failed []try
	var took time.Duration
	for i := range tries {
		begun := time.Now()
		err := do()
		if took = time.Since(begun); err == nil {
			break
		}
		failed = append(failed, try{name, begun, time.Now(), err.Error(), errors.Is(err, unix.EHOSTUNREACH), i == tries-1})
		time.Sleep(a.pause)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	t := a.Kinds[name]
	t.N++
	a.Failed = append(a.Failed, failed...)
	if len(failed) == 0 {
		t.times = append(t.times, took)
	}
}

// A burst is so many connections within a second.
const (
	burstKind  = "burst"
	burstSize  = 2000
	burstEvery = 20 * time.Second
)

// bursts makes them.
func (a *asker) bursts(at time.Duration) {
	defer a.live.Done()
	for next := time.Now().Add(at); next.Add(time.Second).Before(a.end); next = next.Add(burstEvery) {
		time.Sleep(time.Until(next))
		begun := time.Now()
		for i := range burstSize {
			time.Sleep(time.Until(begun.Add(time.Duration(i) * time.Second / burstSize)))
			a.live.Add(1)
			go a.ask(burstKind, func() error { return askBare(i%2 == 1) })
		}
		a.mu.Lock()
		a.Bursts = append(a.Bursts, time.Since(begun))
		a.mu.Unlock()
	}
}
