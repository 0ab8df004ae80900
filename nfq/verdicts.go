package nfq

import (
	"errors"
	"fmt"
	"slices"

	"b4/engine"
	"b4/mmsg"
)

const (
	// writeMost is how many bytes of verdicts leave in one write, unless a single one
	// has more. The kernel needs memory in one piece for it, or has to map pages
	// (netlink_alloc_large_skb in net/netlink/af_netlink.c): with so much a verdict that
	// replaces 500 bytes takes half of what it takes alone, with a page six tenths, and
	// with more no less. It is a tenth of the usual send buffer.
	writeMost = 15 << 10

	// verdictMost is what a verdict has besides the payload: headers, id, mark, padding.
	verdictMost = headerLen + 3*attrLen + 8 + 4 + 3
)

// verdicts are what has been settled and not yet told. Netlink takes many messages
// in one write and carries them out in order (netlink_rcv_skb).
type verdicts struct {
	lanes []lane // by number as in Config: Num, and Cut if it is served
	out   []byte // whole messages, one behind the other
	told  engine.Counters
}

// A lane is what is kept of one queue number.
type lane struct {
	num  uint16
	last uint32 // the newest packet's id; the kernel counts from 1

	// The newest packet settled. One batch verdict lets all packets go up to that
	// one which have no verdict yet: they are all to go on untouched, as packets are
	// settled in order.
	settled uint32
	open    bool // there are such packets, for which out has no message
	waits   bool // out has messages
}

// lane is that of a packet.
func (v *verdicts) lane(p *engine.Packet) *lane {
	for i := range v.lanes {
		if v.lanes[i].num == p.Queue {
			return &v.lanes[i]
		}
	}
	return &v.lanes[0]
}

var errTooLong = errors.New("payload is longer than a netlink attribute")

// Settle implements engine.Sink. Packets must be settled in the order in which
// Read returned them. Verdicts are gathered until Flush, or until there are many. A
// packet whose verdict could not be given goes on untouched with the next that is.
// With Drop, Done has no effect: its mark is the packet's, which is gone.
func (q *queue) Settle(p *engine.Packet, v engine.Verdict, payload []byte) (err error) {
	mark := p.Mark
	if v&engine.Done != 0 {
		mark |= q.c.Done
	}
	act := v.Act()
	switch {
	case act == engine.Accept && mark == p.Mark:
		q.pass(p)
		return nil
	case len(payload) > maxPayload:
		q.pass(p)
		return errTooLong
	case len(q.out)+verdictMost+len(payload) > writeMost:
		err = q.Flush()
	}
	if act == engine.Replace && p.Super {
		// The kernel would go on to cut what it now is by the size it had,
		// and loses what is shorter than that.
		if e := errors.Join(q.Flush(), q.sendPiece(p, payload)); e != nil {
			q.pass(p)
			return errors.Join(err, e)
		}
		q.told.Replaced++
		q.add(p, engine.Drop, p.Mark, nil)
		return err
	}
	switch act {
	case engine.Drop:
		q.told.Dropped++
	case engine.Replace:
		q.told.Replaced++
	default:
		q.told.Accepted++
	}
	q.add(p, act, mark, payload)
	return err
}

// sendPiece sends the last piece of a packet by itself.
func (q *queue) sendPiece(p *engine.Packet, payload []byte) error {
	q.one[0] = engine.Out{Bytes: payload, Meta: p.Meta}
	_, err := q.c.Send.Send(q.one[:])
	if err != nil {
		q.n.SendFailed.Add(1)
	}
	return err
}

// pass adds a packet to those that go on untouched.
func (q *queue) pass(p *engine.Packet) {
	l := q.lane(p)
	l.settled, l.open = p.ID, true
	q.n.Accepted.Add(1)
}

// add appends the verdict on p, behind those on all before it.
func (q *queue) add(p *engine.Packet, act engine.Verdict, mark uint32, payload []byte) {
	q.endRuns()
	what := uint32(verdictAccept)
	if act == engine.Drop {
		what = verdictDrop
	}
	l := q.lane(p)
	m := appendVerdict(q.begin(msgVerdict, l, len(payload)), what, p.ID)
	if mark != p.Mark {
		m = appendNumber(m, attrMark, mark)
	}
	if act == engine.Replace {
		m = appendPayload(m, payload)
	}
	l.settled = p.ID
	q.end(l, m)
}

// begin begins a message behind the others.
func (v *verdicts) begin(typ uint16, l *lane, payload int) []byte {
	v.out = slices.Grow(v.out, verdictMost+payload)
	return begin(v.out[len(v.out):], typ, 0, l.num)
}

// end keeps message m, which stands where begin said, as there was room for it.
func (v *verdicts) end(l *lane, m []byte) {
	v.out = v.out[:len(v.out)+len(finish(m))]
	l.waits = true
}

// endRuns appends the verdicts on packets that go on untouched.
func (v *verdicts) endRuns() {
	for i := range v.lanes {
		if l := &v.lanes[i]; l.open {
			v.end(l, appendVerdict(v.begin(msgVerdictBatch, l, 0), verdictAccept, l.settled))
			l.open = false
		}
	}
}

// Flush implements engine.Sink. Where the verdicts cannot be given their packets are
// to go on untouched, which is tried again with the next Flush.
func (q *queue) Flush() error {
	q.endRuns()
	if len(q.out) == 0 {
		return nil
	}
	err := mmsg.Write(q.fd, q.out)
	q.out = q.out[:0]
	for i := range q.lanes {
		l := &q.lanes[i]
		l.open, l.waits = l.waits && err != nil, false
	}
	t := q.told
	q.told = engine.Counters{}
	if err != nil {
		q.n.Accepted.Add(t.Accepted + t.Dropped + t.Replaced)
		return fmt.Errorf("give verdicts: %w", err)
	}
	q.n.Accepted.Add(t.Accepted)
	q.n.Dropped.Add(t.Dropped)
	q.n.Replaced.Add(t.Replaced)
	return nil
}
