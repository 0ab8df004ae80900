package daemon

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"reflect"
	"slices"
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
	send, err := k.openSender(s.marks)
	if err != nil {
		return nil, err
	}
	c.undo.add(send.Close)
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

// startEngine opens the chosen engine and serves it, and what leads to it.
func (c *core) startEngine(s *settings, send engine.Sender, log *slog.Logger) error {
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
		e := c.kernel.newTun(s.tun(send, report.report))
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
		return s.wrong("tun.device", err)
	case c.tunnel == nil && (busy || errors.Is(err, unix.EPERM)):
		return s.wrong("main.queue_num", err)
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
	if c.rules != nil && reflect.DeepEqual(conf, *c.rules) { // at once where they share a long list
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

// watch makes devices the ones that are looked at.
func (c *core) watch(devices []string) error {
	if slices.Equal(devices, c.watched) {
		return nil
	}
	if err := c.tab().Watch(devices); err != nil {
		return fmt.Errorf("%w: %w", errTable, err)
	}
	c.watched = devices
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

// A loop is the handler the engine runs: the pipeline, and the watchdog that
// shows the kernel that packets are being served.
type loop struct {
	*pipeline.Pipeline
	core    *core
	refresh time.Time // when the next one is due
}

// Tick implements engine.Handler.
func (l *loop) Tick(now time.Time, out *engine.Batch) time.Duration {
	wait := l.Pipeline.Tick(now, out)
	if !now.Before(l.refresh) {
		l.refresh = now.Add(l.core.kernel.refreshEvery())
		if l.core.tab().Refresh() != nil {
			select {
			case l.core.lost <- struct{}{}:
			default:
			}
		}
	}
	return min(wait, l.refresh.Sub(now))
}

// A sampler logs an error now and then, with how many there were.
type sampler struct {
	log   *slog.Logger
	every time.Duration
	n     int
	next  time.Time
}

// report belongs to the packet loop.
func (s *sampler) report(err error) {
	s.n++
	if now := time.Now(); now.After(s.next) {
		s.log.Warn("engine", "why", err, "times", s.n)
		s.n, s.next = 0, now.Add(s.every)
	}
}
