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

// trace notes a verdict under f's host, and tells the tracer, if there is one
// for it, also of the packets the batch has had since.
func (p *Pipeline) trace(f *flow.Flow[state], why Reason, since int) {
	s := &f.State
	p.name = s.msg.appendName(p.name[:0], f.Stream().Bytes())
	p.tell(&subject{f.Key(), s.msg.proto, s.rule, s.steps, f.Stream().Base()}, why, since)
}

// A subject is what a verdict is about, with the host in Pipeline.name.
type subject struct {
	flow  *flow.Key
	proto desync.Proto
	rule  *Rule            // nil where none matched
	steps *desync.Strategy // nil where nothing is done
	base  uint32           // of TCP: sequence number of the message's first byte
}

// tell is trace for any kind of flow.
func (p *Pipeline) tell(s *subject, why Reason, since int) {
	p.hosts.note(p.now, s, p.name, why)
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
		e.Packets = append(e.Packets, describe(p.out.At(i), s.base))
	}
	t.Each(e)
}
