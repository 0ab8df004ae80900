package daemon

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"runtime/debug"
	"sync"
	"time"

	"b4/control"
	"b4/netif"
	"b4/pipeline"
	"b4/uci"
)

// Options say where b4d takes its configuration from.
type Options struct {
	Config    string   // path; "" is /etc/config/b4
	Overrides []string // "section.option=value"
	Version   string
	Log       *slog.Logger
	Level     *slog.LevelVar // follows main.log_level; may be nil
	Memory    func(mib int)  // is told main.memory_limit whenever it may have changed; may be nil
	Notes     []Finding      // what the status is to say of the process itself; their texts lack their points
}

// A ConfigError is what Run ends with where the configuration has to change.
type ConfigError struct{ cause error }

func (e *ConfigError) Error() string { return e.cause.Error() }
func (e *ConfigError) Unwrap() error { return e.cause }

// A Daemon is one running b4d.
type Daemon struct {
	opts   Options
	kernel kernel
	log    *slog.Logger
	poke   chan struct{} // the control socket has changed something

	reloads chan chan<- error // the control socket wants a reload, and what comes of it
	tries   int               // looks since the last news of the system; the main loop's
	clients locator
	started *uci.Main // as it was at the start, which some options take effect at; nil before

	mu      sync.Mutex // guards what follows, for the control socket's sake
	set     *settings
	core    *core  // nil while disabled
	wan     lookup // of main.wan
	out     lookup // of tun.out
	lans    lans
	coreErr error     // why the core is not as wanted
	told    string    // of the uplink behind a TUN
	paused  time.Time // until then; zero is not
	refused error     // why the last reload was
	journal journal   // of changes to the system
}

// New makes a daemon for this kernel. It touches nothing.
func New(o Options) *Daemon {
	return &Daemon{opts: o, kernel: linux{}, log: o.Log, poke: make(chan struct{}, 1), reloads: make(chan chan<- error)}
}

// Run serves until ctx ends, and leaves nothing behind. Each value from reload
// reads the configuration anew; a bad one changes nothing.
func (d *Daemon) Run(ctx context.Context, reload <-chan struct{}) (err error) {
	var u undo
	defer func() { err = errors.Join(err, u.run()) }()
	set, warnings, err := load(d.opts.Config, d.opts.Overrides)
	if err != nil {
		return &ConfigError{err}
	}
	begun := set.conf.Main // a copy, as the lists beside it are let go by a reload
	d.started = &begun
	d.adopt(set, warnings)
	d.journal = journal{d.log, "start"}
	server, err := control.Listen(set.conf.Main.Socket)
	if err != nil {
		return err
	}
	u.add(server.Close)
	watch, err := d.kernel.watch()
	if err != nil {
		return err
	}
	changed := follow(watch)
	u.add(func() error { return errors.Join(watch.Close(), <-changed.ended) })

	d.resolve()
	u.add(func() error { return d.end("stop") })
	if set.conf.Main.Enabled {
		var c *curable
		if d.core, err = d.startCore(set, nil); err != nil && !errors.As(err, &c) {
			if option := (*optionError)(nil); errors.As(err, &option) {
				err = &ConfigError{err}
			}
			return err
		}
		d.note(err) // status says what to do, and after that it goes on by itself
	}
	debug.FreeOSMemory() // what the start took is for the packets
	d.log.Info("started", "version", d.opts.Version, "state", d.state())
	d.methods(server)
	served := make(chan error, 1)
	go func() { served <- server.Serve() }()
	u.add(func() error { return errors.Join(server.Close(), <-served) })
	return d.serve(ctx, reload, changed)
}

// news tells of what a watcher has seen.
type news struct {
	some  chan struct{}
	ended chan error // why it ended, for the main loop; then nil, for who closes it
}

// follow turns a watcher's news into channels.
func follow(w watcher) news {
	n := news{make(chan struct{}, 1), make(chan error, 2)}
	go func() {
		err := w.Wait(0)
		for ; err == nil; err = w.Wait(0) {
			notify(n.some)
		}
		if errors.Is(err, os.ErrClosed) {
			err = nil
		}
		n.ended <- err // one for the main loop,
		n.ended <- nil // and one for who closes
	}()
	return n
}

