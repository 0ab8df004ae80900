package quic

import "slices"

// A Layout is how the Initial packets of a client's datagram are to be written
// anew, with the same frames but for PADDING.
type Layout struct {
	Cuts    []int // offsets in the handshake bytes at which CRYPTO frames are cut in two, in any order
	Reverse bool  // CRYPTO frames stand last bytes first; otherwise as the client has them
	Ahead   bool  // PADDING stands ahead of the CRYPTO frames; otherwise behind
	Size    int   // bytes of UDP payload to grow to by PADDING
	Max     int   // bytes of UDP payload it must not grow beyond
}

// maxFrames bounds the CRYPTO frames of one packet, cut ones counted. They are
// sorted by insertion; clients that scramble make about ten.
const maxFrames = 128

// AppendReseal appends datagram b of connection c, with its Initial packets as l
// says, to dst: under the same headers and packet numbers, so that the server
// sees what the client said, and nothing else. Every other packet stays as it is.
// c has been given b by a Decoder; without c the keys follow from b.
//
// It appends nothing and reports false where nothing changes: there is no Initial
// packet that opens and carries CRYPTO, l asks for no other order, or what it asks
// for does not fit Max. b is only read.
func (s *Sealer) AppendReseal(dst []byte, c *Conn, b []byte, l *Layout) ([]byte, bool) {
	start, changed := len(dst), false
	for i := 0; i < maxCoalesced && len(b) > 0; i++ {
		h := Parse(b)
		if h.Kind == NotQUIC {
			break
		}
		ok := false
		if h.Kind == Initial {
			total := len(dst) - start + len(b)
			dst, ok = s.reseal(dst, c, &h, b[:h.Len], l, l.Size-total, max(l.Max-total, 0))
		}
		if !ok {
			dst = append(dst, b[:h.Len]...)
		}
		changed = changed || ok
		b = b[h.Len:]
	}
	if !changed {
		return dst[:start], false
	}
	return append(dst, b...), true
}

// reseal is AppendReseal for one Initial packet, which should grow by want bytes
// and may by room.
func (s *Sealer) reseal(dst []byte, c *Conn, h *Header, pkt []byte, l *Layout, want, room int) ([]byte, bool) {
	k, largest := s.keysOf(c, h)
	s.packet = append(s.packet[:0], pkt...)
	payload, n, ok := k.open(s.packet, h.number, largest)
	if !ok || s.packet[0]&0x0c != 0 || !s.take(payload) {
		return dst, false
	}
	if changed := s.arrange(l); !changed && !l.Ahead && want <= 0 {
		return dst, false
	}
	size := int(s.packet[0]&3) + 1
	body := len(s.others)
	for _, f := range s.frames {
		body += f.size()
	}
	text := max(body, len(payload)+max(min(want, room), 0)) // without PADDING, or with
	lengthLen := h.number - h.length
	if lengthLen == 1 && size+text+tagLen >= 1<<6 {
		lengthLen, room = 2, room-1
	}
	if text-len(payload) > room || size+text+tagLen >= 1<<14 || len(s.frames) > maxFrames {
		return dst, false
	}

	start := len(dst)
	dst = append(dst, s.packet[:h.length]...)
	dst = appendVarintOf(dst, size+text+tagLen, lengthLen)
	number := len(dst) - start
	dst = append(dst, s.packet[h.number:h.number+size]...)
	dst = append(dst, s.others...)
	if l.Ahead {
		dst = appendPadding(dst, text-body)
	}
	for _, f := range s.frames {
		dst = f.append(dst)
	}
	if !l.Ahead {
		dst = appendPadding(dst, text-body)
	}
	dst = appendPadding(dst, tagLen)
	k.seal(dst[start:], number, size, uint64(n))
	return dst, true
}

// keysOf are the keys of c for h's packet, or those that follow from it, and the
// packet number that its own is read against.
func (s *Sealer) keysOf(c *Conn, h *Header) (*keys, int64) {
	if c != nil && c.keys.of.version == h.Version {
		return &c.keys, c.largest
	}
	if of := (origin{h.Version, newCID(h.DCID)}); s.keys.of != of {
		s.keys.derive(of)
	}
	return &s.keys, -1
}

// take sorts the frames of payload into frames and others. It reports false where
// there is no CRYPTO frame, where a server would close the connection, and where two
// frames have other bytes for the same place: in another order it might take the others.
func (s *Sealer) take(payload []byte) bool {
	s.frames, s.others = s.frames[:0], s.others[:0]
	r := reader{b: payload}
	for r.pos < len(payload) {
		at := r.pos
		f := r.frame()
		switch {
		case r.bad || f.typ == frameClose:
			return false
		case f.typ == frameCrypto:
			if f.off >= MaxMessage || len(f.data) > MaxMessage-int(f.off) || len(f.data) == MaxMessage {
				return false
			}
			if len(s.frames) == maxFrames || slices.ContainsFunc(s.frames, f.contradicts) {
				return false
			}
			s.frames = append(s.frames, f)
		case f.typ != framePadding:
			s.others = append(s.others, payload[at:r.pos]...)
		}
	}
	return len(s.frames) > 0
}

// arrange cuts and orders the CRYPTO frames and reports whether that changed them.
func (s *Sealer) arrange(l *Layout) (changed bool) {
	for _, at := range l.Cuts {
		for i := 0; i < len(s.frames) && i < maxFrames; i++ {
			n := at - int(s.frames[i].off)
			if n <= 0 || n >= len(s.frames[i].data) {
				continue
			}
			s.frames = append(s.frames, frame{})
			copy(s.frames[i+1:], s.frames[i:])
			s.frames[i].data = s.frames[i].data[:n]
			s.frames[i+1].data, s.frames[i+1].off = s.frames[i+1].data[n:], uint64(at)
			changed = true
		}
	}
	if !l.Reverse || len(s.frames) > maxFrames {
		return changed
	}
	for i := 1; i < len(s.frames); i++ {
		for j := i; j > 0 && s.frames[j].off > s.frames[j-1].off; j-- {
			s.frames[j], s.frames[j-1] = s.frames[j-1], s.frames[j]
			changed = true
		}
	}
	return changed
}

// contradicts reports whether two CRYPTO frames differ where they overlap.
func (f *frame) contradicts(g frame) bool {
	from, to := max(f.off, g.off), min(f.off+uint64(len(f.data)), g.off+uint64(len(g.data)))
	return from < to && string(f.data[from-f.off:to-f.off]) != string(g.data[from-g.off:to-g.off])
}

// size is how many bytes append adds.
func (f *frame) size() int {
	return 1 + varintLen(int(f.off)) + varintLen(len(f.data)) + len(f.data)
}

// append appends CRYPTO frame f.
func (f *frame) append(dst []byte) []byte {
	dst = appendVarint(append(dst, frameCrypto), int(f.off))
	return append(appendVarint(dst, len(f.data)), f.data...)
}

func appendPadding(dst []byte, n int) []byte {
	dst = slices.Grow(dst, n)
	clear(dst[len(dst) : len(dst)+n])
	return dst[:len(dst)+n]
}
