package matrix

import (
	"errors"
	"fmt"
	"time"

	"b4/censor"
	"b4/desync"
)

// An Outcome is what a strategy does to a site behind a censor.
type Outcome uint8

const (
	Free   Outcome = iota // the censor does not act on such a message, nor does the strategy make it
	Opened                // a blocked site opens, and an allowed one still does
	Shut                  // a blocked site stays blocked, an allowed one open
	Broke                 // an allowed site, open without the strategy, is so no more
	Unfit                 // the strategy cannot be carried out on such packets
)

func (o Outcome) String() string { return [...]string{"–", "open", "shut", "BROKE", "n/a"}[o] }

// A Try is one strategy, one kind of message and one censor.
type Try struct {
	Profile  censor.Profile
	Strategy string // its text, for messages of Kind
	Kind     Kind
	V6       bool
}

// Run carries t out.
func (t *Try) Run() (Outcome, error) {
	none, err := t.Kind.Proto().Parse("")
	if err != nil {
		return Unfit, err
	}
	return t.run(t.call(none, Blocked) == nil, t.call(none, allowed(&t.Profile)) == nil)
}

// run is Run where it is known which sites open without a strategy.
func (t *Try) run(blocked, other bool) (Outcome, error) {
	s, err := t.Kind.Proto().Parse(t.Strategy)
	if err != nil {
		return Unfit, err
	}
	switch err := t.call(s, allowed(&t.Profile)); {
	case errors.Is(err, errPlan):
		return Unfit, nil
	case err != nil && other:
		return Broke, nil
	case blocked:
		return Free, nil
	case t.call(s, Blocked) == nil:
		return Opened, nil
	}
	return Shut, nil
}

// Behind carries the strategy out for an allowed site behind a normaliser and
// behind a transparent proxy, half way to the server, and reports whether the site
// is broken by it. Of the profile it counts what kind of client it is for.
func (t *Try) Behind() (breaks [2]bool, err error) {
	try := *t
	try.Profile = censor.Profile{Hops: Routers / 2, PlainTCP: t.Profile.PlainTCP}
	for i, box := range []*censor.Inline{censor.NewNormaliser(), censor.NewProxy()} {
		if breaks[i], err = try.breaks(box); err != nil {
			return breaks, err
		}
	}
	return breaks, nil
}

func (t *Try) breaks(j Judge) (bool, error) {
	s, err := t.Kind.Proto().Parse(t.Strategy)
	if err != nil {
		return false, err
	}
	err = t.callBy(j, s, Other, 0)
	return err != nil && !errors.Is(err, errPlan), nil
}

// allowed is the site that p is to let go.
func allowed(p *censor.Profile) string {
	if p.AllowList {
		return Allowed
	}
	return Other
}

// call connects to a site, as many times at once as it takes for censors that
// count, and returns what befalls any of these connections.
func (t *Try) call(s *desync.Strategy, name string) error {
	p := t.Profile
	p.Action.PerMille = 0 // what is understood, not chance
	names := []string{Listed}
	if p.AllowList {
		names[0] = Allowed
	}
	c := censor.New(p, names, 1)
	for i := range p.Police.Hellos + 1 {
		if err := t.callBy(c, s, name, i); err != nil {
			return err
		}
	}
	return nil
}

// earlier is the client of the connection that tells how far the server is.
const earlier = 1000

// callBy connects once, as the nth client, through j.
func (t *Try) callBy(j Judge, s *desync.Strategy, name string, n int) error {
	w := &way{judge: j, before: t.Profile.Hops, now: epoch.Add(time.Duration(n) * 70 * time.Millisecond)}
	if w.before == 0 {
		w.before = 2
	}
	c := caller{way: w, strategy: s, kind: t.Kind, plain: t.Profile.PlainTCP}
	c.src, c.dst = ends(t.Kind, t.V6, earlier)
	c.measure()
	c.src, c.dst = ends(t.Kind, t.V6, n)
	if t.Kind.Proto() == desync.QUIC {
		return c.udp(t.Kind.datagrams(name))
	}
	return c.tcp(t.Kind.message(name))
}

// A Row is one strategy on all profiles.
type Row struct {
	Strategy string
	Harm     desync.Harm
	Cells    []Cell  // one a profile, in their order
	Behind   [2]bool // broken behind a normaliser, behind a transparent proxy
}

// A Cell is what a strategy does to one profile.
type Cell struct {
	Outcome Outcome // in both families, or the worse of them
	Differs bool    // they are not the same, or the strategy fits but one
}

// cell joins the outcomes of the two families. Where a strategy fits only one,
// its outcome counts.
func cell(v4, v6 Outcome) Cell {
	c := Cell{max(v4, v6), v4 != v6}
	if c.Differs && c.Outcome == Unfit {
		c.Outcome = min(v4, v6)
	}
	return c
}

// A Table is all strategies for one kind of message on all profiles.
type Table struct {
	Kind     Kind
	Profiles []censor.Profile
	Rows     []Row // the first is no strategy at all

	without [][2]opens // by profile and family: what opens without a strategy
}

// opens tells which sites open.
type opens struct{ blocked, allowed bool }

// All makes the tables of every kind.
func All() ([]*Table, error) {
	var tables []*Table
	for k := range Kinds {
		t, err := Make(k)
		if err != nil {
			return nil, err
		}
		tables = append(tables, t)
	}
	return tables, nil
}

// Make tries every strategy on every variant of every profile, for one kind of
// message.
func Make(k Kind) (*Table, error) {
	t := &Table{Kind: k}
	for _, p := range censor.Profiles() {
		t.Profiles = append(t.Profiles, censor.Variants(p)...)
	}
	none, err := k.Proto().Parse("")
	if err != nil {
		return nil, err
	}
	t.without = make([][2]opens, len(t.Profiles))
	for i, p := range t.Profiles {
		for f := range t.without[i] {
			try := Try{Profile: p, Kind: k, V6: f == 1}
			t.without[i][f] = opens{try.call(none, Blocked) == nil, try.call(none, allowed(&p)) == nil}
		}
	}
	for _, text := range Strategies(k.Proto()) {
		row, err := t.row(text)
		if err != nil {
			return nil, fmt.Errorf("try %q on %v: %w", text, k, err)
		}
		t.Rows = append(t.Rows, row)
	}
	return t, nil
}

func (t *Table) row(text string) (Row, error) {
	s, err := t.Kind.Proto().Parse(text)
	if err != nil {
		return Row{}, err
	}
	row := Row{Strategy: text, Harm: s.Harm()}
	for i, p := range t.Profiles {
		var got [2]Outcome
		for f := range got {
			try := Try{p, text, t.Kind, f == 1}
			if got[f], err = try.run(t.without[i][f].blocked, t.without[i][f].allowed); err != nil {
				return row, err
			}
		}
		row.Cells = append(row.Cells, cell(got[0], got[1]))
	}
	for _, v6 := range []bool{false, true} {
		try := Try{Strategy: text, Kind: t.Kind, V6: v6}
		breaks, err := try.Behind()
		if err != nil {
			return row, err
		}
		for i, b := range breaks {
			row.Behind[i] = row.Behind[i] || b
		}
	}
	return row, nil
}
