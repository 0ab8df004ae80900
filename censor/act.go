package censor

import (
	"encoding/binary"
	"net/netip"
	"time"

	"b4/packet"
)

// A penalty is an action under way against a connection, or against all of a
// client's connections to one port of a server.
type penalty struct {
	from    time.Time // Drop begins
	until   time.Time
	length  time.Duration
	left    int // packets that still pass before Drop
	buckets [2]bucket
}

// A hit is how a packet meets a penalty.
type hit struct {
	first      bool // it gave the name away
	request    bool // in a plain request
	toServer   bool // it goes the way of the hello
	fromClient bool // it comes from the client's side
	half       *half
}

func (h *hit) side() Sides {
	if h.toServer {
		return ToServer
	}
	return ToClient
}

// penaltyKey is the key of a penalty against who sent the packet in c.view, or
// against who gets it.
func (c *Censor) penaltyKey(toServer bool) tuple {
	k := tuple{c.view.Src, c.view.Dst}
	if !toServer {
		k = tuple{c.view.Dst, c.view.Src}
	}
	if c.p.Residual.AnyPort {
		k.near = netip.AddrPortFrom(k.near.Addr(), 0)
	}
	if c.p.Residual.Host {
		k.far = netip.AddrPortFrom(k.far.Addr(), 0)
	}
	return k
}

// penalty returns the penalty the packet in c.view falls under, or nil.
func (c *Censor) penalty(now time.Time) (pen *penalty, toServer bool) {
	for _, toServer := range [2]bool{true, false} {
		k := c.penaltyKey(toServer)
		pen := c.penalties.get(k)
		if pen == nil {
			continue
		}
		if !now.Before(pen.until) {
			c.penalties.remove(k)
			continue
		}
		if c.p.Residual.Renew {
			pen.until = now.Add(pen.length)
		}
		return pen, toServer
	}
	return nil, false
}

// condemn begins a penalty against who sent the packet in c.view.
func (c *Censor) condemn(now time.Time) *penalty {
	c.stats.Blocked++
	r := &c.p.Residual
	length := c.between(r.For, r.Most)
	pen := penalty{from: now, until: now.Add(length), length: length, left: c.draw(c.p.Action.After)}
	if c.p.Action.Drop != 0 {
		pen.from = now.Add(c.delay())
	}
	for i := range pen.buckets {
		pen.buckets[i] = bucket{tokens: float64(c.p.Action.Burst), at: now}
	}
	if c.p.Residual.For == 0 {
		return &pen
	}
	for k, old, ok := c.penalties.oldest(); ok && (c.penalties.full() || !now.Before(old.until)); k, old, ok = c.penalties.oldest() {
		c.penalties.remove(k)
	}
	return c.penalties.put(c.penaltyKey(true), pen)
}

// punish carries the action out on the packet in c.view.
func (c *Censor) punish(now time.Time, pen *penalty, pkt []byte, h hit) Verdict {
	a := &c.p.Action
	out := Verdict{Forward: true}
	if a.Drop&h.side() != 0 {
		switch {
		case now.Before(pen.from):
		case h.first:
			out.Forward = !a.DropHello
		case pen.left > 0:
			pen.left--
		default:
			out.Forward = false
		}
	}
	if a.Rate > 0 && !pen.buckets[h.side()>>1].take(now, len(pkt), a) {
		out.Forward = false
	}
	tcp := c.view.Proto == packet.TCP
	if a.Rewrite && tcp && !h.toServer && out.Forward {
		out.Rewritten = c.rewritten(pkt)
		c.stats.Rewritten++
	}
	if !out.Forward {
		c.stats.Dropped++
	}
	switch {
	case !tcp || c.view.Flags&packet.RST != 0: // a reset is not answered with resets
	case h.request && a.Page != "":
		out.Inject = c.page(h)
	default:
		out.Inject = c.forge(h)
	}
	c.stats.Injected += uint64(len(out.Inject))
	return out
}

// rewritten is the packet in c.view made RST/ACK: numbers, TTL and IPv4
// identification stay, payload and options go.
func (c *Censor) rewritten(pkt []byte) []byte {
	v := &c.view
	s := packet.Segment{Src: v.Src, Dst: v.Dst, Seq: v.Seq, Ack: v.Ack, Flags: packet.RST | packet.ACK, TTL: v.TTL}
	if pkt[0]>>4 == 4 {
		s.ID = binary.BigEndian.Uint16(pkt[4:])
	}
	return s.Append(nil)
}

// forge makes resets that both ends take for their peer's: towards the receiver
// of the packet in c.view they go on where the sender's bytes end, towards its
// sender where that has acknowledged its peer's.
func (c *Censor) forge(h hit) []Injected {
	a, v := &c.p.Action, &c.view
	next := end(v)
	if c.p.TCP.Mode != None && h.half != nil && int32(h.half.next-next) > 0 {
		next = h.half.next // pieces behind this one went first
	}
	onward := packet.Segment{Src: v.Src, Dst: v.Dst, Seq: next, Ack: v.Ack, TTL: a.TTL, ID: a.ID}
	back := packet.Segment{Src: v.Dst, Dst: v.Src, Ack: next, TTL: a.TTL, ID: a.ID}
	if v.Flags&packet.ACK != 0 {
		back.Seq = v.Ack
	}
	var out []Injected
	after := c.delay()
	add := func(s packet.Segment, flags uint8, toClient bool) {
		s.Payload = []byte(a.Bytes)
		if s.Flags = flags; flags&packet.ACK == 0 {
			s.Ack = 0
		}
		out = append(out, Injected{Bytes: s.Append(nil), ToClient: toClient, After: after})
	}
	for i := range a.RST + a.RSTACK {
		flags := uint8(packet.RST)
		if i >= a.RST {
			flags |= packet.ACK
		}
		if a.To&h.side() != 0 {
			add(onward, flags, !h.fromClient)
		}
		if a.To&^h.side() != 0 {
			add(back, flags, h.fromClient)
		}
	}
	return out
}

// page makes the answer to the plain request in c.view, which ends the
// connection.
func (c *Censor) page(h hit) []Injected {
	v := &c.view
	s := packet.Segment{Src: v.Dst, Dst: v.Src, Seq: v.Ack, Ack: end(v), TTL: c.p.Action.TTL,
		Flags: packet.PSH | packet.FIN | packet.ACK, Window: 1 << 12, Payload: []byte(c.p.Action.Page)}
	return []Injected{{Bytes: s.Append(nil), ToClient: h.fromClient, After: c.delay()}}
}

// draw picks a number from s.
func (c *Censor) draw(s Span) int {
	if s.Max <= s.Min {
		return s.Min
	}
	return s.Min + c.rng.IntN(s.Max-s.Min+1)
}

// delay picks how long forged packets take this time.
func (c *Censor) delay() time.Duration { return c.between(c.p.Action.Delay[0], c.p.Action.Delay[1]) }

// between picks a time from least to most.
func (c *Censor) between(least, most time.Duration) time.Duration {
	if most <= least {
		return least
	}
	return least + time.Duration(c.rng.Int64N(int64(most-least)+1))
}

// A bucket is a token bucket of bytes.
type bucket struct {
	tokens float64
	at     time.Time
}

// take lets n bytes pass if there are tokens for them.
func (b *bucket) take(now time.Time, n int, a *Action) bool {
	b.tokens = min(float64(a.Burst), b.tokens+now.Sub(b.at).Seconds()*float64(a.Rate))
	b.at = now
	if b.tokens < float64(n) {
		return false
	}
	b.tokens -= float64(n)
	return true
}
