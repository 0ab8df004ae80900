package desync

import (
	"b4/packet"
	"b4/quic"
)

// A datagram is what the steps for QUIC ask for the client's datagram. They only
// note it: the Initial packets in it are opened and sealed once, at the end.
type datagram struct {
	sealer quic.Sealer
	layout quic.Layout
	anew   bool // the Initial packets are to be written as layout says
	tail   int  // bytes to stand behind them
}

func (d *datagram) reset() {
	d.layout = quic.Layout{Cuts: d.layout.Cuts[:0]}
	d.anew, d.tail = false, 0
}

// safeMTU is an IP packet that every path of QUIC carries: less does not hold
// the 1200 bytes of a first datagram (RFC 9000 section 14.1), and IPv6 has it
// everywhere (RFC 8200 section 5).
const safeMTU = 1280

// datagrams makes the plan's packets of a QUIC message: the client's datagram,
// changed as far as there is room, and the decoys around it, each as it is.
func (p *Plan) datagrams(e *Env) {
	d, start, header := &p.dgram, len(p.arena), len(e.Conn.Header)
	size, room := len(e.Msg.Bytes), e.Conn.MTU-header
	if d.anew {
		d.layout.Size = min(d.layout.Size, room)
		d.layout.Max = max(min(safeMTU-header, room), d.layout.Size, size)
		if size > safeMTU-header { // its path is no such one
			d.layout.Max = room
		}
		if out, ok := d.sealer.AppendReseal(p.arena, e.Msg.QUIC, e.Msg.Bytes, &d.layout); ok {
			p.arena, p.text = out, out[start:len(out):len(out)]
			size = len(p.text)
		}
	}
	if d.tail > 0 && size+d.tail <= room {
		if p.text == nil {
			p.arena = append(p.arena, e.Msg.Bytes...)
		}
		p.arena = appendShapeless(p.arena, d.tail, e.Rand)
		p.text = p.made(start)
	}
	for _, s := range p.segs {
		if s.real() && p.text != nil {
			s.Len = len(p.text)
		}
		p.pkts = append(p.pkts, pkt{Seg: s})
	}
}

// writeUDP is write for a UDP packet.
func (k *pkt) writeUDP(b []byte, order uint16, e *Env) (ipLen int) {
	c := &e.Conn
	ipLen = c.IPLen + extLen(k.Fool)
	copy(b, c.Header[:c.IPLen])
	k.Fool.addExts(b)
	copy(b[ipLen:], c.Header[c.IPLen:])
	copy(b[e.headerLen(k.Fool):], k.Data)
	if k.TTL != 0 {
		setTTL(b, k.TTL)
	}
	k.id.set(b, order, e.Rand)
	packet.Finish(b, ipLen, packet.UDP)
	if sum := b[ipLen+6:][:2]; k.Fool&BadSum != 0 {
		if sum[0] ^= 0xb4; sum[0]|sum[1] == 0 { // no checksum would be right
			sum[1] = 1
		}
	}
	return ipLen
}
