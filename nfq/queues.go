package nfq

import (
	"errors"

	"b4/engine"
)

// queues are those of an engine. Each has a goroutine while they are served.
type queues []*queue

// nth is the configuration of queue i.
func (c Config) nth(i int) Config {
	if i > 0 {
		c.Num, c.Cut, c.Send = c.Num+uint16(i), c.Cut+uint16(i), c.More[i-1]
	}
	return c
}

// openAll binds the queues of c. It is all or nothing.
func openAll(c Config, n *engine.Tally) (*queues, error) {
	qs := make(queues, 1+len(c.More))
	for i := range qs {
		q, err := open(c.nth(i), n)
		if err != nil {
			qs = qs[:i]
			return nil, errors.Join(err, qs.release())
		}
		qs[i] = q
	}
	return &qs, nil
}

// run serves h until all queues are closed. Where one fails the others are closed.
func (qs *queues) run(h engine.Handler, report func(error)) (errs error) {
	if len(*qs) > 1 {
		h = engine.Shared(h)
	}
	ended := make(chan error)
	for _, q := range *qs {
		go func() { ended <- engine.Run(q, h, q, report) }()
	}
	for range *qs {
		if err := <-ended; err != nil {
			errs = errors.Join(errs, err, qs.close())
		}
	}
	return errs
}

func (qs *queues) close() error   { return qs.each((*queue).Close) }
func (qs *queues) release() error { return qs.each((*queue).release) }

func (qs *queues) each(f func(*queue) error) (errs error) {
	for _, q := range *qs {
		errs = errors.Join(errs, f(q))
	}
	return errs
}
