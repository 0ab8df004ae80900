package quic

import (
	"encoding/binary"
	"errors"

	"b4/tlshello"
)

// MinDatagram is how long a datagram with a client's Initial must be
// (RFC 9000 section 14.1), in bytes of UDP payload.
const MinDatagram = 1200

var (
	errVersion = errors.New("seal: not a version whose initial packets are known")
	errCID     = errors.New("seal: connection id longer than 20 bytes")
	errFit     = errors.New("seal: crypto bytes do not fit the packet")
)

// A Packet is an Initial packet to be made.
type Packet struct {
	Version    Version
	DCID, SCID []byte // up to 20 bytes each; the keys follow from DCID
	Token      []byte
	Number     uint32
	Offset     int    // of Crypto in the handshake bytes, below 1<<14
	Crypto     []byte // handshake bytes, without TLS record headers
}

// A Sealer makes Initial packets. The zero value is ready, for one user at a
// time. Only new keys and a short dst make it allocate.
type Sealer struct {
	keys   keys
	hello  []byte
	packet []byte  // one that is opened to be written anew
	frames []frame // its CRYPTO frames
	others []byte  // its other frames but PADDING
}

// Append appends p as one packet of size bytes to dst, filled up with PADDING.
func (s *Sealer) Append(dst []byte, p *Packet, size int) ([]byte, error) {
	pr := p.Version.profile()
	switch {
	case pr == nil:
		return dst, errVersion
	case len(p.DCID) > maxCID || len(p.SCID) > maxCID:
		return dst, errCID
	case p.Offset < 0 || p.Offset >= 1<<14 || len(p.Token) >= 1<<14 || len(p.Crypto) >= 1<<14:
		return dst, errFit
	}
	start := len(dst)
	out := append(dst, 0xc0|pr.first<<4|(maxNumber-1))
	out = binary.BigEndian.AppendUint32(out, uint32(p.Version))
	out = append(append(out, byte(len(p.DCID))), p.DCID...)
	out = append(append(out, byte(len(p.SCID))), p.SCID...)
	out = append(appendVarint(out, len(p.Token)), p.Token...)
	rest := size - (len(out) - start) - 2
	out = append(out, 0x40|byte(rest>>8), byte(rest)) // the length, in two bytes
	number := len(out) - start
	out = binary.BigEndian.AppendUint32(out, p.Number)
	out = appendVarint(append(out, frameCrypto), p.Offset)
	out = append(appendVarint(out, len(p.Crypto)), p.Crypto...)
	pad := size - tagLen - (len(out) - start)
	if pad < 0 || rest >= 1<<14 {
		return dst, errFit
	}
	out = append(out, make([]byte, pad+tagLen)...)
	if of := (origin{p.Version, newCID(p.DCID)}); s.keys.of != of {
		s.keys.derive(of)
	}
	s.keys.seal(out[start:], number, maxNumber, uint64(p.Number))
	return out, nil
}

// AppendDecoy appends a datagram of MinDatagram bytes with a ClientHello for
// name, which belongs to no connection, to dst. Equal seeds give equal bytes.
// A server that reads it answers its source connection id, which is not the
// client's, and closes.
func (s *Sealer) AppendDecoy(dst []byte, v Version, name string, seed uint64) ([]byte, error) {
	s.hello = tlshello.AppendQUICDecoy(s.hello[:0], name, seed)
	h := s.hello[len(recordHeader):]
	const random = 4 + 2 // where a ClientHello's random stands
	return s.Append(dst, &Packet{Version: v, DCID: h[random:][:8], SCID: h[random+8:][:8], Crypto: h}, MinDatagram)
}
