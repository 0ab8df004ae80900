package lab

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"b4/censor"
	"b4/packet"
)

// Censored by gfw-2022 throughout, a single hello that leaks is punished for
// the rest of the test: its penalty holds for the client's address.
const testCensor = "gfw-2022"

// program is the b4d under test: B4D names one, else it is built once.
var program = sync.OnceValues(func() (string, error) {
	if path := os.Getenv("B4D"); path != "" {
		return filepath.Abs(path)
	}
	dir, err := os.MkdirTemp("", "b4d")
	if err != nil {
		return "", err
	}
	path := filepath.Join(dir, "b4d")
	cmd := exec.Command("go", "build", "-C", "..", "-buildvcs=false", "-o", path, "./cmd/b4d")
	out, err := cmd.CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("build b4d: %w\n%s", err, out)
	}
	return path, nil
})

// run builds a lab with a b4d and the censor in it.
func run(t *testing.T, engine string, o Options) *Lab {
	t.Helper()
	l := build(t, o)
	launchB4D(t, l, configure(engine))
	l.SetCensor(profile(t))
	return l
}

func profile(t *testing.T) censor.Profile {
	t.Helper()
	p, err := censor.Lookup(testCensor)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// clean reports what the censor got hold of.
func clean(t *testing.T, l *Lab) {
	t.Helper()
	if s := l.CensorStats(); s.Blocked != 0 || s.Packets == 0 {
		t.Errorf("censor: %+v", s)
	}
}

// With one packet of a hundred lost and some out of order, behind the censor,
// every connection opens and every byte is right.
func TestLossyCore(t *testing.T) {
	engines(t, lossyCore)
}

func lossyCore(t *testing.T, engine string) {
	t.Parallel() // it waits for what is sent again
	imp := Impairment{Loss: 0.01, Reorder: 0.01}
	l := run(t, engine, Options{Seed: 7, ToServer: imp, ToClient: imp})
	const connections, workers, size = 500, 32, 64 << 10
	next := make(chan int)
	var live sync.WaitGroup
	for range workers {
		live.Add(1)
		go func() {
			defer live.Done()
			for i := range next {
				r := Request{Host: Blocked, V6: i%2 == 1, Hello: Hello(i / 2 % 2), Timeout: time.Minute}
				if err := l.Download(r, size); err != nil {
					t.Errorf("connection %d: %v", i, err)
				}
			}
		}()
	}
	for i := range connections {
		next <- i
	}
	close(next)
	live.Wait()
	clean(t, l)
	if a, b := l.Counters(ToServer), l.Counters(ToClient); a.Lost == 0 || b.Lost == 0 || a.Reordered == 0 {
		t.Errorf("the line was too good: %+v %+v", a, b)
	}
}

// loser is a censor on a line that loses packet number lose of those with
// payload that the client sends; with seen, the censor has read it by then.
type loser struct {
	judge Judge
	lose  int
	seen  bool
	n     int
}

func (s *loser) Judge(now time.Time, pkt []byte, fromClient bool) censor.Verdict {
	var v packet.View
	lost := false
	if fromClient && v.Decode(pkt) && v.Proto == packet.TCP && len(v.Payload) > 0 {
		s.n++
		lost = s.n == s.lose
	}
	if lost && !s.seen {
		return censor.Verdict{}
	}
	verdict := s.judge.Judge(now, pkt, fromClient)
	verdict.Forward = verdict.Forward && !lost
	return verdict
}

// Each piece of the hello, and the packet behind it, is lost once.
func TestEachPieceLost(t *testing.T) {
	engines(t, eachPieceLost)
}

func eachPieceLost(t *testing.T, engine string) {
	t.Parallel() // it waits for what is sent again
	l := run(t, engine, Options{})
	families(t, func(t *testing.T, v6 bool) {
		for _, hello := range []Hello{Small, PostQuantum} {
			for _, seen := range []bool{false, true} {
				for lose := 1; lose <= 5; lose++ {
					l.SetCensor(profile(t))
					l.SetJudge(&loser{judge: l.watched, lose: lose, seen: seen})
					if err := l.Open(Request{Host: Blocked, V6: v6, Hello: hello}); err != nil {
						t.Errorf("%v hello, piece %d lost, seen by the censor %t: %v", hello, lose, seen, err)
					}
					clean(t, l)
				}
			}
		}
	})
}

// A server that asks for another key share is told the name twice.
func TestHelloRetry(t *testing.T) {
	engines(t, helloRetry)
}

func helloRetry(t *testing.T, engine string) {
	l := run(t, engine, Options{})
	families(t, func(t *testing.T, v6 bool) {
		for _, hello := range []Hello{Small, PostQuantum} {
			if err := l.CheckOpen(profile(t), Request{Host: Blocked, Site: Retry, V6: v6, Hello: hello}); err != nil {
				t.Errorf("%v hello: %v", hello, err)
			}
			clean(t, l)
		}
		if err := l.CheckOpen(profile(t), Request{Host: Blocked, Site: Old, V6: v6}); err != nil {
			t.Errorf("TLS 1.2: %v", err)
		}
	})
}

// Only the decisive packets of a connection come to user space, however long
// it lasts.
func TestPacketsInUserSpace(t *testing.T) {
	// A line of some length, as all are: on one without, the client is through
	// with its request before b4d's first verdict, and sends a hello again that
	// waits for one.
	line := Impairment{Delay: 5 * time.Millisecond}
	const most = 4
	engines(t, func(t *testing.T, engine string) {
		l := build(t, Options{ToServer: line, ToClient: line})
		d := launchB4D(t, l, configure(engine))
		families(t, func(t *testing.T, v6 bool) {
			for _, hello := range []Hello{Small, PostQuantum} {
				for _, n := range []int64{1 << 10, 8 << 20} {
					few(t, d, fmt.Sprintf("%v hello, %d bytes", hello, n), most, 1, func() error {
						return l.Download(Request{Host: Blocked, V6: v6, Hello: hello}, n)
					})
				}
			}
		})
	})
}

// few wants at most so many packets to come to user space, and some, while carry
// carries what the kernel counts as so many connections. Where they are others it
// carries again: a machine at its limit sends some twice, and SYNs are such, too.
func few(t *testing.T, d *B4D, what string, most, connections uint64, carry func() error) {
	t.Helper()
	for range 3 {
		before, err := d.AtRest()
		must(t, err)
		if err := carry(); err != nil {
			t.Errorf("%s: %v", what, err)
			return
		}
		after := mustStatus(t, d)
		packets, opened := after.Since(before)
		t.Logf("%s: %d packets came to user space, %d connections opened", what, packets, opened)
		if packets != 0 && packets <= most && opened == connections {
			return
		}
	}
	t.Errorf("%s: want 1 to %d packets, and %d connections", what, most, connections)
}

// A configuration that is wrong is refused with its place, and no trace.
func TestBrokenConfig(t *testing.T) {
	l := build(t, Options{})
	path, err := program()
	if err != nil {
		t.Fatal(err)
	}
	before, err := l.Router.State()
	if err != nil {
		t.Fatal(err)
	}
	d, err := l.StartB4D(path, "config b4 'main'\n\toption enabled '1'\n\toption engine 'steam'\n")
	if err == nil {
		t.Fatal("b4d runs with it", errors.Join(d.Stop()))
	}
	if msg := err.Error(); !strings.Contains(msg, "b4:3") || !strings.Contains(msg, "engine") {
		t.Errorf("the error does not name line 3: %v", err)
	}
	after, err := l.Router.State()
	if err != nil || len(Changes(before, after)) != 0 {
		t.Errorf("left: %v %v", Changes(before, after), err)
	}
}
