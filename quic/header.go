package quic

import (
	"encoding/binary"
	"math/bits"
)

// A Kind says what a packet is, as far as its clear part tells.
type Kind uint8

const (
	NotQUIC            Kind = iota // not a packet of any QUIC version, or cut short
	Initial                        // carries CRYPTO frames that can be read
	ZeroRTT                        // early data, sealed
	Handshake                      // sealed
	Retry                          // the server wants its token back
	VersionNegotiation             // the server speaks other versions
	UnknownVersion                 // a long header of a version not known here, such as a greased one (RFC 9000 section 15)
	Short                          // has the form of a short header: 1-RTT, sealed
)

func (k Kind) String() string {
	return [...]string{"not quic", "initial", "0-rtt", "handshake", "retry", "version negotiation", "unknown version", "short"}[k]
}

const (
	maxCID    = 20 // RFC 9000 section 17.2
	tagLen    = 16
	sampleLen = 16
	// maxNumber is what of a packet number can stand in a packet, in bytes. The
	// sample for header protection begins that far behind its start.
	maxNumber = 4
)

// A Header is the clear part of one packet. Its slices borrow from the parsed
// bytes.
type Header struct {
	Kind       Kind
	Version    Version // 0 for Short
	DCID, SCID []byte  // nil for Short, whose id has no length of its own
	Token      []byte  // of an Initial
	Len        int     // bytes of the whole packet: others may follow in the datagram
	length     int     // where the length of the rest begins
	number     int     // where the protected packet number begins
}

// Parse reads the first packet of b, a datagram or what remains of one. What is
// not a packet, or is not all there, gives NotQUIC and nothing else.
//
// The fixed bit of long headers may be clear: RFC 9287 lets clients do that.
func Parse(b []byte) Header {
	if len(b) > 0 && b[0]&0x80 == 0 {
		if b[0]&0x40 == 0 {
			return Header{}
		}
		return Header{Kind: Short, Len: len(b)}
	}
	r := reader{b: b}
	first := r.bytes(1)
	h := Header{Version: Version(r.uint32())}
	h.DCID = r.vector8()
	h.SCID = r.vector8()
	if r.bad {
		return Header{}
	}
	if h.Version == negotiation {
		h.Kind, h.Len = VersionNegotiation, len(b)
		return h
	}
	p := h.Version.profile()
	if p == nil {
		h.Kind, h.Len = UnknownVersion, len(b)
		return h
	}
	if len(h.DCID) > maxCID || len(h.SCID) > maxCID {
		return Header{}
	}
	h.Kind = Initial + Kind((first[0]>>4-p.first)&3)
	if h.Kind == Retry {
		h.Len = len(b)
		return h
	}
	if h.Kind == Initial {
		h.Token = r.bytes(r.varint())
	}
	h.length = r.pos
	n := r.varint()
	h.number = r.pos
	if r.bytes(n); r.bad || n < maxNumber+sampleLen {
		return Header{}
	}
	h.Len = r.pos
	return h
}

// A reader reads from b; after the first read past its end it is bad and reads
// nothing more.
type reader struct {
	b   []byte
	pos int
	bad bool
}

// bytes takes the next n bytes, nil where there are none. Inlined in all who read,
// it and the two that write numbers make packages 1 kB larger, and nothing faster.
//
//go:noinline
func (r *reader) bytes(n uint64) []byte {
	if r.bad || n > uint64(len(r.b)-r.pos) {
		r.bad = true
		return nil
	}
	r.pos += int(n)
	return r.b[r.pos-int(n) : r.pos : r.pos]
}

func (r *reader) uint32() uint32 {
	b := r.bytes(4)
	if r.bad {
		return 0
	}
	return binary.BigEndian.Uint32(b)
}

// vector8 reads a byte and as many bytes as it says.
func (r *reader) vector8() []byte {
	n := r.bytes(1)
	if r.bad {
		return nil
	}
	return r.bytes(uint64(n[0]))
}

// varint reads a variable-length integer (RFC 9000 section 16).
func (r *reader) varint() uint64 {
	first := r.bytes(1)
	if r.bad {
		return 0
	}
	v := uint64(first[0] & 0x3f)
	for _, c := range r.bytes(1<<(first[0]>>6) - 1) {
		v = v<<8 | uint64(c)
	}
	return v
}

// varintLen is in how many bytes appendVarint writes v.
//
//go:noinline
func varintLen(v int) int {
	if v < 1<<6 {
		return 1
	}
	return 2
}

// appendVarint appends v, below 1<<14, in the fewest bytes.
//
//go:noinline
func appendVarint(dst []byte, v int) []byte { return appendVarintOf(dst, v, varintLen(v)) }

// appendVarintOf appends v in size bytes, one of 1, 2, 4 and 8, that hold it.
func appendVarintOf(dst []byte, v, size int) []byte {
	var b [8]byte
	binary.BigEndian.PutUint64(b[:], uint64(v))
	b[8-size] |= byte(bits.TrailingZeros(uint(size))) << 6
	return append(dst, b[8-size:]...)
}
