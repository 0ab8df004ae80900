// Command bench measures what b4d costs. In network namespaces it joins clients,
// routers and servers, a set for each way that packets may take through a router, and
// has them do the same in rounds that take turns, so that what disturbs the machine
// disturbs all. It prints ratios and, beside them, what b4 aims at; it fails only
// where the measurement does: a connection that breaks, bytes that are wrong, packets
// that are lost.
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

// verbs are the bench's own processes in the namespaces.
var verbs = map[string]func() error{
	serveVerb: serve, loadVerb: serveLoads,
	"rules": yardstick("rules"), "floor": yardstick("floor"), "naive": yardstick("naive"),
}

func run() error {
	if err := lab.Enter(); err != nil {
		return err
	}
	if len(os.Args) > 1 {
		if f := verbs[os.Args[1]]; f != nil {
			return f()
		}
	}
	var o order
	path := flag.String("b4d", "b4d", "the b4d `program` to measure")
	flag.StringVar(&o.only, "only", "", "measure no other `rows` than these, by their names, with commas")
	flag.StringVar(&o.variants, "variants", "", "measure no other `variants` than these and plain, with commas; again is plain forwarding once more")
	flag.IntVar(&o.rounds, "rounds", 0, "how many `rounds`; 0 is what the plan has")
	flag.BoolVar(&o.quick, "quick", false, "measure less, in less than 100 s, and no scales")
	flag.BoolVar(&o.small, "small", false, "measure a little, for a slow machine with little memory")
	flag.StringVar(&o.out, "o", "", "write the results to this `file` too, as Markdown")
	flag.Parse()
	if flag.NArg() > 0 || o.rounds < 0 {
		flag.Usage()
		return errors.New("there are no arguments")
	}
	var err error
	if o.program, err = filepath.Abs(*path); err != nil {
		return err
	}
	r, err := measure(o)
	if err != nil {
		return err
	}
	fmt.Print(r.text())
	if o.out == "" {
		return nil
	}
	return os.WriteFile(o.out, []byte(r.markdown()), 0o644)
}
