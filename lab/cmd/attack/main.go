// Command attack has a client flood its router, without b4 and with it, while
// another program on the client opens connections. It prints what that cost, as
// Markdown; docs/ATTACKS.md is made of it. It fails if a connection that works
// without b4 does not with it.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"b4/lab"
)

// config has b4d read all that a queue can show it.
const config = `config b4 'main'
	option enabled '1'
	option engine 'nfqueue'
config strategy 'default'
	option tls 'split(midsld) disorder'
	option http 'split(host+1)'
	option quic 'split(midsld)'
`

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "attack:", err)
		os.Exit(1)
	}
}

func run() error {
	if err := lab.Enter(); err != nil {
		return err
	}
	path := flag.String("b4d", "b4d", "the b4d `program`")
	packets := flag.Int("n", 100000, "how many packets of each kind")
	names := flag.Int("names", 1000000, "how many `names` never seen, over TCP")
	rate := flag.Int("rate", 10000, "at most this many packets a second; 0 is as many as can be")
	flag.Parse()
	program, err := filepath.Abs(*path)
	if err != nil {
		return err
	}
	fmt.Printf("| attack | packets | a second | b4d's peak | b4d's CPU a packet | connections | failed | p50 | p95 | p95 without b4 |\n|---|---|---|---|---|---|---|---|---|---|\n")
	var errs []error
	for _, a := range lab.Attacks {
		n := *packets
		if a.Name == "a name never seen, over TCP" {
			n = *names
		}
		plain, err := attack("", a, min(n, *packets), *rate)
		if err != nil {
			return err
		}
		with, err := attack(program, a, n, *rate)
		if err != nil {
			return err
		}
		fmt.Printf("| %s | %d | %.0f | %.1f MB | %.1f µs | %d | %d | %v | %v | %v |\n", a.Name, with.sent, with.rate, float64(with.peak)/1024,
			with.cpu.Seconds()*1e6/float64(with.sent), len(with.took), with.failed, with.at(0.5), with.at(0.95), plain.at(0.95))
		if with.failed > 0 && plain.failed == 0 {
			errs = append(errs, fmt.Errorf("%s: %d connections failed", a.Name, with.failed))
		}
	}
	return errors.Join(errs...)
}

// An outcome is what an attack came to.
type outcome struct {
	sent   int
	rate   float64 // packets a second
	peak   int64   // KiB
	cpu    time.Duration
	took   []time.Duration // of the connections beside it
	failed int
}

// at is a quantile of the times.
func (o *outcome) at(q float64) time.Duration {
	if len(o.took) == 0 {
		return 0
	}
	slices.Sort(o.took)
	return o.took[int(q*float64(len(o.took)-1))].Round(100 * time.Microsecond)
}

// attack floods a router in a lab of its own, with the program or without.
func attack(program string, a lab.Attack, packets, rate int) (o outcome, err error) {
	l, err := lab.New(lab.Options{})
	if err != nil {
		return o, err
	}
	defer func() { err = errors.Join(err, l.Close()) }()
	if err := l.Brace(); err != nil {
		return o, err
	}
	if program != "" {
		d, err := l.StartB4D(program, config)
		if err != nil {
			return o, err
		}
		defer func() {
			var e1, e2 error
			o.peak, e1 = d.Peak()
			o.cpu, e2 = d.CPU()
			err = errors.Join(err, e1, e2, d.Stop())
		}()
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() {
		defer cancel()
		start := time.Now()
		var err error
		o.sent, err = l.Attack(ctx, a, 0, packets, rate)
		o.rate = float64(o.sent) / time.Since(start).Seconds()
		ended <- err
	}()
	for i := 0; ctx.Err() == nil; i++ {
		start := time.Now()
		if l.Open(lab.Request{Host: lab.Allowed, V6: i%2 == 1}) != nil {
			o.failed++
		}
		o.took = append(o.took, time.Since(start))
		time.Sleep(10 * time.Millisecond)
	}
	return o, <-ended
}
