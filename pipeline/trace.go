package pipeline

import (
	"time"

	"b4/desync"
	"b4/flow"
	"b4/match"
)

// An Event is one step in the life of a traced connection.
type Event struct {
	Time     time.Time `json:"time"`
	Flow     string    `json:"flow"`  // source -> destination, as on WAN
	Proto    string    `json:"proto"` // tls, http or quic
	Host     string    `json:"host"`
	Rule     string    `json:"rule"`
	Strategy string    `json:"strategy"` // canonical text
	Why      string    `json:"why"`      // a Reason
	Packets  []string  `json:"packets"`  // what left in the packet's place, in order
}

// A Tracer is told what happens to connections to certain hosts.
type Tracer struct {
	Hosts *match.Set
	Each  func(Event) // called on the packet path: it must not block
}

// Trace tells t from now on. It reports false where another is being told. stop
// ends it.
func (p *Pipeline) Trace(t *Tracer) (stop func(), ok bool) {
	return func() { p.tracer.CompareAndSwap(t, nil) }, p.tracer.CompareAndSwap(nil, t)
}

// take makes f's host the one in p.name.
func (p *Pipeline) take(f *flow.Flow[state]) {
	p.name = f.State.msg.appendName(p.name[:0], f.Stream().Bytes())
}

// trace notes a verdict under f's host, which is in p.name, and tells the tracer,
// if there is one for it, also of the packets the batch has had since.
func (p *Pipeline) trace(f *flow.Flow[state], why Reason, since int) {
	s := subjectOf(f)
	f.State.spot = p.tell(&s, why, since)
}

// traceFinished is trace for data behind a message that was traced. It mostly needs
// no name.
func (p *Pipeline) traceFinished(f *flow.Flow[state]) {
	p.hosts.answered(f.State.spot)
	if p.tracer.Load() != nil {
		p.take(f)
		s := subjectOf(f)
		p.show(&s, Finished, p.out.Len())
	}
}

// A subject is what a verdict is about, with the host in Pipeline.name.
type subject struct {
	flow  *flow.Key
	proto desync.Proto
	rule  *Rule            // nil where none matched
	steps *desync.Strategy // nil where nothing is done
	base  uint32           // of TCP: sequence number of the message's first byte
}

func subjectOf(f *flow.Flow[state]) subject {
	s := &f.State
	return subject{f.Key(), s.msg.proto, s.rule, s.steps, f.Stream().Base()}
}

// tell is trace for any kind of flow. It returns where the host is kept.
func (p *Pipeline) tell(s *subject, why Reason, since int) spot {
	p.show(s, why, since)
	return p.hosts.note(p.now, s, p.name, why)
}

// show tells the tracer, if there is one for the host.
func (p *Pipeline) show(s *subject, why Reason, since int) {
	t := p.tracer.Load()
	if t == nil || !t.Hosts.Contains(p.name) {
		return
	}
	e := Event{Time: p.now, Proto: s.proto.String(), Host: string(p.name), Why: why.String()}
	e.Flow = s.flow.Src().String() + " -> " + s.flow.Dst().String()
	if s.rule != nil {
		e.Rule = s.rule.Name
	}
	if s.steps != nil {
		e.Strategy = s.steps.String()
	}
	for i := since; i < p.out.Len(); i++ {
		e.Packets = append(e.Packets, Describe(p.out.At(i), s.base))
	}
	t.Each(e)
}
