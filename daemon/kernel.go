package daemon

import (
	"io"
	"time"

	"b4/engine"
	"b4/fw"
	"b4/inject"
	"b4/mark"
	"b4/netif"
	"b4/nfq"
)

// A kernel is where the daemon meets the system: the real one, or a test's.
type kernel interface {
	probe() (fw.Features, error)
	openTable() (table, error)
	openSender(mark.Set) (sender, error)
	newEngine(nfq.Config) engine.Engine
	resolve(names []string) (netif.WAN, error)
	watch() (watcher, error)
	refreshEvery() time.Duration // see fw.RefreshEvery
}

// A table is what the daemon needs of fw.Conn.
type table interface {
	Apply(r *fw.Ruleset, watched []string) error
	Watch(names []string) error
	Refresh() error
	Counters() (fw.Counters, error)
	Close() error
}

type sender interface {
	engine.Sender
	io.Closer
}

// A watcher is what the daemon needs of netif.Watcher.
type watcher interface {
	Wait(limit time.Duration) error
	Close() error
}

// linux is the real kernel.
type linux struct{}

func (linux) probe() (fw.Features, error)               { return fw.Probe() }
func (linux) refreshEvery() time.Duration               { return fw.RefreshEvery }
func (linux) newEngine(c nfq.Config) engine.Engine      { return nfq.New(c) }
func (linux) resolve(names []string) (netif.WAN, error) { return netif.Resolve(names) }

// The three below turn a nil pointer that comes with an error into a nil
// interface.

func (linux) openTable() (table, error) {
	c, err := fw.Open()
	if err != nil {
		return nil, err
	}
	return c, nil
}

func (linux) openSender(m mark.Set) (sender, error) {
	s, err := inject.Open(m)
	if err != nil {
		return nil, err
	}
	return s, nil
}

func (linux) watch() (watcher, error) {
	w, err := netif.Watch()
	if err != nil {
		return nil, err
	}
	return w, nil
}
