package main

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"time"
)

// A plan says how much is measured.
type plan struct {
	rounds  int
	slices  int // turns that each kind of load has in a round
	bulks   int // the same of bulk exchanges: many and short ones, as each is off by a sixth
	conns   int // of a turn: exchanges by all clients
	tls     int // the same in TLS
	singles int // exchanges one by one
	packets int // datagrams

	bulk, long time.Duration // how long a turn's bulk exchange and a round's long load are to last
	idle       time.Duration // how long the idle daemons are watched
	scale      bool          // see scaling
}

var (
	fullPlan = plan{
		rounds: 5, slices: 4, bulks: 16, conns: 1200, tls: 300, singles: 400, packets: 12000,
		bulk: 100 * time.Millisecond, long: 2 * time.Second, idle: 10 * time.Second, scale: true,
	}
	quickPlan = plan{
		rounds: 3, slices: 2, bulks: 4, conns: 600, tls: 150, singles: 200, packets: 4000,
		bulk: 100 * time.Millisecond, long: 500 * time.Millisecond, idle: 3 * time.Second,
	}
	// For an emulated machine, which is a hundred times slower.
	smallPlan = plan{
		rounds: 3, slices: 1, bulks: 1, conns: 80, tls: 4, singles: 40, packets: 300,
		bulk: time.Second, long: 2 * time.Second, idle: 5 * time.Second,
	}
)

// clients are at work at a time, where several are.
const clients = 16

// bulkSizes are how many bytes a site carries in a slice's time, each way.
type bulkSizes struct{ down, up int64 }

// A stage is one kind of load.
type stage struct {
	name string
	rows []string // that it gives
	bulk bool     // it has the plan's turns of bulk exchanges in a round
	once bool     // it has one turn
	by   func(s *site) bool
	do   func(b *bench, s *site) error
}

// turns is how many it has in a round.
func (st *stage) turns(p *plan) int {
	switch {
	case st.once:
		return 1
	case st.bulk:
		return p.bulks
	}
	return p.slices
}

// bench is the sites, and what they gave.
type bench struct {
	plan    plan
	sites   []*site
	figures figures
	others  []float64 // share of the machine's time that others took, by rounds
	suffix  string    // of rows, while packets are as long as the wire's
}

// rounds does some stages so many times.
func (b *bench) rounds(what string, stages []stage) error {
	order := rand.New(rand.NewPCG(1, 2)) // the same in each run
	for round := range b.plan.rounds {
		d, err := newDisturbance(b.pids())
		if err != nil {
			return err
		}
		for _, st := range stages {
			for range st.turns(&b.plan) {
				if err := b.turns(st, order); err != nil {
					return fmt.Errorf("round %d, %s: %w", round+1, st.name, err)
				}
			}
		}
		share, err := d.share()
		if err != nil {
			return err
		}
		b.others = append(b.others, share)
		fmt.Fprintf(os.Stderr, "bench: %s, round %d of %d; other programs took %.0f %% of the machine's time\n",
			what, round+1, b.plan.rounds, 100*share)
	}
	return nil
}

// turns gives each site a turn, in an order of its own: neither who begins nor who
// comes after whom is always the same.
func (b *bench) turns(st stage, order *rand.Rand) error {
	for _, i := range order.Perm(len(b.sites)) {
		s := b.sites[i]
		if st.by != nil && !st.by(s) {
			continue
		}
		if err := st.do(b, s); err != nil {
			return fmt.Errorf("%s: %w", s.name, err)
		}
	}
	return nil
}

func (b *bench) add(row string, s *site, v float64) { b.figures.add(row+b.suffix, s.name, v) }

// pids are all processes that take part.
func (b *bench) pids() []int {
	pids := []int{os.Getpid()}
	for _, s := range b.sites {
		pids = append(pids, s.server.PID(), s.client.PID())
		if s.daemon != nil {
			pids = append(pids, s.daemon.PID())
		}
	}
	return pids
}

// stages are those that give any of the wanted rows.
func stages(all []stage, wanted func(row string) bool) (some []stage) {
	for _, st := range all {
		for _, row := range st.rows {
			if wanted(row) {
				some = append(some, st)
				break
			}
		}
	}
	return some
}

var bulkStages = []stage{
	{name: "download", rows: []string{rowDown, rowDownCPU}, bulk: true, do: (*bench).download},
	{name: "upload", rows: []string{rowUp, rowUpCPU}, bulk: true, do: (*bench).upload},
}

var smallStages = []stage{
	{name: "connections", rows: []string{rowRate, rowConn, rowConnOwn, rowOfTheirs}, do: (*bench).connections},
	{name: "TLS connections", rows: []string{rowTLS, rowSteered}, do: (*bench).secure},
	{name: "connections one by one", rows: []string{rowP50, rowP99}, do: (*bench).oneByOne},
	{name: "QUIC", rows: []string{rowShort, rowShortCPU}, by: (*site).carriesQUIC, do: func(b *bench, s *site) error {
		return b.talk(s, quicShort, rowShort, rowShortCPU)
	}},
	{name: "QUIC handshakes", rows: []string{rowLong, rowLongCPU}, by: (*site).carriesQUIC, do: func(b *bench, s *site) error {
		return b.talk(s, quicLong, rowLong, rowLongCPU)
	}},
	{name: "a long load", rows: []string{rowUser, rowAllocs, rowGCs}, once: true, by: (*site).counts, do: (*bench).long},
}

