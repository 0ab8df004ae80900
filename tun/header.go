package tun

import (
	"encoding/binary"
	"errors"
	"fmt"

	"b4/packet"

	"golang.org/x/sys/unix"
)

// HeaderLen is the length of struct virtio_net_hdr (linux/virtio_net.h), which
// stands in front of every packet of the device.
const HeaderLen = 10

// A Header tells what of a packet the kernel has left undone. The zero value is
// that of a packet as it is on the wire.
type Header struct {
	Flags      uint8
	GSOType    uint8
	HdrLen     uint16 // a hint that is wrong for forwarded packets; nothing here trusts it
	GSOSize    uint16 // payload of each segment
	CsumStart  uint16 // the checksum covers the packet from here to its end
	CsumOffset uint16 // and is written so far behind that
}

// Values of Flags and GSOType.
const (
	needsCsum = 1 // VIRTIO_NET_HDR_F_NEEDS_CSUM: the field holds the pseudo-header's sum alone
	dataValid = 2 // VIRTIO_NET_HDR_F_DATA_VALID: the kernel has found it right

	gsoNone  = 0    // VIRTIO_NET_HDR_GSO_NONE
	gsoTCPv4 = 1    // VIRTIO_NET_HDR_GSO_TCPV4
	gsoTCPv6 = 4    // VIRTIO_NET_HDR_GSO_TCPV6
	gsoUDP   = 5    // VIRTIO_NET_HDR_GSO_UDP_L4, whole datagrams; not GSO_UDP, which makes fragments
	gsoECN   = 0x80 // VIRTIO_NET_HDR_GSO_ECN: CWR is set, and is the first segment's alone
)

// Super reports whether the packet is a superpacket.
func (h *Header) Super() bool { return h.GSOType&^gsoECN != gsoNone }

// decode reads h from b, which has HeaderLen bytes. They are in the host's byte
// order, as no TUNSETVNETLE or BE has said otherwise.
func (h *Header) decode(b []byte) {
	h.Flags, h.GSOType = b[0], b[1]
	h.HdrLen, h.GSOSize = binary.NativeEndian.Uint16(b[2:]), binary.NativeEndian.Uint16(b[4:])
	h.CsumStart, h.CsumOffset = binary.NativeEndian.Uint16(b[6:]), binary.NativeEndian.Uint16(b[8:])
}

// encode writes h to b.
func (h *Header) encode(b []byte) {
	b[0], b[1] = h.Flags, h.GSOType
	binary.NativeEndian.PutUint16(b[2:], h.HdrLen)
	binary.NativeEndian.PutUint16(b[4:], h.GSOSize)
	binary.NativeEndian.PutUint16(b[6:], h.CsumStart)
	binary.NativeEndian.PutUint16(b[8:], h.CsumOffset)
}

var errCsum = errors.New("checksum field outside the packet")

// Complete fills in the checksum of b that the kernel has left partial, if it
// has. b is no superpacket.
func (h *Header) Complete(b []byte) error {
	if h.Flags&needsCsum == 0 {
		return nil
	}
	start := int(h.CsumStart)
	at := start + int(h.CsumOffset)
	if start < 20 || at+2 > len(b) {
		return fmt.Errorf("%w: start %d, offset %d, %d bytes", errCsum, h.CsumStart, h.CsumOffset, len(b))
	}
	binary.BigEndian.PutUint16(b[at:], checksum(packet.Sum(0, b[start:])))
	return nil
}

// A layout is where in a packet its transport header begins and ends.
type layout struct {
	l4, hdr int
	proto   uint8
}

// csumOffset is where in its header the transport protocol keeps its checksum.
func (l *layout) csumOffset() int {
	if l.proto == unix.IPPROTO_TCP {
		return 16
	}
	return 6
}

// length returns the length that packet b declares. It reports false for what
// is no IP packet, or does not fit into b.
func length(b []byte) (n int, ok bool) {
	switch {
	case len(b) >= 20 && b[0]>>4 == 4:
		n = int(binary.BigEndian.Uint16(b[2:]))
		return n, b[0]&15 >= 5 && n >= int(b[0]&15)*4 && n <= len(b)
	case len(b) >= 40 && b[0]>>4 == 6:
		n = 40 + int(binary.BigEndian.Uint16(b[4:]))
		return n, n <= len(b)
	}
	return 0, false
}

// transport returns where b, which has the length it declares, has its TCP or
// UDP header. It reports false for other protocols and for fragments.
func transport(b []byte) (l layout, ok bool) {
	if b[0]>>4 == 4 {
		if binary.BigEndian.Uint16(b[6:])&0x3fff != 0 {
			return layout{}, false
		}
		l.l4, l.proto = int(b[0]&15)*4, b[9]
	} else if l.l4, l.proto, ok = skipExtensions(b); !ok {
		return layout{}, false
	}
	seg := b[min(l.l4, len(b)):]
	switch {
	case l.proto == unix.IPPROTO_TCP && len(seg) >= 20:
		n := int(seg[12]>>4) * 4
		l.hdr = l.l4 + n
		return l, n >= 20 && n <= len(seg)
	case l.proto == unix.IPPROTO_UDP && len(seg) >= 8:
		l.hdr = l.l4 + 8
		return l, true
	}
	return layout{}, false
}

// skipExtensions walks IPv6 extension headers (RFC 8200 section 4). It stops at a
// routing header that has not reached its end: the checksum is over another
// destination than the packet's.
func skipExtensions(b []byte) (at int, proto uint8, ok bool) {
	for at, proto = 40, b[6]; ; {
		switch proto {
		case unix.IPPROTO_HOPOPTS, unix.IPPROTO_ROUTING, unix.IPPROTO_DSTOPTS:
			if at+8 > len(b) || proto == unix.IPPROTO_ROUTING && b[at+3] != 0 {
				return 0, 0, false
			}
			at, proto = at+8+int(b[at+1])*8, b[at]
		default:
			return at, proto, true
		}
	}
}
