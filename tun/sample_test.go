package tun

import (
	"encoding/binary"
	"slices"

	"b4/packet"
)

// sample is a whole packet of the given family with n bytes of payload.
func sample(ip string, proto uint8, n int) []byte {
	l4 := 8
	if proto == packet.TCP {
		l4 = 32
	}
	ihl := 20
	if ip == "v6" {
		ihl = 40
	}
	b := make([]byte, ihl+l4+n)
	for i := ihl + l4; i < len(b); i++ {
		b[i] = byte(i*31 + i>>8)
	}
	if ip == "v6" {
		b[0], b[6], b[7] = 0x60, proto, 64
		copy(b[8:], net6.Addr().AsSlice())
		copy(b[24:], far6.AsSlice())
	} else {
		b[0], b[4], b[5], b[6], b[8], b[9] = 0x45, 0xff, 0xfe, 0x40, 64, proto
		copy(b[12:], net4.Addr().AsSlice())
		copy(b[16:], far4.AsSlice())
	}
	h := b[ihl:]
	binary.BigEndian.PutUint16(h, 40000)
	binary.BigEndian.PutUint16(h[2:], 443)
	if proto == packet.TCP {
		binary.BigEndian.PutUint32(h[4:], 0xffffff00)
		h[12], h[13] = l4Words(l4), packet.ACK|packet.PSH
		copy(h[20:], []byte{1, 1, 8, 10, 0, 0, 0, 1, 0, 0, 0, 2})
	}
	packet.Finish(b, ihl, proto)
	return b
}

func l4Words(n int) byte { return byte(n / 4 << 4) }

// extend puts an extension header of n bytes, a multiple of eight, into an IPv6
// packet.
func extend(b []byte, n int) []byte {
	ext := make([]byte, n)
	ext[0], ext[1] = b[6], byte(n/8-1)
	out := slices.Concat(b[:40], ext, b[40:])
	out[6] = 60
	binary.BigEndian.PutUint16(out[4:], uint16(len(out)-40))
	return out
}

// super makes a superpacket of b: the header the kernel hands over with it, and
// the pseudo-header's sum alone where the checksum goes.
func super(b []byte, size int) Header {
	l, _ := transport(b)
	h := Header{Flags: needsCsum, GSOType: gsoUDP, HdrLen: 7, GSOSize: uint16(size), CsumStart: uint16(l.l4), CsumOffset: uint16(l.csumOffset())}
	if l.proto == packet.TCP {
		h.GSOType = gsoTCPv4
		if b[0]>>4 == 6 {
			h.GSOType = gsoTCPv6
		}
	}
	at := l.l4 + l.csumOffset()
	binary.BigEndian.PutUint16(b[at:], ^checksum(packet.Pseudo(b, l.proto, len(b)-l.l4)))
	return h
}
