package tlshello

import "encoding/binary"

// A reader reads the handshake bytes inside TLS records. It steps over record
// headers, so that a hello cut into many records reads as one.
type reader struct {
	b    []byte
	pos  int  // offset of the next byte in b
	rec  int  // bytes left in the current record
	left int  // bytes left in the handshake message; counts only once set
	bad  bool // not a handshake record where one must be
}

// more steps over record headers to the next handshake byte and reports
// whether it is there.
func (r *reader) more() bool {
	for r.rec == 0 {
		if !r.header() {
			return false
		}
	}
	return r.pos < len(r.b)
}

// header reads a record header (RFC 8446 section 5.1). As much of it as is
// there must be right.
func (r *reader) header() bool {
	h := r.b[min(r.pos, len(r.b)):]
	if len(h) > 0 && h[0] != recordHandshake || len(h) > 1 && h[1] != 3 {
		r.bad = true
		return false
	}
	if len(h) < recordHeaderLen {
		return false
	}
	n := int(binary.BigEndian.Uint16(h[3:]))
	if n == 0 || n > maxRecord {
		r.bad = true // an empty handshake record is forbidden
		return false
	}
	r.pos, r.rec = r.pos+recordHeaderLen, n
	return true
}

func (r *reader) advance(n int) { r.pos, r.rec, r.left = r.pos+n, r.rec-n, r.left-n }

// skip skips n bytes and reports whether all of them were there.
func (r *reader) skip(n int) bool {
	for n > 0 {
		if !r.more() {
			return false
		}
		step := min(n, r.rec)
		if r.pos+step > len(r.b) {
			return false
		}
		r.advance(step)
		n -= step
	}
	return true
}

func (r *reader) u8() (int, bool) {
	if !r.more() {
		return 0, false
	}
	v := r.b[r.pos]
	r.advance(1)
	return int(v), true
}

// uint reads a big-endian number of n bytes.
func (r *reader) uint(n int) (int, bool) {
	if n == 2 && r.rec >= 2 && r.pos+2 <= len(r.b) { // most are, and in one record
		v := binary.BigEndian.Uint16(r.b[r.pos:])
		r.advance(2)
		return int(v), true
	}
	v := 0
	for range n {
		c, ok := r.u8()
		if !ok {
			return 0, false
		}
		v = v<<8 | c
	}
	return v, true
}

// skipVector skips a vector whose length stands before it in n bytes
// (RFC 8446 section 3.4).
func (r *reader) skipVector(n int) bool {
	if r.left < n {
		r.bad = true
		return false
	}
	size, ok := r.uint(n)
	if !ok {
		return false
	}
	if size > r.left {
		r.bad = true
		return false
	}
	return r.skip(size)
}
