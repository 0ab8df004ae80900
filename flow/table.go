package flow

import "time"

// Bounds of what a table keeps.
const (
	// Idle is how long an undecided flow is remembered: the fifth
	// retransmission of a hello comes 31 s after the first.
	Idle = 60 * time.Second
	// Wait is how long packets wait for the rest of a message. A sender that
	// heard nothing for 200 ms (TCP_RTO_MIN, include/net/tcp.h) sends again.
	Wait = 200 * time.Millisecond
	// MaxHeld is how many packets of one flow wait.
	MaxHeld = 10
	// Memory bounds the bytes of all streams and copies of a table: 1000 post-quantum
	// hellos at a time, and no more on a router with 64 MB.
	Memory = 2 << 20
	// chunk is what buffers are multiples of: one holds most requests and hellos,
	// and two a post-quantum hello.
	chunk = 1 << 10
	// perBlock is how many flows are made at once: for 32 on a 64-bit machine 18 KB.
	perBlock = 32
	// spare is how many free buffers of one chunk, and of two, are kept for the next
	// flows.
	spare = 40
)

// A Held is a packet that waits. Bytes is a copy and is valid until Release.
type Held struct {
	Bytes []byte
	Mark  uint32
	Out   int32
}

// A Flow is a connection whose first message is not done. It is valid until it
// is removed from its table; S is what its user keeps with it.
type Flow[S any] struct {
	// What each packet of the flow needs comes first, in one cache line.
	key          Key
	nheld        uint8
	slot         int32
	newer, older int32         // slots; -1 is none
	seen         time.Duration // by the table's clock

	stream Stream
	State  S
	held   []byte
	due    time.Duration // of the first held packet
	tag    uint32        // of key
	ends   [MaxHeld]uint16
	meta   [MaxHeld]struct {
		mark uint32
		out  int32
	}
}

// Key is the flow's key.
func (f *Flow[S]) Key() *Key { return &f.key }

// Stream is what the client has said so far.
func (f *Flow[S]) Stream() *Stream { return &f.stream }

// Held is how many packets wait.
func (f *Flow[S]) Held() int { return int(f.nheld) }

// At returns the i-th packet that waits, in the order they came.
func (f *Flow[S]) At(i int) Held {
	start := 0
	if i > 0 {
		start = int(f.ends[i-1])
	}
	return Held{f.held[start:f.ends[i]:f.ends[i]], f.meta[i].mark, f.meta[i].out}
}

// A Table holds at most a given number of flows. Where one more comes, or memory
// runs short, the flow unseen for longest goes. It belongs to one goroutine.
//
// Flows lie in blocks that never move, are named by numbers, and used again, the
// one that was used last first, as it may still be in the processor's cache.
type Table[S any] struct {
	evict   func(*Flow[S])
	blocks  []*[perBlock]Flow[S]
	made    int32 // flows of the blocks that were used yet
	free    int32 // the first of those in no use, which are linked by older; -1 is none
	index   index
	epoch   time.Time // where the table's clock began: a number of it is no pointer
	newest  int32
	oldest  int32
	max     int
	memory  int
	expires time.Duration // no flow is to be forgotten before, by the table's clock
	pools   [2][][]byte   // free buffers of one chunk, and of two
	wait    []waiter      // flows with held packets, first due first
}

type waiter struct {
	slot int32
	due  time.Duration
}

// New makes a table for max flows, at least one. evict is called with each flow
// that must go before its time, while it still has its packets.
func New[S any](max int, evict func(*Flow[S])) *Table[S] {
	return &Table[S]{evict: evict, index: newIndex(), free: -1, newest: -1, oldest: -1, max: max}
}

// Len is the number of flows.
func (t *Table[S]) Len() int { return t.index.n }

// clock is now by the table's clock, which begins with the first flow.
func (t *Table[S]) clock(now time.Time) time.Duration { return now.Sub(t.epoch) }

func (t *Table[S]) at(slot int32) *Flow[S] {
	return &t.blocks[uint32(slot)/perBlock][uint32(slot)%perBlock]
}

