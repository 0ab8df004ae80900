package tun

import "encoding/binary"

// sum adds b to acc as the Internet checksum does (RFC 1071), big-endian words,
// not yet folded: 32 bits at a time and eight words a turn.
func sum(acc uint64, b []byte) uint64 {
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

// checksum is the complement of a sum, as it stands in a header. It is never
// zero, which to UDP means "no checksum" (RFC 768) and to the others the same
// as its complement.
func checksum(acc uint64) uint16 {
	for acc > 0xffff {
		acc = acc>>16&0xffffffff + acc&0xffff
	}
	if acc == 0xffff {
		return 0xffff
	}
	return ^uint16(acc)
}

// pseudo sums the pseudo-header (RFC 9293 section 3.1, RFC 8200 section 8.1) of
// packet b with a transport segment of n bytes.
func pseudo(b []byte, proto uint8, n int) uint64 {
	addrs := b[12:20]
	if b[0]>>4 == 6 {
		addrs = b[8:40]
	}
	return sum(uint64(proto)+uint64(n), addrs)
}

// sumIPv4 writes the checksum of the IPv4 header that b is.
func sumIPv4(b []byte) {
	b[10], b[11] = 0, 0
	binary.BigEndian.PutUint16(b[10:], checksum(sum(0, b)))
}
