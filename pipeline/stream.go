package pipeline

import (
	"b4/engine"
	"b4/flow"
	"b4/packet"
	"b4/tlshello"
)

// first takes the first data seen of a connection, or of one message of several.
// alone says that the server has all that comes below it.
func (p *Pipeline) first(pkt *engine.Packet, f *flow.Flow[state], alone bool) (engine.Verdict, Reason) {
	v := &p.view
	begun := p.flows.Begin(f, v.Seq, v.Payload)
	f.State.first, f.State.ack = alone, v.Ack
	st := f.State.msg.begins(v.Payload)
	switch {
	case st == msgNone && p.recent[f.Key().Hash()%uint64(len(p.recent))] == f.Key().Hash():
		p.flows.Remove(f) // was under way when the kernel was told
		return engine.Accept | engine.Done, Finished
	case st == msgNone:
		p.midStream.Add(1)
		return engine.Accept, NotTLS
	case !begun:
		f.State.phase = givenUp
		return engine.Accept, TooLong
	}
	f.State.phase = gathering
	return p.look(pkt, f, st)
}

// behind takes the beginning of a message behind a segment that came before it
// and has gone on. The two together may be whole.
func (p *Pipeline) behind(pkt *engine.Packet, f *flow.Flow[state]) (engine.Verdict, Reason) {
	s, v := &f.State, &p.view
	below := p.lower(f)
	s.phase, s.first, s.begun, s.loose = gathering, below || p.answered(f), true, false
	if !below {
		p.release(f, NotTLS)
		if !p.flows.Begin(f, v.Seq, v.Payload) {
			return p.giveUp(f)
		}
	}
	return p.look(pkt, f, p.parse(f))
}

// lower adds the packet at hand to f's stream, whose beginning it is now. It
// reports false where it is not, or lies too far below the rest.
func (p *Pipeline) lower(f *flow.Flow[state]) bool {
	v := &p.view
	return p.flows.Lower(f, v.Seq) && p.flows.Insert(f, v.Seq, v.Payload)
}

// maxAhead bounds what is known of a stream whose beginning has not come: hellos
// are shorter.
const maxAhead = 4 << 10

// ahead takes a segment that begins no message, of a flow that has begun with
// none. One that comes behind a later one has been overtaken on its way here, or
// is sent again. A message may begin below both, so it waits, once in a flow's
// life and no longer than packets that change their order are apart.
func (p *Pipeline) ahead(pkt *engine.Packet, f *flow.Flow[state]) (engine.Verdict, Reason) {
	v, s := &p.view, &f.State
	off := f.Stream().Offset(v.Seq)
	switch end := off + len(v.Payload); {
	case off > 0 && p.answered(f): // the server has read the beginning
		p.release(f, NotTLS)
		return p.done(f, NotTLS)
	case off > 0 && end <= maxAhead:
		p.flows.Insert(f, v.Seq, v.Payload)
	case off < 0 && off >= -maxAhead && !s.loose && !pkt.Super && p.lower(f) && p.hold(pkt, f, overtaken):
		return engine.Drop, Held
	}
	return engine.Accept, NotTLS
}

// answered reports whether the packet at hand acknowledges more than the last of
// its flow did: the server has spoken since.
func (p *Pipeline) answered(f *flow.Flow[state]) bool { return int32(p.view.Ack-f.State.ack) > 0 }

// gather adds a segment to a message.
func (p *Pipeline) gather(pkt *engine.Packet, f *flow.Flow[state]) (engine.Verdict, Reason) {
	st, v, s := f.Stream(), &p.view, &f.State
	off := st.Offset(v.Seq)
	switch {
	case s.gone > 0 && (off < 0 || off+len(v.Payload) <= int(s.gone)):
		return engine.Accept, Early // the message before it again, or the CCS
	case !s.loose && st.Has(off, len(v.Payload)):
		return engine.Drop, Held // sent again while its first copy waits
	case !p.flows.Insert(f, v.Seq, v.Payload):
		return p.giveUp(f)
	}
	s.gone = uint8(min(int(s.gone), off))
	return p.look(pkt, f, p.parse(f))
}

// parse looks for a message at the beginning of f's stream.
func (p *Pipeline) parse(f *flow.Flow[state]) status { return f.State.msg.parse(f.Stream().Bytes()) }

// look decides on a message that is whole, and holds a copy of the packet if not.
// st is how far it is there.
// A superpacket is not held, as it could not be sent: with it all goes that
// waits, as if the time for the rest were over.
func (p *Pipeline) look(pkt *engine.Packet, f *flow.Flow[state], st status) (engine.Verdict, Reason) {
	s, v := &f.State, &p.view
	s.flags |= v.Flags & (packet.PSH | packet.FIN)
	if !pkt.Super {
		s.mtu = max(s.mtu, v.Hdr+len(v.Payload))
	}
	s.ack, s.mark = v.Ack, pkt.Mark
	if f.Stream().Offset(v.Seq)+len(v.Payload) > len(f.Stream().Bytes()) { // behind a gap
		if pkt.Super && !s.loose {
			p.late(f)
		}
		if s.loose {
			return engine.Accept, Early
		}
	}
	switch st {
	case msgWhole:
		return p.decide(pkt, f)
	case msgNone:
		why := NotTLS
		if s.loose || tlshello.SkipCCS(f.Stream().Bytes()) > 0 {
			why = Finished // behind a CCS
		}
		p.release(f, why)
		return p.done(f, why)
	}
	switch {
	case (s.loose || pkt.Super) && s.msg.named():
		return p.decide(pkt, f)
	case s.loose || pkt.Super:
		p.release(f, Late)
		s.loose = true
		return engine.Accept, Early
	case !p.hold(pkt, f, flow.Wait):
		return p.giveUp(f)
	case p.narrow(f):
		p.late(f)
	}
	return engine.Drop, Held
}

