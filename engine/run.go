package engine

import (
	"errors"
	"fmt"
	"os"
	"time"
)

// Run reads, judges and settles packets until src is closed. Where what a packet
// is to be replaced with cannot be sent, it goes on untouched, and the error is
// given to report: a sink's errors cost no packet but what the handler had kept
// to itself. Only a Source's error ends Run.
func Run(src Source, h Handler, dst Sink, report func(error)) error {
	var b Batch
	var wait time.Duration
	tell := func(err error) {
		if err != nil {
			report(err)
		}
	}
	for {
		pkts, err := src.Read(wait)
		if errors.Is(err, os.ErrClosed) {
			b.Reset()
			h.Drain(&b)
			tell(errors.Join(dst.Flush(), sendAll(&b, b.Len(), dst)))
			return nil
		}
		if err != nil {
			return fmt.Errorf("read packets: %w", err)
		}
		now := time.Now()
		for i := range pkts {
			b.Reset()
			v := h.Handle(now, &pkts[i], &b)
			tell(settle(&pkts[i], v, &b, dst))
		}
		b.Reset()
		wait = h.Tick(now, &b)
		tell(errors.Join(dst.Flush(), sendAll(&b, b.Len(), dst)))
	}
}

// settle sends what goes ahead of p and then gives the verdict on p. Gathered
// verdicts are carried out before a send, so that a flow keeps its order.
func settle(p *Packet, v Verdict, b *Batch, dst Sink) error {
	others, pieces, payload := b.Len(), b.Len(), []byte(nil)
	if v.Act() == Replace {
		if others = b.Others(); others == pieces {
			v = Accept
		} else {
			pieces--
			payload = b.At(pieces).Bytes
		}
	}
	var errs error
	if pieces > 0 {
		errs = errors.Join(dst.Flush(), sendAll(b, others, dst))
	}
	for i := others; i < pieces; i++ {
		if err := dst.Send(b.At(i)); err != nil {
			v, payload = Accept, nil // never lose the user's packet to our own failure
			errs = errors.Join(errs, err)
			break
		}
	}
	if err := dst.Settle(p, v, payload); err != nil {
		return errors.Join(errs, err)
	}
	return errs
}

// sendAll sends the first n packets of b, each whatever became of the others.
func sendAll(b *Batch, n int, dst Sink) (errs error) {
	for i := range n {
		if err := dst.Send(b.At(i)); err != nil {
			errs = errors.Join(errs, err)
		}
	}
	return errs
}
