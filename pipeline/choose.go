package pipeline

import (
	"time"

	"b4/desync"
	"b4/flow"
)

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
	Name  []byte    // the host's, empty where none is said; borrowed for the call
}

// A course is what is done with a message, and what is known so far about what
// becomes of it.
type course struct {
	rule     *Rule
	steps    *desync.Strategy // of a rule that treats; nil leaves the message as it is
	chooser  Chooser          // who has picked them, and is told; nil if the rule has
	token    Token
	on       bool // the strategy was applied, and nothing is concluded
	answered bool // data of the server was seen
	again    uint8
	spot     spot // of its host among those seen last
}

// choose is the course of a message of a kind to the host in p.name, by its rule r.
func (p *Pipeline) choose(r *Rule, kind desync.Proto, k *flow.Key) course {
	c := course{rule: r}
	if r == nil || r.For[kind].Action != Desync {
		return c
	}
	c.steps, c.chooser = r.For[kind].Steps, p.config.Load().Chooser
	if c.chooser != nil {
		c.steps, c.token = c.chooser.Choose(Choice{r, kind, k, p.name}, p.now)
	}
	return c
}

// settle finds the rule and the strategy for f's message to the host in p.name.
func (p *Pipeline) settle(f *flow.Flow[state]) {
	s := &f.State
	s.course = p.choose(p.config.Load().Choose(p.name, s.mark, f.Key().Dst()), s.msg.proto, f.Key())
}
