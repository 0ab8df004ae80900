package pipeline

import (
	"bytes"
	"sync"

	"b4/desync"
	"b4/flow"
	"b4/packet"
)

// An Outcome is what became of a message that a strategy was applied to. Each
// such message has one. All but Opened, Silent and NoEvidence need replies to be
// shown, Config.Observe.
type Outcome uint8

const (
	NoEvidence Outcome = iota // forgotten before anything was seen
	Opened                    // the client went on behind the answer
	Through                   // the server answered, and the client did not go on where we could see it
	Reset                     // a RST before the client went on, as far away as the server
	Forged                    // the same, from another distance
	Closed                    // a FIN ahead of any answer
	Silent                    // sent again and again, and nothing came
	Redirect                  // the answer to a request leads elsewhere, or says that the law forbids one (HTTP 451)
	Frozen                    // the answer began, and nothing came of it within a minute
	outcomes
)

var outcomeNames = [outcomes]string{
	"no_evidence", "opened", "through", "reset", "forged", "closed", "silent", "redirect", "frozen",
}

func (o Outcome) String() string { return outcomeNames[o] }

const (
	// silentAfter is how often a message comes again before its silence counts:
	// for more than a second then, as each wait is twice the one before.
	silentAfter = 3
	// ttlSlack is by how much a server's TTL may differ from one packet to the
	// next, where they take ways of other lengths.
	ttlSlack = 2
)

// conclude reports what became of a message of a kind, once.
func (p *Pipeline) conclude(c *course, kind desync.Proto, o Outcome) {
	if !c.on {
		return
	}
	c.on = false
	p.tallies.count(c.rule, kind, c.steps, o)
	p.hosts.conclude(c.spot, o)
	if c.chooser != nil {
		c.chooser.Report(c.token, o, p.now)
	}
}

// forgotten is what became of a message whose flow is forgotten, after its time
// or before.
func (p *Pipeline) forgotten(f *flow.Flow[state]) Outcome {
	switch answered := f.State.answered; {
	case answered && p.flows.Unseen(p.now, f) >= flow.Idle:
		return Frozen
	case answered:
		return Through
	}
	return NoEvidence
}

// resent counts that a message of a kind came again.
func (p *Pipeline) resent(c *course, kind desync.Proto) {
	if c.again++; c.again == silentAfter && !c.answered {
		p.conclude(c, kind, Silent)
	}
}

// observe looks at a server's packet for what it says about a message.
func (p *Pipeline) observe() {
	v := &p.view
	f, known := p.flows.Peek(flow.KeyOf(v).Reverse())
	if !known || !f.State.on {
		return
	}
	s := &f.State
	switch {
	case v.Flags&packet.RST != 0:
		o := Reset
		if !p.hops.like(v.Src.Addr(), v.TTL) {
			o = Forged
		}
		p.conclude(&s.course, s.msg.proto, o)
	case len(v.Payload) > 0 && s.msg.proto == desync.HTTP:
		o := Through
		if redirects(v.Payload) {
			o = Redirect
		}
		p.conclude(&s.course, s.msg.proto, o)
	case len(v.Payload) > 0:
		s.answered = true
	}
	if v.Flags&packet.FIN != 0 {
		o := Closed
		if s.answered {
			o = Through
		}
		p.conclude(&s.course, s.msg.proto, o)
	}
}

// redirects reports whether an answer has a status of 3xx, but 304, or 451 (RFC
// 9110 section 15.4, RFC 7725).
func redirects(b []byte) bool {
	if len(b) < 12 || !bytes.HasPrefix(b, []byte("HTTP/1.")) || b[8] != ' ' {
		return false
	}
	code := b[9:12]
	return code[0] == '3' && string(code) != "304" || string(code) == "451"
}

// keptTallies bounds the strategies of rules that are counted apart.
const keptTallies = 64

// A Tally counts what became of the messages that one strategy of one rule was
// applied to.
type Tally struct {
	Rule     string            `json:"rule"`
	Proto    string            `json:"proto"`
	Strategy string            `json:"strategy"` // canonical text
	Outcomes map[string]uint64 `json:"outcomes"` // those that came about, by an Outcome's name
}

// tallies is a fixed arena of tallies. One more than fit is not counted.
type tallies struct {
	mu      sync.Mutex
	n       int
	entries [keptTallies]struct {
		rule     string
		proto    desync.Proto
		strategy string
		counts   [outcomes]uint64
	}
}

// count adds one. It allocates nothing.
func (t *tallies) count(r *Rule, proto desync.Proto, steps *desync.Strategy, o Outcome) {
	t.mu.Lock()
	for i := range t.entries {
		e := &t.entries[i]
		if i == t.n {
			e.rule, e.proto, e.strategy = r.Name, proto, steps.String()
			t.n++
		}
		if e.proto == proto && e.rule == r.Name && e.strategy == steps.String() {
			e.counts[o]++
			break
		}
	}
	t.mu.Unlock()
}

// Outcomes returns what became of the messages that strategies were applied to,
// by rule and strategy, in the order they were met.
func (p *Pipeline) Outcomes() []Tally {
	t := &p.tallies
	t.mu.Lock()
	defer t.mu.Unlock()
	list := make([]Tally, t.n)
	for i := range list {
		e := &t.entries[i]
		list[i] = Tally{e.rule, e.proto.String(), e.strategy, map[string]uint64{}}
		for o, n := range e.counts {
			if n > 0 {
				list[i].Outcomes[Outcome(o).String()] = n
			}
		}
	}
	return list
}
