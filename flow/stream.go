package flow

// MaxMessage bounds the bytes of a first message that are put together.
const MaxMessage = 16 << 10

// maxRanges bounds the pieces with gaps between them that a stream keeps.
const maxRanges = 10

// A Stream is the beginning of what a client says, put together from segments
// that may come out of order, twice, or overlapping. Of two versions of a byte
// the first stays.
type Stream struct {
	base   uint32 // sequence number of buf[0]
	n      int32  // of ranges
	buf    []byte
	ranges [maxRanges]span // disjoint, ascending, not touching
}

type span struct{ off, end int32 }

// Base is the sequence number of the first byte.
func (s *Stream) Base() uint32 { return s.base }

// Offset is where the byte with sequence number seq stands in the stream;
// negative before its beginning.
func (s *Stream) Offset(seq uint32) int { return int(int32(seq - s.base)) }

// Bytes is what is there without a gap from the beginning. It is valid until the
// next Insert.
func (s *Stream) Bytes() []byte {
	if s.n == 0 || s.ranges[0].off != 0 {
		return nil
	}
	return s.buf[:s.ranges[0].end]
}

// Has reports whether all n bytes from offset off are there.
func (s *Stream) Has(off, n int) bool {
	for _, r := range s.ranges[:s.n] {
		if int(r.off) <= off && off+n <= int(r.end) {
			return true
		}
	}
	return false
}

// begin starts the stream anew at seq. It keeps the memory.
func (s *Stream) begin(seq uint32) { s.base, s.buf, s.n = seq, s.buf[:0], 0 }

// lower makes seq, which lies by bytes below the beginning, the beginning. buf has
// room for them.
func (s *Stream) lower(seq uint32, by int) {
	n := len(s.buf)
	s.base, s.buf = seq, s.buf[:n+by]
	copy(s.buf[by:], s.buf[:n])
	for i := range s.ranges[:s.n] {
		s.ranges[i].off += int32(by)
		s.ranges[i].end += int32(by)
	}
}

// insert puts payload at off, for which buf has room. It reports false, and adds
// nothing, where it would be one piece too many.
func (s *Stream) insert(off int, payload []byte) bool {
	end, n := off+len(payload), int(s.n)
	i := 0
	for i < n && int(s.ranges[i].end) < off {
		i++
	}
	j := i
	for j < n && int(s.ranges[j].off) <= end {
		j++
	}
	if i == j && n == maxRanges {
		return false
	}
	if end > len(s.buf) {
		s.buf = s.buf[:end]
	}
	whole := span{int32(off), int32(end)}
	at := off // copy into the gaps between the ranges i..j only
	for _, r := range s.ranges[i:j] {
		if at < int(r.off) {
			copy(s.buf[at:r.off], payload[at-off:])
		}
		at = int(r.end)
		whole.off, whole.end = min(whole.off, r.off), max(whole.end, r.end)
	}
	if at < end {
		copy(s.buf[at:end], payload[at-off:])
	}
	s.n = int32(i + 1 + copy(s.ranges[i+1:], s.ranges[j:n]))
	s.ranges[i] = whole
	return true
}
