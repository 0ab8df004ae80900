package tun

import (
	"encoding/binary"

	"golang.org/x/sys/unix"
)

// A label is what the urgent pointer of a TCP segment without the flag URG says of
// Config.Groups: the lowest of them is bit 0. To TCP it is nothing (RFC 9293 section
// 3.1), so that nothing is lost where it stood.
const (
	tcpURG    = 0x20
	labelBits = 0xf
)

// unlabel takes the label off b, which came with h and has the length that it declares,
// and returns the mark bits it stands for.
func unlabel(h *Header, b []byte, groups uint32) uint32 {
	l, ok := transport(b)
	if !ok || l.proto != unix.IPPROTO_TCP || b[0]>>4 == 6 && b[6] != l.proto { // extensions are not labelled
		return 0
	}
	tcp := b[l.l4:l.hdr]
	label := binary.BigEndian.Uint16(tcp[18:])
	if label == 0 || tcp[13]&tcpURG != 0 {
		return 0
	}
	tcp[18], tcp[19] = 0, 0
	if h.Flags&needsCsum == 0 { // RFC 1624
		sum := ^binary.BigEndian.Uint16(tcp[16:])
		binary.BigEndian.PutUint16(tcp[16:], checksum(uint64(sum)+uint64(^label)))
	}
	return uint32(label&labelBits) * (groups & -groups)
}
