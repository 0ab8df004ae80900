package tun

import (
	"encoding/binary"

	"b4/packet"

	"golang.org/x/sys/unix"
)

// The types of the ICMP errors that carry a signal. Nobody acts on them; see the
// package's documentation. One of an unknown type would do harm: Linux fails a
// connection that is still being opened.
const (
	SignalICMP   = 4 // source quench, which hosts must ignore (RFC 6633)
	SignalICMPv6 = 2 // packet too big for an MTU of 65535, which raises none (RFC 8201 section 4)
)

// maxSignal is the longest signal: two IPv6 headers, the quoted one's extension
// headers and eight bytes of its transport header within the 1280 that every
// link carries.
const maxSignal = 1280

// Signal writes to dst an ICMP error about the packet, from its destination to
// its source, by which conntrack finds the packet's connection. It returns nil
// for a packet without ports, whose connection nobody could name. dst has room
// for 1280 bytes.
func Signal(dst, pkt []byte) []byte {
	n, ok := length(pkt)
	if !ok {
		return nil
	}
	l, ok := transport(pkt[:n])
	if !ok {
		return nil
	}
	quote := pkt[:l.l4+8]
	if pkt[0]>>4 == 4 {
		return signal4(dst, quote)
	}
	return signal6(dst, quote)
}

func signal4(dst, quote []byte) []byte {
	b := dst[:28+len(quote)]
	clear(b[:28])
	copy(b[28:], quote)
	b[0], b[8], b[9] = 0x45, 64, unix.IPPROTO_ICMP
	binary.BigEndian.PutUint16(b[2:], uint16(len(b)))
	copy(b[12:16], quote[16:20])
	copy(b[16:20], quote[12:16])
	sumIPv4(b[:20])
	b[20] = SignalICMP
	binary.BigEndian.PutUint16(b[22:], checksum(packet.Sum(0, b[20:])))
	return b
}

func signal6(dst, quote []byte) []byte {
	if 48+len(quote) > maxSignal {
		return nil
	}
	b := dst[:48+len(quote)]
	clear(b[:48])
	copy(b[48:], quote)
	b[0], b[6], b[7] = 0x60, unix.IPPROTO_ICMPV6, 64
	binary.BigEndian.PutUint16(b[4:], uint16(len(b)-40))
	copy(b[8:24], quote[24:40])
	copy(b[24:40], quote[8:24])
	b[40] = SignalICMPv6
	binary.BigEndian.PutUint32(b[44:], 65535)
	binary.BigEndian.PutUint16(b[42:], checksum(packet.Sum(packet.Pseudo(b, unix.IPPROTO_ICMPV6, len(b)-40), b[40:])))
	return b
}
