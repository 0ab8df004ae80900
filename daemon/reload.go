package daemon

import (
	"errors"
	"log/slog"
	"strings"
)

// adopt makes s the configuration that is shown and logged by.
func (d *Daemon) adopt(s *settings) {
	d.set = s
	if d.opts.Level != nil {
		d.opts.Level.Set(levels[s.conf.Main.LogLevel])
	}
	for _, w := range s.warnings {
		d.log.Warn(w.String())
	}
}

var levels = map[string]slog.Level{
	"debug": slog.LevelDebug, "info": slog.LevelInfo, "warn": slog.LevelWarn, "error": slog.LevelError,
}

// reload puts a new configuration in force, or keeps the old one.
func (d *Daemon) reload() {
	s, err := load(d.opts.Config, d.opts.Overrides)
	d.mu.Lock()
	defer d.mu.Unlock()
	if err == nil {
		err = d.change(s)
	}
	if d.refused = err; err != nil {
		for _, line := range strings.Split(err.Error(), "\n") {
			d.log.Error("reload refused, the old configuration stays", "why", line)
		}
		return
	}
	d.adopt(s)
	d.log.Info("reloaded", "rules", len(s.pipe.Rules), "wan", d.wan.String())
}

// change brings the core from the old settings to s. After an error the old
// ones are in force.
func (d *Daemon) change(s *settings) error {
	old := d.set
	if s.conf.Main.Socket != old.conf.Main.Socket {
		d.log.Warn("main.socket takes effect at the next start")
	}
	d.set = s
	d.resolve()
	err := d.changeCore(s, old)
	if err != nil {
		d.set = old
		d.resolve()
	}
	return err
}

func (d *Daemon) changeCore(s, old *settings) error {
	running := d.core != nil
	switch {
	case !s.conf.Main.Enabled:
		return d.stopCore()
	case running && s.sameCore(old):
		return d.core.use(s, d.watched())
	}
	if err := d.stopCore(); err != nil {
		return err
	}
	c, err := startCore(d.kernel, s, d.watched(), d.log)
	if err != nil && running {
		var failed error
		c, failed = startCore(d.kernel, old, d.watched(), d.log)
		err = errors.Join(err, failed)
	}
	d.core = c
	return err
}
