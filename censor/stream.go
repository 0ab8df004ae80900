package censor

import "slices"

// A span is the bytes from from up to end of a stream.
type span struct{ from, end int }

// maxSpans bounds the islands a stream may consist of. A hello cut into more
// than that, all out of order, is not followed.
const maxSpans = 64

// A stream is one direction of a connection as a censor pieces it together.
type stream struct {
	begun   bool
	base    uint32 // sequence number of buf[0]
	buf     []byte
	held    []span // what of buf is filled: disjoint, in order
	packets int    // joined so far
}

// begin starts the stream anew at sequence number seq.
func (s *stream) begin(seq uint32) {
	*s = stream{begun: true, base: seq}
}

// ready returns the bytes that have come without a gap.
func (s *stream) ready() []byte {
	if len(s.held) == 0 || s.held[0].from > 0 {
		return nil
	}
	return s.buf[:s.held[0].end]
}

// add takes in a payload that begins at sequence number seq, as far as r
// follows TCP, and keeps at most limit bytes.
func (s *stream) add(r *Reassembly, seq uint32, payload []byte, limit int) {
	if !s.begun {
		s.begin(seq) // joined in the middle: this is its first byte as far as it knows
	}
	done := len(s.ready())
	off := int(int32(seq - s.base))
	if r.Mode == InOrder && off > done && r.SkipGaps {
		s.base += uint32(off - done)
		off = done
	}
	if off+len(payload) <= done {
		return
	}
	if off < done { // what has been read is final, whoever wins
		payload, off = payload[done-off:], done
	}
	ahead := off - done
	if ahead > 0 && (r.Mode == InOrder || ahead > r.Gap || len(s.held) >= maxSpans) || off >= limit {
		return
	}
	s.packets++
	s.fill(off, payload[:min(len(payload), limit-off)], r.LastWins)
}

// exhausted reports whether r joins no more of the stream.
func (s *stream) exhausted(r *Reassembly, limit int) bool {
	n := len(s.ready())
	return n >= limit || r.Packets > 0 && s.packets >= r.Packets ||
		r.Mode == InOrder && r.Bytes > 0 && n >= r.Bytes
}

// fill writes payload at off: everywhere if the last copy wins, else only where
// nothing is yet.
func (s *stream) fill(off int, payload []byte, lastWins bool) {
	end := off + len(payload)
	if end > len(s.buf) {
		s.buf = append(s.buf, make([]byte, end-len(s.buf))...)
	}
	if lastWins {
		copy(s.buf[off:], payload)
	} else {
		for at := off; at < end; {
			next, filled := s.run(at, end)
			if !filled {
				copy(s.buf[at:next], payload[at-off:])
			}
			at = next
		}
	}
	s.hold(span{off, end})
}

// run returns the end, at most end, of the bytes from at on that are all filled
// or all empty.
func (s *stream) run(at, end int) (next int, filled bool) {
	for _, h := range s.held {
		switch {
		case at < h.from:
			return min(end, h.from), false
		case at < h.end:
			return min(end, h.end), true
		}
	}
	return end, false
}

// hold notes n as filled, merging what touches.
func (s *stream) hold(n span) {
	i := 0
	for i < len(s.held) && s.held[i].end < n.from {
		i++
	}
	j := i
	for ; j < len(s.held) && s.held[j].from <= n.end; j++ {
		n.from, n.end = min(n.from, s.held[j].from), max(n.end, s.held[j].end)
	}
	s.held = slices.Replace(s.held, i, j, n)
}
