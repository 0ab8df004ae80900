package daemon

import (
	"errors"
	"fmt"

	"b4/desync"
	"b4/engine"
	"b4/fw"
	"b4/nfq"
	"b4/pipeline"
	"b4/tun"
)

// The engines, as main.engine names them.
const (
	engineQueue = "nfqueue"
	engineTun   = "tun"
)

// A choice is the engine for a configuration on this kernel.
type choice struct {
	engine   string
	why      Finding // in a few words
	features fw.Features
	lacks    *curable // why auto has not found the best; nil if it has
}

// choose finds the engine that conf asks for, or, for auto, the best that this
// kernel has: a TUN costs every forwarded packet a look at one more rule.
func choose(k kernel, s *settings) (choice, error) {
	c, err := s.choose(k)
	if errors.Is(err, engine.ErrNotSupported) {
		err = s.wrong("main.engine", err)
	}
	if err == nil && c.engine == engineTun {
		err = s.beyondTun(c.why.Text)
		if err != nil && c.lacks != nil {
			err = &curable{c.lacks.pkg, err}
		}
	}
	return c, err
}

func (s *settings) choose(k kernel) (choice, error) {
	f, err := k.probe()
	if err != nil {
		return choice{}, fmt.Errorf("ask the kernel for nftables: %w", err)
	}
	c := choice{engine: s.conf.Main.Engine, why: finding("engine_set", "main.engine says so"), features: f}
	if c.engine == engineTun {
		return c, hasTun(k, f)
	}
	noQueue := hasQueue(k, f)
	switch {
	case c.engine == engineQueue:
		return c, noQueue
	case noQueue == nil:
		c.engine, c.why = engineQueue, finding("engine_queue", "auto: this kernel has NFQUEUE (%s queue)", f.Queue)
		return c, nil
	case !errors.Is(noQueue, engine.ErrNotSupported):
		return c, noQueue // it cannot tell now, which may pass: no reason to take the lesser engine
	}
	if noTun := hasTun(k, f); noTun != nil {
		return choice{}, errors.Join(noQueue, noTun)
	}
	errors.As(noQueue, &c.lacks) // it does, being ErrNotSupported
	c.engine, c.why = engineTun, finding("engine_tun", "auto: this kernel has a TUN, and no NFQUEUE (%v)", noQueue)
	c.why.Args[0] = c.lacks.pkg
	return c, nil
}

// A curable is an error that is over once a package is installed or, where that is
// "", another program is stopped.
type curable struct {
	pkg string
	error
}

func (e *curable) Unwrap() error { return e.error }

// lacks is err, with pkg as the cure where the kernel lacks something.
func lacks(pkg string, err error) error {
	if errors.Is(err, engine.ErrNotSupported) {
		return &curable{pkg, err}
	}
	return err
}

// hasQueue is why this kernel cannot queue, or nil.
func hasQueue(k kernel, f fw.Features) error {
	if f.Queue == fw.None {
		return lacks(f.Missing, fmt.Errorf("engine %s: %w: install %s", engineQueue, engine.ErrNotSupported, f.Missing))
	}
	return lacks("kmod-nft-queue", k.newQueue(nfq.Config{}).Supported())
}

// hasTun is why this kernel cannot steer to a TUN, or nil.
func hasTun(k kernel, f fw.Features) error {
	if !f.Tun {
		const pkg = "kmod-nft-nat"
		return lacks(pkg, fmt.Errorf("engine %s: %w: install "+pkg, engineTun, engine.ErrNotSupported))
	}
	return lacks("kmod-tun", k.newTun(tun.Config{}).Supported())
}

// beyondTun blames the options that want packets which only a queue shows, where
// there is a TUN, and why.
func (s *settings) beyondTun(why string) error {
	var errs []error
	blame := func(option, what string) {
		errs = append(errs, s.wrong(option, fail("needs_queue", "%s needs engine %s, and this is %s (%s)", what, engineQueue, engineTun, why)))
	}
	for i := range s.pipe.Rules {
		r := &s.pipe.Rules[i]
		for proto, t := range r.For {
			option := "strategy." + r.Strategy + "." + desync.Proto(proto).String()
			switch {
			case t.Steps == nil:
			case proto == int(desync.QUIC):
				blame(option, "a strategy for QUIC")
			case wants(s.needs(i, t.Steps)) != "":
				blame(option, "a strategy that "+wants(s.needs(i, t.Steps)))
			}
		}
		if quic := s.conf.Rules[i].QUIC; s.spares(r) && quic != "" {
			what := "to " + quic + " QUIC by name"
			if s.pipe.Never.Len() > 0 {
				what = "to " + quic + " QUIC and let the names of main.never pass"
			}
			blame("rule."+r.Name+".quic", what)
		}
	}
	if s.conf.Main.Observe {
		blame("main.observe", "to look at answers")
	}
	return errors.Join(errs...)
}

// spares reports whether engine tun lets QUIC pass that rule r would block.
func (s *settings) spares(r *pipeline.Rule) bool {
	return r.For[desync.QUIC].Action >= pipeline.Drop && len(s.block.Ports) == 0
}

// serves reports whether engine, started for s, can serve t as it is.
func serves(engine string, s, t *settings) bool {
	a, b := &s.conf.Main, &t.conf.Main
	if a.MaxFlows != b.MaxFlows || a.Steer != b.Steer || s.marks != t.marks {
		return false
	}
	if engine == engineTun {
		return s.conf.Tun.Device == t.conf.Tun.Device
	}
	return a.QueueNum == b.QueueNum && a.Queues == b.Queues && a.QueueLen == b.QueueLen
}
