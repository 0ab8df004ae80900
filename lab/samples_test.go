package lab

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"b4/censor"
	"b4/desync"
	"b4/lab/matrix"
)

// What package matrix tells of a strategy and a censor in memory is so too
// where a client, two kernels and a b4d take part: for each of its samples, or
// with B4_MATRIX=all, which takes minutes, for all that it tells of.
//
// Some things are made to be here as they are there: censors act on chance always,
// they do at once what they do late, what is to come at once may take as long as a
// verdict, and those that see some networks only see the servers'. One is not: what
// is lost is sent again.
func TestSamples(t *testing.T) {
	if testing.Short() {
		t.Skip("builds network namespaces")
	}
	tables, err := allTables()
	if err != nil {
		t.Fatal(err)
	}
	places := map[place][]matrix.Sample{}
	for _, table := range tables {
		samples := table.Samples()
		if os.Getenv("B4_MATRIX") == "all" {
			samples = table.Everything()
		}
		for _, s := range samples {
			for _, s.V6 = range []bool{false, true} {
				if s.Outcome, err = s.Run(); err != nil {
					t.Fatal(err)
				}
				if s.Breaks, err = s.Behind(); err != nil {
					t.Fatal(err)
				}
				at := place{max(s.Profile.Hops, nearest), s.Profile.PlainTCP}
				places[at] = append(places[at], s)
			}
		}
	}
	t.Parallel() // what is to come is waiting
	var n tally
	t.Cleanup(func() {
		t.Logf("%d verdicts, of which %d differ, and %d behind boxes that censor nothing, of which %d differ; %d tries were repeated",
			n.verdicts.Load(), n.differ.Load(), n.behind.Load(), n.behindDiffer.Load(), n.again.Load())
	})
	for at, samples := range places {
		t.Run(at.String(), func(t *testing.T) {
			t.Parallel()
			at.repeat(t, samples, &n)
		})
	}
}

// allTables are matrix.All's, made on all processors.
func allTables() ([]*matrix.Table, error) {
	all, errs := make([]*matrix.Table, matrix.Kinds), make([]error, matrix.Kinds)
	var live sync.WaitGroup
	for k := range matrix.Kinds {
		live.Add(1)
		go func() { defer live.Done(); all[k], errs[k] = matrix.Make(k) }()
	}
	live.Wait()
	return all, errors.Join(errs...)
}

// tally counts comparisons.
type tally struct{ verdicts, differ, behind, behindDiffer, again atomic.Int64 }

// A place is what a lab is laid out for.
type place struct {
	hops  int  // routers ahead of the censor
	plain bool // the client's TCP has no options
}

func (at place) String() string {
	if at.plain {
		return fmt.Sprintf("%d routers ahead, no TCP options", at.hops)
	}
	return fmt.Sprintf("%d routers ahead", at.hops)
}

// nearest is where a censor is whose profile does not tell, as in package
// matrix: behind the house's router and the first of the provider's.
const nearest = 2

// ownHops are the routers of a lab that are hosts. Two stand ahead of the
// censor.
const ownHops = 3

// farther is how much farther the server is than the censor, so that a forged
// answer comes before the server's even where the machine is busy.
const farther = 10 * time.Millisecond

// repeat tries samples in a lab of their own.
func (at place) repeat(t *testing.T, samples []matrix.Sample, n *tally) {
	b := newBench(t, Options{
		HopsBefore: at.hops - 2, HopsAfter: matrix.Routers - ownHops - (at.hops - 2),
		ToServer: Impairment{Delay: farther},
	})
	if at.plain {
		if err := b.Client.Sysctl("net/ipv4/tcp_timestamps", "0"); err != nil {
			t.Fatal(err)
		}
	}
	before := b.plain(t, samples, n)
	for _, group := range grouped(samples) {
		b.treated(t, group, nil, func() { b.verdicts(t, group, before, n) })
		for i, box := range boxes {
			b.treated(t, group, box(), func() { b.behind(t, group, i, n) })
		}
	}
	for k, after := range b.plain(t, samples, n) {
		if after != before[k] {
			t.Errorf("%v without b4d: %+v before, %+v after", k, before[k], after)
		}
	}
}

