package pipeline

import (
	"b4/flow"
	"b4/quic"
)

const (
	// maxInitials bounds the QUIC flows that are remembered, each for as long as
	// its handshake takes, or flow.Idle.
	maxInitials = 256
	// maxConns bounds those of which keys and hello are kept too. One takes 4 KB
	// with a hello as browsers send it and 18 KB with the longest: all of them
	// 1 MB at most.
	maxConns = 56
)

// handshakes is the QUIC flows under way, which are kept apart from those of
// TCP: neither pushes the other out.
type handshakes struct {
	flows   *flow.Table[initials]
	decoder quic.Decoder
	kept    []*kept
	spare   *kept // one of them, of no flow
	uses    uint64
}

// A kept is what is known of a flow's handshake. It outlives the flow, for the
// memory it has.
type kept struct {
	conn quic.Conn
	flow *flow.Flow[initials] // nil where none has it
	used uint64               // the higher the later
}

// newHandshakes has room for none yet. evict is told of each flow that goes before
// its time.
func newHandshakes(evict func(*flow.Flow[initials])) handshakes {
	k := new(kept)
	return handshakes{
		flows: flow.New(maxInitials, evict),
		kept:  []*kept{k},
		spare: k,
	}
}

// use is f's handshake, or an empty one that attach may give to it. f may be nil.
func (q *handshakes) use(f *flow.Flow[initials]) (k *kept, fresh bool) {
	q.uses++
	k, fresh = q.spare, true
	if f != nil && f.State.kept != nil {
		k, fresh = f.State.kept, false
	} else {
		k.conn.Reset()
	}
	k.used = q.uses
	return k, fresh
}

// attach leaves the spare to f. Another takes its place: a free one, a new one,
// or that of the flow whose last use is longest ago.
func (q *handshakes) attach(f *flow.Flow[initials]) {
	q.spare.flow, f.State.kept = f, q.spare
	next := q.kept[0]
	for _, k := range q.kept {
		if next.flow != nil && (k.flow == nil || k.used < next.used) {
			next = k
		}
	}
	if next.flow != nil && len(q.kept) < maxConns {
		next = new(kept)
		q.kept = append(q.kept, next)
	}
	if next.flow != nil {
		next.flow.State.release()
	}
	q.spare = next
}

// release gives up what is known of s's handshake.
func (s *initials) release() {
	if s.kept != nil {
		s.kept.flow, s.kept = nil, nil
	}
}

func (q *handshakes) remove(f *flow.Flow[initials]) {
	f.State.release()
	q.flows.Remove(f)
}
