package tun

import (
	"encoding/binary"
	"errors"
	"fmt"

	"b4/engine"
	"b4/packet"

	"golang.org/x/sys/unix"
)

// A Cutter yields the segments of a superpacket as a network card would send
// them, one by one and in order. The zero value has none.
type Cutter struct {
	layout
	pkt  []byte
	size int    // payload of each segment but the last
	off  int    // of what is not yet cut
	id   uint16 // of the next IPv4 segment
}

var (
	errNotIP     = errors.New("no whole IP packet")
	errTransport = errors.New("no whole TCP or UDP header")
	errGSOType   = errors.New("gso type does not fit the packet")
	errGSOSize   = errors.New("gso size is zero")
	errNoPayload = errors.New("superpacket without payload")
	errPartial   = errors.New("checksum is not where the protocol has it")
)

// Reset begins with another superpacket, of which the Cutter borrows the bytes
// until it has cut the last segment. It refuses a header that does not fit.
func (c *Cutter) Reset(h *Header, pkt []byte) error {
	*c = Cutter{}
	n, ok := length(pkt)
	if !ok {
		return errNotIP
	}
	pkt = pkt[:n]
	l, ok := transport(pkt)
	if !ok {
		return errTransport
	}
	if err := h.fits(pkt, &l); err != nil {
		return err
	}
	*c = Cutter{layout: l, pkt: pkt, size: int(h.GSOSize), off: l.hdr}
	if pkt[0]>>4 == 4 {
		c.id = binary.BigEndian.Uint16(pkt[4:])
	}
	return nil
}

// fits checks h against the packet it came with.
func (h *Header) fits(pkt []byte, l *layout) error {
	v6, want := pkt[0]>>4 == 6, uint8(0)
	switch kind := h.GSOType &^ gsoECN; kind {
	case gsoTCPv4, gsoTCPv6:
		want = unix.IPPROTO_TCP
		if v6 != (kind == gsoTCPv6) {
			return errGSOType
		}
	case gsoUDP:
		want = unix.IPPROTO_UDP
	}
	switch {
	case want == 0, l.proto != want:
		return fmt.Errorf("%w: type %d, protocol %d", errGSOType, h.GSOType, l.proto)
	case h.GSOSize == 0:
		return errGSOSize
	case len(pkt) == l.hdr:
		return errNoPayload
	case h.Flags&needsCsum != 0 && (int(h.CsumStart) != l.l4 || int(h.CsumOffset) != l.csumOffset()):
		return fmt.Errorf("%w: start %d, offset %d", errPartial, h.CsumStart, h.CsumOffset)
	}
	return nil
}

// Len is the length of the next segment; zero if there is none.
func (c *Cutter) Len() int {
	if c.off == len(c.pkt) {
		return 0
	}
	return c.hdr + min(c.size, len(c.pkt)-c.off)
}

// Next writes the next segment to dst, which has room for Len bytes, lengths and
// checksums filled in, and returns it.
func (c *Cutter) Next(dst []byte) []byte {
	seg := dst[:c.Len()]
	at, end := c.off, c.off+len(seg)-c.hdr
	copy(seg, c.pkt[:c.hdr])
	copy(seg[c.hdr:], c.pkt[at:end])
	c.off = end

	if seg[0]>>4 == 4 {
		binary.BigEndian.PutUint16(seg[4:], c.id)
		c.id++
	}
	if c.proto == unix.IPPROTO_TCP {
		c.tcp(seg[c.l4:], at)
	}
	packet.Finish(seg, c.l4, c.proto)
	return seg
}

// Bits of a TCP header's byte 13.
const (
	tcpFIN = 0x01
	tcpPSH = 0x08
	tcpACK = 0x10
	tcpCWR = 0x80
)

// tcp gives the segment that begins at the given offset of the packet its
// number, and leaves CWR to the first, FIN and PSH to the last (tcp_gso_segment
// in net/ipv4/tcp_offload.c).
func (c *Cutter) tcp(h []byte, at int) {
	binary.BigEndian.PutUint32(h[4:], binary.BigEndian.Uint32(h[4:])+uint32(at-c.hdr))
	if at > c.hdr {
		h[13] &^= tcpCWR
	}
	if c.off < len(c.pkt) {
		h[13] &^= tcpFIN | tcpPSH
	}
}

// Cut adds all segments of a superpacket to b. After an error it has added none.
func Cut(h *Header, pkt []byte, b *engine.Batch, m engine.Meta) error {
	var c Cutter
	if err := c.Reset(h, pkt); err != nil {
		return fmt.Errorf("cut superpacket: %w", err)
	}
	for n := c.Len(); n > 0; n = c.Len() {
		c.Next(b.Grow(n, m))
	}
	return nil
}
