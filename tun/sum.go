package tun

import (
	"encoding/binary"

	"b4/packet"
)

// checksum is the complement of a sum, as it stands in a header. It is never
// zero, which to UDP means "no checksum" (RFC 768) and to the others the same
// as its complement.
func checksum(acc uint64) uint16 {
	if s := packet.Fold(acc); s != 0xffff {
		return ^s
	}
	return 0xffff
}

// sumIPv4 writes the checksum of the IPv4 header that b is.
func sumIPv4(b []byte) {
	b[10], b[11] = 0, 0
	binary.BigEndian.PutUint16(b[10:], checksum(packet.Sum(0, b)))
}
