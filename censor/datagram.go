package censor

import (
	"slices"
	"time"
)

// judgeUDP is Judge for the UDP datagram in c.view.
func (c *Censor) judgeUDP(now time.Time, pkt []byte, fromClient bool) Verdict {
	if !c.p.QUIC.Reads && !c.p.QUIC.All && !c.p.UDP {
		return Verdict{Forward: true}
	}
	pen, toServer := c.penalty(now)
	f := c.flow(now, fromClient)
	h := &f.half[sideOf(fromClient)]
	h.packets++
	switch {
	case c.p.AllowList && c.p.UDP:
		pen, toServer = c.admit(now, f, pen, toServer, false, fromClient)
	case pen == nil && (fromClient || c.p.Inbound) && c.readsDatagram(f) && c.findQUIC(now, h) && c.chance():
		return c.punish(now, c.condemn(now), pkt, hit{first: true, toServer: true, fromClient: fromClient})
	}
	if pen == nil {
		return Verdict{Forward: true}
	}
	return c.punish(now, pen, pkt, hit{toServer: toServer, fromClient: fromClient})
}

// readsDatagram reports whether the datagram in c.view, counted already, is
// looked at.
func (c *Censor) readsDatagram(f *flow) bool {
	q, v := &c.p.QUIC, &c.view
	switch {
	case len(v.Payload) < max(q.Bytes, 1), !isVersion1(v.Payload):
		return false
	case len(q.Ports) > 0 && !slices.Contains(q.Ports, v.Dst.Port()):
		return false
	case q.SourceHigh && v.Src.Port() <= v.Dst.Port():
		return false
	}
	return !q.First || f.half[fromNear].packets+f.half[fromFar].packets == 1
}

// findQUIC looks for a reason to act in the datagram in c.view.
func (c *Censor) findQUIC(now time.Time, h *half) bool {
	q := &c.p.QUIC
	if q.All {
		return true
	}
	if h.done {
		return false
	}
	id := connectionID(c.view.Payload)
	if !h.stream.begun || h.stream.packets >= max(q.Datagrams, 1) || h.id != id {
		c.release(h)
		h.stream.begin(0)
		h.id = id
	}
	before := h.stream.packets
	for b := c.view.Payload; len(b) > 0; {
		frames, rest, ok := openInitial(b)
		if !ok {
			break
		}
		c.gather(h, frames)
		b = rest
	}
	h.stream.packets = before + 1 // it counts datagrams, not frames
	name, st := c.p.readMessage(h.stream.ready(), true)
	if st != whole {
		return false
	}
	c.stats.Hellos++
	h.stream.packets = max(q.Datagrams, 1) // the next one is another's
	return (c.listed(name) || len(c.p.ECH) > 0 && slices.Contains(c.p.ECH, string(name)) && offersECH(h.stream.ready())) &&
		c.tooMany(now, name)
}

// connectionID is the destination's in the long header that b begins with.
func connectionID(b []byte) string {
	c := cursor{b: b[5:]}
	return string(c.take(c.u8()))
}

// gather adds the CRYPTO frames (RFC 9000 section 19.6) among frames to h's
// stream. It knows none but those, PADDING, PING and ACK, and stops at others.
func (c *Censor) gather(h *half, frames []byte) {
	r := Reassembly{Mode: c.p.QUIC.Frames, Gap: c.p.MaxHello}
	c.buffered -= cap(h.stream.buf)
	defer func() { c.buffered += cap(h.stream.buf) }()
	for k := (cursor{b: frames}); len(k.b) > 0 && !k.short; {
		switch k.u8() {
		case 0, 1:
		case 2:
			k.varint()
			k.varint()
			n := k.varint()
			for k.varint(); n > 0 && !k.short; n-- {
				k.varint()
				k.varint()
			}
		case 6:
			off := k.varint()
			data := k.take(k.varint())
			if r.Mode == None {
				r.Mode = InOrder
				h.stream.add(&r, uint32(off), data, c.limit())
				return
			}
			h.stream.add(&r, uint32(off), data, c.limit())
		default:
			return
		}
	}
}