// notify sends unless a message waits already.
func notify(c chan<- struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// serve is the daemon's main loop.
func (d *Daemon) serve(ctx context.Context, reload <-chan struct{}, changed news) error {
	for {
		var ended, lost <-chan struct{}
		var firewall news
		if d.core != nil {
			ended, lost, firewall = d.core.done, d.core.lost, d.core.firewall
		}
		var timer <-chan time.Time
		if wait := d.patience(); wait > 0 {
			timer = time.After(wait)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-reload:
			d.tries = 0
			d.reload()
		case result := <-d.reloads:
			d.tries = 0
			d.reload()
			result <- d.refused
		case <-lost:
			d.heal()
		case <-ended:
			return errors.Join(fmt.Errorf("engine %s has ended", d.core.engine.Name()), d.core.err)
		case <-changed.some:
			d.tries = 0
			d.align("a device, an address, a route or a rule changed")
		case err := <-changed.ended:
			return fmt.Errorf("watch for changes of wan: %w", err)
		case <-firewall.some:
			d.heal() // sooner than the packet loop sees that the table is gone
			d.align("the firewall changed")
		case err := <-firewall.ended:
			return fmt.Errorf("watch for changes of the firewall: %w", err)
		case <-d.poke:
			d.align("asked to")
		case <-timer:
			d.tries++
			d.align("tried again")
		}
	}
}

// patience is after what time to look again though nothing tells: at an
// interface that netifd is bringing up, a netifd that did not answer, a core that
// could not be brought to where it should be, or the end of a pause. It is 0 where
// there is nothing to look at.
func (d *Daemon) patience() time.Duration {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.wan.open() || d.out.open() || d.lans.open() || d.coreErr != nil {
		return netif.Retry(d.tries)
	}
	if !d.paused.IsZero() {
		return max(time.Until(d.paused), 1) // its end is still to be seen
	}
	return 0
}

// align brings the core in line with what is there now.
func (d *Daemon) align(why string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.journal.why = why
	if !time.Now().Before(d.paused) {
		d.paused = time.Time{}
	}
	d.resolve()
	d.bring(nil)
}

// bring is align with the devices as they are known. A core that has to be started
// gets the pipeline of the one before, or nil.
func (d *Daemon) bring(pipe *pipeline.Pipeline) {
	switch {
	case !d.set.conf.Main.Enabled:
		return
	case d.core == nil:
		var err error
		d.core, err = d.startCore(d.set, pipe)
		d.note(err)
	default:
		err := d.core.align(d.set, d.scope())
		if errors.Is(err, errTable) {
			err = d.core.remake(d.set, d.scope())
		}
		d.note(err)
	}
}

// heal makes the table anew after another program deleted it.
func (d *Daemon) heal() {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.core.tab().Answer() == nil {
		return // the news was of the table before this one
	}
	d.journal.why = "the table inet b4 was gone"
	if d.note(d.core.remake(d.set, d.scope())); d.coreErr == nil {
		d.log.Info("the table inet b4 was gone, and is made anew")
	}
}

// note keeps what is wrong with the core, and logs what is new about it.
func (d *Daemon) note(err error) {
	if err == nil && d.core != nil {
		err = d.core.idle
	}
	switch news := fmt.Sprint(err) != fmt.Sprint(d.coreErr); {
	case !news:
	case err == nil:
		d.log.Info("as it should be again")
	case errors.Is(err, errNoUplink):
		d.log.Warn("nothing is steered for now", "why", err)
	default:
		d.log.Error("not as it should be, trying again", "why", err)
	}
	d.coreErr = err
	if err == nil {
		d.tell()
	}
}

// tell logs what is new about the uplink behind a TUN.
func (d *Daemon) tell() {
	if d.core == nil || d.core.tunnel == nil || d.core.tunnel.uplink.device == "" {
		return
	}
	u := &d.core.tunnel.uplink
	text := fmt.Sprint(u, u.notes)
	if text == d.told {
		return
	}
	d.told = text
	d.log.Info("uplink is " + u.String())
	for _, n := range u.notes {
		d.log.Warn("uplink", "why", n.Text)
	}
}

// state says in a word or two what the daemon does.
func (d *Daemon) state() string {
	switch {
	case d.core == nil && d.coreErr != nil:
		return "no engine, trying again"
	case d.core == nil:
		return "off: set main.enabled to 1 and reload"
	}
	return "engine " + d.core.engine.Name() + ", wan " + d.wan.wan.String()
}

// startCore brings up a core for s, with the pipeline of another or none.
func (d *Daemon) startCore(s *settings, pipe *pipeline.Pipeline) (*core, error) {
	return startCore(audited{d.kernel, &d.journal}, s, d.scope(), pipe, d.log)
}

// end stops treating packets for good.
func (d *Daemon) end(why string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.journal.why = why
	return d.stopCore()
}

// stopCore stops treating packets.
func (d *Daemon) stopCore() error {
	if d.core == nil {
		return nil
	}
	err := d.core.stop()
	d.core, d.coreErr = nil, nil
	return err
}
