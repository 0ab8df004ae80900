package lab

import (
	"encoding/json"
	"errors"
	"os"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"b4/desync"
)

// routers are how many a packet of the router's passes on its way to the server:
// the censor's kernel, three virtual ones, and the core's.
const routers = 5

// number is a number from the environment, to try more than what is tried always.
func number(t *testing.T, name string, def int) int {
	t.Helper()
	text := os.Getenv(name)
	if text == "" {
		return def
	}
	n, err := strconv.Atoi(text)
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return n
}

// compositions are every step alone and n random strategies: those of a seed,
// which B4_SEED may name.
func compositions(t *testing.T, proto desync.Proto, n int) []composition {
	t.Helper()
	g := newGenerator(t, proto, compositionsSeed(t))
	return append(g.singles(), g.random(n)...)
}

func compositionsSeed(t *testing.T) int64 {
	t.Helper()
	return int64(number(t, "B4_SEED", 1))
}

// randoms is how many random strategies for TLS there are; B4_COMPOSITIONS names
// another number. The others have some of them.
func randoms(t *testing.T) int {
	t.Helper()
	return number(t, "B4_COMPOSITIONS", 200)
}

// A round is many connections through many strategies.
type round struct {
	t      *testing.T
	lab    *Lab
	b4d    *B4D
	engine string

	mu    sync.Mutex
	tries int
	wrong int // exchanges with wrong bytes
	fails int // those, and what did not open
}

// newRound builds a lab with the mirror and a b4d in it.
func newRound(t *testing.T, o Options, engine string) *round {
	t.Helper()
	l := build(t, o)
	newMirror(t, l)
	return &round{t: t, lab: l, b4d: launchB4D(t, l, configure(engine)), engine: engine}
}

// reload puts strategies in force.
func (r *round) reload(sections string) {
	r.t.Helper()
	must(r.t, r.b4d.Reload(configure(r.engine)+sections))
}

// An attempt is one connection to be made.
type attempt struct {
	c  *composition
	v6 bool
	Hello
	v2 bool // QUIC's
}

// attempts are the connections for each strategy: a small and a post-quantum
// hello, and of a third of the strategies with curl one by that, too.
func attempts(list []composition, curl bool, families ...bool) []attempt {
	var tries []attempt
	for i := range list {
		for _, v6 := range families {
			for _, hello := range []Hello{Small, PostQuantum} {
				tries = append(tries, attempt{&list[i], v6, hello, list[i].proto == desync.QUIC && i%3 == 0})
			}
			if curl && i%3 == 0 && list[i].proto == desync.TLS {
				tries = append(tries, attempt{&list[i], v6, Curl, false})
			}
		}
	}
	return tries
}

// workers are how many connections are under way at once.
const workers = 16

// run makes the connections, workers at a time.
func (r *round) run(tries []attempt) {
	next := make(chan attempt)
	var live sync.WaitGroup
	for range min(workers, len(tries)) {
		live.Add(1)
		go func() {
			defer live.Done()
			for a := range next {
				r.try(a)
			}
		}()
	}
	for _, a := range tries {
		next <- a
	}
	close(next)
	live.Wait()
}

// askTimeout is long enough for a line that loses: TCP waits a second for its
// first answer, then two, then four.
const askTimeout = 20 * time.Second

func (r *round) try(a attempt) {
	spoken := map[desync.Proto]Proto{desync.TLS: TLS, desync.HTTP: HTTP, desync.QUIC: QUIC}[a.c.proto]
	start := time.Now()
	err := ask(r.lab, Request{Host: a.c.host, Proto: spoken, V2: a.v2, V6: a.v6, Hello: a.Hello, Timeout: askTimeout})
	r.note(a, err, time.Since(start))
}

// note counts a connection and tells if it went wrong.
func (r *round) note(a attempt, err error, took time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.tries++
	if err == nil {
		return
	}
	r.fails++
	if errors.Is(err, errWrong) {
		r.wrong++
	}
	r.t.Errorf("%s, %v %q, v6 %t, %v hello, seed %d, after %v: %v",
		r.engine, a.c.proto, a.c.text, a.v6, a.Hello, compositionsSeed(r.t), took, err)
}

// report tells what came of it all.
func (r *round) report(start time.Time) {
	r.t.Helper()
	r.t.Logf("seed %d: %d connections, %d failed, %d with wrong bytes, in %v",
		compositionsSeed(r.t), r.tries, r.fails, r.wrong, time.Since(start).Round(time.Millisecond))
}

// reasons are how many packets b4d gave a verdict, by the reason.
func (r *round) reasons() map[string]uint64 {
	r.t.Helper()
	out, err := r.b4d.Ask("status", "-json")
	must(r.t, err)
	var s struct {
		Reasons map[string]uint64 `json:"reasons"`
	}
	must(r.t, json.Unmarshal(out, &s))
	return s.Reasons
}

