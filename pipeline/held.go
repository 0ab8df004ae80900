package pipeline

import (
	"time"

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
	p.flows.Release(f)
}

// hold keeps a copy of a packet until the rest of its message comes, or d is over.
// The copy can be sent: what the kernel has left partial of it is filled in.
func (p *Pipeline) hold(pkt *engine.Packet, f *flow.Flow[state], d time.Duration) bool {
	v := &p.view
	b := pkt.Bytes[:v.Hdr+len(v.Payload)]
	if !p.flows.Hold(p.now, f, flow.Held{Bytes: b, Mark: pkt.Mark, Out: pkt.Out}, d) {
		return false
	}
	if pkt.Partial {
		packet.Finish(f.At(f.Held()-1).Bytes, v.IPLen, packet.TCP)
	}
	return true
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

// evict lets go of a flow that must make room or is over.
func (p *Pipeline) evict(f *flow.Flow[state]) {
	p.conclude(&f.State.course, f.State.msg.proto, p.forgotten(f))
	p.release(f, Evicted)
}

// Drain implements engine.Handler: what still waits is let go as if the rest came
// too late. No flow is forgotten: another engine may go on with it.
func (p *Pipeline) Drain(out *engine.Batch) {
	p.out = out
	p.flows.Due(endOfTime, p.late)
	p.putOff(engine.Accept, false)
	p.wheel.take(endOfTime, out)
}

// endOfTime is when every packet has waited long enough.
var endOfTime = time.Unix(1<<40, 0)

// late lets go of a message whose rest did not come. If the name is there already
// its rule is followed for what is there: untouched, it would show the name.
// What comes later goes on at once, and is treated if it brings the name.
func (p *Pipeline) late(f *flow.Flow[state]) {
	s := &f.State
	s.loose = true
	if s.named = s.msg.named(); s.named {
		p.take(f)
		p.settle(f)
		switch why := s.ruling(); why {
		case Dropped, Rejected:
			s.phase = judged
			p.counts[why].Add(uint64(f.Held()))
			p.flows.Release(f)
			return
		case Treated:
			if p.treatLate(f) {
				return
			}
		}
	}
	p.release(f, Late)
}

// treatLate treats what is there of f's message. It reports false, and does
// nothing, where that stays as it is.
func (p *Pipeline) treatLate(f *flow.Flow[state]) bool {
	n, last := len(f.Stream().Bytes()), f.At(f.Held()-1)
	var v packet.View
	v.Decode(last.Bytes)
	if err, whole := p.work(f, last.Bytes, &v); err != nil || whole {
		return false
	}
	f.State.phase = judged
	before := p.out.Len()
	p.releaseBeyond(f, n)
	p.plan.Emit(p.out, engine.Meta{Mark: last.Mark, Out: last.Out}, &p.env, int(f.State.gone), n)
	f.State.on = true
	p.counts[Late].Add(uint64(f.Held()))
	p.flows.Release(f)
	p.trace(f, Late, before)
	return true
}
