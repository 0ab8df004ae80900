package pipeline

import (
	"time"

	"b4/engine"
)

const (
	// maxLater is how many packets wait for their time: those of 30 hellos, more
	// than a house begins within the few milliseconds of a delay.
	maxLater = 128
	// laterBytes bounds what they hold together, on a router with 64 MB.
	laterBytes = 192 << 10
)

// A wheel keeps packets that are to leave later. Its memory is made once for
// each place, and used again.
type wheel struct {
	slots [maxLater]struct {
		bytes []byte
		meta  engine.Meta
		due   time.Time
	}
	order []uint8 // slots that wait, first due first
	free  []uint8
	size  int // bytes that wait
}

func (w *wheel) init() {
	w.order, w.free = make([]uint8, 0, maxLater), make([]uint8, maxLater)
	for i := range w.free {
		w.free[i] = uint8(i)
	}
}

// put keeps a copy of o until its time has come. It reports false where there
// is no room.
func (w *wheel) put(now time.Time, o engine.Out) bool {
	if len(w.free) == 0 || w.size+len(o.Bytes) > laterBytes {
		return false
	}
	i := w.free[len(w.free)-1]
	w.free = w.free[:len(w.free)-1]
	s := &w.slots[i]
	s.bytes, s.meta, s.due = append(s.bytes[:0], o.Bytes...), o.Meta, now.Add(o.After)
	w.size += len(o.Bytes)
	at := len(w.order)
	w.order = append(w.order, i)
	for at > 0 && w.slots[w.order[at-1]].due.After(s.due) { // of equal times the older first
		w.order[at] = w.order[at-1]
		at--
	}
	w.order[at] = i
	return true
}

// take adds to out what is due, and tells how long the rest can wait: idle
// without one.
func (w *wheel) take(now time.Time, out *engine.Batch) time.Duration {
	if len(w.order) == 0 {
		return idle
	}
	n := 0
	for ; n < len(w.order); n++ {
		s := &w.slots[w.order[n]]
		if s.due.After(now) {
			break
		}
		out.Add(s.bytes, s.meta)
		w.size -= len(s.bytes)
		w.free = append(w.free, w.order[n])
	}
	w.order = w.order[:copy(w.order, w.order[n:])]
	if len(w.order) == 0 {
		return idle
	}
	return w.slots[w.order[0]].due.Sub(now)
}

// putOff takes the packets that are to leave later off the batch. What there is
// no room for leaves at once. It returns the verdict on the packet at hand: where
// all that stands for it leaves later it is dropped. But opens says that
// conntrack knows its flow only once a packet of it has left: then the first
// leaves at once.
func (p *Pipeline) putOff(v engine.Verdict, opens bool) engine.Verdict {
	later, now := delayed(p.out)
	if !later {
		return v
	}
	*p.out, p.aside = p.aside, *p.out
	p.out.Reset()
	others, force := p.aside.Others(), opens && !now
	for i := range p.aside.Len() {
		if i == others {
			p.out.Own()
		}
		o := p.aside.At(i)
		if o.After == 0 || i == others && force || !p.wheel.put(p.now, o) {
			p.out.Add(o.Bytes, o.Meta)
		}
	}
	if v.Act() == engine.Replace && p.out.Len() == p.out.Others() {
		return engine.Drop | v&engine.Done
	}
	return v
}

// delayed reports whether packets of b are to leave later, and whether any of
// those that stand for the packet at hand leaves now.
func delayed(b *engine.Batch) (later, now bool) {
	for i := range b.Len() {
		wait := b.At(i).After > 0
		later = later || wait
		now = now || !wait && i >= b.Others()
	}
	return later, now
}
