package pipeline

import (
	"bytes"
	"sync"
	"time"

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

// A watch is what is known so far about what becomes of a message.
type watch struct {
	on       bool // a strategy was applied, and nothing is concluded
	answered bool // data of the server was seen
	again    uint8
	token    Token
}

// conclude reports what became of f's message, once.
func (p *Pipeline) conclude(f *flow.Flow[state], o Outcome) {
	s := &f.State
	if !s.watch.on {
		return
	}
	s.watch.on = false
	p.tallies.count(s.rule, s.msg.proto, s.steps, o)
	if c := p.config.Load().Chooser; c != nil {
		c.Report(s.watch.token, o, p.now)
	}
}

// forgotten is what became of a message whose flow is forgotten, after its time
// or before.
func (p *Pipeline) forgotten(f *flow.Flow[state]) Outcome {
	switch w := &f.State.watch; {
	case w.answered && p.now.Sub(f.Seen()) >= flow.Idle:
		return Frozen
	case w.answered:
		return Through
	}
	return NoEvidence
}

// resent counts that a message came again.
func (p *Pipeline) resent(f *flow.Flow[state]) {
	w := &f.State.watch
	if w.again++; w.again == silentAfter && !w.answered {
		p.conclude(f, Silent)
	}
}

// observe looks at a server's packet for what it says about a message.
func (p *Pipeline) observe() {
	v := &p.view
	f, known := p.flows.Peek(flow.KeyOf(v).Reverse())
	if !known || !f.State.watch.on {
		return
	}
	w := &f.State.watch
	switch {
	case v.Flags&packet.RST != 0:
		o := Reset
		if !p.hops.like(v.Src.Addr(), v.TTL) {
			o = Forged
		}
		p.conclude(f, o)
	case len(v.Payload) > 0 && f.State.msg.proto == desync.HTTP:
		o := Through
		if redirects(v.Payload) {
			o = Redirect
		}
		p.conclude(f, o)
	case len(v.Payload) > 0:
		w.answered = true
	}
	if v.Flags&packet.FIN != 0 {
		o := Closed
		if w.answered {
			o = Through
		}
		p.conclude(f, o)
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
	defer t.mu.Unlock()
	for i := range t.entries {
		e := &t.entries[i]
		if i == t.n {
			e.rule, e.proto, e.strategy = r.Name, proto, steps.String()
			t.n++
		}
		if e.proto == proto && e.rule == r.Name && e.strategy == steps.String() {
			e.counts[o]++
			return
		}
	}
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

// A Token stands for one choice of a Chooser.
type Token uint64

// A Chooser picks the strategy for each message that a rule has treated, and
// hears what became of it. Both are called on the packet path: they must not
// block. What is sent again follows its flow's choice.
type Chooser interface {
	// Choose returns a strategy for k's kind of message, nil to leave it as it
	// is.
	Choose(k Choice, now time.Time) (*desync.Strategy, Token)
	// Report tells the outcome of a choice, once for each whose strategy was
	// applied.
	Report(t Token, o Outcome, now time.Time)
}

// A Choice is what a strategy is chosen by.
type Choice struct {
	Rule  *Rule
	Proto desync.Proto
	Flow  *flow.Key // borrowed for the call
	Name  []byte    // the host's; borrowed for the call
}

// choose finds the rule and the strategy for f's message to the host in p.name.
func (p *Pipeline) choose(f *flow.Flow[state]) {
	s, c := &f.State, p.config.Load()
	s.rule, s.steps, s.watch = c.Choose(p.name), nil, watch{}
	if s.rule == nil || s.rule.For[s.msg.proto].Action != Desync {
		return
	}
	s.steps = s.rule.For[s.msg.proto].Steps
	if c.Chooser != nil {
		s.steps, s.watch.token = c.Chooser.Choose(Choice{s.rule, s.msg.proto, f.Key(), p.name}, p.now)
	}
}
