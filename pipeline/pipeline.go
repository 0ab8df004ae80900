package pipeline

import (
	"sync/atomic"
	"time"

	"b4/desync"
	"b4/engine"
	"b4/flow"
	"b4/packet"
	"b4/tlshello"
)

// idle is how long Tick lets the engine wait where nothing is due.
const idle = time.Second

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
	hellos    atomic.Uint64
	midStream atomic.Uint64
	hosts     hosts
}

// A phase is how far a flow has come.
type phase uint8

const (
	strange   phase = iota // its first data begins no hello: perhaps a later segment came first
	gathering              // its hello is not whole yet
	judged                 // a rule has decided
	givenUp                // its hello is beyond the bounds: it goes on untouched
)

// state is what the pipeline keeps with a flow.
type state struct {
	phase phase
	loose bool  // its beginning has gone on: no more is held
	flags uint8 // PSH and FIN if any segment of the message had them
	mtu   int   // longest packet of the message, in bytes, superpackets left out
	ack   uint32
	hello tlshello.Hello // positions in the flow's stream
	rule  *Rule
}

// New makes a pipeline for at most maxFlows undecided connections.
func New(maxFlows int, c *Config) *Pipeline {
	p := &Pipeline{}
	p.flows = flow.New(maxFlows, p.evict)
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
	return v
}

// Tick implements engine.Handler: hellos whose rest did not come are let go.
func (p *Pipeline) Tick(now time.Time, out *engine.Batch) time.Duration {
	p.now, p.out = now, out
	next := p.flows.Due(now, p.late)
	p.flows.Expire(now)
	if next.IsZero() {
		return idle
	}
	return min(next.Sub(now), idle)
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
	case v.Proto != packet.TCP || v.Flags&packet.SYN != 0:
		return engine.Accept, Other
	case pkt.Dir == engine.Reply || c.reply(v):
		return engine.Accept, Reply
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
	case !known && c.All && !begins(v.Payload):
		return engine.Accept, UnderWay // not kept: it would push out what is undecided
	case !known:
		return p.first(pkt, p.flows.Add(p.now, k))
	case f.State.phase == gathering:
		return p.gather(pkt, f)
	case f.State.phase == judged:
		return p.more(pkt, f)
	case f.State.phase == strange && begins(v.Payload):
		return p.behind(pkt, f)
	}
	if f.State.phase == strange && f.Stream().Offset(v.Seq) <= 0 {
		return engine.Accept, NotTLS // the same again: the beginning may still come
	}
	why := NotTLS
	if f.State.phase == givenUp {
		why = Finished
	}
	return p.done(f, why)
}

func outside(off int) bool { return off < -window || off > window }

// begins reports whether a segment may begin a ClientHello.
func begins(payload []byte) bool {
	n := tlshello.SkipCCS(payload)
	if n == len(payload) {
		return false
	}
	_, st := tlshello.Parse(payload[n:])
	return st != tlshello.NotHello
}

// first takes the first data seen of a connection.
func (p *Pipeline) first(pkt *engine.Packet, f *flow.Flow[state]) (engine.Verdict, Reason) {
	v := &p.view
	begun := p.flows.Begin(f, v.Seq, v.Payload)
	switch {
	case !begins(v.Payload) && p.recent[f.Key().Hash()%uint64(len(p.recent))] == f.Key().Hash():
		p.flows.Remove(f) // was under way when the kernel was told
		return engine.Accept | engine.Done, Finished
	case !begins(v.Payload):
		p.midStream.Add(1)
		return engine.Accept, NotTLS
	case !begun:
		f.State.phase = givenUp
		return engine.Accept, TooLong
	}
	f.State.phase = gathering
	return p.look(pkt, f)
}

// behind takes the beginning of a hello behind a segment that came before it
// and has gone on. The two together may be whole.
func (p *Pipeline) behind(pkt *engine.Packet, f *flow.Flow[state]) (engine.Verdict, Reason) {
	seq := f.Stream().Base()
	p.scratch = append(p.scratch[:0], f.Stream().Bytes()...)
	verdict, why := p.first(pkt, f)
	if why == Held && p.flows.Insert(f, seq, p.scratch) {
		if h, st := p.parse(f); st == tlshello.Complete {
			f.Release() // the copy of this very packet
			return p.decide(pkt, f, h)
		}
	}
	return verdict, why
}

