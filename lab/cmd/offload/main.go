// Command offload shows b4 at work in a router whose firewall offloads
// connections to a flowtable, as firewall4 does with its option flow_offloading:
// the rules see a connection's first packets only, and none that b4 would need.
//
// It builds labs with such a router, and shows with each engine that blocked
// sites open and that downloads are in the flowtable all the same; that starts,
// stops and kills of b4d under load let no packet out as it is hidden; and what a download through the flowtable takes
// with b4d and without. The last line sums up; only a full success exits 0.
package main

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"b4/lab"
)

// Parts of the show, by their names in -parts.
const (
	partOpens  = "opens"
	partCycles = "cycles"
	partSpeed  = "speed"
)

func main() {
	path := flag.String("b4d", "b4d", "the b4d `program` to show")
	file := flag.String("config", "", "UCI `file` that b4d's configuration is to go by")
	engines := flag.String("engine", "nfqueue,tun", "the engines to show")
	parts := flag.String("parts", strings.Join([]string{partOpens, partCycles, partSpeed}, ","), "what to show")
	small := flag.Bool("small", false, "small downloads, for a slow machine with little memory")
	cycles := flag.Int("cycles", 50, "how often b4d starts, and stops or is killed, under load, all engines together")
	rounds := flag.Int("rounds", 2, "how many rounds of downloads are measured, at least")
	ratio := flag.Float64("ratio", 0, "the least throughput with b4d, in those without, of the best downloads; 0 only prints it")
	verbose := flag.Bool("v", false, "print what b4d logs")
	flag.Parse()

	s := show{
		engines: strings.Split(*engines, ","), small: *small, verbose: *verbose,
		cycles: *cycles, rounds: *rounds, ratio: *ratio, size: 32 << 20, long: 256 << 20,
	}
	if *small {
		s.size, s.long = 512<<10, 16<<20
	}
	err := lab.Enter()
	if err == nil {
		s.b4d, err = filepath.Abs(*path)
	}
	if err == nil {
		_, err = os.Stat(s.b4d)
	}
	if err == nil && *file != "" {
		var text []byte
		text, err = os.ReadFile(*file)
		s.given = string(text)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "offload:", err)
		os.Exit(1)
	}
	for _, part := range []struct {
		name string
		show func() error
	}{{partOpens, s.opens}, {partCycles, s.storm}, {partSpeed, s.speed}} {
		if !slices.Contains(strings.Split(*parts, ","), part.name) {
			continue
		}
		if err := part.show(); err != nil {
			s.check(part.name, err)
		}
	}
	fmt.Printf("offload: %d of %d passed\n", s.passed, s.checks)
	if s.passed != s.checks || s.checks == 0 {
		os.Exit(1)
	}
}

// show is what is to be shown, and the score.
type show struct {
	b4d            string // path of the program
	given          string // text of a configuration file to go by
	engines        []string
	size, long     int64 // bytes of a download past a censor, and of one that is measured
	cycles, rounds int
	ratio          float64
	small, verbose bool
	checks, passed int
}

// check counts one check and prints it.
func (s *show) check(what string, err error) {
	s.checks++
	if err == nil {
		s.passed++
		fmt.Printf("  ok    %s\n", what)
		return
	}
	fmt.Printf("  FAIL  %s: %s\n", what, strings.ReplaceAll(err.Error(), "\n", "\n        "))
}

// queueEngine is the one that sees QUIC.
const queueEngine = "nfqueue"

// config is the UCI file that b4d runs with: a given one, and options that win.
func (s *show) config(engine string) string {
	quic := ""
	if engine == queueEngine {
		quic = "option quic 'split(midsld) disorder'"
	}
	return fmt.Sprintf(`
config rule 'every'
	option strategy 'shown'

%s

config strategy 'shown'
	option tls 'split(1, midsld) disorder'
	option http 'hostcase split(midsld) disorder'
	%s

config b4 'main'
	option enabled '1'
	option engine '%s'
`, s.given, quic, engine)
}

// behind makes the firewall that is shown: NAT for IPv4 and, where asked, IPv6.
func behind(masq6 bool) *lab.Firewall {
	return &lab.Firewall{Masq4: true, Masq6: masq6, MTUFix: true, Offload: true}
}
