package lab

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"
)

// testEngines are what b4d has; B4_ENGINES, with commas, names fewer.
func testEngines() []string {
	if s := os.Getenv("B4_ENGINES"); s != "" {
		return strings.Split(s, ",")
	}
	return []string{"nfqueue", "tun"}
}

// engines runs f once for each engine.
func engines(t *testing.T, f func(t *testing.T, engine string)) {
	for _, e := range testEngines() {
		t.Run(e, func(t *testing.T) { f(t, e) })
	}
}

// configure is a configuration with an engine and further options of main.
func configure(engine string, options ...string) string {
	text := "config b4 'main'\n\toption enabled '1'\n\toption engine '" + engine + "'\n"
	for _, o := range options {
		text += "\t" + o + "\n"
	}
	return text
}

const steerAll = "option steer 'all'"

// launchB4D is StartB4D for a test: b4d is stopped, or killed already, at its
// end.
func launchB4D(t *testing.T, l *Lab, config string) *B4D {
	t.Helper()
	path, err := program()
	if err != nil {
		t.Fatal(err)
	}
	d, err := l.StartB4D(path, config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Log("b4d's log:\n" + d.Log())
		}
		select {
		case <-d.ended:
			return
		default:
		}
		if err := d.Stop(); err != nil {
			t.Error("stop b4d:", err)
		}
	})
	return d
}