// gather adds a segment to a hello.
func (p *Pipeline) gather(pkt *engine.Packet, f *flow.Flow[state]) (engine.Verdict, Reason) {
	st, v := f.Stream(), &p.view
	if !f.State.loose && st.Has(st.Offset(v.Seq), len(v.Payload)) {
		return engine.Drop, Held // sent again while its first copy waits
	}
	if !p.flows.Insert(f, v.Seq, v.Payload) {
		return p.giveUp(f)
	}
	return p.look(pkt, f)
}

// parse looks for a hello at the beginning of f's stream.
func (p *Pipeline) parse(f *flow.Flow[state]) (tlshello.Hello, tlshello.Status) {
	msg := f.Stream().Bytes()
	n := tlshello.SkipCCS(msg)
	h, st := tlshello.Parse(msg[n:])
	h.Shift(n)
	return h, st
}

// look decides on a hello that is whole, and holds a copy of the packet if not.
// A superpacket is not held, as it could not be sent: with it all goes that
// waits, as if the time for the rest were over.
func (p *Pipeline) look(pkt *engine.Packet, f *flow.Flow[state]) (engine.Verdict, Reason) {
	s, v := &f.State, &p.view
	s.flags |= v.Flags & (packet.PSH | packet.FIN)
	if !pkt.Super {
		s.mtu = max(s.mtu, v.Hdr+len(v.Payload))
	}
	s.ack = v.Ack
	if f.Stream().Offset(v.Seq)+len(v.Payload) > len(f.Stream().Bytes()) { // behind a gap
		if pkt.Super && !s.loose {
			p.late(f)
		}
		if s.loose {
			return engine.Accept, Early
		}
	}
	h, st := p.parse(f)
	switch st {
	case tlshello.Complete:
		return p.decide(pkt, f, h)
	case tlshello.NotHello:
		why := NotTLS
		if s.loose {
			why = Finished // behind a CCS
		}
		p.release(f, why)
		return p.done(f, why)
	}
	s.hello = h
	switch {
	case (s.loose || pkt.Super) && h.Named():
		return p.decide(pkt, f, h)
	case s.loose || pkt.Super:
		p.release(f, Late)
		s.loose = true
		return engine.Accept, Early
	case !p.hold(pkt, f):
		return p.giveUp(f)
	}
	return engine.Drop, Held
}

// giveUp lets a hello that is beyond the bounds go as it came.
func (p *Pipeline) giveUp(f *flow.Flow[state]) (engine.Verdict, Reason) {
	p.release(f, TooLong)
	f.State.phase = givenUp
	return engine.Accept, TooLong
}

// decide finds the rule for a whole hello and follows it.
func (p *Pipeline) decide(pkt *engine.Packet, f *flow.Flow[state], h tlshello.Hello) (engine.Verdict, Reason) {
	s, v := &f.State, &p.view
	s.hello, s.phase = h, judged
	p.hellos.Add(1)
	p.name = h.AppendName(p.name[:0], f.Stream().Bytes())
	why := NoName
	if len(p.name) > 0 {
		why = NoRule
		if s.rule = p.config.Load().Choose(p.name); s.rule != nil {
			why = [...]Reason{Desync: Treated, Pass: Passed, Drop: Dropped, Reject: Dropped}[s.rule.For[desync.TLS].Action]
		}
	}
	switch why {
	case Treated:
		from, to := 0, len(f.Stream().Bytes())
		if s.loose {
			from = f.Stream().Offset(v.Seq)
			to = from + len(v.Payload)
		}
		return p.treat(pkt, f, from, to, Treated)
	case Dropped:
		f.Release()
		p.trace(f, Dropped, p.out.Len())
		return engine.Drop, Dropped
	}
	p.trace(f, why, p.out.Len())
	p.release(f, why)
	return p.done(f, why)
}

