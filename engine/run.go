package engine

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"time"
)

// gather bounds the bytes of planned packets that wait for the end of a burst, and
// so the memory that a burst of hellos with many decoys takes.
const gather = 64 << 10

// Run reads, judges and settles packets until src is closed. Where what a packet
// is to be replaced with cannot be sent, it goes on untouched, and the error is
// given to report: a sink's errors cost no packet but what the handler had kept
// to itself. Only a Source's error ends Run.
//
// The packets of a burst are judged first; then all that goes ahead of them is
// sent at once, and then all verdicts are given, so that a burst costs as few
// system calls as one packet. A flow keeps its order: what would overtake an earlier
// packet of its flow waits until that is settled.
func Run(src Source, h Handler, dst Sink, report func(error)) error {
	r := round{h: h, dst: dst, report: report}
	var wait time.Duration
	for {
		pkts, err := src.Read(wait)
		if errors.Is(err, os.ErrClosed) {
			h.Drain(&r.batch)
			r.tell(dst.Flush())
			r.sendBatch()
			return nil
		}
		if err != nil {
			return fmt.Errorf("read packets: %w", err)
		}
		now := time.Now()
		r.several = len(pkts) > 1
		for i := range pkts {
			r.judge(now, &pkts[i])
		}
		r.settle()
		wait = h.Tick(now, &r.batch)
		r.sendBatch()
	}
}

// A round is what is judged and not yet settled. Its memory is reused.
type round struct {
	h      Handler
	dst    Sink
	report func(error)

	several bool // packets are in the burst, so that their order counts

	batch  Batch
	judged []judged
	ahead  []Out // what leaves ahead of the verdicts
	stands []int // for each of ahead, the place in judged of the packet that it stands for; others where none
}

// others is the place of packets that are not the one at hand's.
const others = -1

type judged struct {
	p       *Packet
	verdict Verdict
	payload []byte
	flow    uint32 // of several
}

func (r *round) tell(err error) {
	if err != nil {
		r.report(err)
	}
}

// judge judges p and settles what that must not wait for.
func (r *round) judge(now time.Time, p *Packet) {
	j := judged{p: p, verdict: r.h.Handle(now, p, &r.batch)}
	if r.several {
		j.flow = Flow(p.Bytes)
	}
	if len(r.batch.outs) > 0 || j.verdict.Act() == Replace {
		r.take(&j)
	}
	r.judged = append(r.judged, j)
	if r.batch.keep(); r.batch.kept > gather {
		r.settle()
	}
}

// take takes what is to be sent for j, the packet at hand, or on its occasion.
func (r *round) take(j *judged) {
	before, own := r.batch.outs, []Out(nil)
	if j.verdict.Act() == Replace {
		n := r.batch.own
		before, own = before[:n], before[n:]
		if last := len(own) - 1; last >= 0 {
			own, j.payload = own[:last], own[last].Bytes
		} else {
			j.verdict = Accept
		}
	}
	// Of which flows others are is not looked at, as they are rare.
	if len(before) > 0 || len(own) > 0 && r.waits(j.flow) {
		r.settleOld()
	}
	if len(before) > 0 {
		r.plan(before, others)
	}
	r.plan(own, len(r.judged))
}

// waits reports whether a packet of the flow may be among those that are to leave
// with their verdict.
func (r *round) waits(flow uint32) bool {
	return slices.ContainsFunc(r.judged, func(j judged) bool {
		return j.verdict.Act() != Drop && (j.flow == flow || j.flow == 0 || flow == 0)
	})
}

// plan has outs sent ahead of the verdicts.
//
//go:noinline
func (r *round) plan(outs []Out, stands int) {
	r.ahead = append(r.ahead, outs...)
	for range outs {
		r.stands = append(r.stands, stands)
	}
}

// settle sends what goes ahead, gives the verdicts and forgets the packets.
func (r *round) settle() {
	r.settleOld()
	r.batch.forget()
}

// settleOld is settle in the middle of a packet, which the batch holds.
func (r *round) settleOld() {
	r.send()
	for i := range r.judged {
		j := &r.judged[i]
		r.tell(r.dst.Settle(j.p, j.verdict, j.payload))
	}
	r.tell(r.dst.Flush())
	r.judged = r.judged[:0]
}

// send sends what goes ahead. Where that fails the packet it stands for goes on as
// it came, without the rest of what stands for it: the user's packet is never lost
// to our own failure.
func (r *round) send() {
	for at := 0; at < len(r.ahead); {
		n, err := r.dst.Send(r.ahead[at:])
		if err == nil {
			break
		}
		r.tell(err)
		at += n
		who := r.stands[at]
		if at++; who == others {
			continue
		}
		r.judged[who].verdict, r.judged[who].payload = Accept, nil
		for at < len(r.ahead) && r.stands[at] == who {
			at++
		}
	}
	r.ahead, r.stands = r.ahead[:0], r.stands[:0]
}

// sendBatch sends what stands for no packet at hand.
func (r *round) sendBatch() {
	if len(r.batch.outs) > 0 {
		r.plan(r.batch.outs, others)
		r.send()
	}
	r.batch.forget()
}