// treated runs f with a b4d for a group, which knows already how far the servers
// are that answer past j: some strategies need that for the first packet.
func (b *bench) treated(t *testing.T, group []matrix.Sample, j Judge, f func()) {
	d := launchB4D(t, b.Lab, sampleConfig(group))
	for _, v6 := range []bool{false, true} {
		s := group[0]
		s.V6 = v6
		err := b.through(j, &s, none, other)
		if err != nil { // for the reason that each has
			err = b.through(j, &s, none, other)
		}
		if err != nil {
			t.Errorf("%v without a strategy: %v", varietyOf(&s), err)
		}
	}
	f()
	if err := d.Stop(); err != nil {
		t.Error(err)
	}
}

// grouped puts together what one configuration does: all that acts by name, and
// each strategy for itself that acts before there is one.
func grouped(samples []matrix.Sample) map[string][]matrix.Sample {
	groups := map[string][]matrix.Sample{}
	for _, s := range samples {
		k := ""
		if early(&s) {
			k = label(&s)
		}
		groups[k] = append(groups[k], s)
	}
	return groups
}

// early reports whether a strategy acts before the client has named the site.
func early(s *matrix.Sample) bool {
	steps, err := s.Kind.Proto().Parse(s.Strategy)
	return err == nil && steps.Need().Phases&(desync.SYN|desync.SYNACK) != 0
}

// sampleConfig has a rule for each strategy of a group.
func sampleConfig(group []matrix.Sample) string {
	var b strings.Builder
	b.WriteString(configure("nfqueue"))
	done := map[string]bool{}
	for _, s := range group {
		l := label(&s)
		if done[l] {
			continue
		}
		done[l] = true
		fmt.Fprintf(&b, "config strategy '%s'\n\toption %s '%s'\n", l, [...]string{"tls", "http", "quic"}[s.Kind.Proto()], s.Strategy)
		fmt.Fprintf(&b, "config rule\n\toption strategy '%s'\n", l)
		for _, d := range []string{listed, other, let} {
			if !early(&s) {
				fmt.Fprintf(&b, "\tlist domain '%s.%s'\n", l, d)
			}
		}
	}
	return b.String()
}

// A variety is what sites are tried of without b4d.
type variety struct {
	profile string
	kind    matrix.Kind
	v6      bool
}

func (v variety) String() string {
	if v.v6 {
		return fmt.Sprintf("%s, %v, v6", v.profile, v.kind)
	}
	return fmt.Sprintf("%s, %v, v4", v.profile, v.kind)
}

func varietyOf(s *matrix.Sample) variety { return variety{s.Profile.Name, s.Kind, s.V6} }

// open tells which sites open.
type open struct{ blocked, allowed bool }

// plain tries what the samples are of without a strategy.
func (b *bench) plain(t *testing.T, samples []matrix.Sample, n *tally) map[variety]open {
	var mu sync.Mutex
	out := map[variety]open{}
	n.each(t, first(samples, varietyOf), func(s *matrix.Sample) error {
		blocked, allowed := b.call(s, none, listed), b.call(s, none, allowed(s))
		mu.Lock()
		defer mu.Unlock()
		out[varietyOf(s)] = open{blocked == nil, allowed == nil}
		if err := errors.Join(blocked, allowed); errors.Is(err, errNotCensor) {
			return fmt.Errorf("without b4d: %w", err)
		}
		return nil
	})
	return out
}

// verdicts compares what strategies do past censors.
func (b *bench) verdicts(t *testing.T, group []matrix.Sample, before map[variety]open, n *tally) {
	n.verdicts.Add(int64(len(group)))
	differ := n.each(t, group, func(s *matrix.Sample) error {
		plain := before[varietyOf(s)]
		if got, why := b.outcome(s, plain); got != want(s, plain) {
			return fmt.Errorf("%v, and in memory %v: %v", got, s.Outcome, why)
		}
		return nil
	})
	n.differ.Add(int64(differ))
}

// want is the outcome that is to be seen: what a strategy does not fit leaves as
// it came.
func want(s *matrix.Sample, plain open) matrix.Outcome {
	switch {
	case s.Outcome != matrix.Unfit:
		return s.Outcome
	case plain.blocked:
		return matrix.Free
	}
	return matrix.Shut
}

