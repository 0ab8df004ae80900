package packet

import (
	"encoding/binary"
	"math/bits"
)

// Sum adds b, of up to 16 MB, to acc as the Internet checksum does (RFC 1071),
// big-endian words, not yet folded.
func Sum(acc uint64, b []byte) uint64 {
	if bits.UintSize == 32 {
		return sumBytes(acc, b)
	}
	return sumWords(acc, b)
}

// sumWords takes 32 bits at a time and eight words a turn: a loop of 16-bit steps
// is several times slower where a load of any alignment is one instruction.
func sumWords(acc uint64, b []byte) uint64 {
	for len(b) >= 32 {
		acc += uint64(binary.BigEndian.Uint32(b)) + uint64(binary.BigEndian.Uint32(b[4:])) +
			uint64(binary.BigEndian.Uint32(b[8:])) + uint64(binary.BigEndian.Uint32(b[12:])) +
			uint64(binary.BigEndian.Uint32(b[16:])) + uint64(binary.BigEndian.Uint32(b[20:])) +
			uint64(binary.BigEndian.Uint32(b[24:])) + uint64(binary.BigEndian.Uint32(b[28:]))
		b = b[32:]
	}
	for len(b) >= 4 {
		acc += uint64(binary.BigEndian.Uint32(b))
		b = b[4:]
	}
	if len(b) >= 2 {
		acc += uint64(binary.BigEndian.Uint16(b))
		b = b[2:]
	}
	if len(b) == 1 {
		acc += uint64(b[0]) << 8
	}
	return acc
}

// sumBytes adds up high and low bytes apart, in 32 bits. MIPS and ARM load bytes one
// by one in any case, as words may not lie anywhere: so they need not be put
// together first, nor carried into 64 bits. There it takes half the time, and as
// long as sumWords on a 386.
func sumBytes(acc uint64, b []byte) uint64 {
	var high, low uint32
	for len(b) >= 16 {
		high += uint32(b[0]) + uint32(b[2]) + uint32(b[4]) + uint32(b[6]) + uint32(b[8]) + uint32(b[10]) + uint32(b[12]) + uint32(b[14])
		low += uint32(b[1]) + uint32(b[3]) + uint32(b[5]) + uint32(b[7]) + uint32(b[9]) + uint32(b[11]) + uint32(b[13]) + uint32(b[15])
		b = b[16:]
	}
	for len(b) >= 2 {
		high, low = high+uint32(b[0]), low+uint32(b[1])
		b = b[2:]
	}
	if len(b) == 1 {
		high += uint32(b[0])
	}
	return acc + uint64(high)<<8 + uint64(low)
}

// Fold brings a sum down to 16 bits.
func Fold(acc uint64) uint16 {
	for acc > 0xffff {
		acc = acc>>16&0xffffffff + acc&0xffff
	}
	return uint16(acc)
}

// Pseudo sums the pseudo-header (RFC 9293 section 3.1, RFC 8200 section 8.1) of
// whole packet b with a transport segment of n bytes.
func Pseudo(b []byte, proto uint8, n int) uint64 {
	addrs := b[12:20]
	if b[0]>>4 == 6 {
		addrs = b[8:40]
	}
	return Sum(uint64(proto)+uint64(n), addrs)
}

// csumAt tells where proto keeps its checksum within its header, and whether
// the pseudo-header counts. At is -1 for a protocol without one we know.
func csumAt(proto uint8) (at int, withPseudo bool) {
	switch proto {
	case TCP:
		return 16, true
	case UDP:
		return 6, true
	case ICMP:
		return 2, false
	case ICMPv6:
		return 2, true
	}
	return -1, false
}

// transportSum is the checksum over the transport segment at b[ipLen:],
// whatever stands in the checksum field taken along.
func transportSum(b []byte, ipLen int, proto uint8) uint16 {
	var acc uint64
	if _, withPseudo := csumAt(proto); withPseudo {
		acc = Pseudo(b, proto, len(b)-ipLen)
	}
	return Fold(Sum(acc, b[ipLen:]))
}

// Finish writes the lengths and checksums of whole packet b: IP header (and
// IPv6 extension headers) in the first ipLen bytes, then a header of proto.
// b must be long enough for both headers, and at most 65535 bytes.
func Finish(b []byte, ipLen int, proto uint8) {
	if b[0]>>4 == 4 {
		binary.BigEndian.PutUint16(b[2:], uint16(len(b)))
		b[10], b[11] = 0, 0
		binary.BigEndian.PutUint16(b[10:], ^Fold(Sum(0, b[:ipLen])))
	} else {
		binary.BigEndian.PutUint16(b[4:], uint16(len(b)-40))
	}
	at, _ := csumAt(proto)
	if at < 0 {
		return
	}
	if proto == UDP {
		binary.BigEndian.PutUint16(b[ipLen+4:], uint16(len(b)-ipLen))
	}
	field := b[ipLen+at : ipLen+at+2]
	field[0], field[1] = 0, 0
	s := ^transportSum(b, ipLen, proto)
	if s == 0 && proto == UDP {
		s = 0xffff // zero means "no checksum" (RFC 768)
	}
	binary.BigEndian.PutUint16(field, s)
}

// ChecksumOK reports whether b decodes and its IPv4 header and transport
// checksums are right. A UDP datagram over IPv4 without a checksum is right.
func ChecksumOK(b []byte) bool {
	var v View
	if !v.Decode(b) {
		return false
	}
	b = b[:v.Hdr+len(v.Payload)]
	if b[0]>>4 == 4 {
		if Fold(Sum(0, b[:v.IPLen])) != 0xffff {
			return false
		}
		if v.Proto == UDP && b[v.IPLen+6] == 0 && b[v.IPLen+7] == 0 {
			return true
		}
	}
	return transportSum(b, v.IPLen, v.Proto) == 0xffff
}
