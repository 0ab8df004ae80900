package daemon

import (
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync/atomic"
	"time"

	"b4/engine"
	"b4/fw"
	"b4/nfq"
	"b4/pipeline"

	"golang.org/x/sys/unix"
)

// A core is what treats packets: table, raw sockets, engine and pipeline. It
// exists while b4 is enabled.
type core struct {
	kernel  kernel
	rules   *fw.Ruleset
	watched []string // as last applied
	table   atomic.Pointer[table]
	engine  engine.Engine
	pipe    *pipeline.Pipeline
	undo    undo
	done    chan struct{} // closed when the engine's loop has ended
	err     error         // why, once done is closed
	lost    chan struct{} // told by the packet loop when the table is gone
}

// startCore brings everything up, or nothing. It opens what the rules point to
// before it writes the rules.
func startCore(k kernel, s *settings, devices []string, log *slog.Logger) (_ *core, err error) {
	c := &core{kernel: k, done: make(chan struct{}), lost: make(chan struct{}, 1)}
	defer func() {
		if err != nil {
			err = errors.Join(err, c.undo.run())
		}
	}()
	if c.rules, err = rules(k, s); err != nil {
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

	c.pipe = pipeline.New(s.conf.Main.MaxFlows, s.pipe)
	report := sampler{log: log, every: 10 * time.Second}
	c.engine = k.newEngine(nfq.Config{
		Num: s.conf.Main.QueueNum, Len: uint32(s.conf.Main.QueueLen),
		Done: s.marks.Done, Send: send, Report: report.report,
	})
	if err := c.engine.Supported(); err != nil {
		return nil, err
	}
	if err := c.engine.Start(); err != nil {
		return nil, fmt.Errorf("start engine %s: %w", c.engine.Name(), err)
	}
	c.undo.add(c.stopEngine)
	go func() {
		defer close(c.done)
		c.err = c.engine.Run(&loop{Pipeline: c.pipe, core: c})
	}()
	if err := c.apply(devices); err != nil {
		return nil, err
	}
	c.undo.add(func() error { // no new packets while the queue empties
		if err := c.watch(nil); !errors.Is(err, unix.ENOENT) { // gone is as good
			return err
		}
		return nil
	})
	return c, nil
}

// rules asks the kernel what it can do and plans for that.
func rules(k kernel, s *settings) (*fw.Ruleset, error) {
	features, err := k.probe()
	if err != nil {
		return nil, fmt.Errorf("ask the kernel for nftables: %w", err)
	}
	if features.Queue == fw.None {
		return nil, missing(features)
	}
	return s.plan(features)
}

// missing says what to install where the rules cannot queue.
func missing(f fw.Features) error {
	return fmt.Errorf("engine nfqueue: %w: install %s", engine.ErrNotSupported, f.Missing)
}

func (c *core) tab() table { return *c.table.Load() }

func (c *core) takeTable() error {
	t, err := c.kernel.openTable()
	if err != nil {
		return err
	}
	c.table.Store(&t)
	return nil
}

// apply puts c's rules in force for the given devices.
func (c *core) apply(devices []string) error {
	if err := c.tab().Apply(c.rules, devices); err != nil {
		return err
	}
	c.watched = devices
	return nil
}

// watch makes devices the ones that are looked at.
func (c *core) watch(devices []string) error {
	if slices.Equal(devices, c.watched) {
		return nil
	}
	if err := c.tab().Watch(devices); err != nil {
		return err
	}
	c.watched = devices
	return nil
}

// remake makes the table anew, for the given devices. After an error it is
// closed, so that whatever is next asked of it fails.
func (c *core) remake(devices []string) error {
	closed := c.tab().Close()
	if err := c.takeTable(); err != nil {
		return errors.Join(closed, err)
	}
	if err := c.apply(devices); err != nil {
		return errors.Join(closed, err, c.tab().Close())
	}
	return closed
}

// stopEngine ends the packet loop. Packets that wait go on untouched.
func (c *core) stopEngine() error {
	err := c.engine.Close()
	<-c.done
	return err
}

// stop takes everything down. It is idempotent.
func (c *core) stop() error { return c.undo.run() }

// use puts settings in force that need no new engine.
func (c *core) use(s *settings, devices []string) error {
	r, err := rules(c.kernel, s)
	if err != nil {
		return err
	}
	old := c.rules
	c.rules = r
	if err := c.apply(devices); err != nil {
		c.rules = old
		return err
	}
	c.pipe.Use(s.pipe)
	return nil
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
