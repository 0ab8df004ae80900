package pipeline

import (
	"encoding/binary"
	"fmt"

	"b4/engine"
	"b4/packet"
)

// Describe says what a packet is: its range of the stream and what sets it apart.
// base is the sequence number of TCP that the stream begins with.
func Describe(o engine.Out, base uint32) string {
	var v packet.View
	text := fmt.Sprintf("%d bytes", len(o.Bytes))
	switch {
	case !v.Decode(o.Bytes):
		if f, ok := fragment(o.Bytes); ok {
			text = f
		}
	case v.Proto == packet.TCP:
		text = segment(o.Bytes, &v, base)
	default:
		text = fmt.Sprintf("%s of %d bytes, ttl %d", [...]string{packet.ICMP: "icmp", packet.UDP: "udp", packet.ICMPv6: "icmp"}[v.Proto], len(v.Payload), v.TTL)
	}
	if o.Back {
		text += ", to the client"
	}
	if o.After > 0 {
		text += ", " + o.After.String() + " later"
	}
	return text
}

// flagNames are the flags of TCP that set a packet of ours apart.
var flagNames = [...]struct {
	bit  uint8
	name string
}{{packet.SYN, "syn"}, {packet.RST, "rst"}, {packet.FIN, "fin"}}

// segment describes the packet of TCP that b is, view v.
func segment(b []byte, v *packet.View, base uint32) string {
	if v.Flags&packet.SYN != 0 {
		base = v.Seq
	}
	off := int(int32(v.Seq - base))
	text := fmt.Sprintf("bytes %d-%d, ttl %d", off, off+len(v.Payload), v.TTL)
	for _, f := range flagNames {
		if v.Flags&f.bit != 0 {
			text += ", " + f.name
		}
	}
	if !packet.ChecksumOK(b) {
		text += ", bad checksum"
	}
	if _, ok := v.TCPOption(b, 19); ok {
		text += ", md5 option"
	}
	return text
}

// ipv6Fragment is the number of the IPv6 fragment header (RFC 8200 section 4.5).
const ipv6Fragment = 44

// fragment describes the IP fragment that b is by the range of the datagram it
// carries. Of IPv6 it looks behind extension headers of the kinds a sender adds.
func fragment(b []byte) (string, bool) {
	switch {
	case len(b) >= 20 && b[0]>>4 == 4:
		field, head := binary.BigEndian.Uint16(b[6:]), int(b[0]&15)*4
		return fragmentText(int(field&0x1fff)*8, len(b)-head, b[8]), field&0x3fff != 0
	case len(b) >= 40 && b[0]>>4 == 6:
		next, at := b[6], 40
		for (next == 0 || next == 43 || next == 60) && at+2 <= len(b) { // hop-by-hop, routing, destination
			next, at = b[at], at+8+int(b[at+1])*8
		}
		if next == ipv6Fragment && at+8 <= len(b) {
			return fragmentText(int(binary.BigEndian.Uint16(b[at+2:])&^7), len(b)-at-8, b[7]), true
		}
	}
	return "", false
}

func fragmentText(off, n int, ttl uint8) string {
	return fmt.Sprintf("fragment, bytes %d-%d of the datagram, ttl %d", off, off+n, ttl)
}
