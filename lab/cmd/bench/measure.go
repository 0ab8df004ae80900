package main

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"b4/lab"
)

// An order is what the flags ask for.
type order struct {
	program, only, variants, out string
	rounds                       int
	quick, small                 bool
}

// usual are the variants that are measured unless others are asked for: all of ours,
// and of the peers those that are there. A small machine has no room for more than a
// router's choice.
func (o *order) usual() string {
	names := []string{plainName, "nfqueue", "tun"}
	if o.small {
		return strings.Join(names, ",")
	}
	names = append(names, "nfqueue-all", "tun-all", "floor", "naive")
	for _, p := range peers {
		for _, v := range p.variants() {
			names = append(names, v.name)
		}
	}
	if !o.quick {
		names = append(names, againName)
	}
	return strings.Join(names, ",")
}

func (o *order) plan() plan {
	p := fullPlan
	switch {
	case o.small:
		p = smallPlan
	case o.quick:
		p = quickPlan
	}
	if o.rounds > 0 {
		p.rounds = o.rounds
	}
	return p
}

// scaleRow is the name of the scales in -only.
const scaleRow = "scale"

// wants tells whether a row is asked for.
func (o *order) wants(row string) bool {
	return o.only == "" || slices.Contains(strings.Split(o.only, ","), row)
}

// check finds names of rows that there are not.
func (o *order) check() error {
	if o.only == "" {
		return nil
	}
	for _, name := range strings.Split(o.only, ",") {
		if name != scaleRow && !slices.ContainsFunc(metrics, func(m metric) bool { return m.row == name }) {
			return fmt.Errorf("there is no row %q", name)
		}
	}
	return nil
}

// measure does what is asked for.
func measure(o order) (*report, error) {
	if err := o.check(); err != nil {
		return nil, err
	}
	names := o.variants
	if names == "" {
		names = o.usual()
	}
	chosen, err := choose(variants(o.program), names)
	if err != nil {
		return nil, err
	}
	r := &report{variants: chosen, plan: o.plan(), ratios: o.small, notes: absent()}
	b := &bench{plan: r.plan, figures: figures{}}
	if o.only != scaleRow {
		err = b.measure(o, chosen)
	}
	if err == nil && r.plan.scale && o.wants(scaleRow) {
		r.scales, err = scale(o.program)
	}
	b.figures.relate()
	r.figures, r.others = b.figures, b.others
	return r, err
}

// absent tells of peers that are not here.
func absent() (notes []string) {
	for _, p := range peers {
		if p.find() == "" {
			notes = append(notes, fmt.Sprintf("%s is not here: put it on PATH, or name it by %s=, and it joins.", p.name, p.env))
		}
	}
	return notes
}

// measure builds the sites and does the rounds.
func (b *bench) measure(o order, chosen []variant) (err error) {
	defer func() {
		for _, s := range b.sites {
			err = errors.Join(err, s.close())
		}
	}()
	for _, v := range chosen {
		s, err := newSite(v, o.small)
		if err != nil {
			return fmt.Errorf("%s: %w", v.name, err)
		}
		b.sites = append(b.sites, s)
	}
	return b.all(o)
}

// all does what is asked for, first with superpackets and then without.
func (b *bench) all(o order) error {
	whole := append(stages(bulkStages, o.wants), stages(smallStages, o.wants)...)
	cut := stages(bulkStages, func(row string) bool { return o.wants(row + segmented) })
	if err := b.sizes(); err != nil {
		return err
	}
	if len(whole) > 0 {
		if err := b.rounds("superpackets", whole); err != nil {
			return err
		}
	}
	if err := b.atRest(o); err != nil {
		return err
	}
	if len(cut) == 0 {
		return nil
	}
	for _, s := range b.sites {
		if err := s.lab.Segment(); err != nil {
			return err
		}
	}
	b.suffix = segmented
	if err := b.sizes(); err != nil {
		return err
	}
	return b.rounds("packets of 1500 bytes", cut)
}

// atRest looks at the daemons after their work.
func (b *bench) atRest(o order) error {
	if o.wants(rowWakes) || o.wants(rowSwitches) {
		if err := b.idle(); err != nil {
			return err
		}
	}
	for _, s := range b.sites {
		if err := b.finish(s, o.wants(rowPeak)); err != nil {
			return fmt.Errorf("%s: %w", s.name, err)
		}
	}
	return nil
}

func (b *bench) sizes() error {
	for _, s := range b.sites {
		if err := b.size(s); err != nil {
			return fmt.Errorf("%s: %w", s.name, err)
		}
	}
	return nil
}

// scaleConns is how many connections tell what one costs at a point of a scale.
const scaleConns = 1000

// scale measures along the scales, in a site of its own.
func scale(program string) (_ [][7]string, err error) {
	fmt.Fprintln(os.Stderr, "bench: scales")
	s, err := newSite(variant{name: plainName}, false)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, s.close()) }()
	all := newScaling(s.lab, program, func(d *lab.B4D) (own, all float64, err error) {
		if d != nil {
			s.daemon = d
			defer func() { s.daemon = nil }() // who has started it stops it
		}
		c, err := s.load(connections(scaleConns))
		return c.own.Seconds() / scaleConns, c.all.Seconds() / scaleConns, err
	})
	if err := all.run("nfqueue", "tun"); err != nil {
		return nil, err
	}
	return all.rows(), nil
}
