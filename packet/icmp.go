package packet

import (
	"encoding/binary"
	"net/netip"
)

// An ICMPKind is a kind of ICMP error that routers and hosts send. Each has a
// form in both families.
type ICMPKind uint8

const (
	TimeExceeded    ICMPKind = iota // the hop limit ran out on the way
	TooBig                          // larger than the next link's MTU, and not to be cut
	PortUnreachable                 // nobody listens
)

// Type and code of each kind: RFC 792 with RFC 1191, and RFC 4443.
var (
	icmp4Kinds = [...][2]byte{TimeExceeded: {11, 0}, TooBig: {3, 4}, PortUnreachable: {3, 3}}
	icmp6Kinds = [...][2]byte{TimeExceeded: {3, 0}, TooBig: {2, 0}, PortUnreachable: {1, 4}}
)

const (
	icmp4Quote = 576 - 28  // RFC 1812, 4.3.2.3: the whole error has at most 576 bytes
	icmp6Quote = 1280 - 48 // RFC 4443, 2.4(c): it fits the least MTU
)

// ICMPError appends to dst a whole IP packet with the ICMP error about
// original that a node of address from sends to original's source, and returns
// the extended slice. mtu, in bytes, is used by TooBig only.
//
// It returns dst as it is where no error may be sent: original is not IP or
// cut short, is itself an ICMP error, is a later fragment, has a source no
// single host can have, or from is of the other family (RFC 1122, 3.2.2;
// RFC 4443, 2.4(e)).
func ICMPError(dst []byte, kind ICMPKind, from netip.Addr, mtu int, original []byte) []byte {
	if len(original) == 0 || int(kind) >= len(icmp4Kinds) {
		return dst
	}
	switch v := original[0] >> 4; {
	case v == 4 && from.Is4():
		return icmpError4(dst, kind, from, mtu, original)
	case v == 6 && from.Is6():
		return icmpError6(dst, kind, from, mtu, original)
	}
	return dst
}

func icmpError4(dst []byte, kind ICMPKind, from netip.Addr, mtu int, original []byte) []byte {
	if len(original) < 20 {
		return dst
	}
	ihl, total := int(original[0]&15)*4, int(binary.BigEndian.Uint16(original[2:]))
	if ihl < 20 || total < ihl || total > len(original) {
		return dst
	}
	offset := binary.BigEndian.Uint16(original[6:]) & 0x1fff
	to := netip.AddrFrom4([4]byte(original[12:16]))
	if offset != 0 || !oneHost(to) || original[9] == ICMP && !icmp4Asks(original[ihl:total]) {
		return dst
	}
	return icmpAppend(dst, ICMP, icmp4Kinds[kind], from, to, restOf(kind, mtu&0xffff), original[:min(total, icmp4Quote)])
}

func icmpError6(dst []byte, kind ICMPKind, from netip.Addr, mtu int, original []byte) []byte {
	if len(original) < 40 {
		return dst
	}
	total := 40 + int(binary.BigEndian.Uint16(original[4:]))
	if total > len(original) {
		return dst
	}
	to := netip.AddrFrom16([16]byte(original[8:24]))
	if !oneHost(to) || original[6] == ICMPv6 && (total < 41 || original[40] < 128) {
		return dst
	}
	return icmpAppend(dst, ICMPv6, icmp6Kinds[kind], from, to, restOf(kind, mtu), original[:min(total, icmp6Quote)])
}

// restOf is the word after the checksum: the MTU for TooBig, else unused.
func restOf(kind ICMPKind, mtu int) uint32 {
	if kind == TooBig {
		return uint32(mtu)
	}
	return 0
}

func icmpAppend(dst []byte, proto uint8, kind [2]byte, from, to netip.Addr, rest uint32, quote []byte) []byte {
	start, ipLen := len(dst), appendIP(&dst, from, to, proto, 0, 0)
	dst = append(dst, kind[0], kind[1], 0, 0)
	dst = binary.BigEndian.AppendUint32(dst, rest)
	dst = append(dst, quote...)
	Finish(dst[start:], ipLen, proto)
	return dst
}

// icmp4Asks reports whether an ICMP message asks or answers, that is, is no
// error. Redirects count as errors.
func icmp4Asks(m []byte) bool {
	if len(m) == 0 {
		return false
	}
	switch m[0] {
	case 3, 4, 5, 11, 12:
		return false
	}
	return true
}

// oneHost reports whether a is an address that a single host can send from.
func oneHost(a netip.Addr) bool {
	return !a.IsUnspecified() && !a.IsMulticast() && a != netip.AddrFrom4([4]byte{255, 255, 255, 255})
}
