package pipeline

import (
	"sync/atomic"
	"time"

	"b4/desync"
	"b4/engine"
	"b4/flow"
	"b4/packet"
)

// idle is how long Tick lets the engine wait where nothing is due and no flow is
// to be forgotten.
const idle = time.Hour

// overtaken is how long a segment waits for one it may have overtaken. Where
// packets change their order on the way to the router, they are a few milliseconds
// apart.
const overtaken = 20 * time.Millisecond

// window is how far from the beginning of a flow's message a segment may lie and
// still belong to the same connection. What lies elsewhere has reused its ports.
const window = 1 << 20

// A Pipeline carries packets from parse to verdict. It belongs to the one
// goroutine that runs the engine's loop; Use, Trace and the counters may be
// called from any.
type Pipeline struct {
	config atomic.Pointer[Config]
	tracer atomic.Pointer[Tracer]
	flows  *flow.Table[state]
	now    time.Time // of the call at hand, as is
	out    *engine.Batch

	view    packet.View
	env     desync.Env
	plan    desync.Plan
	header  []byte     // the template in env
	recent  [64]uint64 // hashes of the connections done last
	name    []byte
	scratch []byte

	counts    [reasons]atomic.Uint64
	messages  [desync.Protos]atomic.Uint64
	midStream atomic.Uint64
	hosts     hosts
	answers   answers
	quic      handshakes
	hops      hops
	wheel     wheel
	aside     engine.Batch // what putOff sorts
	tallies   tallies
}

// A phase is how far a flow has come.
type phase uint8

const (
	strange   phase = iota // its first data begins no message: perhaps a later segment came first
	gathering              // its message is not whole yet
	judged                 // a rule has decided
	givenUp                // its message is beyond the bounds: it goes on untouched
)

// state is what the pipeline keeps with a flow.
type state struct {
	phase phase
	loose bool  // its beginning has gone on: no more is held
	begun bool  // some of the message has left as it came
	body  bool  // it may be part of a request's body, and no message
	first bool  // the server has all that comes below the message
	named bool  // the message names a host
	flags uint8 // PSH and FIN if any segment of the message had them
	gone  uint8 // bytes at its beginning that have left: a CCS
	mtu   int   // longest packet of the message, in bytes, superpackets left out
	ack   uint32
	mark  uint32 // of the last packet of the message
	course
	msg message
}

// New makes a pipeline for at most maxFlows undecided connections.
func New(maxFlows int, c *Config) *Pipeline {
	p := &Pipeline{}
	p.wheel.init()
	p.flows = flow.New(maxFlows, p.evict)
	p.quic = newHandshakes(p.evictDatagrams)
	p.Use(c)
	return p
}

// Use decides by c from the next connection on.
func (p *Pipeline) Use(c *Config) { p.config.Store(c) }

// Handle implements engine.Handler.
func (p *Pipeline) Handle(now time.Time, pkt *engine.Packet, out *engine.Batch) engine.Verdict {
	p.now, p.out = now, out
	v, why := p.judge(pkt)
	p.counts[why].Add(1)
	return p.putOff(v, p.view.Proto == packet.UDP || p.view.Flags&packet.SYN != 0)
}

// Tick implements engine.Handler: messages whose rest did not come are let go,
// and packets leave whose time has come.
func (p *Pipeline) Tick(now time.Time, out *engine.Batch) time.Duration {
	p.now, p.out = now, out
	next := p.flows.Due(now, p.late)
	p.flows.Expire(now)
	p.quic.flows.Expire(now)
	if out.Len() > 0 {
		p.putOff(engine.Accept, false)
	}
	wait := p.wheel.take(now, out)
	if !next.IsZero() {
		wait = min(wait, next.Sub(now))
	}
	if p.flows.Len()+p.quic.flows.Len() > 0 {
		wait = min(wait, flow.Idle) // the last is forgotten within twice that
	}
	return wait
}

func (p *Pipeline) judge(pkt *engine.Packet) (engine.Verdict, Reason) {
	v, c := &p.view, p.config.Load()
	switch {
	case pkt.Full > len(pkt.Bytes):
		return engine.Accept, Cut
	case !v.Decode(pkt.Bytes):
		return engine.Accept, Other
	case v.Proto == packet.UDP:
		return p.datagram(pkt)
	case v.Proto != packet.TCP:
		return engine.Accept, Other
	case pkt.Dir == engine.Reply || c.reply(v):
		return p.answer(pkt)
	case v.Flags&packet.SYN != 0:
		return p.open(pkt)
	case len(v.Payload) == 0:
		return engine.Accept, Empty
	}
	k := flow.KeyOf(v)
	f, known := p.flows.Lookup(p.now, k)
	if known && (f.State.phase != strange && outside(f.Stream().Offset(v.Seq))) {
		p.evict(f) // the ports are used by another connection now
		p.flows.Remove(f)
		known = false
	}
	switch {
	case !known && c.All && !continues(v.Payload):
		return engine.Accept, UnderWay // not kept: it would push out what is undecided
	case !known:
		return p.first(pkt, p.flows.Add(p.now, k), true)
	case f.State.phase == gathering:
		return p.gather(pkt, f)
	case f.State.phase == judged:
		return p.more(pkt, f)
	case f.State.phase == strange && continues(v.Payload):
		return p.behind(pkt, f)
	}
	if f.State.phase == strange {
		return p.ahead(pkt, f)
	}
	return p.done(f, Finished)
}

func outside(off int) bool { return off < -window || off > window }
