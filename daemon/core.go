package daemon

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"b4/engine"
	"b4/fw"
	"b4/pipeline"

	"golang.org/x/sys/unix"
)

// A core is what treats packets: table, raw sockets, engine and pipeline. It
// exists while b4 is enabled.
type core struct {
	kernel   kernel
	choice   choice
	tunnel   *tunnel    // of engine tun only
	firewall news       // of the rules that say how connections leave
	house    house      // what it does
	rules    *fw.Config // as last applied, with
	watched  []string
	idle     error // why nothing is steered though it should be; nil if all is well
	table    atomic.Pointer[table]
	engine   engine.Engine
	pipe     *pipeline.Pipeline
	undo     undo
	done     chan struct{} // closed when the engine's loop has ended
	err      error         // why, once done is closed
	lost     chan struct{} // told by the packet loop when the table is gone
}

// startCore brings everything up, or nothing. It opens what the rules point to
// before it writes the rules. pipe is that of the core before, whose connections go
// on; nil is for none.
func startCore(k kernel, s *settings, what scope, pipe *pipeline.Pipeline, log *slog.Logger) (_ *core, err error) {
	c := &core{kernel: k, pipe: pipe, done: make(chan struct{}), lost: make(chan struct{}, 1)}
	defer func() {
		if err != nil {
			err = errors.Join(err, c.undo.run())
		}
	}()
	if c.choice, err = choose(k, s); err != nil {
		return nil, err
	}
	send, err := c.openSenders(s)
	if err != nil {
		return nil, err
	}
	if err := c.takeTable(); err != nil {
		return nil, err
	}
	c.undo.add(func() error { return c.tab().Close() })
	if c.pipe == nil {
		c.pipe = pipeline.New(s.conf.Main.MaxFlows, s.pipe)
	} else {
		c.pipe.Use(s.pipe)
	}
	if err := c.startEngine(s, send, log); err != nil {
		return nil, err
	}
	c.undo.add(c.unwatch)
	if err := c.align(s, what); err != nil {
		return nil, err
	}
	return c, nil
}

// openSenders opens one for each goroutine of the engine's.
func (c *core) openSenders(s *settings) (list []engine.Sender, err error) {
	n := 1
	if c.choice.engine == engineQueue {
		n = s.conf.Main.Queues
	}
	list = make([]engine.Sender, n)
	for i := range list {
		send, err := c.kernel.openSender(s.marks)
		if err != nil {
			return nil, err
		}
		c.undo.add(send.Close)
		list[i] = send
	}
	return list, nil
}

// startEngine opens the chosen engine and serves it, and what leads to it.
func (c *core) startEngine(s *settings, send []engine.Sender, log *slog.Logger) error {
	report := sampler{log: log, every: 10 * time.Second}
	watch, err := c.kernel.watchFirewall()
	if err != nil {
		return err
	}
	c.firewall = follow(watch)
	c.undo.add(func() error { return errors.Join(watch.Close(), <-c.firewall.ended) })
	if c.choice.engine == engineTun {
		routes, err := c.kernel.openRoutes(nil)
		if err != nil {
			return err
		}
		c.undo.add(routes.Close)
		e := c.kernel.newTun(s.tun(send[0], report.report))
		c.tunnel, c.engine = &tunnel{kernel: c.kernel, engine: e, routes: routes}, e
	} else {
		c.engine = c.kernel.newQueue(s.queue(send, report.report))
	}
	if err := c.engine.Start(); err != nil {
		return c.startError(s, err)
	}
	c.undo.add(c.stopEngine)
	if c.tunnel != nil {
		s.ownSysctls(c.kernel)
	}
	go func() {
		defer close(c.done)
		c.err = c.engine.Run(&loop{Pipeline: c.pipe, core: c})
	}()
	return nil
}

// startError blames the option whose device or queue another program has.
func (c *core) startError(s *settings, err error) error {
	err = fmt.Errorf("start engine %s: %w", c.engine.Name(), err)
	busy := errors.Is(err, unix.EBUSY)
	switch {
	case c.tunnel != nil && (busy || errors.Is(err, unix.EINVAL)):
		return s.wrong("tun.device", fail("taken", "%w", err))
	case c.tunnel == nil && (busy || errors.Is(err, unix.EPERM)):
		return &curable{"", s.wrong("main.queue_num", fail("taken", "%w", err))}
	}
	return err
}

func (c *core) tab() table { return *c.table.Load() }

func (c *core) takeTable() error {
	t, err := c.kernel.openTable()
	if err != nil {
		return err
	}
	c.table.Store(&t)
	c.rules, c.watched = nil, nil
	return nil
}

// A scope is what is to be looked at: the WAN devices, and nothing in a pause.
type scope struct {
	devices []string
	out     []string // the devices that tun.out stands for, where it is set
	lans    lans
	paused  bool
}

// errTable is wrapped where the table would not do what it was asked to.
var errTable = errors.New("change the table inet b4")

// align brings the engine, what leads to it and the rules in line with s and
// with what there is now. What is to be waited for is no error but c.idle.
func (c *core) align(s *settings, what scope) error {
	c.idle = nil
	switch {
	case c.tunnel == nil && what.paused:
		return c.put(s.rules(c.choice.features, nil, c.house, what.lans), nil)
	case c.tunnel == nil:
		c.house = findHouse(c.kernel, s, what.devices)
		return c.put(s.rules(c.choice.features, nil, c.house, what.lans), what.devices)
	case what.paused:
		return c.rest()
	}
	if c.idle = c.tunnel.steer(s, what); c.idle != nil {
		return c.rest()
	}
	u := &c.tunnel.uplink
	c.house = house{offload: findOffload(c.kernel, []string{u.device}, nil)}
	return c.put(s.rules(c.choice.features, u, c.house, what.lans), []string{u.device})
}

