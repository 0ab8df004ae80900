package daemon

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"b4/control"
	"b4/engine"
	"b4/fw"
	"b4/mark"
	"b4/netif"
	"b4/nfq"
	"b4/nfq/nfqtest"
	"b4/route"
	"b4/tun"
	"b4/tun/tuntest"

	"golang.org/x/sys/unix"
)

var errBroken = errors.New("broken on purpose")

// fake is a kernel of the test's. Each step may be told to fail.
type fake struct {
	t    *testing.T
	mu   sync.Mutex
	fail map[string]bool
	why  error          // of what fails
	live map[string]int // what is open, by step
	wan  netif.WAN
	werr error
	look func()             // with each look at wan; nil is nothing
	outs map[string]*lookup // what other names stand for; all else is wan

	applied  string
	watched  []string
	answered int
	busy     int  // how many attempts to answer find the table busy
	gone     bool // the table was deleted by another program
	queue    *nfqtest.Queue
	news     chan struct{}
	fwNews   chan struct{}            // of the firewall
	dies     map[string]chan struct{} // closed: the watcher of that step fails
	queueNum uint16

	features fw.Features
	tun      *tuntest.Engine
	tunConf  tun.Config
	links    route.Links
	routed   string // the routes as last reconciled
	resized  int    // how often the TUN got an MTU
	nat      fw.Translation
	advice   []route.Advice
	uncount  []route.Advice
	files    map[string]string // of /proc, by path
	opened   map[string]int
	owned    string // of ownSysctls
	scatter4 bool   // NAT draws ports
	offload  fw.Offloading
	refused  string        // the chain that does not forward what comes from the TUN
	within   time.Duration // see answers
	every    time.Duration
}

func newFake(t *testing.T) *fake {
	return &fake{t: t, fail: map[string]bool{}, files: map[string]string{}, opened: map[string]int{}, why: errBroken, live: map[string]int{}, news: make(chan struct{}, 8), fwNews: make(chan struct{}, 8), dies: map[string]chan struct{}{"watch": make(chan struct{}), "firewall": make(chan struct{})},
		wan:      netif.WAN{V4: []string{"wan0"}, V6: []string{"wan0"}},
		features: fw.Features{Owner: true, Queue: fw.Native, Tun: true, Reject: true},
		links: route.Links{
			Devices: []route.Device{{Index: 1, Name: "b4tun0", Up: true}, {Index: 7, Name: "wan0", MTU: 1492, Up: true}, {Index: 8, Name: "ppp0", MTU: 1480, Up: true}},
			Addrs: []route.Addr{
				{Index: 7, Prefix: netip.MustParsePrefix("203.0.113.5/24")}, {Index: 7, Prefix: netip.MustParsePrefix("2001:db8::5/64")},
				{Index: 8, Prefix: netip.MustParsePrefix("198.51.100.9/32")},
			},
		},
		nat:    fw.Translation{V4: fw.Masqueraded},
		within: 5 * time.Millisecond, every: 20 * time.Millisecond,
	}
}

// step notes an act, or fails it.
func (k *fake) step(name string, opens int) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.fail[name] {
		return k.why
	}
	k.live[name] += opens
	return nil
}

func (k *fake) close(name string) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.live[name]--
	return nil
}

func (k *fake) set(f func()) {
	k.mu.Lock()
	defer k.mu.Unlock()
	f()
}

// get reads under the lock.
func get[T any](k *fake, f func() T) T {
	k.mu.Lock()
	defer k.mu.Unlock()
	return f()
}

func (k *fake) probe() (fw.Features, error) {
	return get(k, func() fw.Features { return k.features }), k.step("probe", 0)
}

func (k *fake) openTable() (table, error) {
	if err := k.step("table", 1); err != nil {
		return nil, err
	}
	k.set(func() { k.gone = false })
	return &fakeTable{fake: k}, nil
}

func (k *fake) openSender(mark.Set) (sender, error) {
	return &fakeSender{fake: k}, k.step("sender", 1)
}

func (k *fake) newQueue(c nfq.Config) engine.Engine {
	q := nfqtest.New()
	return &fakeEngine{q, k, fmt.Sprint("queue ", c.Num), func() { k.queue, k.queueNum = q, c.Num }}
}

func (k *fake) newTun(c tun.Config) tunEngine {
	e := tuntest.New(c)
	return &fakeTun{fakeEngine{e, k, "device " + c.Device.Name, func() { k.tun, k.tunConf = e, c }}, e}
}

func (k *fake) openRoutes(tell func(string)) (routes, error) {
	if err := k.step("routes", 1); err != nil {
		return nil, err
	}
	return &fakeRoutes{k, tell}, nil
}

