package packet

import (
	"encoding/binary"
	"net/netip"
)

// A Segment is what a TCP packet says. Src and Dst are of one family.
type Segment struct {
	Src, Dst netip.AddrPort
	Seq, Ack uint32
	Flags    uint8
	Window   uint16
	TTL      uint8  // 0 is 64
	ID       uint16 // IPv4 identification
	Options  []byte // padded with zeroes to four bytes; at most 40 bytes
	Payload  []byte
}

// Append appends the whole packet, lengths and checksums filled in, to dst.
func (s *Segment) Append(dst []byte) []byte {
	opts := (len(s.Options) + 3) &^ 3
	start, ipLen := len(dst), appendIP(&dst, s.Src.Addr(), s.Dst.Addr(), TCP, s.TTL, s.ID)
	var h [20]byte
	binary.BigEndian.PutUint16(h[0:], s.Src.Port())
	binary.BigEndian.PutUint16(h[2:], s.Dst.Port())
	binary.BigEndian.PutUint32(h[4:], s.Seq)
	binary.BigEndian.PutUint32(h[8:], s.Ack)
	h[12], h[13] = uint8(20+opts)<<2, s.Flags
	binary.BigEndian.PutUint16(h[14:], s.Window)
	dst = append(append(dst, h[:]...), s.Options...)
	dst = append(dst, make([]byte, opts-len(s.Options))...)
	dst = append(dst, s.Payload...)
	Finish(dst[start:], ipLen, TCP)
	return dst
}

// appendIP appends an IP header without lengths and checksums and returns its
// length.
func appendIP(dst *[]byte, src, to netip.Addr, proto, ttl uint8, id uint16) int {
	if ttl == 0 {
		ttl = 64
	}
	if src.Is4() {
		h := [20]byte{0: 0x45, 4: byte(id >> 8), 5: byte(id), 6: 0x40, 8: ttl, 9: proto}
		a, b := src.As4(), to.As4()
		copy(h[12:], a[:])
		copy(h[16:], b[:])
		*dst = append(*dst, h[:]...)
		return len(h)
	}
	h := [40]byte{0: 0x60, 6: proto, 7: ttl}
	a, b := src.As16(), to.As16()
	copy(h[8:], a[:])
	copy(h[24:], b[:])
	*dst = append(*dst, h[:]...)
	return len(h)
}
