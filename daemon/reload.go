package daemon

import (
	"errors"
	"log/slog"
	"runtime/debug"
	"strings"

	"b4/pipeline"
	"b4/uci"
)

// adopt makes s the configuration that is shown and logged by.
func (d *Daemon) adopt(s *settings, warnings []uci.Warning) {
	d.set = s
	if d.opts.Level != nil {
		d.opts.Level.Set(levels[s.conf.Main.LogLevel])
	}
	if d.opts.Memory != nil {
		d.opts.Memory(s.conf.Main.MemoryLimit)
	}
	for _, w := range warnings {
		d.log.Warn(w.String())
	}
}

var levels = map[string]slog.Level{
	"debug": slog.LevelDebug, "info": slog.LevelInfo, "warn": slog.LevelWarn, "error": slog.LevelError,
}

// reload puts a new configuration in force, or keeps the old one.
func (d *Daemon) reload() {
	s, warnings, err := load(d.opts.Config, d.opts.Overrides)
	d.mu.Lock()
	defer d.mu.Unlock()
	d.journal.why = "reload"
	if err == nil {
		err = d.change(s)
	}
	if d.refused = err; err != nil {
		for _, line := range strings.Split(err.Error(), "\n") {
			d.log.Error("reload refused, the old configuration stays", "why", line)
		}
		return
	}
	d.adopt(s, warnings)
	for _, option := range d.stale() {
		d.log.Warn("takes effect when b4 is started again", "option", option)
	}
	debug.FreeOSMemory() // what the old lists took is for the next reload
	d.log.Info("reloaded", "rules", len(s.pipe.Rules), "state", d.state())
}

// stale are the options whose values take effect at the next start.
func (d *Daemon) stale() (options []string) {
	m := &d.set.conf.Main
	if d.started == nil {
		return nil
	}
	if m.Socket != d.started.Socket {
		options = append(options, "main.socket")
	}
	if m.Confine != d.started.Confine {
		options = append(options, "main.confine")
	}
	return options
}

// change brings the core from the old settings to s. After an error the old
// ones are in force again, or are tried to be until they are.
func (d *Daemon) change(s *settings) error {
	if err := s.checkNames(d.kernel); err != nil {
		return err
	}
	old := d.set
	var pipe *pipeline.Pipeline
	if d.core != nil {
		pipe = d.core.pipe
	}
	var c *curable
	waits := d.core == nil && errors.As(d.coreErr, &c)
	d.set = s
	d.resolve()
	err := d.changeCore(s, old, pipe)
	if waits && errors.As(err, &c) { // it is no worse than before
		d.note(err)
		return nil
	}
	if err != nil {
		d.set, d.journal.why = old, "the reload was refused"
		d.resolve()
		d.bring(pipe)
	}
	return err
}

// changeCore is change for the core, of which pipe is the pipeline, if there is one.
func (d *Daemon) changeCore(s, old *settings, pipe *pipeline.Pipeline) error {
	if !s.conf.Main.Enabled {
		d.warn(d.stopCore())
		return nil
	}
	choice, err := choose(d.kernel, s)
	if err != nil {
		return err
	}
	well := d.core == nil || d.core.idle == nil
	if d.core != nil && choice.engine == d.core.choice.engine && serves(choice.engine, old, s) {
		if err := d.core.use(s, choice, d.scope()); err != nil {
			return err
		}
		d.note(nil)
		return nil
	}
	if s.conf.Main.MaxFlows != old.conf.Main.MaxFlows {
		pipe = nil
	} // else it goes on: both engines see a connection by the same addresses
	d.warn(d.stopCore())
	c, err := d.startCore(s, pipe)
	if err != nil {
		return err
	}
	if err := c.mistake(); err != nil && well { // else it is no worse than before
		d.warn(c.stop())
		return err
	}
	d.core = c
	d.note(nil)
	return nil
}

// warn logs what could not be closed; it is closed as far as can be.
func (d *Daemon) warn(err error) {
	if err != nil {
		d.log.Warn("stop", "why", err)
	}
}
