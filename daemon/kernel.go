package daemon

import (
	"io"
	"os"
	"time"

	"b4/engine"
	"b4/fw"
	"b4/inject"
	"b4/mark"
	"b4/netif"
	"b4/nfq"
	"b4/route"
	"b4/tun"
)

// A kernel is where the daemon meets the system: the real one, or a test's.
type kernel interface {
	probe() (fw.Features, error)
	openTable() (table, error)
	openSender(mark.Set) (sender, error)
	newQueue(nfq.Config) engine.Engine
	newTun(tun.Config) tunEngine
	openRoutes(tell func(change string)) (routes, error) // tell may be nil
	readNAT(wan string) (fw.Translation, error)
	scatters(wan string) (v4, v6 bool, err error)
	readOffload(wan []string, udp []uint16) (fw.Offloading, error)
	acceptsForward(dev string) (ok bool, why string, err error)
	sysctls(dev, wan string) []route.Advice
	ownSysctls(dev string, writeBack bool) (changed []string)
	uncounted() []route.Advice
	open(path string) (io.ReadCloser, error) // of what the kernel tells in /proc
	resolve(names []string) (netif.WAN, error)
	watch() (watcher, error)
	watchFirewall() (watcher, error)
	answers() (within, every time.Duration) // see fw.AnswerWithin and fw.RenewEvery
}

// A table is what the daemon needs of fw.Conn.
type table interface {
	Apply(r *fw.Ruleset, watched []string) error
	Watch(names []string) error
	Answer() error
	TryAnswer() (done bool, err error)
	Counters() (fw.Counters, error)
	Close() error
}

type sender interface {
	engine.Sender
	io.Closer
}

// A tunEngine is what the daemon needs of tun.Engine.
type tunEngine interface {
	engine.Engine
	SetOut(index int32)
	SetMTU(n int) error
}

// A routes is what the daemon needs of route.Conn.
type routes interface {
	Links() (route.Links, error)
	Reconcile(*route.State) error
	Close() error
}

// A watcher is what the daemon needs of nlwatch.Watcher.
type watcher interface {
	Wait(limit time.Duration) error
	Close() error
}

// linux is the real kernel.
type linux struct{}

func (linux) probe() (fw.Features, error)                     { return fw.Probe() }
func (linux) answers() (within, every time.Duration)          { return fw.AnswerWithin, fw.RenewEvery }
func (linux) newQueue(c nfq.Config) engine.Engine             { return nfq.New(c) }
func (linux) newTun(c tun.Config) tunEngine                   { return tun.New(c) }
func (linux) readNAT(wan string) (fw.Translation, error)      { return fw.ReadNAT(wan) }
func (linux) scatters(wan string) (v4, v6 bool, err error)    { return fw.Scatters(wan) }
func (linux) acceptsForward(dev string) (bool, string, error) { return fw.AcceptsForward(dev) }
func (linux) sysctls(dev, wan string) []route.Advice          { return route.Sysctls(dev, wan) }
func (linux) ownSysctls(dev string, writeBack bool) []string  { return route.OwnSysctls(dev, writeBack) }
func (linux) uncounted() []route.Advice                       { return route.Uncounted() }
func (linux) resolve(names []string) (netif.WAN, error)       { return netif.Resolve(names) }

func (linux) readOffload(wan []string, udp []uint16) (fw.Offloading, error) {
	return fw.ReadOffload(wan, udp)
}

// Those below turn a nil pointer that comes with an error into a nil
// interface.

func (linux) open(path string) (io.ReadCloser, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	return f, nil
}

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

func (linux) openRoutes(tell func(string)) (routes, error) {
	c, err := route.Open(tell)
	if err != nil {
		return nil, err
	}
	return c, nil
}

func (linux) watch() (watcher, error) {
	w, err := route.Watch() // tells whatever changes what netif finds, too
	if err != nil {
		return nil, err
	}
	return w, nil
}

func (linux) watchFirewall() (watcher, error) {
	w, err := fw.Watch()
	if err != nil {
		return nil, err
	}
	return w, nil
}
