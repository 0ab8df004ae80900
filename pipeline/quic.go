package pipeline

import (
	"bytes"
	"time"

	"b4/desync"
	"b4/engine"
	"b4/flow"
	"b4/quic"
	"b4/tlshello"
)

// initials is what the pipeline keeps with a client's QUIC connection, up to its
// first Handshake packet: by then the server has the whole hello.
type initials struct {
	kept   *kept     // nil where others needed the room
	judged bool      // a rule has decided
	sent   time.Time // when a datagram of the hello was last taken for a new attempt
	course
}

// datagram judges a UDP packet, which p.view has. What holds nothing of a
// client's QUIC handshake costs a look at its first byte.
//
// Nothing of UDP is held. A hello over several datagrams goes on untouched until
// the name is there, unless the name does not matter; the datagram that brings
// it is the first to be treated, and all that follow are.
func (p *Pipeline) datagram(pkt *engine.Packet) (engine.Verdict, Reason) {
	v := &p.view
	switch {
	case pkt.Dir == engine.Reply || p.config.Load().reply(v):
		return engine.Accept, Reply
	case !longHeader(v.Payload):
		return engine.Accept, NotQUIC
	case pkt.Super:
		return engine.Accept, Cut // the engine could not have it cut
	}
	has := kindsOf(v.Payload)
	f, known := p.quic.flows.Lookup(p.now, flow.KeyOf(v))
	switch {
	case has.kind(quic.Handshake) && known:
		return p.shaken(pkt, f, has.kind(quic.Initial))
	case has.kind(quic.Initial):
		return p.initial(pkt, f)
	case has.kind(quic.NotQUIC) || has.kind(quic.UnknownVersion):
		return engine.Accept, NotQUIC
	case known && f.State.forbidden():
		return engine.Drop, Dropped
	}
	return engine.Accept, QUICOther
}

// longHeader reports whether a datagram begins like one of QUIC's handshake.
func longHeader(b []byte) bool { return len(b) > 0 && b[0]&0x80 != 0 }

// kinds is a set of kinds of packets, a bit for each.
type kinds uint16

func (k kinds) kind(of quic.Kind) bool { return k&(1<<of) != 0 }

// maxPackets bounds the packets of a datagram that are looked at. Clients put one
// of each kind into one, and some two Initials.
const maxPackets = 6

// kindsOf is what the packets of a client's datagram are, as far as they belong
// together (RFC 9000 section 12.2).
func kindsOf(b []byte) kinds {
	first := quic.Parse(b)
	k := kinds(1) << first.Kind
	b = b[first.Len:]
	for i := 1; i < maxPackets && len(b) > 0; i++ {
		h := quic.Parse(b)
		if h.Kind == quic.NotQUIC || !bytes.Equal(h.DCID, first.DCID) {
			break
		}
		k |= 1 << h.Kind
		b = b[h.Len:]
	}
	return k
}

// initial judges a datagram with an Initial packet. f is nil for an unknown flow.
func (p *Pipeline) initial(pkt *engine.Packet, f *flow.Flow[initials]) (engine.Verdict, Reason) {
	q := &p.quic
	k, fresh := q.use(f)
	_, err := q.decoder.Datagram(&k.conn, p.view.Payload)
	switch {
	case err == quic.ErrSealed && fresh && f != nil && f.State.judged:
		// Sealed by the id of a first Initial that is forgotten.
		return p.follow(pkt, f, tlshello.Hello{}, true)
	case err != nil && f != nil && f.State.forbidden():
		return engine.Drop, Dropped
	case err != nil:
		return engine.Accept, QUICOdd
	}
	if f == nil {
		f = q.flows.Add(p.now, flow.KeyOf(&p.view))
	}
	if fresh {
		q.attach(f)
	}
	return p.initialOf(pkt, f)
}

// initialOf finds the rule for what f has said up to the packet at hand. Until
// another name comes, a rule found stays: what follows a Retry is told from
// another connection of the same ports by its name only.
func (p *Pipeline) initialOf(pkt *engine.Packet, f *flow.Flow[initials]) (engine.Verdict, Reason) {
	s, c := &f.State, p.config.Load()
	conn, to := &s.kept.conn, p.view.Dst
	h, st := conn.Hello()
	rule, again := s.rule, s.judged
	p.name = p.name[:0]
	switch {
	case st == tlshello.NotHello:
		p.forget(f, NoEvidence)
		return engine.Accept, QUICOdd
	case h.Named():
		p.name = conn.AppendName(p.name, &h)
		rule, s.judged = c.Choose(p.name, pkt.Mark, to), true
	case s.judged:
	case st == tlshello.Complete:
		rule, s.judged = c.Choose(nil, pkt.Mark, to), true
	default:
		if rule = c.Certain(pkt.Mark, to); rule == nil {
			return engine.Accept, QUICPart
		}
	}
	again = again && rule == s.rule
	if s.judged && !again {
		p.messages[desync.QUIC].Add(1)
	}
	if rule != s.rule {
		p.conclude(&s.course, desync.QUIC, NoEvidence)
		s.course, s.sent = p.choose(rule, desync.QUIC, f.Key()), time.Time{}
	}
	return p.follow(pkt, f, h, again)
}

// forbidden reports whether nothing of the flow may go on.
func (s *initials) forbidden() bool { return s.rule != nil && s.rule.For[desync.QUIC].Action >= Drop }

