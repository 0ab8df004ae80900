package desync

import (
	"encoding/binary"
	"slices"

	"b4/engine"
	"b4/packet"
)

// emit writes k as a whole packet, or as two fragments of one, into out.
func (p *Plan) emit(k *pkt, out *engine.Batch, m engine.Meta, e *Env) {
	n, order := e.headerLen(k.Fool)+len(k.Head)+k.Len, uint16(out.Len())
	if text := e.Msg.Bytes; k.real() && p.size > 0 { // of the handshake a packet has its own
		if p.text != nil {
			text = p.text
		}
		k.Data = text[k.Off : k.Off+k.Len]
	}
	if k.frag == 0 {
		k.write(out.Grow(n, m), order, e)
		out.Delay(k.after)
		return
	}
	p.whole = slices.Grow(p.whole[:0], n)[:n]
	ipLen := k.write(p.whole, order, e)
	fragment(out, m, p.whole, ipLen, e.headerLen(k.Fool), k, e.Rand)
}

// write makes k a packet in b, the order-th of the plan, and returns how many
// bytes of it are IP.
func (k *pkt) write(b []byte, order uint16, e *Env) (ipLen int) {
	if e.Msg.Proto == QUIC {
		return k.writeUDP(b, order, e)
	}
	c, hdr := &e.Conn, e.headerLen(k.Fool)
	ipLen = c.IPLen + extLen(k.Fool)
	copy(b, c.Header)
	t := b[ipLen:]
	if hdr > len(c.Header) {
		k.Fool.addExts(b)
		opts := copy(t, c.Header[c.IPLen:][:20])
		if k.Fool&MD5 != 0 { // first, as the client's options may have an end
			opts += copy(t[opts:], md5Option[:])
		}
		copy(t[opts:], c.Header[c.IPLen+20:])
	}
	copy(b[hdr+copy(b[hdr:], k.Head):], k.Data)
	if k.TTL != 0 {
		setTTL(b, k.TTL)
	}
	k.id.set(b, order, e.Rand)

	base := c.Base
	if k.Flags&packet.SYN != 0 {
		base = binary.BigEndian.Uint32(t[4:])
	}
	binary.BigEndian.PutUint32(t[4:], base+uint32(k.Off-len(k.Head)))
	t[12] = uint8(hdr-ipLen)<<2 | t[12]&0xf
	t[13] = k.flags(t[13], len(e.Msg.Bytes), t[12]&1 != 0)
	if k.Window != 0 {
		binary.BigEndian.PutUint16(t[14:], k.Window)
	}
	k.Fool.spoil(b, ipLen, hdr)
	packet.Finish(b, ipLen, packet.TCP)
	if k.Fool&BadSum != 0 {
		t[16] ^= 0xb4
	}
	return ipLen
}

// flags spreads the client's flags: CWR stays on the first byte, FIN and PSH on
// the last. With AE the flags of ECN are a counter, which every packet has (RFC
// 9768 section 3.2.2). A decoy never closes the connection.
func (k *pkt) flags(f uint8, size int, counter bool) uint8 {
	if k.Flags != 0 {
		return k.Flags
	}
	if k.Off > 0 && !counter {
		f &^= packet.CWR
	}
	if k.Off+k.Len < size {
		f &^= packet.FIN | packet.PSH
	}
	if !k.real() && !counter {
		f &^= packet.CWR
	}
	if !k.real() {
		f = f&^packet.FIN | packet.PSH
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
