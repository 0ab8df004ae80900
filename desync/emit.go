package desync

import (
	"encoding/binary"

	"b4/engine"
	"b4/packet"
)

// md5Option is the TCP MD5 signature option (RFC 2385 section 3.0) behind two
// no-operations, with a digest that fits nothing.
var md5Option = [20]byte{0: 1, 1: 1, 2: 19, 3: 18, 4: 0xb4}

// headerLen is the length of the IP and TCP header of a packet fooling by f.
func (e *Env) headerLen(f Fool) int {
	n := len(e.Conn.Header)
	if f&MD5 != 0 {
		n += len(md5Option)
	}
	return n
}

// canMD5 reports whether the TCP header has room for the option: it is 60 bytes
// at most (RFC 9293 section 3.1).
func (e *Env) canMD5() bool { return e.headerLen(MD5)-e.Conn.IPLen <= 60 }

// emit writes k as a whole packet into out.
func (k *pkt) emit(out *engine.Batch, m engine.Meta, e *Env) {
	data := k.Data
	if k.real() {
		data = e.Msg.Bytes[k.Off : k.Off+k.Len]
	}
	order := uint16(out.Len())
	hdr, c := e.headerLen(k.Fool), &e.Conn
	b := out.Grow(hdr+len(data), m)
	copy(b, c.Header)
	copy(b[hdr:], data)
	if k.TTL != 0 {
		setTTL(b, k.TTL)
	}
	k.id.set(b, order, e.Rand)

	t := b[c.IPLen:]
	binary.BigEndian.PutUint32(t[4:], c.Base+uint32(k.Off))
	t[13] = k.flags(t[13], len(e.Msg.Bytes))
	if k.Fool&MD5 != 0 {
		copy(b[len(c.Header):], md5Option[:])
		t[12] = uint8(hdr-c.IPLen) << 2
	}
	packet.Finish(b, c.IPLen, packet.TCP)
	if k.Fool&BadSum != 0 {
		t[16] ^= 0xb4
	}
}

// flags spreads the client's flags: CWR stays on the first byte, FIN and PSH on
// the last. A decoy never closes the connection.
func (k *pkt) flags(f uint8, size int) uint8 {
	if k.Off > 0 {
		f &^= packet.CWR
	}
	if k.Off+k.Len < size {
		f &^= packet.FIN | packet.PSH
	}
	if !k.real() {
		f = f&^(packet.FIN|packet.CWR) | packet.PSH
	}
	return f
}

func setTTL(b []byte, ttl uint8) {
	if b[0]>>4 == 4 {
		b[8] = ttl
	} else {
		b[7] = ttl
	}
}
