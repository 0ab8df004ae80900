package desync

// quicSplit cuts the CRYPTO frames of the client's Initial packets at positions
// in its handshake bytes. The frames stay in one datagram: a server puts them
// together, and a censor that looks for the name in one frame misses it.
type quicSplit struct{ split }

var quicSplitSpec = spec{
	name: "split", in: inQUIC, phase: messagePhase,
	help: "cut the frames of the client's hello; they stay in one datagram",
	params: []param{
		{name: "pos", kind: position, must: true, many: true, help: "where to cut; what the hello has not is passed over"},
	},
	make: func(_ *parser, a *args) Step { return &quicSplit{*makeSplit(a)} },
}

func (s *quicSplit) Apply(p *Plan, e *Env) error {
	for _, at := range s.at {
		if n, ok := at.in(&e.Msg); ok {
			p.dgram.layout.Cuts = append(p.dgram.layout.Cuts, n)
			p.dgram.anew = true
		}
	}
	return nil
}

// quicDisorder puts the CRYPTO frames of each Initial packet in the order of
// their bytes, last first. Alone it turns around what the client has cut.
type quicDisorder struct{ disorder }

var quicDisorderSpec = spec{
	name: "disorder", in: inQUIC, phase: messagePhase,
	help: "put the frames of the client's hello in order, last first",
	make: func(*parser, *args) Step { return quicDisorder{} },
}

func (quicDisorder) Apply(p *Plan, _ *Env) error {
	p.dgram.layout.Reverse, p.dgram.anew = true, true
	return nil
}