// outcome is what a strategy does to sites of which, without it, plain opens. It
// is Unfit, which nothing is, where it is not for the censor.
func (b *bench) outcome(s *matrix.Sample, plain open) (matrix.Outcome, error) {
	err := b.call(s, label(s), allowed(s))
	switch {
	case errors.Is(err, errNotCensor):
		return matrix.Unfit, err
	case err != nil && plain.allowed:
		return matrix.Broke, err
	case plain.blocked:
		return matrix.Free, nil
	}
	switch err = b.call(s, label(s), listed); {
	case errors.Is(err, errNotCensor):
		return matrix.Unfit, err
	case err != nil:
		return matrix.Shut, err
	}
	return matrix.Opened, nil
}

// boxes are those of matrix.Sample's Breaks.
var boxes = [...]func() *censor.Inline{censor.NewNormaliser, censor.NewProxy}

// behind compares what strategies do to an allowed site behind box number i, which
// stands where the place's censors do.
func (b *bench) behind(t *testing.T, group []matrix.Sample, i int, n *tally) {
	type key struct {
		label string
		kind  matrix.Kind
		v6    bool
	}
	once := first(group, func(s *matrix.Sample) key { return key{label(s), s.Kind, s.V6} })
	n.behind.Add(int64(len(once)))
	differ := n.each(t, once, func(s *matrix.Sample) error {
		b.seats <- struct{}{}
		defer func() { <-b.seats }()
		if err := b.through(boxes[i](), s, none, other); err != nil && !early(s) {
			return fmt.Errorf("behind box %d without a strategy: %w", i, err)
		}
		if err := b.through(boxes[i](), s, label(s), other); (err != nil) != s.Breaks[i] {
			return fmt.Errorf("an allowed site behind box %d is broken: %v, and in memory %v: %v", i, err != nil, s.Breaks[i], err)
		}
		return nil
	})
	n.behindDiffer.Add(int64(differ))
}

// first is the first sample of each key.
func first[K comparable](samples []matrix.Sample, key func(*matrix.Sample) K) (out []matrix.Sample) {
	done := map[K]bool{}
	for _, s := range samples {
		if k := key(&s); !done[k] {
			done[k] = true
			out = append(out, s)
		}
	}
	return out
}

// each calls f for all samples at once, and again one by one for those of which
// it tells an error: a machine with much to do may be too slow for a verdict.
// What is an error then is the test's. It returns how many are.
func (n *tally) each(t *testing.T, samples []matrix.Sample, f func(*matrix.Sample) error) (failed int) {
	errs := make([]error, len(samples))
	var live sync.WaitGroup
	for i := range samples {
		live.Add(1)
		go func() { defer live.Done(); errs[i] = f(&samples[i]) }()
	}
	live.Wait()
	for i := range samples {
		if errs[i] == nil {
			continue
		}
		n.again.Add(1)
		if err := f(&samples[i]); err != nil {
			t.Errorf("%v, %q: %v", varietyOf(&samples[i]), samples[i].Strategy, err)
			failed++
		}
	}
	return failed
}

// The domains of package matrix's names.
var (
	listed = domain(matrix.Blocked)
	other  = domain(matrix.Other)
	let    = domain(matrix.Allowed)
)

func domain(name string) string {
	_, d, _ := strings.Cut(name, ".")
	return d
}

// allowed is the domain that the sample's censor is to let go.
func allowed(s *matrix.Sample) string {
	if s.Profile.AllowList {
		return let
	}
	return other
}

// none is the label of names without a strategy.
const none = "www"

// label is what the names begin with for which b4d has the sample's strategy. It
// is as long as none, so that all names have the length they have in memory.
func label(s *matrix.Sample) string {
	pr := s.Kind.Proto()
	return fmt.Sprintf("%c%02d", "thq"[pr], slices.Index(matrix.Strategies(pr), s.Strategy))
}

// here is p as the lab has it.
func here(p censor.Profile) censor.Profile {
	if len(p.Networks) > 0 {
		p.Networks = []netip.Prefix{netip.PrefixFrom(Modern.V4, 24), netip.PrefixFrom(Modern.V6, 64)}
	}
	p.Action.PerMille, p.Action.Delay, p.Police.Within = 0, [2]time.Duration{}, verdictLimit
	return p
}
