package censor

import (
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"time"

	"b4/packet"
)

// A Censor stands on the path of packets and judges each. It is for one
// goroutine.
type Censor struct {
	p         Profile
	names     []string
	rng       *rand.Rand
	flows     table[tuple, flow]
	penalties table[tuple, penalty]
	fragments fragments
	policed   table[handshake, []time.Time] // latest hellos that Police counts
	buffered  int                           // bytes held by streams
	stats     Stats

	view    packet.View // of the packet being judged
	scratch []byte      // records joined
}

// A Verdict says what becomes of a packet. Its bytes are the caller's to keep.
type Verdict struct {
	Forward   bool
	Rewritten []byte // forwarded in the packet's place; nil is the packet as it is
	Inject    []Injected
}

// An Injected is a whole packet of the censor's own.
type Injected struct {
	Bytes    []byte
	ToClient bool          // it goes to the client's side
	After    time.Duration // wait this long first; zero is at once, after the judged packet
}

// Stats count since New.
type Stats struct {
	Packets   uint64 // judged
	Hellos    uint64 // read, in connections that were not being acted on
	Blocked   uint64 // times it began to act on a connection
	Injected  uint64 // packets forged
	Rewritten uint64
	Dropped   uint64
	Flows     int // connections remembered now
	Buffered  int // bytes of unfinished hellos now
}

// New returns a censor that acts on the listed names and all below them, or,
// with p.AllowList, on all others. Chance follows from seed alone.
func New(p Profile, names []string, seed uint64) *Censor {
	c := &Censor{
		p:         p.withDefaults(),
		rng:       rand.New(rand.NewPCG(seed, 0)),
		flows:     newTable[tuple, flow](maxFlows),
		penalties: newTable[tuple, penalty](maxPenalties),
		fragments: newFragments(),
		policed:   newTable[handshake, []time.Time](maxPenalties),
	}
	for _, n := range names {
		if n = strings.Trim(n, "."); n != "" {
			c.names = append(c.names, n)
		}
	}
	return c
}

// Stats returns the counters.
func (c *Censor) Stats() Stats {
	s := c.stats
	s.Flows, s.Buffered = c.flows.len(), c.buffered
	return s
}

// Judge gives the verdict on an IP packet at time now; fromClient tells that it
// comes from the client's side. Anything may be given, and what the censor does
// not understand it forwards. pkt is only read, and not kept.
func (c *Censor) Judge(now time.Time, pkt []byte, fromClient bool) Verdict {
	c.stats.Packets++
	if c.p.Defrag {
		whole, part := c.fragments.join(now, pkt)
		if part && whole == nil {
			return Verdict{Forward: true}
		}
		if part {
			pkt = whole // the verdict on it is the last fragment's
		}
	}
	v := &c.view
	if !v.Decode(pkt) || !c.sees(fromClient) {
		return Verdict{Forward: true}
	}
	switch v.Proto {
	case packet.TCP:
		return c.judgeTCP(now, pkt, fromClient)
	case packet.UDP:
		return c.judgeUDP(now, pkt, fromClient)
	}
	return Verdict{Forward: true}
}

// sees reports whether the server of the packet in c.view is in one of the
// networks it sees.
func (c *Censor) sees(fromClient bool) bool {
	far := c.view.Src.Addr()
	if fromClient {
		far = c.view.Dst.Addr()
	}
	return len(c.p.Networks) == 0 || slices.ContainsFunc(c.p.Networks, func(n netip.Prefix) bool { return n.Contains(far) })
}

func (c *Censor) judgeTCP(now time.Time, pkt []byte, fromClient bool) Verdict {
	v := &c.view
	pen, toServer := c.penalty(now)
	// What a penalty hits it hits by address, readable or not.
	var h *half
	if c.valid(pkt) {
		f := c.flow(now, fromClient)
		h = &f.half[sideOf(fromClient)]
		c.track(h, v)
		var found find
		if pen == nil || c.p.AllowList {
			found = c.read(now, f, h, fromClient)
		}
		switch {
		case c.p.AllowList:
			pen, toServer = c.admit(now, f, pen, toServer, found != foundNothing, fromClient)
		case found != foundNothing && c.chance():
			return c.punish(now, c.condemn(now), pkt,
				hit{first: true, request: found == foundRequest, toServer: true, fromClient: fromClient, half: h})
		}
	}
	if pen == nil {
		return Verdict{Forward: true}
	}
	return c.punish(now, pen, pkt, hit{toServer: toServer, fromClient: fromClient, half: h})
}

// admit is the way of an allow-list: a connection is acted on from its first
// packet, and let go for good once it has shown a listed name.
func (c *Censor) admit(now time.Time, f *flow, pen *penalty, toServer, listed, fromClient bool) (*penalty, bool) {
	f.allowed = f.allowed || listed
	switch {
	case f.allowed:
		return nil, false
	case pen == nil && (fromClient || c.p.Inbound) && c.watches(c.view.Dst.Port()):
		return c.condemn(now), true
	}
	return pen, toServer
}

// valid reports whether the packet in c.view is one a server would take, as far
// as this censor checks that.
func (c *Censor) valid(pkt []byte) bool {
	if c.p.Checksum && !packet.ChecksumOK(pkt) {
		return false
	}
	if c.p.PlainTCP && c.view.Hdr > c.view.IPLen+20 {
		return false
	}
	if c.p.MD5 {
		if _, signed := c.view.TCPOption(pkt, 19); signed {
			return false
		}
	}
	return true
}

// reads reports whether the payload of the packet in c.view is looked at, and
// counts it.
func (c *Censor) reads(f *flow, h *half, fromClient bool) bool {
	v := &c.view
	if len(v.Payload) == 0 || v.Flags&packet.SYN != 0 && !c.p.SYNData || h.done || f.exempt || v.Flags&c.p.Flags != c.p.Flags ||
		!fromClient && !c.p.Inbound || !c.watches(v.Dst.Port()) {
		return false
	}
	if peer := &f.half[sideOf(!fromClient)]; c.p.AckRange && peer.known {
		if ahead := int32(v.Ack - peer.next); v.Flags&packet.ACK == 0 || ahead > 0 || ahead < -maxWindow {
			return false
		}
	}
	h.packets++
	if c.p.MaxPackets > 0 && h.packets > c.p.MaxPackets {
		c.finish(h)
		return false
	}
	return true
}

// watches reports whether hellos to port are read.
func (c *Censor) watches(port uint16) bool {
	return len(c.p.Ports) == 0 || slices.Contains(c.p.Ports, port)
}

// finish reads no more of h.
func (c *Censor) finish(h *half) {
	h.done = true
	c.release(h)
}

// chance reports whether it acts this time.
func (c *Censor) chance() bool {
	return c.p.Action.PerMille == 0 || c.rng.IntN(1000) < c.p.Action.PerMille
}
