package pipeline

import (
	"b4/engine"
	"b4/flow"
	"b4/packet"
)

// release sends what is held of f as it came.
func (p *Pipeline) release(f *flow.Flow[state], why Reason) {
	for i := range f.Held() {
		h := f.At(i)
		p.out.Add(h.Bytes, engine.Meta{Mark: h.Mark, Out: h.Out})
	}
	p.counts[why].Add(uint64(f.Held()))
	f.Release()
}

// releaseBeyond sends what is held of f and reaches beyond the first n bytes of
// its stream: behind a gap the plan does not cover.
func (p *Pipeline) releaseBeyond(f *flow.Flow[state], n int) {
	var v packet.View
	for i := range f.Held() {
		h := f.At(i)
		if v.Decode(h.Bytes) && f.Stream().Offset(v.Seq)+len(v.Payload) > n {
			p.out.Add(h.Bytes, engine.Meta{Mark: h.Mark, Out: h.Out})
		}
	}
}

// evict lets go of a flow that must make room.
func (p *Pipeline) evict(f *flow.Flow[state]) { p.release(f, Evicted) }

// late lets go of a hello whose rest did not come. If the name is there already
// the strategy is applied to what is there: untouched, it would show the name.
func (p *Pipeline) late(f *flow.Flow[state]) {
	s := &f.State
	msg := f.Stream().Bytes()
	s.phase = givenUp
	if s.hello.Named() {
		p.name = s.hello.AppendName(p.name[:0], msg)
		s.rule = p.config.Load().Choose(p.name)
		if s.rule != nil && s.rule.Action == Desync && s.rule.TLS != nil {
			p.treatLate(f, len(msg))
			return
		}
	}
	p.release(f, Late)
}

func (p *Pipeline) treatLate(f *flow.Flow[state], n int) {
	last := f.At(f.Held() - 1)
	var v packet.View
	v.Decode(last.Bytes)
	p.setEnv(f, last.Bytes, &v)
	if f.State.rule.TLS.Plan(&p.plan, &p.env) != nil || p.plan.Whole() {
		p.release(f, Late)
		return
	}
	f.State.phase = judged
	before := p.out.Len()
	p.releaseBeyond(f, n)
	p.plan.Emit(p.out, engine.Meta{Mark: last.Mark, Out: last.Out}, &p.env, 0, n)
	p.counts[Late].Add(uint64(f.Held()))
	f.Release()
	p.trace(f, Late, before)
}
