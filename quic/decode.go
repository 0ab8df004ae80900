package quic

import (
	"bytes"
	"encoding/binary"
	"errors"

	"b4/tlshello"
)

// Why a datagram says nothing more. All of them mean: leave it alone.
var (
	ErrSealed = errors.New("initial packet does not open with a client's keys")
	ErrFrame  = errors.New("initial packet carries what it may not")
	ErrFull   = errors.New("client's crypto frames are too many or too large")
	ErrClosed = errors.New("client closed the connection")
)

// maxCoalesced bounds the packets looked at in a datagram. Clients put one of
// each kind into one, and some two Initials.
const maxCoalesced = 6

// A Conn is what is known of one client's connection: its keys, and its CRYPTO
// bytes so far. The zero value is ready. It keeps up to MaxMessage bytes.
type Conn struct {
	keys    keys
	stream  stream
	largest int64 // the largest packet number so far
	closed  bool
}

// Reset makes c ready for another connection, with the memory it has.
func (c *Conn) Reset() { c.begin(&keys{}) }

func (c *Conn) begin(k *keys) {
	c.keys, c.largest, c.closed = *k, -1, false
	c.stream.reset()
}

// Message returns the client's handshake bytes from the first on, as far as they
// are there without a hole. They have no TLS record headers. They are valid until
// c is given to a Decoder again or reset.
func (c *Conn) Message() []byte { return c.stream.message() }

// Hello finds the positions in the ClientHello that Message begins with, or in the
// one behind it, which a server has asked for with HelloRetryRequest, as soon as
// that names its host or is complete. They are offsets into Message, for reading
// only: on the wire these bytes are encrypted, and in any order.
func (c *Conn) Hello() (tlshello.Hello, tlshello.Status) { return c.stream.hello() }

// AppendName appends the host name of h, from Hello, to dst.
func (c *Conn) AppendName(dst []byte, h *tlshello.Hello) []byte {
	return append(dst, c.Message()[h.Host:h.HostEnd]...)
}

// A Decoder reads datagrams. It is one reader's and holds what a datagram needs
// while it is read; the zero value is ready.
type Decoder struct {
	packet []byte // a copy that loses its protection
	keys   keys   // on trial
}

// Datagram reads b, what a client sent in one UDP datagram, into c. It returns
// Initial if b has an Initial packet, else the kind of its first packet. Of
// Initial packets those that open count: without one the error is ErrSealed. It
// changes nothing in b and keeps nothing of it. Where the processor helps with
// AES (amd64, arm64) new keys allocate, and nothing does otherwise.
func (d *Decoder) Datagram(c *Conn, b []byte) (Kind, error) {
	var kind Kind
	var dcid []byte
	opened, sealed := false, false
	for i := 0; i < maxCoalesced && len(b) > 0; i++ {
		h := Parse(b)
		if i == 0 {
			kind, dcid = h.Kind, h.DCID
		}
		if h.Kind == NotQUIC || !bytes.Equal(dcid, h.DCID) {
			break // packets of a datagram have the same id (RFC 9000 section 12.2)
		}
		if h.Kind == Initial {
			kind = Initial
			payload, ok := d.open(c, &h, b[:h.Len])
			opened, sealed = opened || ok, sealed || !ok
			if err := c.frames(payload); err != nil {
				return kind, err
			}
		}
		b = b[h.Len:]
	}
	if sealed && !opened {
		return kind, ErrSealed
	}
	return kind, nil
}

// open removes the protection of the Initial packet pkt. Its keys follow from
// the id of the client's first Initial, also when the server has chosen another
// id, or another version (RFC 9369 section 4.1); after a Retry, and in another
// connection, they follow from the packet's own id. The payload is valid until
// the next call.
func (d *Decoder) open(c *Conn, h *Header, pkt []byte) (payload []byte, ok bool) {
	own := origin{h.Version, newCID(h.DCID)}
	if c.keys.of.version != 0 {
		first := origin{h.Version, c.keys.of.cid}
		k := &c.keys
		if k.of != first {
			k = &d.keys
			k.derive(first)
		}
		payload, ok = d.try(c, k, h, pkt, c.largest)
		if ok || first == own {
			return payload, ok
		}
	}
	d.keys.derive(own)
	return d.try(c, &d.keys, h, pkt, -1)
}

// try opens pkt with k, which become c's keys. Where c had none, or they follow
// from another id, it begins anew.
func (d *Decoder) try(c *Conn, k *keys, h *Header, pkt []byte, largest int64) ([]byte, bool) {
	d.packet = append(d.packet[:0], pkt...)
	payload, n, ok := k.open(d.packet, h.number, largest)
	if !ok {
		return nil, false
	}
	switch had := c.keys.of; {
	case had.version == 0 || had.cid != k.of.cid:
		c.begin(k)
	case had.version != k.of.version:
		c.keys = *k
	}
	c.largest = max(c.largest, n)
	if d.packet[0]&0x0c != 0 {
		c.closed = true // reserved bits: the server closes (RFC 9000 section 17.2)
	}
	return payload, true
}

// Frames of Initial packets (RFC 9000 section 12.4).
const (
	framePadding = 0x00
	framePing    = 0x01
	frameAck     = 0x02
	frameAckECN  = 0x03
	frameCrypto  = 0x06
	frameClose   = 0x1c
)

// frames reads the frames of an Initial packet.
func (c *Conn) frames(b []byte) error {
	r := reader{b: b}
	for r.pos < len(b) {
		if c.closed {
			return ErrClosed
		}
		f := r.frame()
		switch {
		case r.bad:
			return ErrFrame
		case f.typ == frameClose:
			c.closed = true
			return ErrClosed
		case f.typ == frameCrypto && !c.stream.insert(f.off, f.data):
			return ErrFull
		}
	}
	return nil
}

// A frame is one frame of an Initial packet.
type frame struct {
	typ  uint64
	off  uint64 // of a CRYPTO frame
	data []byte // the same; borrowed
}

// frame reads a frame, as far as its type if that is frameClose, and a row of
// PADDING frames as one. It is bad where an Initial packet may not have it.
func (r *reader) frame() (f frame) {
	f.typ = r.varint()
	switch f.typ {
	case framePadding:
		r.padding()
	case framePing, frameClose:
	case frameAck:
		r.ack(0)
	case frameAckECN:
		r.ack(3)
	case frameCrypto:
		f.off = r.varint()
		f.data = r.bytes(r.varint())
	default:
		r.bad = true
	}
	return f
}

// padding skips zeros, most of a small hello's packet.
func (r *reader) padding() {
	for r.pos+8 <= len(r.b) && binary.LittleEndian.Uint64(r.b[r.pos:]) == 0 {
		r.pos += 8
	}
	for r.pos < len(r.b) && r.b[r.pos] == 0 {
		r.pos++
	}
}

// ack skips an ACK frame with so many ECN counts.
func (r *reader) ack(counts int) {
	r.varint() // largest
	r.varint() // delay
	n := r.varint()
	r.varint() // first range
	for ; n > 0 && !r.bad; n-- {
		r.varint() // gap
		r.varint() // range
	}
	for range counts {
		r.varint()
	}
}