// giveUp lets a message that is beyond the bounds go as it came, but for a name
// that is there already: what has come of that is treated.
func (p *Pipeline) giveUp(f *flow.Flow[state]) (engine.Verdict, Reason) {
	if f.State.msg.named() && f.Held() > 0 {
		if p.late(f); f.State.phase == judged {
			return engine.Accept, TooLong
		}
	}
	p.release(f, TooLong)
	f.State.phase = givenUp
	return engine.Accept, TooLong
}

// decide finds the rule for a whole message and follows it.
func (p *Pipeline) decide(pkt *engine.Packet, f *flow.Flow[state]) (engine.Verdict, Reason) {
	s, v := &f.State, &p.view
	s.phase = judged
	p.messages[s.msg.proto].Add(1)
	p.take(f)
	s.named = len(p.name) > 0
	p.settle(f)
	switch why := s.ruling(); why {
	case Treated:
		from, to := int(s.gone), len(f.Stream().Bytes())
		if s.loose {
			from = f.Stream().Offset(v.Seq)
			to = from + len(v.Payload)
		}
		return p.treat(pkt, f, from, to, Treated)
	case Dropped, Rejected:
		p.flows.Release(f)
		p.trace(f, why, p.out.Len())
		return p.forbid(pkt, why)
	default:
		p.trace(f, why, p.out.Len())
		p.release(f, why)
		if s.msg.more() {
			return engine.Accept, why // the next may follow another rule
		}
		return p.done(f, why)
	}
}

// more takes data of a connection whose message was judged.
func (p *Pipeline) more(pkt *engine.Packet, f *flow.Flow[state]) (engine.Verdict, Reason) {
	s, v := &f.State, &p.view
	if p.ccsAhead(f) && f.Stream().Offset(v.Seq)+len(v.Payload) == ccsLen {
		return engine.Accept, Early
	}
	off, have := f.Stream().Offset(v.Seq), len(f.Stream().Bytes())
	end := off + len(v.Payload)
	switch {
	case off >= have:
		return p.later(pkt, f)
	case off < 0 && s.msg.more() && continues(v.Payload): // the request before this one, again
		p.next(f, false)
		return p.first(pkt, f, false)
	case off < 0 || end > have && (!p.flows.Insert(f, v.Seq, v.Payload) || end > len(f.Stream().Bytes())):
		return engine.Accept, Early
	}
	switch why := s.ruling(); why {
	case Treated:
		s.ack = v.Ack
		if off == 0 {
			p.resent(&s.course, s.msg.proto)
		}
		p.take(f)
		return p.treat(pkt, f, off, end, Again)
	case Dropped, Rejected:
		return p.forbid(pkt, why)
	default:
		return engine.Accept, why
	}
}

// ccsAhead makes the CCS ahead of a second hello, with which the packet at hand
// begins, a part of f's stream. It reports false where it is none, or was there.
func (p *Pipeline) ccsAhead(f *flow.Flow[state]) bool {
	s, v := &f.State, &p.view
	n := -f.Stream().Offset(v.Seq)
	if n <= 0 || s.msg.more() || tlshello.SkipCCS(v.Payload) != n || !p.lower(f) {
		return false
	}
	p.parse(f)
	return true
}

// ccsLen is the length of a change_cipher_spec record, which is too short to be
// shown to us unless it has PSH.
const ccsLen = 6

// later takes data behind the message: another message, a second hello after
// HelloRetryRequest or the next request, or data with which our part is over.
// Data that acknowledges nothing new comes ahead of the answer, and then the
// message may be sent again; data behind a gap may be the end of another.
func (p *Pipeline) later(pkt *engine.Packet, f *flow.Flow[state]) (engine.Verdict, Reason) {
	v, s, answered := &p.view, &f.State, p.answered(f)
	have, off := f.Stream().Bytes(), f.Stream().Offset(v.Seq)
	gap := off - len(have)
	if continues(v.Payload) {
		certain := s.msg.end(have) == off
		if answered || certain {
			p.next(f, answered)
			f.State.body = f.State.body || !certain
			return p.first(pkt, f, answered && gap == 0)
		}
	}
	switch {
	case answered && len(v.Payload) == ccsLen && tlshello.SkipCCS(v.Payload) == ccsLen:
		// What follows may be sent again together with this.
		p.next(f, answered)
		s.phase, s.gone, s.first = gathering, ccsLen, gap == 0
		p.flows.Begin(f, v.Seq, v.Payload)
		return engine.Accept, Early
	case !answered || gap != 0 && gap != ccsLen:
		if gap == 0 {
			p.flows.Insert(f, v.Seq, v.Payload) // so that what comes behind it is known to
		}
		return engine.Accept, Early
	}
	p.traceFinished(f)
	p.conclude(&s.course, s.msg.proto, Opened)
	return p.done(f, Finished)
}

// next makes f ready for another message.
func (p *Pipeline) next(f *flow.Flow[state], answered bool) {
	o := NoEvidence
	if answered {
		o = Opened
	}
	p.conclude(&f.State.course, f.State.msg.proto, o)
	f.State = state{body: f.State.body}
}

// done forgets a flow of which the kernel need show us no more.
func (p *Pipeline) done(f *flow.Flow[state], why Reason) (engine.Verdict, Reason) {
	h := f.Key().Hash()
	p.recent[h%uint64(len(p.recent))] = h
	p.flows.Remove(f)
	return engine.Accept | engine.Done, why
}
