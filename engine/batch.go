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
	outs  []out
	own   int // the first packet that stands for the one at hand
}

type out struct {
	end   int
	meta  Meta
	after time.Duration
}

// Reset empties the batch.
func (b *Batch) Reset() { b.arena, b.outs, b.own = b.arena[:0], b.outs[:0], 0 }

// Own says that the packets from now on stand for the one at hand. Those before
// are others that leave on the occasion; a failure to send them does not keep
// the one at hand from being replaced.
func (b *Batch) Own() { b.own = len(b.outs) }

// Others reports how many packets stand before those that Own began.
func (b *Batch) Others() int { return b.own }

// Len reports how many packets the batch holds.
func (b *Batch) Len() int { return len(b.outs) }

// Grow adds a packet of n bytes and returns them to be written. Their contents
// are undefined, and the slice is valid until the next Grow or Reset.
//
// A call costs nothing next to a packet that is sent, and inlined in all who do it
// makes packages 2 kB larger.
//
//go:noinline
func (b *Batch) Grow(n int, m Meta) []byte {
	start := len(b.arena)
	if start+n > cap(b.arena) {
		grown := make([]byte, start, 2*cap(b.arena)+n)
		copy(grown, b.arena)
		b.arena = grown
	}
	b.arena = b.arena[:start+n]
	b.outs = append(b.outs, out{end: start + n, meta: m})
	return b.arena[start : start+n : start+n]
}

// Add copies p into the batch.
func (b *Batch) Add(p []byte, m Meta) { copy(b.Grow(len(p), m), p) }

// Delay says that the packet added last is to leave so much later.
func (b *Batch) Delay(d time.Duration) { b.outs[len(b.outs)-1].after = d }

// At returns packet i. Its bytes are valid until the next Grow or Reset.
func (b *Batch) At(i int) Out {
	start := 0
	if i > 0 {
		start = b.outs[i-1].end
	}
	o := b.outs[i]
	return Out{b.arena[start:o.end], o.meta, o.after}
}
