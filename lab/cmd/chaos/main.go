// Command chaos kills b4d at random moments, with each engine in a lab of its
// own, while connections of all kinds are opened and used behind its router. It
// prints what became of them. Only if every connection worked, none waited for
// more than one retransmission, and nothing of a killed b4d was there after the
// next start, does it exit 0.
package main

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"b4/lab"
)

func main() {
	path := flag.String("b4d", "b4d", "the b4d `program` to kill")
	engines := flag.String("engine", "nfqueue,tun", "the engines, side by side")
	kills := flag.Int("kills", 200, "how often b4d is killed with each engine")
	seed := flag.Uint64("seed", uint64(time.Now().UnixNano()), "of the moments")
	flag.Parse()

	err := lab.Enter()
	if err == nil {
		*path, err = filepath.Abs(*path)
	}
	if err == nil {
		_, err = os.Stat(*path)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "chaos:", err)
		os.Exit(1)
	}
	list := strings.Split(*engines, ",")
	reports, errs := make([]*lab.ChaosReport, len(list)), make([]error, len(list))
	var live sync.WaitGroup
	for i, engine := range list {
		live.Add(1)
		go func() {
			defer live.Done()
			reports[i], errs[i] = kill(lab.Chaos{B4D: *path, Engine: engine, Kills: *kills, Seed: *seed})
		}()
	}
	live.Wait()
	failed := false
	for i, r := range reports {
		if r != nil {
			fmt.Print(r)
			for _, p := range r.Problems {
				fmt.Printf("  FAIL  %s: %s\n", r.Engine, strings.ReplaceAll(p, "\n", "\n        "))
			}
			failed = failed || len(r.Problems) > 0
		}
		if errs[i] != nil {
			fmt.Fprintf(os.Stderr, "chaos: engine %s: %v\n", list[i], errs[i])
			failed = true
		}
	}
	if failed {
		os.Exit(1)
	}
	fmt.Printf("chaos: no connection paid for %d kills with more than one timeout\n", *kills*len(list))
}

// kill builds a lab in which both families are masqueraded, as the TUN's way
// round NAT is the longer one.
func kill(c lab.Chaos) (_ *lab.ChaosReport, err error) {
	l, err := lab.New(lab.Options{Firewall: &lab.Firewall{Masq4: true, Masq6: true}})
	if err != nil {
		return nil, err
	}
	r, err := l.Chaos(c)
	if e := l.Close(); err == nil {
		err = e
	}
	return r, err
}