// more takes data of a connection whose hello was judged.
func (p *Pipeline) more(pkt *engine.Packet, f *flow.Flow[state]) (engine.Verdict, Reason) {
	s, v := &f.State, &p.view
	off, have := f.Stream().Offset(v.Seq), len(f.Stream().Bytes())
	end := off + len(v.Payload)
	switch {
	case off >= have:
		return p.later(pkt, f)
	case off < 0 || end > have && (!p.flows.Insert(f, v.Seq, v.Payload) || end > len(f.Stream().Bytes())):
		return engine.Accept, Early
	case s.rule.For[desync.TLS].Action >= Drop:
		return engine.Drop, Dropped
	}
	s.ack = v.Ack
	return p.treat(pkt, f, off, end, Again)
}

// ccsLen is the length of a change_cipher_spec record, which is too short to be
// shown to us unless it has PSH.
const ccsLen = 6

// later takes data behind the hello: a second hello after HelloRetryRequest, or
// the client's Finished, with which our part is over. Data that acknowledges
// nothing new comes ahead of the answer, and then the hello may be sent again;
// data behind a gap may be the end of a second hello.
func (p *Pipeline) later(pkt *engine.Packet, f *flow.Flow[state]) (engine.Verdict, Reason) {
	v := &p.view
	answered := int32(v.Ack-f.State.ack) > 0
	gap := f.Stream().Offset(v.Seq) - len(f.Stream().Bytes())
	switch {
	case answered && begins(v.Payload):
		f.State = state{}
		return p.first(pkt, f)
	case answered && tlshello.SkipCCS(v.Payload) == len(v.Payload):
		// What follows may be sent again together with this.
		f.State = state{phase: gathering, loose: true}
		p.flows.Begin(f, v.Seq, v.Payload)
		return engine.Accept, Early
	case !answered || gap != 0 && gap != ccsLen:
		if gap == 0 {
			p.flows.Insert(f, v.Seq, v.Payload) // so that what comes behind it is known to
		}
		return engine.Accept, Early
	}
	p.trace(f, Finished, p.out.Len())
	return p.done(f, Finished)
}

// done forgets a flow of which the kernel need show us no more.
func (p *Pipeline) done(f *flow.Flow[state], why Reason) (engine.Verdict, Reason) {
	h := f.Key().Hash()
	p.recent[h%uint64(len(p.recent))] = h
	p.flows.Remove(f)
	return engine.Accept | engine.Done, why
}

// treat applies the rule's strategy to bytes [from, to) of the message. They
// take the place of pkt and of everything held.
func (p *Pipeline) treat(pkt *engine.Packet, f *flow.Flow[state], from, to int, why Reason) (engine.Verdict, Reason) {
	before := p.out.Len()
	p.setEnv(f, pkt.Bytes, &p.view)
	var err error
	steps := f.State.rule.For[desync.TLS].Steps
	whole := steps == nil
	if !whole {
		err = steps.Plan(&p.plan, &p.env)
		whole = p.plan.Whole()
	}
	switch {
	case err != nil:
		why = Failed
	case whole:
		why = AsIs
	}
	if err != nil || whole {
		p.release(f, why)
		p.trace(f, why, before)
		return engine.Accept, why
	}
	p.releaseBeyond(f, to)
	p.out.Own()
	p.plan.Emit(p.out, pkt.Meta, &p.env, from, to)
	f.Release()
	p.trace(f, why, before)
	return engine.Replace, why
}

// minMTU is what every path carries (RFC 791 section 3.1, RFC 8200 section 5).
func minMTU(b []byte) int {
	if b[0]>>4 == 6 {
		return 1280
	}
	return 576
}

// setEnv fills p.env for f's message, with the header of packet b, view v.
func (p *Pipeline) setEnv(f *flow.Flow[state], b []byte, v *packet.View) {
	p.header = append(p.header[:0], b[:v.Hdr]...)
	p.header[v.IPLen+13] |= f.State.flags
	st := f.Stream()
	p.env = desync.Env{
		Msg:  desync.Message{Bytes: st.Bytes(), Hello: f.State.hello},
		Conn: desync.Conn{Header: p.header, IPLen: v.IPLen, Base: st.Base(), MTU: max(f.State.mtu, minMTU(b))},
		Rand: f.Key().Hash() ^ uint64(st.Base()),
	}
}
