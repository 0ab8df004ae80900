package packet

import (
	"encoding/binary"
	"net/netip"
)

// IP protocol numbers b4 knows (IANA protocol-numbers).
const (
	ICMP   = 1
	TCP    = 6
	UDP    = 17
	ICMPv6 = 58
)

// TCP flags (RFC 9293 section 3.1), as they stand in byte 13 of the header.
const (
	FIN = 1 << iota
	SYN
	RST
	PSH
	ACK
	URG
	ECE
	CWR
)

// A View describes one packet in place. Payload borrows from the decoded bytes.
//
// For ICMP the ports hold what tells two exchanges apart: an echo's identifier
// as source port, and the message type as destination port.
type View struct {
	Src, Dst netip.AddrPort
	Payload  []byte
	IPLen    int // bytes of the IP header, IPv6 extension headers included
	Hdr      int // offset of the payload
	Proto    uint8
	TTL      uint8 // hop limit in IPv6

	// TCP only.
	Flags    uint8
	Window   uint16
	Seq, Ack uint32
}

// Decode fills v from b. It reports false, and leaves v empty, for anything b4
// leaves alone: not IP, cut short, a fragment, or not TCP, UDP or ICMP. Bytes
// past the declared length are no part of the packet.
func (v *View) Decode(b []byte) bool { return v.decode(b, true) }

// DecodeStart is Decode for a packet of which only the beginning may be there:
// with TCP and UDP, Payload is as much of it as is.
func (v *View) DecodeStart(b []byte) bool { return v.decode(b, false) }

func (v *View) decode(b []byte, whole bool) bool {
	*v = View{}
	ok := false
	if len(b) > 0 {
		switch b[0] >> 4 {
		case 4:
			ok = v.decode4(b, whole)
		case 6:
			ok = v.decode6(b, whole)
		}
	}
	if !ok {
		*v = View{}
	}
	return ok
}

func (v *View) decode4(b []byte, whole bool) bool {
	if len(b) < 20 {
		return false
	}
	ihl, total := int(b[0]&15)*4, int(binary.BigEndian.Uint16(b[2:]))
	if ihl < 20 || ihl > len(b) || total < ihl || whole && total > len(b) {
		return false
	}
	if binary.BigEndian.Uint16(b[6:])&0x3fff != 0 { // a fragment: offset or more to come
		return false
	}
	v.TTL = b[8]
	src, dst := netip.AddrFrom4([4]byte(b[12:16])), netip.AddrFrom4([4]byte(b[16:20]))
	return v.transport(b[9], src, dst, b[:min(total, len(b))], ihl, whole)
}

func (v *View) decode6(b []byte, whole bool) bool {
	if len(b) < 40 {
		return false
	}
	total := 40 + int(binary.BigEndian.Uint16(b[4:]))
	if whole && total > len(b) {
		return false
	}
	proto, off, ok := skipExtensions(b[:min(total, len(b))])
	if !ok {
		return false
	}
	v.TTL = b[7]
	src, dst := netip.AddrFrom16([16]byte(b[8:24])), netip.AddrFrom16([16]byte(b[24:40]))
	return v.transport(proto, src, dst, b[:min(total, len(b))], off, whole)
}

// skipExtensions walks IPv6 extension headers (RFC 8200 section 4) to the
// transport header. Fragments, headers it does not know, and routing headers that
// have not reached their end, are not ours.
func skipExtensions(b []byte) (proto uint8, off int, ok bool) {
	proto, off = b[6], 40
	for {
		switch proto {
		case 0, 43, 60: // hop-by-hop, routing, destination options
			if off+8 > len(b) || proto == 43 && b[off+3] != 0 {
				return 0, 0, false // segments left: the checksum is over another destination
			}
			proto, off = b[off], off+8+int(b[off+1])*8
		default:
			return proto, off, off <= len(b)
		}
	}
}

// transport reads the transport header at b[off:], where b ends at the length
// the IP header declared, or before it if not the whole packet is there.
func (v *View) transport(proto uint8, src, dst netip.Addr, b []byte, off int, whole bool) bool {
	seg := b[off:]
	hdr := 8
	var sport, dport uint16
	switch {
	case proto == TCP && len(seg) >= 20:
		if hdr = int(seg[12]>>4) * 4; hdr < 20 || hdr > len(seg) {
			return false
		}
		v.Seq, v.Ack = binary.BigEndian.Uint32(seg[4:]), binary.BigEndian.Uint32(seg[8:])
		v.Flags, v.Window = seg[13], binary.BigEndian.Uint16(seg[14:])
		sport, dport = binary.BigEndian.Uint16(seg), binary.BigEndian.Uint16(seg[2:])
	case proto == UDP && len(seg) >= 8:
		n := int(binary.BigEndian.Uint16(seg[4:]))
		if n < 8 || whole && n > len(seg) {
			return false
		}
		seg = seg[:min(n, len(seg))]
		sport, dport = binary.BigEndian.Uint16(seg), binary.BigEndian.Uint16(seg[2:])
	case (proto == ICMP || proto == ICMPv6) && len(seg) >= 8:
		dport = uint16(seg[0])
		if t := seg[0]; proto == ICMP && (t == 8 || t == 0) || proto == ICMPv6 && (t == 128 || t == 129) {
			sport = binary.BigEndian.Uint16(seg[4:])
		}
	default:
		return false
	}
	v.Proto, v.IPLen, v.Hdr = proto, off, off+hdr
	v.Src, v.Dst = netip.AddrPortFrom(src, sport), netip.AddrPortFrom(dst, dport)
	v.Payload = seg[hdr:]
	return true
}

// TCPOption returns the value of the first TCP option of the given kind
// (RFC 9293 section 3.1) in b, the packet v was decoded from. It borrows from
// b. A malformed option list ends the search.
func (v *View) TCPOption(b []byte, kind uint8) (value []byte, ok bool) {
	if v.Proto != TCP {
		return nil, false
	}
	for opts := b[v.IPLen+20 : v.Hdr]; len(opts) > 0; {
		switch {
		case opts[0] == 0: // end of list
			return nil, false
		case opts[0] == 1: // no-operation
			opts = opts[1:]
		case len(opts) < 2 || opts[1] < 2 || int(opts[1]) > len(opts):
			return nil, false
		case opts[0] == kind:
			return opts[2:opts[1]], true
		default:
			opts = opts[opts[1]:]
		}
	}
	return nil, false
}
