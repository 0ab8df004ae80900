package engine

import "time"

// An Out is one whole IP packet to send.
type Out struct {
	Bytes []byte
	Meta
	After time.Duration // it is to leave so much later; who sends does not wait
}

// A Batch collects packets to send in place of, or ahead of, the one read.
// It is reused: Reset keeps the memory.
type Batch struct {
	arena []byte
	kept  int // the bytes at the beginning of arena that outlast Reset
	outs  []Out
	own   int // the first packet that stands for the one at hand
}

// Reset empties the batch.
func (b *Batch) Reset() { b.arena, b.outs, b.own = b.arena[:b.kept], b.outs[:0], 0 }

// keep empties the batch too, but the bytes of its packets stay what they are
// until forget.
func (b *Batch) keep() {
	b.kept = len(b.arena)
	b.Reset()
}

func (b *Batch) forget() {
	b.kept = 0
	b.Reset()
}

// Own says that the packets from now on stand for the one at hand. Those before
// are others that leave on the occasion; a failure to send them does not keep
// the one at hand from being replaced.
func (b *Batch) Own() { b.own = len(b.outs) }

// Others reports how many packets stand before those that Own began.
func (b *Batch) Others() int { return b.own }

// Len reports how many packets the batch holds.
func (b *Batch) Len() int { return len(b.outs) }

// Grow adds a packet of n bytes and returns them to be written. Their contents
// are undefined, and the slice is valid until the next Reset.
//
// A call costs nothing next to a packet that is sent, and inlined in all who do it
// makes packages 2 kB larger.
//
//go:noinline
func (b *Batch) Grow(n int, m Meta) []byte {
	start := len(b.arena)
	if start+n > cap(b.arena) { // what was added stays where it is
		b.arena, b.kept, start = make([]byte, 0, 2*cap(b.arena)+n), 0, 0
	}
	b.arena = b.arena[:start+n]
	p := b.arena[start : start+n : start+n]
	b.outs = append(b.outs, Out{Bytes: p, Meta: m})
	return p
}

// Add copies p into the batch.
func (b *Batch) Add(p []byte, m Meta) { copy(b.Grow(len(p), m), p) }

// Delay says that the packet added last is to leave so much later.
func (b *Batch) Delay(d time.Duration) { b.outs[len(b.outs)-1].After = d }

// At returns packet i. Its bytes are valid until the next Reset.
func (b *Batch) At(i int) Out { return b.outs[i] }

// Outs are all packets, in order, for Sender.Send. The slice and their bytes are
// valid until the next Reset.
func (b *Batch) Outs() []Out { return b.outs }
