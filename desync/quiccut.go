package desync

// quicSplit cuts the CRYPTO frames of the client's Initial packets at positions
// in its handshake bytes. The frames stay in one datagram: a server puts them
// together, and a censor that looks for the name in one frame misses it.
type quicSplit struct{ split }

func parseQUICSplit(p *parser, args []arg) Step {
	s, ok := parseSplit(p, args).(*split)
	if !ok {
		return nil
	}
	return &quicSplit{*s}
}

func (s *quicSplit) Apply(p *Plan, e *Env) error {
	m := Message{Bytes: e.Msg.Crypto, Hello: e.Msg.Hello}
	for _, at := range s.at {
		if n, ok := at.in(&m); ok {
			p.dgram.layout.Cuts = append(p.dgram.layout.Cuts, n)
			p.dgram.anew = true
		}
	}
	return nil
}

// quicDisorder puts the CRYPTO frames of each Initial packet in the order of
// their bytes, last first. Alone it turns around what the client has cut.
type quicDisorder struct{ disorder }

func parseQUICDisorder(p *parser, args []arg) Step {
	p.none("disorder", args)
	return quicDisorder{}
}

func (quicDisorder) Apply(p *Plan, _ *Env) error {
	p.dgram.layout.Reverse, p.dgram.anew = true, true
	return nil
}
