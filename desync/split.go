package desync

import "strings"

// split cuts the message at positions. A position the message does not have is
// passed over.
type split struct{ at []pos }

var splitSpec = spec{
	name: "split", in: inTCP, phase: messagePhase,
	help: "cut the message into segments",
	params: []param{
		{name: "pos", kind: position, must: true, many: true, help: "where to cut; what the message has not is passed over"},
	},
	make: func(_ *parser, a *args) Step { return makeSplit(a) },
}

func makeSplit(a *args) *split {
	s := &split{}
	for _, x := range a.list {
		s.at = append(s.at, x.cut)
	}
	return s
}

func (s *split) Need() Need { return Need{} }
func (s *split) Harm() Harm { return Segments }

func (s *split) String() string {
	texts := make([]string, len(s.at))
	for i, at := range s.at {
		texts[i] = at.String()
	}
	return "split(" + strings.Join(texts, ", ") + ")"
}

func (s *split) Apply(p *Plan, e *Env) error {
	for _, at := range s.at {
		if n, ok := at.in(&e.Msg); ok {
			p.cutAt(n)
		}
	}
	return nil
}
