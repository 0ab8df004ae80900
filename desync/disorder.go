package desync

// disorder sends the segments last first, each with its decoys. A receiver puts
// them in order; a censor that reads packets as they come does not.
type disorder struct{}

var disorderSpec = spec{
	name: "disorder", in: inTCP, phase: messagePhase,
	help: "send the segments last first, each with its decoys",
	make: func(*parser, *args) Step { return disorder{} },
}

func (disorder) Need() Need     { return Need{} }
func (disorder) Harm() Harm     { return Segments }
func (disorder) String() string { return "disorder" }

func (disorder) Apply(p *Plan, _ *Env) error {
	p.reverse()
	return nil
}