// carriesQUIC tells whether a site's variant is of interest to QUIC: b4, and plain
// forwarding.
func (s *site) carriesQUIC() bool { return s.daemon == nil || s.b4d() != nil }

// counts tells whether it is known how many packets user space has seen.
func (s *site) counts() bool { return s.b4d() != nil || s.queue != 0 }

func (b *bench) download(s *site) error {
	return b.bulk(s, load{Kind: bulkKind, Count: 1, Clients: 1, Down: s.bulk.down}, rowDown, rowDownCPU)
}

func (b *bench) upload(s *site) error {
	return b.bulk(s, load{Kind: bulkKind, Count: 1, Clients: 1, Up: s.bulk.up}, rowUp, rowUpCPU)
}

func (b *bench) bulk(s *site, l load, speed, cpu string) error {
	c, err := s.load(l)
	if err != nil {
		return err
	}
	bytes := float64(l.Down + l.Up)
	b.add(speed, s, bytes/c.Took.Seconds())
	b.add(cpu, s, c.all.Seconds()/(bytes/1e9))
	return nil
}

// Sizes of the bulk exchanges: a first one tells how long a slice's are to be.
const (
	leastBulk = 1 << 20
	mostBulk  = 4 << 30
)

// size finds out what a site carries in a slice's time. The loads warm up too.
func (b *bench) size(s *site) error {
	grow := func(n *int64) error {
		for *n = leastBulk; ; {
			l := load{Kind: bulkKind, Count: 1, Clients: 1, Down: s.bulk.down, Up: s.bulk.up}
			c, err := s.load(l)
			if err != nil {
				return err
			}
			fits := int64(float64(*n) * b.plan.bulk.Seconds() / c.Took.Seconds())
			if c.Took > b.plan.bulk/4 || fits < 2**n {
				*n = max(leastBulk, min(fits, mostBulk))
				return nil
			}
			*n = min(8**n, mostBulk)
		}
	}
	s.bulk = bulkSizes{}
	if err := grow(&s.bulk.down); err != nil {
		return err
	}
	down := s.bulk.down
	s.bulk.down = 0
	err := grow(&s.bulk.up)
	s.bulk.down = down
	return err
}

func (b *bench) connections(s *site) error {
	c, err := s.load(connections(b.plan.conns))
	if err != nil {
		return err
	}
	n := float64(b.plan.conns)
	b.add(rowRate, s, n/c.Took.Seconds())
	b.add(rowConn, s, c.all.Seconds()/n)
	if s.daemon != nil {
		b.add(rowConnOwn, s, c.own.Seconds()/n)
	}
	return nil
}

func (b *bench) secure(s *site) error {
	before, counted, err := s.packets()
	if err != nil {
		return err
	}
	c, err := s.load(load{Kind: inTLS, Count: b.plan.tls, Clients: clients})
	if err != nil {
		return err
	}
	n := float64(b.plan.tls)
	b.add(rowTLS, s, n/c.Took.Seconds())
	if !counted {
		return nil
	}
	after, _, err := s.packets()
	b.add(rowSteered, s, float64(after-before)/n)
	return err
}

func (b *bench) oneByOne(s *site) error {
	c, err := s.load(load{Kind: bare, Count: b.plan.singles, Clients: 1, Down: answerSize})
	if err != nil {
		return err
	}
	b.add(rowP50, s, c.P50.Seconds())
	b.add(rowP99, s, c.P99.Seconds())
	return nil
}

// talk has the client send datagrams of QUIC, which b4 is to treat if it can.
func (b *bench) talk(s *site, kind, rate, cpu string) error {
	d := s.b4d()
	if s.quic != nil {
		if err := s.quic(d, true); err != nil {
			return err
		}
	}
	before, _, err := s.packets()
	if err != nil {
		return err
	}
	c, err := s.load(load{Kind: kind, Count: b.plan.packets, Clients: 1})
	if err != nil {
		return err
	}
	n := float64(b.plan.packets)
	b.add(rate, s, n/c.Took.Seconds())
	b.add(cpu, s, c.all.Seconds()/n)
	if s.quic == nil {
		return nil
	}
	after, _, err := s.packets()
	if err == nil && kind == quicLong && after-before < uint64(b.plan.packets) {
		err = fmt.Errorf("b4d has seen %d of %d datagrams", after-before, b.plan.packets)
	}
	return errors.Join(err, s.quic(d, false))
}

// packets is how many user space has seen in a site, if it can be told.
func (s *site) packets() (n uint64, ok bool, err error) {
	switch d := s.b4d(); {
	case d != nil:
		n, err = seen(d)
		return n, true, err
	case s.queue != 0:
		n, _, err = s.lab.Router.Queue(s.queue)
		return n, true, err
	}
	return 0, false, nil
}
