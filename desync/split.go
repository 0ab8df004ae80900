package desync

import "strings"

// split cuts the message at positions. A position the message does not have is
// passed over.
type split struct{ at []pos }

func parseSplit(p *parser, args []arg) Step {
	if len(args) == 0 {
		p.fail(p.pos, "split needs a position, as in split(midsld)")
		return nil
	}
	s := &split{}
	for _, a := range args {
		s.at = append(s.at, p.position(a))
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
