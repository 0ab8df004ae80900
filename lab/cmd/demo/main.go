// Command demo shows b4 at work. It builds a lab with a censor on the line to
// the servers, starts b4d in the lab's router, and prints what a client behind
// that router can and cannot open. Then it kills and stops b4d and shows that
// the internet goes on. The last line sums up; only a full success exits 0.
package main

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"b4/lab"
)

func main() {
	path := flag.String("b4d", "b4d", "the b4d `program` to show")
	file := flag.String("config", "", "UCI `file` that b4d's configuration is to go by")
	engines := flag.String("engine", "nfqueue,tun", "the engines to show")
	small := flag.Bool("small", false, "few rows and a small download, for a slow machine with little memory")
	pcap := flag.String("pcap", "", "record both sides of the censor to files in this `directory`")
	verbose := flag.Bool("v", false, "print what b4d logs")
	flag.Parse()

	d := demo{engines: strings.Split(*engines, ","), small: *small, verbose: *verbose, size: 64 << 20, used: map[string]usage{}}
	if *small {
		d.size = 1 << 20
	}
	err := lab.Enter()
	if err == nil {
		d.b4d, err = filepath.Abs(*path)
	}
	if err == nil {
		_, err = os.Stat(d.b4d)
	}
	if err == nil && *file != "" {
		var text []byte
		text, err = os.ReadFile(*file)
		d.given = string(text)
	}
	if err == nil && *pcap != "" {
		err = os.MkdirAll(*pcap, 0o755)
	}
	if err == nil {
		line := lab.Impairment{Delay: delay}
		d.lab, err = lab.New(lab.Options{Pcap: *pcap, Slow: *small, ToServer: line, ToClient: line})
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "demo:", err)
		os.Exit(1)
	}
	d.table()
	for _, engine := range d.engines {
		d.accidents(engine)
	}
	if err := d.lab.Close(); err != nil {
		d.check("take the lab apart", err)
	}
	d.tell()
	for _, f := range d.failed {
		fmt.Println("failed:", f)
	}
	fmt.Printf("demo: %d of %d passed\n", d.checks-len(d.failed), d.checks)
	if len(d.failed) > 0 {
		os.Exit(1)
	}
}

// delay is that of the line, each way: the distance of a server in the next
// town. Without any, a client is through with its request before b4d's first
// verdict, which no real one is.
const delay = 5 * time.Millisecond

// demo is the lab, and the score.
type demo struct {
	lab            *lab.Lab
	b4d            string // path of the program
	given          string // text of a configuration file to go by
	engines        []string
	used           map[string]usage // by engine
	size           int64            // bytes of each download
	small, verbose bool
	checks         int
	failed         []string // what was wrong with the others
}

// check counts one check and prints it.
func (d *demo) check(what string, err error) {
	d.checks++
	if err == nil {
		fmt.Printf("  ok    %s\n", what)
		return
	}
	fail := fmt.Sprintf("%s: %v", what, err)
	d.failed = append(d.failed, fail)
	fmt.Printf("  FAIL  %s\n", fail)
}

// start starts b4d in the router.
func (d *demo) start(engine string) (*lab.B4D, error) {
	return d.lab.StartB4D(d.b4d, config(engine, d.lab.DecoyTTL(), d.given))
}

// end tells how b4d ended, and what it said where that is of interest.
func (d *demo) end(b *lab.B4D, err error) error {
	if d.verbose {
		fmt.Print(b.Log())
	}
	return err
}
