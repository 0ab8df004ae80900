package censor

import (
	"net/netip"
	"time"

	"b4/packet"
)

const (
	maxFlows     = 8192     // connections remembered; a real box remembers more, a test needs fewer
	maxPenalties = 8192     // likewise for those it acts on
	maxBuffered  = 16 << 20 // bytes of unfinished hellos, of all connections together
	maxWindow    = 1 << 20  // how old an acknowledgement may be before AckRange calls it false
)

// A tuple is a connection: the address on the client's side of the censor
// first, or, for a penalty, the address that sent the hello.
type tuple struct{ near, far netip.AddrPort }

// A flow is one connection.
type flow struct {
	seen    time.Time
	exempt  bool // was not opened by a SYN from the client's side, and that matters
	allowed bool // an allowed name was seen in it
	half    [2]half
}

// A half is what one side of a connection has sent.
type half struct {
	known    bool
	next     uint32 // after the highest sequence number sent
	packets  int    // with payload
	done     bool   // nothing more is read
	familiar bool   // a packet looked like one of Protocols
	stream   stream
	id       string // of QUIC: the connection id that stream is of
}

// Indices of flow.half.
const (
	fromNear = iota
	fromFar
)

func sideOf(fromClient bool) int {
	if fromClient {
		return fromNear
	}
	return fromFar
}

// end is the sequence number after what v says, SYN and FIN counted.
func end(v *packet.View) uint32 {
	n := uint32(len(v.Payload))
	if v.Flags&packet.SYN != 0 {
		n++
	}
	if v.Flags&packet.FIN != 0 {
		n++
	}
	return v.Seq + n
}

// flow returns the connection of the packet in c.view, which it may begin.
func (c *Censor) flow(now time.Time, fromClient bool) *flow {
	v := &c.view
	k := tuple{v.Src, v.Dst}
	if !fromClient {
		k = tuple{v.Dst, v.Src}
	}
	f := c.flows.get(k)
	if f != nil && now.Sub(f.seen) <= c.p.Timeout {
		f.seen = now
		return f
	}
	if f != nil {
		c.forget(k, f)
	}
	for k, old, ok := c.flows.oldest(); ok && (c.flows.full() || now.Sub(old.seen) > c.p.Timeout); k, old, ok = c.flows.oldest() {
		c.forget(k, old)
	}
	opens := fromClient && v.Flags&(packet.SYN|packet.ACK) == packet.SYN
	return c.flows.put(k, flow{seen: now, exempt: c.p.InsideSYN && !opens && v.Proto == packet.TCP})
}

// forget ends a connection and gives its memory back.
func (c *Censor) forget(k tuple, f *flow) {
	for i := range f.half {
		c.buffered -= cap(f.half[i].stream.buf)
	}
	c.flows.remove(k)
}

// track notes the sequence numbers of v, sent by h. A SYN begins a new stream
// unless it is the old one again.
func (c *Censor) track(h *half, v *packet.View) {
	if v.Flags&packet.SYN != 0 && (!h.stream.begun || h.stream.base != v.Seq+1) {
		c.release(h)
		*h = half{}
		h.stream.begin(v.Seq + 1)
	}
	if e := end(v); !h.known || int32(e-h.next) > 0 {
		h.known, h.next = true, e
	}
}

// release drops the bytes h has gathered.
func (c *Censor) release(h *half) {
	c.buffered -= cap(h.stream.buf)
	h.stream.buf, h.stream.held = nil, nil
}

// join adds the payload of v to its stream and returns what can be read of it.
// Where all connections together hold too much, the oldest are forgotten.
func (c *Censor) join(h *half, v *packet.View) []byte {
	seq := v.Seq
	if v.Flags&packet.SYN != 0 {
		seq++ // data on a SYN (RFC 7413)
	}
	c.buffered -= cap(h.stream.buf)
	h.stream.add(&c.p.TCP, seq, v.Payload, c.limit())
	c.buffered += cap(h.stream.buf)
	for c.buffered > maxBuffered && c.flows.len() > 1 {
		k, old, _ := c.flows.oldest() // never the present one, which was used last
		c.forget(k, old)
	}
	return h.stream.ready()
}

// limit is how much of a stream is kept: the longest hello and as much again
// for record headers.
func (c *Censor) limit() int { return 2 * c.p.MaxHello }
