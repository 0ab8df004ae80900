package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"

	"b4/lab"
)

// What a connection costs must not depend on how many others there are, nor on how
// many names a list has. These are the sizes it is measured at: of the first the
// targets speak, and at none all else is measured.
var (
	flowSizes = []int{0, 1_000, 10_000, 100_000}
	nameSizes = []int{0, 100_000, 500_000}
)

// scaleRounds is how often each point is measured: the cost of a connection is the
// median. All rounds take some two minutes, of which most goes into growing the
// crowds.
const scaleRounds = 3

// A probe does some connections through the router, by b4d if d is not nil, and
// tells what each cost: the CPU seconds of b4d's process, and those of the whole
// path, b4d's among them.
type probe func(d *lab.B4D) (own, all float64, err error)

// A point is where on a scale something was measured.
type point struct {
	engine string // "" is plain forwarding
	flows  int    // known to conntrack besides those of the probe, and to b4d within its bounds
	names  int    // of a rule's list; 0 is no list
}

// A pointCost is what a probe said there.
type pointCost struct {
	own, all float64 // CPU seconds per connection
	peak     float64 // bytes that b4d has taken at most (RSS); 0 is no b4d
}

// scaling measures along both scales in a lab that was made with Direct.
type scaling struct {
	lab     *lab.Lab
	program string // b4d
	once    probe
	costs   map[point][]pointCost
}

// newScaling prepares to measure; whoever calls it runs run next.
func newScaling(l *lab.Lab, program string, once probe) *scaling {
	return &scaling{l, program, once, map[point][]pointCost{}}
}

// run measures everything with these engines, in rounds, so that what disturbs the
// machine disturbs all.
func (s *scaling) run(engines ...string) error {
	dir, err := os.MkdirTemp("", "b4scale")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	for _, n := range nameSizes[1:] {
		if err := writeNames(nameList(dir, n), n); err != nil {
			return err
		}
	}
	crowd, err := s.lab.NewCrowd()
	if err != nil {
		return err
	}
	err = s.rounds(crowd, dir, engines)
	return errors.Join(err, crowd.Close())
}

func (s *scaling) rounds(c *lab.Crowd, dir string, engines []string) error {
	for range scaleRounds {
		for _, engine := range append([]string{""}, engines...) {
			if err := s.alongFlows(c, engine); err != nil {
				return fmt.Errorf("scale flows, engine %q: %w", engine, err)
			}
		}
		for _, engine := range engines {
			for _, n := range nameSizes[1:] { // none is where the flows began
				if err := s.withNames(engine, nameList(dir, n), n); err != nil {
					return fmt.Errorf("scale names to %d, engine %s: %w", n, engine, err)
				}
			}
		}
	}
	return nil
}

// alongFlows measures at each size of the crowd, with one b4d.
func (s *scaling) alongFlows(c *lab.Crowd, engine string) (err error) {
	if err := c.Disperse(); err != nil {
		return err
	}
	if engine == "" {
		return s.overFlows(c, engine, nil)
	}
	// As many as it may be told to keep. What it keeps of their hellos is bounded
	// too: see package flow.
	d, err := s.lab.StartB4D(s.program, scaleConfig(engine)+"\toption max_flows '65536'\n")
	if err != nil {
		return err
	}
	return errors.Join(s.overFlows(c, engine, d), d.Stop())
}

func (s *scaling) overFlows(c *lab.Crowd, engine string, d *lab.B4D) error {
	if _, _, err := s.once(d); err != nil { // to warm up
		return err
	}
	for _, n := range flowSizes {
		if err := c.Grow(d != nil, n); err != nil {
			return err
		}
		if err := s.measure(point{engine: engine, flows: n}, d); err != nil {
			return fmt.Errorf("beside %d flows: %w", n, err)
		}
	}
	return nil
}

// withNames measures with a rule for a list of n names and for the one that the
// probe asks for.
func (s *scaling) withNames(engine, list string, n int) error {
	d, err := s.lab.StartB4D(s.program, scaleConfig(engine)+
		"\nconfig rule 'listed'\n\tlist domain '"+lab.Allowed+"'\n\tlist domain_file '"+list+"'\n")
	if err != nil {
		return err
	}
	_, _, err = s.once(d) // to warm up
	if err == nil {
		err = s.measure(point{engine: engine, names: n}, d)
	}
	return errors.Join(err, d.Stop())
}

// measure asks the probe, and b4d how large it is.
func (s *scaling) measure(at point, d *lab.B4D) (err error) {
	var c pointCost
	if c.own, c.all, err = s.once(d); err != nil {
		return err
	}
	if d != nil {
		kib, err := d.Peak()
		if err != nil {
			return err
		}
		c.peak = float64(kib << 10)
	}
	s.costs[at] = append(s.costs[at], c)
	return nil
}

// scaleConfig is b4d's as it ships, but on.
func scaleConfig(engine string) string {
	return "config b4 'main'\n\toption enabled '1'\n\toption engine '" + engine + "'\n"
}

// nameList is the path of the list with n names.
func nameList(dir string, n int) string { return filepath.Join(dir, strconv.Itoa(n)) }
