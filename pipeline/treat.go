package pipeline

import (
	"b4/engine"
	"b4/flow"
	"b4/packet"
)

// treatment is what the rule of s does with its kind of message, nil without a
// rule.
func (s *state) treatment() *Treatment {
	if s.rule == nil {
		return nil
	}
	return &s.rule.For[s.msg.proto]
}

// ruling is what is done with the message of s: Treated, Dropped, Rejected, or why nothing
// is.
func (s *state) ruling() Reason {
	switch t := s.treatment(); {
	case t == nil && !s.named:
		return NoName
	case t == nil:
		return NoRule
	default:
		return [...]Reason{Desync: Treated, Pass: Passed, Drop: Dropped, Reject: Rejected}[t.Action]
	}
}

// treat applies the rule's strategy to bytes [from, to) of the message. They
// take the place of pkt and of everything held.
func (p *Pipeline) treat(pkt *engine.Packet, f *flow.Flow[state], from, to int, why Reason) (engine.Verdict, Reason) {
	before := p.out.Len()
	if err, whole := p.work(f, pkt.Bytes, &p.view); err != nil || whole {
		why = AsIs
		if err != nil {
			why = Failed
		}
		p.release(f, why)
		p.trace(f, why, before)
		return engine.Accept, why
	}
	p.releaseBeyond(f, to)
	p.out.Own()
	p.plan.Emit(p.out, pkt.Meta, &p.env, from, to)
	f.State.on = f.State.on || why == Treated
	p.flows.Release(f)
	p.trace(f, why, before)
	return engine.Replace, why
}

// work plans f's message, with the header of packet b, view v. whole says that
// it stays as it is.
func (p *Pipeline) work(f *flow.Flow[state], b []byte, v *packet.View) (err error, whole bool) {
	steps := f.State.steps
	if steps == nil {
		return nil, true
	}
	p.setEnv(f, b, v)
	err = steps.Plan(&p.plan, &p.env)
	return err, p.plan.Whole()
}

// forbid keeps back the packet at hand of a connection that a rule forbids.
func (p *Pipeline) forbid(pkt *engine.Packet, why Reason) (engine.Verdict, Reason) {
	if why == Rejected {
		return p.reject(pkt), why
	}
	return engine.Drop, why
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
	s, st := &f.State, f.Stream()
	p.header = append(p.header[:0], b[:v.Hdr]...)
	p.header[v.IPLen+13] |= s.flags
	c := &p.env.Conn
	c.Header, c.IPLen, c.Base, c.MTU, c.First = p.header, v.IPLen, st.Base(), max(s.mtu, minMTU(b)), s.first
	if c.Hops = 0; s.steps.Need().Hops {
		c.Hops = p.hops.to(v.Dst.Addr())
	}
	s.msg.fill(&p.env.Msg, st.Bytes())
	p.env.Msg.Begun, p.env.Msg.Body = s.begun || s.loose, s.body
	p.env.Rand = f.Key().Hash() ^ uint64(st.Base())
}
