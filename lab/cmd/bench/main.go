// Command bench measures what b4d costs. In network namespaces it joins a
// client, a router and a server, and compares the router with b4d to the same
// router without, in rounds that take turns, so that what disturbs the machine
// disturbs both. It prints ratios and, beside them, what b4 aims at; it fails
// only where the measurement does: a connection that breaks, bytes that are
// wrong.
package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"

	"b4/lab"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run() error {
	if err := lab.Enter(); err != nil {
		return err
	}
	if len(os.Args) > 1 {
		switch os.Args[1] { // the bench's own processes in the namespaces
		case serveVerb:
			return serve()
		case loadVerb:
			return doLoad(os.Args[2:])
		}
	}
	path := flag.String("b4d", "b4d", "the b4d `program` to measure")
	engine := flag.String("engine", "nfqueue", "the `engine` of b4d: nfqueue or tun")
	rounds := flag.Int("rounds", 3, "how many `rounds`, each without b4d and with it")
	out := flag.String("o", "", "write the results to this `file` too, as Markdown")
	flag.Parse()
	if *rounds < 1 || flag.NArg() > 0 {
		flag.Usage()
		return errors.New("want at least one round, and no arguments")
	}
	program, err := filepath.Abs(*path)
	if err != nil {
		return err
	}
	r, err := measure(program, *engine, *rounds)
	if err != nil {
		return err
	}
	fmt.Print(r.text())
	if *out == "" {
		return nil
	}
	return os.WriteFile(*out, []byte(r.markdown()), 0o644)
}

// measure builds the lab and does the rounds.
func measure(program, engine string, rounds int) (_ *report, err error) {
	l, err := lab.New(lab.Options{Direct: true})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, l.Close()) }()
	// Every connection of the run gets a port of its own.
	if err := l.Client.Sysctl("net/ipv4/ip_local_port_range", "1024 65535"); err != nil {
		return nil, err
	}
	b := &bench{lab: l, program: program, config: fmt.Sprintf(config, engine)}
	if err := b.start(); err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, b.stop()) }()
	r := &report{engine: engine, accounts: b.accounts.String()}
	for i := range rounds {
		// Who begins takes turns too.
		for _, with := range []bool{i%2 == 1, i%2 == 0} {
			s, err := b.round(with)
			if err != nil {
				return nil, fmt.Errorf("round %d, with b4d %t: %w", i+1, with, err)
			}
			r.add(s, with)
		}
		fmt.Fprintf(os.Stderr, "bench: round %d of %d\n", i+1, rounds)
	}
	r.idle, err = b.idle()
	return r, err
}
