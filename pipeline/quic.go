package pipeline

import "b4/engine"

// datagram judges a UDP packet, which p.view has.
func (p *Pipeline) datagram(*engine.Packet) (engine.Verdict, Reason) {
	return engine.Accept, Other
}
