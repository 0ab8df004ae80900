package matrix

import (
	"bytes"
	"encoding/binary"
	"net/netip"

	"b4/packet"
	"b4/quic"
)

// An endpoint is a server's QUIC, as far as it is told by what it decrypts. Each
// connection id is a connection of its own.
type endpoint struct {
	ip     receiver // for its fragments
	conns  map[string]*quic.Conn
	talked int // datagrams of talk
}

// take takes one packet off the wire.
func (e *endpoint) take(b []byte) {
	if b = e.ip.join(b); b == nil {
		return
	}
	var v packet.View
	if !v.Decode(b) || !packet.ChecksumOK(b) || discards(b, v.IPLen) {
		return
	}
	if bytes.Equal(v.Payload, talk) {
		e.talked++
		return
	}
	h := quic.Parse(v.Payload)
	if h.Kind != quic.Initial {
		return
	}
	if e.conns == nil {
		e.conns = make(map[string]*quic.Conn)
	}
	conn := e.conns[string(h.DCID)]
	if conn == nil {
		conn = new(quic.Conn)
		e.conns[string(h.DCID)] = conn
	}
	var d quic.Decoder
	d.Datagram(conn, v.Payload) // an error leaves conn without the bytes
}

// heard reports whether one of the connections has said msg and nothing else.
func (e *endpoint) heard(msg []byte) bool {
	for _, c := range e.conns {
		if bytes.Equal(c.Message(), msg) {
			return true
		}
	}
	return false
}

// talk has the form of a packet after the handshake.
var talk = append([]byte{0x40}, make([]byte, 1100)...)

// datagram makes a UDP packet.
func datagram(src, dst netip.AddrPort, payload []byte) []byte {
	from, to := src.Addr().AsSlice(), dst.Addr().AsSlice()
	b := make([]byte, 12, 48+len(payload))
	b[0], b[8], b[9] = 0x45, 64, packet.UDP
	binary.BigEndian.PutUint16(b[4:], 1000)
	if src.Addr().Is6() {
		b = b[:8]
		b[0], b[4], b[5], b[6], b[7] = 0x60, 0, 0, packet.UDP, 64
	}
	b = append(append(b, from...), to...)
	ipLen := len(b)
	b = binary.BigEndian.AppendUint16(b, src.Port())
	b = binary.BigEndian.AppendUint16(b, dst.Port())
	b = append(append(b, 0, 0, 0, 0), payload...)
	packet.Finish(b, ipLen, packet.UDP)
	return b
}
