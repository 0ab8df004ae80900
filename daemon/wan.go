package daemon

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"b4/netif"
)

// A lookup is what the names of an option stand for, as far as is known.
type lookup struct {
	wan netif.WAN
	err error // of the last question
	lan bool  // not to be an uplink: what keeps it from being a good one does not matter
}

// ask asks again, and logs what is new about it. Where it cannot be known, the
// devices known so far stay.
func (l *lookup) ask(k kernel, s *settings, option string, names []string, log *slog.Logger) {
	wan, err := k.resolve(names)
	if err != nil && fmt.Sprint(err) != fmt.Sprint(l.err) {
		log.Warn(option, "place", s.conf.Place(option).String(), "why", err)
	}
	l.err = err
	if err != nil && !errors.Is(err, netif.ErrUnknown) {
		return
	}
	level := slog.LevelInfo
	if len(wan.Devices()) == 0 {
		level = slog.LevelWarn // nothing is watched until one comes
	}
	if wan.String() != l.wan.String() {
		log.Log(context.Background(), level, option+" is "+wan.String())
	}
	if l.lan {
		wan.Notes = nil
	}
	for _, note := range wan.Notes {
		if !slices.ContainsFunc(l.wan.Notes, func(n netif.Note) bool { return n.Text == note.Text }) {
			log.Warn(option, "why", note.Text)
		}
	}
	l.wan = wan
}

// open reports whether to ask again though nothing tells.
func (l *lookup) open() bool { return l.err != nil || len(l.wan.Down) > 0 }

// resolve finds the devices that are WAN now.
func (d *Daemon) resolve() {
	s := d.set
	d.wan.ask(d.kernel, s, "main.wan", s.conf.Main.WAN, d.log)
	if out := s.out(); out != nil {
		d.out.ask(d.kernel, s, "tun.out", out, d.log)
	} else {
		d.out = lookup{}
	}
	d.lans = askLANs(d.kernel, s, d.lans, d.log)
}

// out is the name in tun.out, for engines that may be a TUN.
func (s *settings) out() []string {
	if s.conf.Tun.Out == "" || s.conf.Main.Engine == engineQueue {
		return nil
	}
	return []string{s.conf.Tun.Out}
}

// checkNames refuses names that mean nothing. That is an error in a new
// configuration. Once in force it is only told of: a device may go and come back.
func (s *settings) checkNames(k kernel) error {
	var errs []error
	if _, err := k.resolve(s.conf.Main.WAN); errors.Is(err, netif.ErrUnknown) {
		errs = append(errs, s.wrong("main.wan", err))
	}
	if out := s.out(); out != nil {
		if _, err := k.resolve(out); errors.Is(err, netif.ErrUnknown) {
			errs = append(errs, s.wrong("tun.out", err))
		}
	}
	errs = append(errs, s.checkLANs(k))
	return errors.Join(errs...)
}

// scope is what is to be looked at now.
func (d *Daemon) scope() scope {
	return scope{devices: d.wan.wan.Devices(), out: d.out.wan.Devices(), lans: d.lans, paused: time.Now().Before(d.paused)}
}

// watchable are the devices that the engine may stand before.
func (d *Daemon) watchable() []string {
	what := d.scope()
	if d.core != nil && d.core.tunnel != nil {
		return what.uplinks(d.set)
	}
	return what.devices
}