// treated fails if but few of the connections went through a strategy.
func (r *round) treated() {
	r.t.Helper()
	n := r.reasons()
	r.t.Logf("%d messages were treated, %d left as they came as the strategy has no place in them", n["treated"], n["as_is"]+n["failed"])
	if n["treated"] < uint64(r.tries)*7/10 || n["no_rule"]+n["no_name"]+n["too_long"] != 0 {
		r.t.Errorf("of %d connections but few were treated: %v", r.tries, n)
	}
}

// part parts strategies that act on the handshake from the others.
func part(list []composition) (named, certain []composition) {
	for _, c := range list {
		if c.handshake() {
			certain = append(certain, c)
		} else {
			named = append(named, c)
		}
	}
	return named, certain
}

// alone is a configuration with one strategy, for all names.
func alone(c *composition) string {
	return c.option("alone") + "config rule\n\toption strategy 'alone'\n"
}

// Whatever the strategy, the server's kernel hands on what the client wrote:
// every step alone and random ones, masqueraded and routed, with hellos in one
// segment and in two, of Go's and of OpenSSL's; of requests and of QUIC the same.
func TestCompositions(t *testing.T) {
	t.Parallel()
	for proto, n := range map[desync.Proto]int{desync.TLS: randoms(t), desync.HTTP: randoms(t) / 4, desync.QUIC: randoms(t) / 4} {
		t.Run(proto.String(), func(t *testing.T) {
			t.Parallel()
			start := time.Now()
			r := newRound(t, Options{}, "nfqueue")
			curl := slices.Contains(Hellos(), Curl)
			named, certain := part(compositions(t, proto, n))
			r.reload(rules(named))
			r.run(attempts(named, curl, bothFamilies...))
			for i := range certain {
				r.reload(alone(&certain[i]))
				r.run(attempts(certain[i:i+1], curl, bothFamilies...))
			}
			t.Logf("%d strategies, %d of them for the handshake", len(named)+len(certain), len(certain))
			r.report(start)
			r.treated()
		})
	}
}

var bothFamilies = []bool{false, true}

// A decoy that the server reads breaks the connection, so that the other tests
// would notice one that does. One router nearer it does not get there.
func TestDishonestDecoys(t *testing.T) {
	t.Parallel()
	r := newRound(t, Options{}, "nfqueue")
	for _, tt := range []struct {
		text string
		read bool
	}{
		{"fake(zero, ttl=5)", false}, {"fake(zero, ttl=6)", true},
		{"fake(clone, ttl=5) split(midsld)", false}, {"fake(clone, ttl=6) split(midsld)", true},
		{"rst(ttl=5)", false}, {"rst(ttl=6)", true},
		{"syndata synfake(ttl=5)", false},
	} {
		s, err := desync.TLS.Parse(tt.text)
		must(t, err)
		r.reload(alone(&composition{Allowed, s.String(), desync.TLS, s.Need()}))
		for _, v6 := range bothFamilies {
			if err := ask(r.lab, Request{Host: Allowed, V6: v6}); (err != nil) != tt.read {
				t.Errorf("%s, v6 %t: %v", tt.text, v6, err)
			}
		}
	}
}

// With one packet of a hundred lost and some out of order the same is true.
func TestCompositionsLossy(t *testing.T) {
	start := time.Now()
	imp := Impairment{Loss: 0.01, Reorder: 0.01}
	r := newRound(t, Options{Seed: uint64(compositionsSeed(t)), ToServer: imp, ToClient: imp}, "nfqueue")
	for proto, sample := range map[desync.Proto]int{desync.TLS: 60, desync.HTTP: 15, desync.QUIC: 15} {
		named, _ := part(compositions(t, proto, 2*sample))
		named = named[len(named)-sample:] // all of them random
		r.reload(rules(named))
		r.run(attempts(named, false, bothFamilies...))
	}
	r.report(start)
	r.treated()
	if a, b := r.lab.Counters(ToServer), r.lab.Counters(ToClient); a.Lost == 0 || b.Lost == 0 || a.Reordered == 0 {
		t.Errorf("the line was too good: %+v %+v", a, b)
	}
}

// Engine tun shows b4d the message alone, and none of QUIC; what asks for no more
// comes through it as well.
func TestCompositionsTUN(t *testing.T) {
	t.Parallel()
	start := time.Now()
	r := newRound(t, Options{}, "tun")
	for proto, n := range map[desync.Proto]int{desync.TLS: randoms(t), desync.HTTP: randoms(t) / 4} {
		list := slices.DeleteFunc(compositions(t, proto, n), func(c composition) bool { return c.need.Phases != 0 || c.need.Hops })
		r.reload(rules(list))
		r.run(attempts(list, false, false))
		t.Logf("%d strategies for %v", len(list), proto)
	}
	r.report(start)
	r.treated()
}
