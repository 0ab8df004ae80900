package daemon

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"time"

	"b4/control"
	"b4/netif"
)

// Options say where b4d takes its configuration from.
type Options struct {
	Config    string   // path; "" is /etc/config/b4
	Overrides []string // "section.option=value"
	Version   string
	Log       *slog.Logger
	Level     *slog.LevelVar // follows main.log_level; may be nil
}

// A Daemon is one running b4d.
type Daemon struct {
	opts   Options
	kernel kernel
	log    *slog.Logger
	poke   chan struct{} // the control socket has changed something

	mu      sync.Mutex // guards what follows, for the control socket's sake
	set     *settings
	core    *core // nil while disabled
	wan     netif.WAN
	wanErr  error
	paused  time.Time // until then; zero is not
	refused error     // why the last reload was
}

// New makes a daemon for this kernel. It touches nothing.
func New(o Options) *Daemon {
	return &Daemon{opts: o, kernel: linux{}, log: o.Log, poke: make(chan struct{}, 1)}
}

// Run serves until ctx ends, and leaves nothing behind. Each value from reload
// reads the configuration anew; a bad one changes nothing.
func (d *Daemon) Run(ctx context.Context, reload <-chan struct{}) (err error) {
	var u undo
	defer func() { err = errors.Join(err, u.run()) }()
	set, err := load(d.opts.Config, d.opts.Overrides)
	if err != nil {
		return err
	}
	d.adopt(set)
	server, err := control.Listen(set.conf.Main.Socket)
	if err != nil {
		return err
	}
	u.add(server.Close)
	watch, err := d.kernel.watch()
	if err != nil {
		return err
	}
	changed, watching := follow(watch)
	u.add(func() error { return errors.Join(watch.Close(), <-watching) })

	d.resolve()
	u.add(d.stopCore)
	if set.conf.Main.Enabled {
		if d.core, err = startCore(d.kernel, set, d.watched(), d.log); err != nil {
			return err
		}
		d.log.Info("started", "version", d.opts.Version, "engine", d.core.engine.Name(), "wan", d.wan.String())
	} else {
		d.log.Info("off: set main.enabled to 1 and reload")
	}
	d.methods(server)
	served := make(chan error, 1)
	go func() { served <- server.Serve() }()
	u.add(func() error { return errors.Join(server.Close(), <-served) })
	return d.serve(ctx, reload, changed)
}

// follow turns a watcher's news into a channel. The second one gives the error
// that ended it, nil after Close.
func follow(w watcher) (<-chan struct{}, <-chan error) {
	changed, ended := make(chan struct{}, 1), make(chan error, 1)
	go func() {
		for {
			switch err := w.Wait(0); {
			case errors.Is(err, os.ErrClosed):
				ended <- nil
				return
			case err != nil:
				ended <- err
				return
			}
			notify(changed)
		}
	}()
	return changed, ended
}

// notify sends unless a message waits already.
func notify(c chan<- struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// serve is the daemon's main loop.
func (d *Daemon) serve(ctx context.Context, reload, changed <-chan struct{}) error {
	for {
		var ended, lost <-chan struct{}
		if d.core != nil {
			ended, lost = d.core.done, d.core.lost
		}
		timer := d.timer()
		select {
		case <-ctx.Done():
			return nil
		case <-reload:
			d.reload()
		case <-lost:
			d.heal()
		case <-ended:
			return fmt.Errorf("engine %s ended: %w", d.core.engine.Name(), d.core.err)
		case <-changed:
			d.align()
		case <-d.poke:
			d.align()
		case <-timer:
			d.align()
		}
	}
}

// timer fires when there is something to look at again though nothing tells: an
// interface that netifd is bringing up, a netifd that did not answer, or the end
// of a pause.
func (d *Daemon) timer() <-chan time.Time {
	d.mu.Lock()
	defer d.mu.Unlock()
	if wait := time.Until(d.paused); wait > 0 {
		return time.After(wait)
	}
	if len(d.wan.Down) > 0 || d.wanErr != nil {
		return time.After(netif.Retry)
	}
	return nil
}

// align brings the watched devices in line with what is there now.
func (d *Daemon) align() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.resolve()
	if d.core == nil {
		return
	}
	if err := d.core.watch(d.watched()); err != nil {
		d.log.Error("watch devices", "why", err)
	}
}

// heal makes the table anew after another program deleted it.
func (d *Daemon) heal() {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.core.heal(); err != nil {
		d.log.Warn("the table inet b4 is gone, and could not be made anew yet", "why", err)
		return
	}
	d.log.Info("the table inet b4 was gone: made anew")
}

// resolve finds the devices that are WAN now, and tells what is new about them.
// Where that cannot be known, those known so far stay.
func (d *Daemon) resolve() {
	wan, err := d.kernel.resolve(d.set.conf.Main.WAN)
	if err != nil && fmt.Sprint(err) != fmt.Sprint(d.wanErr) {
		d.log.Warn("wan", "place", d.set.conf.Place("main.wan").String(), "why", err)
	}
	d.wanErr = err
	if err != nil && !errors.Is(err, netif.ErrUnknown) {
		return
	}
	if wan.String() != d.wan.String() {
		d.log.Info("wan is " + wan.String())
	}
	d.wan = wan
}

// watched is what the rules look at now.
func (d *Daemon) watched() []string {
	if time.Now().Before(d.paused) {
		return nil
	}
	return d.wan.Devices()
}

// stopCore stops treating packets.
func (d *Daemon) stopCore() error {
	if d.core == nil {
		return nil
	}
	err := d.core.stop()
	d.core = nil
	return err
}
