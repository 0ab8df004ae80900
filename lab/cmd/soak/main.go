// Command soak uses three houses for as long as it is told to, with the same
// traffic and the same accidents: one without b4, one whose b4d is killed each
// minute, and one whose b4d goes on and is reloaded most. It prints what of it
// failed where. Only if nothing failed that works without b4, and b4d's memory
// does not grow, does it exit 0.
package main

import (
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"time"

	"b4/lab"
)

func main() {
	if len(os.Args) > 1 && os.Args[1] == clientVerb {
		if err := client(os.Args[2:]); err != nil {
			fmt.Fprintln(os.Stderr, "soak: client:", err)
			os.Exit(1)
		}
		return
	}
	path := flag.String("b4d", "b4d", "the b4d `program` to soak")
	length := flag.Duration("for", 30*time.Minute, "how long")
	seed := flag.Uint64("seed", uint64(time.Now().UnixNano()), "of the traffic, the losses and the accidents")
	verbose := flag.Bool("v", false, "print what happens when, and what b4d logs")
	flag.Parse()
	err := lab.Enter()
	if err == nil {
		*path, err = filepath.Abs(*path)
	}
	if err == nil {
		_, err = os.Stat(*path)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "soak:", err)
		os.Exit(1)
	}
	s := &soak{program: *path, length: *length, seed: *seed, rand: rand.New(rand.NewPCG(*seed, 0)), verbose: *verbose}
	fmt.Printf("soak: %v, seed %d\n", *length, *seed)
	if err := s.run(); err != nil {
		fmt.Fprintln(os.Stderr, "soak:", err)
		os.Exit(1)
	}
	if !s.tell() {
		os.Exit(1)
	}
}

// soak is the three houses, and what happens in all of them.
type soak struct {
	program string
	length  time.Duration
	seed    uint64
	rand    *rand.Rand
	verbose bool

	start  time.Time
	plain  *house
	killed *house
	kept   *house
	lost   []string // everything that speaks against b4, beside the traffic
	counts [happenings]int
}

func (s *soak) houses() []*house { return []*house{s.plain, s.killed, s.kept} }

// run builds the houses, and lets everything happen.
func (s *soak) run() (err error) {
	for i, h := range []**house{&s.plain, &s.killed, &s.kept} {
		*h = &house{name: [...]string{"plain", "killed", "kept"}[i]}
		if err := (*h).build(s.seed); err != nil {
			return errors.Join(err, s.close())
		}
	}
	defer func() { err = errors.Join(err, s.close()) }()
	for i, h := range []*house{s.killed, s.kept} {
		h.turn = i // they begin with another engine each
		if err := h.launch(s.program); err != nil {
			return err
		}
	}
	s.start = time.Now()
	for i, h := range s.houses() {
		if err := h.startClient(s.length, s.seed, time.Duration(i)*burstEvery/3); err != nil {
			return err
		}
	}
	s.happen()
	for _, h := range s.houses() {
		if err := h.endClient(); err != nil {
			return err
		}
	}
	for _, h := range []*house{s.killed, s.kept} {
		if s.verbose && h.b4d != nil {
			fmt.Print(h.b4d.Log())
		}
		s.note(h, "end", h.stop())
	}
	return nil
}

func (s *soak) close() (err error) {
	for _, h := range s.houses() {
		if h != nil {
			err = errors.Join(err, h.close())
		}
	}
	return err
}

// note keeps an error for the end, and tells of it at once.
func (s *soak) note(h *house, what string, err error) {
	if err == nil {
		return
	}
	text := fmt.Sprintf("%v: %s: %s: %v", time.Since(s.start).Round(time.Second), h.name, what, err)
	fmt.Println("  LOSS ", text)
	s.lost = append(s.lost, text)
}