// rest leaves every packet alone.
func (c *core) rest() error {
	err := c.watch(nil)
	if c.tunnel != nil {
		err = errors.Join(err, c.tunnel.release())
	}
	return err
}

// put makes r the rules in force, for the given devices.
func (c *core) put(conf fw.Config, devices []string) error {
	if c.rules != nil && alike(conf, *c.rules) {
		return c.watch(devices)
	}
	plan, err := fw.Plan(conf)
	if err != nil {
		return err
	}
	if err := c.tab().Apply(plan, devices); err != nil {
		return fmt.Errorf("%w: %w", errTable, err)
	}
	c.rules, c.watched = &conf, devices
	return nil
}

// alike reports whether a and b ask for the same rules. All but the one long list is
// compared as text, which is little code and leaves out no field.
func alike(a, b fw.Config) bool {
	never := slices.Equal(a.Devices.Never, b.Devices.Never)
	a.Devices.Never, b.Devices.Never = nil, nil
	return never && fmt.Sprint(a) == fmt.Sprint(b)
}

// watch makes devices the ones that are looked at.
func (c *core) watch(devices []string) error {
	if slices.Equal(devices, c.watched) {
		return c.answer()
	}
	if err := c.tab().Watch(devices); err != nil {
		return fmt.Errorf("%w: %w", errTable, err)
	}
	c.watched = devices
	return nil
}

// answer is for packets that b4d was to see and the kernel has dropped: whatever
// changes a device or the rules may drop what waits.
func (c *core) answer() error {
	if err := c.tab().Answer(); err != nil {
		return fmt.Errorf("%w: %w", errTable, err)
	}
	return nil
}

// remake makes the table anew. After an error it is closed, so that whatever is
// next asked of it fails.
func (c *core) remake(s *settings, what scope) error {
	closed := c.tab().Close()
	c.rules, c.watched = nil, nil
	if err := c.takeTable(); err != nil {
		return errors.Join(closed, err)
	}
	if err := c.align(s, what); err != nil {
		return errors.Join(closed, err, c.tab().Close())
	}
	return closed
}

// tableGone tells that another program deleted the table, or that it could not
// be made anew.
func tableGone(err error) bool {
	return errors.Is(err, errTable) && (errors.Is(err, unix.ENOENT) || errors.Is(err, os.ErrClosed))
}

// unwatch is the first step down: no new packets while the engine empties.
func (c *core) unwatch() error {
	err := c.watch(nil)
	if tableGone(err) {
		err = nil // gone is as good
	}
	if c.tunnel != nil {
		err = errors.Join(err, c.tunnel.release())
	}
	return err
}

// stopEngine ends the packet loop. Packets that wait go on untouched.
func (c *core) stopEngine() error {
	err := c.engine.Close()
	<-c.done
	return err
}

// stop takes everything down. It is idempotent.
func (c *core) stop() error { return c.undo.run() }

// use puts settings in force that need no new engine, as chosen for them. After
// an error the old ones are to be aligned with again.
func (c *core) use(s *settings, now choice, what scope) error {
	well, before := c.idle == nil, c.choice
	c.choice = now
	err := c.align(s, what)
	if tableGone(err) {
		err = c.remake(s, what)
	}
	if err == nil && well {
		err = c.mistake()
	}
	if err != nil {
		c.choice = before
		return err
	}
	c.pipe.Use(s.pipe)
	return nil
}

// mistake is why nothing is steered, where that does not pass by itself.
func (c *core) mistake() error {
	if errors.Is(c.idle, errNoUplink) {
		return nil
	}
	return c.idle
}

// A loop is the handler the engine runs: the pipeline, and the watchdog's other half,
// which answers the rules.
type loop struct {
	*pipeline.Pipeline
	core  *core
	shown bool      // packets that were not answered
	due   time.Time // when to answer next
}

// Handle implements engine.Handler.
func (l *loop) Handle(now time.Time, p *engine.Packet, out *engine.Batch) engine.Verdict {
	if !l.shown {
		within, _ := l.core.kernel.answers()
		l.shown, l.due = true, now.Add(within)
	}
	return l.Pipeline.Handle(now, p, out)
}

// Tick implements engine.Handler.
func (l *loop) Tick(now time.Time, out *engine.Batch) time.Duration {
	wait := l.Pipeline.Tick(now, out)
	if !now.Before(l.due) {
		l.answer(now)
	}
	return min(wait, l.due.Sub(now))
}

func (l *loop) answer(now time.Time) {
	within, every := l.core.kernel.answers()
	done, err := l.core.tab().TryAnswer()
	if err != nil {
		notify(l.core.lost)
	}
	if l.shown = !done; l.shown {
		every = within
	}
	l.due = now.Add(every)
}

// A sampler logs an error now and then, with how many there were.
type sampler struct {
	log   *slog.Logger
	every time.Duration

	mu   sync.Mutex // guards what follows: each queue has a packet loop
	n    int
	next time.Time
}

// report is called by the packet loop.
func (s *sampler) report(err error) {
	s.mu.Lock()
	s.n++
	if now := time.Now(); now.After(s.next) {
		s.log.Warn("engine", "why", err, "times", s.n)
		s.n, s.next = 0, now.Add(s.every)
	}
	s.mu.Unlock()
}