// find is the flow of k, whose tag is given; nil where there is none.
func (t *Table[S]) find(tag uint32, k *Key) *Flow[S] {
	for i := t.index.home(tag); t.index.places[i].used != 0; i = t.index.next(i) {
		if p := t.index.places[i]; p.tag == tag {
			if f := t.at(p.used - 1); f.key == *k {
				return f
			}
		}
	}
	return nil
}

// Lookup finds a flow and counts as seeing it.
func (t *Table[S]) Lookup(now time.Time, k Key) (*Flow[S], bool) {
	f := t.find(t.index.tag(&k), &k)
	if f == nil {
		return nil, false
	}
	f.seen = t.clock(now)
	if t.newest != f.slot {
		t.unlink(f)
		t.link(f)
	}
	return f, true
}

// Peek finds a flow without counting as seeing it.
func (t *Table[S]) Peek(k Key) (*Flow[S], bool) {
	f := t.find(t.index.tag(&k), &k)
	return f, f != nil
}

// Unseen is how long ago f was seen last.
func (t *Table[S]) Unseen(now time.Time, f *Flow[S]) time.Duration { return t.clock(now) - f.seen }

// Add makes a flow that is not there yet.
func (t *Table[S]) Add(now time.Time, k Key) *Flow[S] {
	if t.Len() >= t.max {
		t.drop(t.at(t.oldest))
	}
	if t.made == 0 {
		t.epoch = now
	}
	f := t.take()
	var zero S
	f.key, f.State, f.seen, f.tag = k, zero, t.clock(now), t.index.tag(&k)
	t.index.put(f.tag, f.slot)
	t.link(f)
	return f
}

// take is a flow in no use.
func (t *Table[S]) take() *Flow[S] {
	if t.free >= 0 {
		f := t.at(t.free)
		t.free = f.older
		return f
	}
	if int(t.made) == len(t.blocks)*perBlock {
		t.blocks = append(t.blocks, new([perBlock]Flow[S]))
	}
	f := t.at(t.made)
	f.slot = t.made
	t.made++
	return f
}

// Remove forgets f and whatever waits in it.
func (t *Table[S]) Remove(f *Flow[S]) {
	t.unlink(f)
	t.index.remove(f.tag, f.slot)
	t.give(f.stream.buf)
	f.stream.buf = nil
	f.stream.begin(0)
	t.Release(f)
	f.older, t.free = t.free, f.slot
}

// drop removes f after its user had a last look.
func (t *Table[S]) drop(f *Flow[S]) {
	t.evict(f)
	t.Remove(f)
}

// Begin starts f's stream anew with a segment. It reports false where the
// segment is too long.
func (t *Table[S]) Begin(f *Flow[S], seq uint32, payload []byte) bool {
	f.stream.begin(seq)
	return t.Insert(f, seq, payload)
}

// Insert adds a segment to f's stream. It reports false, and adds nothing, where
// the bounds do not allow it. Other flows may have to go for it.
func (t *Table[S]) Insert(f *Flow[S], seq uint32, payload []byte) bool {
	off := f.stream.Offset(seq)
	if off < 0 || off+len(payload) > MaxMessage {
		return false
	}
	f.stream.buf = t.grow(f, f.stream.buf, off+len(payload))
	return f.stream.insert(off, payload)
}

// Lower moves the beginning of f's stream down to seq, ahead of all it has. It
// reports false, and changes nothing, where that is not below, or the bounds do
// not allow it.
func (t *Table[S]) Lower(f *Flow[S], seq uint32) bool {
	s, by := &f.stream, -f.stream.Offset(seq)
	if by <= 0 || by > MaxMessage || by+len(s.buf) > MaxMessage {
		return false
	}
	s.buf = t.grow(f, s.buf, by+len(s.buf))
	s.lower(seq, by)
	return true
}

