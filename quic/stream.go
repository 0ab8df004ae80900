package quic

import (
	"slices"

	"b4/tlshello"
)

const (
	// MaxMessage bounds what is kept of a client's CRYPTO bytes. The same bound
	// holds for hellos that come by TCP.
	MaxMessage = tlshello.MaxLen
	// maxSpans bounds the separate pieces of an unfinished message. Browsers cut
	// a hello into about ten, out of order.
	maxSpans = 64
)

// recordHeader stands before the message, so that it reads as one TLS record as
// long as MaxMessage.
const recordHeader = "\x16\x03\x01" + string(rune(MaxMessage>>8)) + "\x00"

// A span is the bytes of a message from one offset up to another.
type span struct{ from, to uint16 }

// A stream puts the bytes of CRYPTO frames together.
type stream struct {
	buf   []byte // recordHeader, then the message, with holes
	spans [maxSpans]span
	n     int // spans that are there: in order, with a hole between any two
}

func (s *stream) reset() { s.buf, s.n = s.buf[:0], 0 }

// contiguous is how many bytes are there from the beginning on.
func (s *stream) contiguous() int {
	if s.n == 0 || s.spans[0].from > 0 {
		return 0
	}
	return int(s.spans[0].to)
}

// insert adds p at off. What is there already stays: a sender may not change
// it (RFC 9000 section 2.2). It reports false where p does not fit the bounds.
func (s *stream) insert(off uint64, p []byte) bool {
	if off > MaxMessage || len(p) > MaxMessage-int(off) {
		return false
	}
	if len(p) == 0 {
		return true
	}
	at, end := int(off), int(off)+len(p)
	i := 0
	for i < s.n && int(s.spans[i].to) < at {
		i++
	}
	j := i
	for j < s.n && int(s.spans[j].from) <= end {
		j++
	}
	if i == j && s.n == maxSpans {
		return false
	}
	s.grow(end)
	union := span{uint16(at), uint16(end)}
	for _, have := range s.spans[i:j] {
		if from := int(have.from); at < from {
			copy(s.buf[len(recordHeader)+at:], p[at-int(off):from-int(off)])
		}
		at = max(at, int(have.to))
		union.from, union.to = min(union.from, have.from), max(union.to, have.to)
	}
	if at < end {
		copy(s.buf[len(recordHeader)+at:], p[at-int(off):])
	}
	copy(s.spans[i+1:], s.spans[j:s.n])
	s.n += 1 - (j - i)
	s.spans[i] = union
	return true
}

// grow makes room for a message of n bytes.
func (s *stream) grow(n int) {
	if len(s.buf) == 0 {
		s.buf = append(s.buf, recordHeader...)
	}
	if n += len(recordHeader); n > len(s.buf) {
		s.buf = slices.Grow(s.buf, n-len(s.buf))[:n]
	}
}

func (s *stream) message() []byte {
	n := s.contiguous()
	if n == 0 {
		return nil
	}
	return s.buf[len(recordHeader):][:n:n]
}

// hello reads the message as a ClientHello, or as two: the second, once it tells
// its name or is complete, is the one that counts.
func (s *stream) hello() (tlshello.Hello, tlshello.Status) {
	n := s.contiguous()
	if n == 0 {
		return tlshello.Hello{}, tlshello.Partial
	}
	h, st := s.helloAt(0, n)
	if st == tlshello.Complete && h.Len < n {
		if second, st := s.helloAt(h.Len, n); st == tlshello.Complete || second.Named() {
			return second, st
		}
	}
	return h, st
}

// helloAt reads message bytes [from, to) as a ClientHello. What stands ahead of
// them makes room for a record header meanwhile.
func (s *stream) helloAt(from, to int) (tlshello.Hello, tlshello.Status) {
	var saved [len(recordHeader)]byte
	head := s.buf[from:][:len(recordHeader)]
	copy(saved[:], head)
	copy(head, recordHeader)
	h, st := tlshello.Parse(s.buf[from : len(recordHeader)+to])
	copy(head, saved[:])
	h.Shift(from - len(recordHeader))
	return h, st
}
