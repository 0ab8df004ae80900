package engine

import (
	"errors"
	"fmt"
	"os"
	"time"
)

// Run reads, judges and settles packets until src is closed. A Sink's error
// costs no packet: the one at hand goes on untouched, and the error is given to
// report. Only a Source's error ends Run.
func Run(src Source, h Handler, dst Sink, report func(error)) error {
	var b Batch
	var wait time.Duration
	for {
		pkts, err := src.Read(wait)
		if errors.Is(err, os.ErrClosed) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read packets: %w", err)
		}
		now := time.Now()
		for i := range pkts {
			b.Reset()
			v := h.Handle(now, &pkts[i], &b)
			if err := settle(&pkts[i], v, &b, dst); err != nil {
				report(err)
			}
		}
		b.Reset()
		wait = h.Tick(now, &b)
		if err := errors.Join(dst.Flush(), send(&b, b.Len(), dst)); err != nil {
			report(err)
		}
	}
}

// settle sends what goes ahead of p and then gives the verdict on p. Gathered
// verdicts are carried out before a send, so that a flow keeps its order.
func settle(p *Packet, v Verdict, b *Batch, dst Sink) error {
	ahead, payload := b.Len(), []byte(nil)
	if v.Act() == Replace {
		if ahead == 0 {
			v = Accept
		} else {
			ahead--
			payload = b.At(ahead).Bytes
		}
	}
	var errs error
	if ahead > 0 {
		if errs = errors.Join(dst.Flush(), send(b, ahead, dst)); errs != nil {
			v, payload = Accept, nil // never lose the user's packet to our own failure
		}
	}
	if err := dst.Settle(p, v, payload); err != nil {
		return errors.Join(errs, err)
	}
	return errs
}

// send sends the first n packets of b and stops at the first failure.
func send(b *Batch, n int, dst Sink) error {
	for i := range n {
		if err := dst.Send(b.At(i)); err != nil {
			return err
		}
	}
	return nil
}