func (k *fake) readNAT(string) (fw.Translation, error) {
	return get(k, func() fw.Translation { return k.nat }), k.step("nat", 0)
}

func (k *fake) scatters(string) (v4, v6 bool, err error) {
	return get(k, func() bool { return k.scatter4 }), false, k.step("scatters", 0)
}

func (k *fake) readOffload([]string, []uint16) (fw.Offloading, error) {
	return get(k, func() fw.Offloading { return k.offload }), k.step("offload", 0)
}

func (k *fake) acceptsForward(string) (bool, string, error) {
	why := get(k, func() string { return k.refused })
	return why == "", why, k.step("forward", 0)
}

func (k *fake) ownSysctls(dev string, writeBack bool) []string {
	k.set(func() { k.owned = fmt.Sprint(dev, " ", writeBack) })
	return []string{"net.ipv6.conf." + dev + ".disable_ipv6=0"}
}

func (k *fake) uncounted() []route.Advice {
	return get(k, func() []route.Advice { return k.uncount })
}

func (k *fake) open(path string) (io.ReadCloser, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.opened[path]++
	if text, ok := k.files[path]; ok {
		return io.NopCloser(strings.NewReader(text)), nil
	}
	return nil, os.ErrNotExist
}

func (k *fake) sysctls(string, string) []route.Advice {
	return get(k, func() []route.Advice { return k.advice })
}

func (k *fake) answers() (within, every time.Duration) { return k.within, k.every }

func (k *fake) resolve(names []string) (netif.WAN, error) {
	if len(names) == 1 {
		if out := get(k, func() *lookup { return k.outs[names[0]] }); out != nil {
			return out.wan, out.err
		}
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.look != nil {
		k.look()
	}
	return k.wan, k.werr
}

func (k *fake) watch() (watcher, error) {
	return &fakeWatcher{k, "watch", k.news, make(chan struct{})}, k.step("watch", 1)
}

func (k *fake) watchFirewall() (watcher, error) {
	return &fakeWatcher{k, "firewall", k.fwNews, make(chan struct{})}, k.step("firewall", 1)
}

type fakeTable struct {
	*fake
	watches, closed bool // watches: something is watched
}

// here is the error of a table that another program deleted, or that is closed.
func (t *fakeTable) here() error {
	return get(t.fake, func() error {
		if t.gone || t.closed {
			return unix.ENOENT
		}
		return nil
	})
}

func (t *fakeTable) Apply(r *fw.Ruleset, watched []string) error {
	if err := errors.Join(t.here(), t.step("apply", 0)); err != nil {
		return err
	}
	t.set(func() { t.applied, t.watched, t.watches = r.String(), watched, len(watched) > 0 })
	return nil
}
func (t *fakeTable) Watch(names []string) error {
	if err := t.here(); err != nil {
		return err
	}
	t.set(func() { t.watched, t.watches = names, len(names) > 0 })
	return nil
}
func (t *fakeTable) Answer() error {
	t.set(func() { t.answered++ })
	if !get(t.fake, func() bool { return t.watches || t.closed }) {
		return nil // nothing is watched yet
	}
	return t.here()
}
func (t *fakeTable) TryAnswer() (done bool, err error) {
	if get(t.fake, func() bool { busy := t.busy > 0; t.busy--; return busy }) {
		return false, nil
	}
	return true, t.Answer()
}
func (t *fakeTable) Counters() (fw.Counters, error) { return fw.Counters{Opened: 3}, nil }
func (t *fakeTable) Close() error {
	if get(t.fake, func() bool { was := t.closed; t.closed = true; return was }) {
		return nil
	}
	return t.fake.close("table")
}

type fakeSender struct{ *fake }

func (s *fakeSender) Send(outs []engine.Out) (int, error) { return len(outs), nil }
func (s *fakeSender) Close() error                        { return s.fake.close("sender") }

// A fakeEngine is nfqtest's or tuntest's.
type fakeEngine struct {
	engine.Engine
	k       *fake
	step    string
	started func()
}

func (e *fakeEngine) Supported() error { return e.k.step(e.Name()+" supported", 0) }
func (e *fakeEngine) Start() error {
	if err := e.k.step(e.step, 0); err != nil {
		return err
	}
	if err := e.k.step("engine", 1); err != nil {
		return err
	}
	e.k.set(e.started)
	return e.Engine.Start()
}
func (e *fakeEngine) Close() error { e.k.close("engine"); return e.Engine.Close() }

type fakeTun struct {
	fakeEngine
	e *tuntest.Engine
}

func (t *fakeTun) SetOut(index int32) { t.e.SetOut(index) }
func (t *fakeTun) SetMTU(n int) error {
	if err := t.k.step("mtu", 0); err != nil {
		return err
	}
	t.k.set(func() {
		for i := range t.k.links.Devices {
			if d := &t.k.links.Devices[i]; d.Name == t.k.tunConf.Device.Name {
				d.MTU = n
			}
		}
		t.k.resized++
	})
	return t.e.SetMTU(n)
}

type fakeRoutes struct {
	*fake
	tell func(string)
}

func (r *fakeRoutes) Links() (route.Links, error) {
	return get(r.fake, func() route.Links {
		l := r.links // the test goes on to change its own
		l.Devices, l.Addrs, l.Routes = slices.Clone(l.Devices), slices.Clone(l.Addrs), slices.Clone(l.Routes)
		return l
	}), r.step("links", 0)
}
func (r *fakeRoutes) Reconcile(s *route.State) error {
	step := "reconcile"
	if s == nil {
		step = "release"
	}
	if err := r.step(step, 0); err != nil {
		return err
	}
	if text := s.String(); text != get(r.fake, func() string { return r.routed }) {
		r.set(func() { r.routed = text })
		if r.tell != nil {
			r.tell("routes now: " + text)
		}
	}
	return nil
}
func (r *fakeRoutes) Close() error { return r.fake.close("routes") }

type fakeWatcher struct {
	*fake
	step   string
	of     chan struct{}
	closed chan struct{}
}

func (w *fakeWatcher) Wait(time.Duration) error {
	select {
	case <-w.of:
		return nil
	case <-w.dies[w.step]:
		return errBroken
	case <-w.closed:
		return os.ErrClosed
	}
}
func (w *fakeWatcher) Close() error { close(w.closed); return w.fake.close(w.step) }

// left is what is still open.
func (k *fake) left() map[string]int {
	return get(k, func() map[string]int {
		m := map[string]int{}
		for name, n := range k.live {
			if n != 0 {
				m[name] = n
			}
		}
		return m
	})
}

// A running is a daemon under test.
type running struct {
	*fake
	d      *Daemon
	conf   string // path of its configuration
	socket string
	reload chan struct{}
	stop   func() error
	wait   func() error // until it ends by itself
}

// start runs a daemon on k with the given configuration until the test ends.
func start(t *testing.T, k *fake, conf string) *running {
	t.Helper()
	log := quiet
	if testing.Verbose() {
		log = slog.New(slog.NewTextHandler(os.Stderr, nil))
	}
	return startLogged(t, k, conf, log)
}

func startLogged(t *testing.T, k *fake, conf string, log *slog.Logger) *running {
	t.Helper()
	r := prepare(t, k, conf)
	r.d.log = log
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- r.d.Run(ctx, r.reload) }()
	r.stop = sync.OnceValue(func() error { cancel(); return <-done })
	r.wait = sync.OnceValue(func() error { err := <-done; done <- nil; return err })
	t.Cleanup(func() {
		if err := r.stop(); err != nil {
			t.Error(err)
		}
		if l := k.left(); len(l) != 0 {
			t.Errorf("left open: %v", l)
		}
		if _, err := os.Stat(r.socket); err == nil {
			t.Error("the socket is left")
		}
	})
	r.eventually("the control socket answers", func() bool { return control.Call(r.socket, "status", nil, nil) == nil })
	return r
}