// ruling is what is done with the flow's datagrams: Treated, Dropped, Rejected,
// or why nothing is.
func (s *initials) ruling(h *tlshello.Hello) Reason {
	switch {
	case s.rule != nil:
		return [...]Reason{Desync: Treated, Pass: Passed, Drop: Dropped, Reject: Rejected}[s.rule.For[desync.QUIC].Action]
	case h.Named():
		return NoRule
	}
	return NoName
}

// follow does what f's rule says with the packet at hand. again says that it was
// done with an earlier one.
func (p *Pipeline) follow(pkt *engine.Packet, f *flow.Flow[initials], h tlshello.Hello, again bool) (v engine.Verdict, why Reason) {
	since := p.out.Len()
	switch why = f.State.ruling(&h); why {
	case Treated:
		if v, why = p.treatDatagram(pkt, f, h, again); v == engine.Replace {
			p.attempt(&f.State)
		}
	case Dropped:
		v = engine.Drop
	case Rejected:
		v = p.reject(pkt)
	}
	if why == Again || !again {
		p.traceDatagram(f, h, why, since)
	}
	return v, why
}

// quicMTU is an IP packet that QUIC's paths carry: less does not hold a first
// datagram (RFC 9000 section 14.1), and IPv6 has it everywhere (RFC 8200 section
// 5). A client that sends more leaves some room in what links carry, none of
// which is between: the heads of some more frames are no longer than quicRoom.
// Beyond quicMost, which a tunnel may carry (WireGuard's 1420), that is not so:
// what is too long for its link would not leave.
const (
	quicMTU  = 1280
	quicRoom = 32
	quicMost = 1420
)

// datagramMTU is the longest packet to take the place of one of n bytes.
func datagramMTU(n int) int {
	if n > quicMTU {
		return max(n, min(n+quicRoom, quicMost))
	}
	return quicMTU
}

// treatDatagram applies the strategy of f's rule to the datagram at hand. Its
// packets take its place, so that the flow keeps its NAT binding.
func (p *Pipeline) treatDatagram(pkt *engine.Packet, f *flow.Flow[initials], h tlshello.Hello, again bool) (engine.Verdict, Reason) {
	steps, v := f.State.steps, &p.view
	if steps == nil {
		return engine.Accept, AsIs
	}
	p.header = append(p.header[:0], pkt.Bytes[:v.Hdr]...)
	p.env.Msg = desync.Message{Proto: desync.QUIC, Bytes: v.Payload, Hello: h}
	if k := f.State.kept; k != nil {
		p.env.Msg.QUIC, p.env.Msg.Crypto = &k.conn, k.conn.Message()
	}
	p.env.Conn = desync.Conn{Header: p.header, IPLen: v.IPLen, MTU: datagramMTU(v.Hdr + len(v.Payload)), Hops: p.hops.to(v.Dst.Addr())}
	p.env.Rand = f.Key().Hash()
	err := steps.Plan(&p.plan, &p.env)
	switch {
	case err != nil:
		return engine.Accept, Failed
	case p.plan.Whole():
		return engine.Accept, AsIs
	}
	p.out.Own()
	p.plan.Emit(p.out, pkt.Meta, &p.env, 0, len(v.Payload))
	if again {
		return engine.Replace, Again
	}
	return engine.Replace, Treated
}

// shaken takes the client's first Handshake packet: the server has answered the
// hello, and what Initial packets still come have nothing of it. The kernel is not
// told that our part is over: it shows but few packets more, and the client may
// open another connection from the same port. The
// last Initial, mostly in one datagram with it, is treated as those before it: a
// censor that looks at no name takes it for a first one, of that size.
func (p *Pipeline) shaken(pkt *engine.Packet, f *flow.Flow[initials], initial bool) (engine.Verdict, Reason) {
	s := &f.State
	if s.forbidden() {
		return engine.Drop, Dropped
	}
	v := engine.Accept
	if s.kept != nil && s.steps != nil {
		h, _ := s.kept.conn.Hello()
		since := p.out.Len()
		if initial {
			v, _ = p.treatDatagram(pkt, f, h, true)
		}
		p.traceDatagram(f, h, Finished, since)
	}
	p.forget(f, Opened)
	return v, Finished
}

// probeAfter tells a hello's next attempt from the other datagrams of one: clients
// wait for longer until they know the path (RFC 9002 section 6.2.2).
const probeAfter = 200 * time.Millisecond

// attempt notes that the strategy was applied to a datagram with a hello.
func (p *Pipeline) attempt(s *initials) {
	switch {
	case s.sent.IsZero():
		s.on = true
	case p.now.Sub(s.sent) < probeAfter:
		return
	default:
		p.resent(&s.course, desync.QUIC)
	}
	s.sent = p.now
}

// forget removes f, of which o is the outcome.
func (p *Pipeline) forget(f *flow.Flow[initials], o Outcome) {
	p.conclude(&f.State.course, desync.QUIC, o)
	p.quic.remove(f)
}

// evictDatagrams is evict for QUIC, of which nothing waits.
func (p *Pipeline) evictDatagrams(f *flow.Flow[initials]) {
	p.conclude(&f.State.course, desync.QUIC, NoEvidence)
	f.State.release()
}

// traceDatagram is trace for f, whose hello, as far as it is known, is h.
func (p *Pipeline) traceDatagram(f *flow.Flow[initials], h tlshello.Hello, why Reason, since int) {
	p.name = p.name[:0]
	if h.Named() {
		p.name = f.State.kept.conn.AppendName(p.name, &h)
	}
	f.State.spot = p.tell(&subject{flow: f.Key(), proto: desync.QUIC, rule: f.State.rule, steps: f.State.steps}, why, since)
}