func mustStatus(t *testing.T, d *B4D) Status {
	t.Helper()
	s, err := d.Status()
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// askers runs f for each family and for the client and the router.
func askers(t *testing.T, f func(t *testing.T, r Request)) {
	families(t, func(t *testing.T, v6 bool) {
		for _, router := range []bool{false, true} {
			t.Run(map[bool]string{false: "forwarded", true: "router's own"}[router], func(t *testing.T) {
				f(t, Request{Host: Blocked, V6: v6, Router: router})
			})
		}
	})
}

// send uploads n bytes and reports whether they came.
func send(l *Lab, r Request, n int64) error {
	r.Upload = n
	res, err := l.Get(r)
	if err == nil && res.Body != SumOf(n) {
		err = fmt.Errorf("the server got something else: %q", res.Body)
	}
	return err
}

// However much goes to and fro, the kernel carries it: behind masquerading,
// routed, forwarded and of the router's own.
func TestBulkInKernel(t *testing.T) {
	engines(t, func(t *testing.T, engine string) {
		l := build(t, Options{})
		d := launchB4D(t, l, configure(engine))
		const most = 30
		askers(t, func(t *testing.T, r Request) {
			download := int64(64 << 20)
			if r.Router {
				download = 16 << 20
			}
			for _, bulk := range []struct {
				what string
				do   func(*Lab, Request, int64) error
				size int64
			}{{"download", (*Lab).Download, download}, {"upload", send, 16 << 20}} {
				before := mustStatus(t, d)
				if err := bulk.do(l, r, bulk.size); err != nil {
					t.Errorf("%s: %v", bulk.what, err)
				}
				s := mustStatus(t, d)
				if n, _ := s.Since(before); n == 0 || n >= most {
					t.Errorf("%s: %d packets came to user space", bulk.what, n)
				}
			}
		})
	})
}

// With all of it in user space the bytes are right too, and blocked sites open.
func TestAllTraffic(t *testing.T) {
	engines(t, func(t *testing.T, engine string) {
		for name, fire := range map[string]Firewall{"usual": House, "the other way round": {Masq6: true}} {
			t.Run(name, func(t *testing.T) {
				l := build(t, Options{Firewall: &fire})
				d := launchB4D(t, l, configure(engine, steerAll))
				const size = 8 << 20
				askers(t, func(t *testing.T, r Request) {
					for _, hello := range []Hello{Small, PostQuantum} {
						r := r
						r.Hello = hello
						if err := l.CheckOpen(profile(t), r); err != nil {
							t.Errorf("%v hello: %v", hello, err)
						}
					}
					before := mustStatus(t, d)
					if err := errors.Join(l.Download(r, size), send(l, r, size)); err != nil {
						t.Error(err)
					}
					s := mustStatus(t, d)
					if n, _ := s.Since(before); n < 2*size/(64<<10) {
						t.Errorf("only %d packets came to user space", n)
					}
				})
			})
		}
	})
}

// Where the firewall would reject what comes back from the TUN, all-traffic mode
// leaves the traffic alone and says what is missing; decisive packets never come
// back that way.
func TestNoInclude(t *testing.T) {
	engines(t, func(t *testing.T, engine string) {
		l := build(t, Options{Firewall: &Firewall{Masq4: true, NoInclude: true}})
		d := launchB4D(t, l, configure(engine, steerAll))
		for _, v6 := range []bool{false, true} {
			if err := l.Download(Request{Host: Blocked, V6: v6}, 1<<20); err != nil {
				t.Error(err)
			}
		}
		if health := strings.Join(Sentences(mustStatus(t, d).Health), " "); strings.Contains(health, "include of b4") != (engine == "tun") {
			t.Errorf("status says %q", health)
		}
		if err := d.Reload(configure(engine)); err != nil {
			t.Fatal(err)
		}
		opensAgain(t, l, "decisive packets")
		if s := mustStatus(t, d); len(s.Health) != 0 {
			t.Errorf("status says %q", s.Health)
		}
	})
}

// A change of the engine keeps what is under way and what is idle, and leaves
// nothing of the engine before.
func TestSwitchEngine(t *testing.T) {
	list := testEngines()
	if len(list) < 2 {
		t.Skip("there is one engine only")
	}
	l := build(t, Options{Firewall: &Firewall{Masq4: true, Masq6: true}})
	d := launchB4D(t, l, configure("auto"))
	l.SetCensor(profile(t))
	var idle []*session
	for _, v6 := range []bool{false, true} {
		idle = append(idle, newSession(t, l, Request{Host: Blocked, V6: v6}))
	}
	const size = 64 << 20
	load := startLoad(l, size)
	files := map[string]int{}
	wanted := []string{"tun", "nfqueue", "auto", "tun", "auto", "tun", "nfqueue"}
	for i, engine := range wanted {
		if err := d.Reload(configure(engine)); err != nil {
			t.Fatal(engine, err)
		}
		s := mustStatus(t, d)
		if engine == "auto" {
			engine = "nfqueue"
		}
		if s.Engine.Name != engine || s.Engine.Why == "" || len(s.Health) != 0 {
			t.Errorf("%s: status says %+v %q", engine, s.Engine, s.Health)
		}
		if s := strings.Join(stateOf(t, l), "\n"); strings.Contains(s, "b4tun0") != (engine == "tun") {
			t.Errorf("%s: the router has\n%s", engine, s)
		}
		for _, s := range idle {
			if err := s.page(); err != nil {
				t.Errorf("%s: idle connection: %v", engine, err)
			}
		}
		for _, v6 := range []bool{false, true} {
			if err := l.Open(Request{Host: Blocked, V6: v6}); err != nil {
				t.Errorf("%s: v6 %t: %v", engine, v6, err)
			}
		}
		load.allow(int64(i+1) * size / int64(len(wanted)))
		if was, known := files[wanted[i]]; known {
			filesAgain(t, d, was, fmt.Sprintf("after change %d, to %s", i+1, wanted[i]))
		} else {
			files[wanted[i]] = mustFiles(t, d)
		}
	}
	if err := load.wait(); err != nil {
		t.Error(err)
	}
	clean(t, l)
}

func stateOf(t *testing.T, l *Lab) []string {
	t.Helper()
	s, err := l.Router.State()
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func mustFiles(t *testing.T, d *B4D) int {
	t.Helper()
	n, err := d.Files()
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// filesAgain wants as many open files as there were, within some seconds: b4d hangs
// up on who has asked it something a moment later.
func filesAgain(t *testing.T, d *B4D, was int, when string) {
	t.Helper()
	eventually(t, when, func() error {
		if n := mustFiles(t, d); n != was {
			return fmt.Errorf("b4d has %d open files, %d before", n, was)
		}
		return nil
	})
}

// While b4d pauses nothing is steered; then it goes on.
func TestPause(t *testing.T) {
	engines(t, func(t *testing.T, engine string) {
		l := build(t, Options{})
		before := stateOf(t, l)
		d := launchB4D(t, l, configure(engine))
		ask := func(minutes string) {
			t.Helper()
			if _, err := d.Ask("pause", minutes); err != nil {
				t.Fatal(err)
			}
		}
		r := Request{Host: Blocked}
		if err := l.CheckOpen(profile(t), r); err != nil {
			t.Error("before:", err)
		}
		ask("1")
		eventually(t, "b4d pauses", func() error { return l.CheckBlocked(profile(t), r) })
		first := mustStatus(t, d)
		for _, v6 := range []bool{false, true} {
			if err := l.Open(Request{Host: Blocked, V6: v6}); err != nil {
				t.Errorf("v6 %t: %v", v6, err)
			}
		}
		s := mustStatus(t, d)
		if n, _ := s.Since(first); n != 0 {
			t.Errorf("%d packets were steered in the pause", n)
		}
		if i := slices.IndexFunc(Changes(before, stateOf(t, l)), func(s string) bool { return strings.HasPrefix(s, "+rule") }); i >= 0 {
			t.Errorf("a rule stands in the pause: %v", Changes(before, stateOf(t, l)))
		}
		ask("0")
		eventually(t, "b4d goes on", func() error { return l.CheckOpen(profile(t), r) })
	})
}

// eventually tries for some seconds.
func eventually(t *testing.T, what string, f func() error) {
	t.Helper()
	if err := within(6*time.Second, f); err != nil {
		t.Fatalf("%s: %v", what, err)
	}
}

// within tries until f returns nil, and after limit returns what it returned last.
func within(limit time.Duration, f func() error) error {
	start := time.Now()
	for {
		err := f()
		if err == nil || time.Since(start) > limit {
			return err
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// What a killed b4d leaves, b4d cleanup takes away.
func TestCleanup(t *testing.T) {
	path, err := program()
	if err != nil {
		t.Fatal(err)
	}
	engines(t, func(t *testing.T, engine string) {
		l := build(t, Options{})
		before := stateOf(t, l)
		d := launchB4D(t, l, configure(engine))
		if err := d.Kill(); err != nil {
			t.Fatal(err)
		}
		cmd := exec.Command(path, "cleanup", "-socket", d.Socket)
		var out transcript
		cmd.Stdout, cmd.Stderr = &out, &out
		if err := l.Router.Run(cmd); err != nil {
			t.Fatalf("cleanup: %v: %s", err, out.String())
		}
		if diff := Changes(before, stateOf(t, l)); len(diff) != 0 {
			t.Errorf("left: %v", diff)
		}
	})
}