func prepare(t *testing.T, k *fake, conf string) *running {
	t.Helper()
	dir, err := os.MkdirTemp("", "b4") // a socket's path is short
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	r := &running{fake: k, conf: filepath.Join(dir, "b4"), socket: filepath.Join(dir, "s"), reload: make(chan struct{})}
	r.write(conf)
	r.d = New(Options{Config: r.conf, Overrides: []string{"main.socket=" + r.socket}, Version: "0-test", Log: quiet})
	r.d.kernel = k
	return r
}

// write replaces the configuration at once: a reload may be reading it.
func (r *running) write(conf string) {
	r.t.Helper()
	err := os.WriteFile(r.conf+".new", []byte(conf), 0o600)
	if err := errors.Join(err, os.Rename(r.conf+".new", r.conf)); err != nil {
		r.t.Fatal(err)
	}
}

// eventually waits for something another goroutine is about to do.
func (r *running) eventually(what string, ok func() bool) {
	r.t.Helper()
	began := time.Now()
	for pause := 100 * time.Microsecond; !ok(); pause = min(2*pause, 5*time.Millisecond) {
		if time.Since(began) > 5*time.Second {
			r.t.Fatalf("never: %s", what)
		}
		time.Sleep(pause)
	}
}

func (r *running) status() Status {
	r.t.Helper()
	var s Status
	if err := control.Call(r.socket, "status", nil, &s); err != nil {
		r.t.Fatal(err)
	}
	return s
}