// Hold keeps a copy of a packet that waits for the rest of the message, for d if
// it is the first. It reports false where the bounds do not allow it.
func (t *Table[S]) Hold(now time.Time, f *Flow[S], h Held, d time.Duration) bool {
	if f.nheld == MaxHeld || len(f.held)+len(h.Bytes) > MaxMessage {
		return false
	}
	f.held = t.grow(f, f.held, len(f.held)+len(h.Bytes))
	if f.nheld == 0 {
		f.due = t.clock(now) + d
		t.queue(waiter{f.slot, f.due})
	}
	f.held = append(f.held, h.Bytes...)
	f.ends[f.nheld] = uint16(len(f.held))
	f.meta[f.nheld].mark, f.meta[f.nheld].out = h.Mark, h.Out
	f.nheld++
	return true
}

// Release forgets f's packets that wait, and takes their memory back: a flow may
// stay for long behind its message.
func (t *Table[S]) Release(f *Flow[S]) {
	t.give(f.held)
	f.held, f.nheld = nil, 0
}

// queue puts w behind those that are due no later.
func (t *Table[S]) queue(w waiter) {
	at := len(t.wait)
	t.wait = append(t.wait, w)
	for ; at > 0 && t.wait[at-1].due > w.due; at-- {
		t.wait[at] = t.wait[at-1]
	}
	t.wait[at] = w
}

// grow returns b with room for n bytes. Other flows may have to go for it.
func (t *Table[S]) grow(f *Flow[S], b []byte, n int) []byte {
	if n <= cap(b) {
		return b
	}
	var grown []byte
	chunks := (n + chunk - 1) / chunk
	if pool := t.pool(chunks); pool != nil && len(*pool) > 0 {
		k := len(*pool) - 1
		grown, *pool = (*pool)[k], (*pool)[:k]
	} else {
		grown = make([]byte, 0, chunks*chunk)
	}
	t.memory += cap(grown)
	grown = append(grown, b...)
	t.give(b)
	for t.memory > Memory && t.oldest != f.slot {
		t.drop(t.at(t.oldest))
	}
	return grown
}

// give takes a buffer back.
func (t *Table[S]) give(b []byte) {
	t.memory -= cap(b)
	if pool := t.pool(cap(b) / chunk); pool != nil && len(*pool) < spare {
		*pool = append(*pool, b[:0])
	}
}

// pool has the free buffers of so many chunks; it is nil where none are kept.
func (t *Table[S]) pool(chunks int) *[][]byte {
	if chunks < 1 || chunks > len(t.pools) {
		return nil
	}
	return &t.pools[chunks-1]
}

// Due calls fn for every flow whose packets have waited long enough, and tells
// when the next will have: zero if none waits.
func (t *Table[S]) Due(now time.Time, fn func(*Flow[S])) (next time.Time) {
	if len(t.wait) == 0 {
		return next
	}
	done := 0
	for ; done < len(t.wait); done++ {
		w := t.wait[done]
		f := t.at(w.slot)
		if f.nheld == 0 || f.due != w.due {
			continue // released since
		}
		if t.clock(now) < w.due {
			next = t.epoch.Add(w.due)
			break
		}
		fn(f)
	}
	t.wait = t.wait[:copy(t.wait, t.wait[done:])]
	return next
}

// Expire removes flows that have not been seen for Idle.
func (t *Table[S]) Expire(now time.Time) {
	if t.oldest < 0 || t.clock(now) < t.expires {
		return
	}
	for t.oldest >= 0 && t.Unseen(now, t.at(t.oldest)) >= Idle {
		t.drop(t.at(t.oldest))
	}
	if t.oldest >= 0 {
		t.expires = t.at(t.oldest).seen + Idle
	}
}

// link makes f the newest.
func (t *Table[S]) link(f *Flow[S]) {
	f.older, f.newer = t.newest, -1
	if t.newest >= 0 {
		t.at(t.newest).newer = f.slot
	} else {
		t.oldest = f.slot
	}
	t.newest = f.slot
}

func (t *Table[S]) unlink(f *Flow[S]) {
	if f.newer >= 0 {
		t.at(f.newer).older = f.older
	} else {
		t.newest = f.older
	}
	if f.older >= 0 {
		t.at(f.older).newer = f.newer
	} else {
		t.oldest = f.newer
	}
}
