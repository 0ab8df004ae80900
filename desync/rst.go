package desync

import "b4/packet"

// rst sends a decoy that resets the connection, for a censor that then forgets
// it. A server looks at a reset's sequence number alone, so that badack, noack
// and ts do not keep it from one.
type rst struct{ decoy }

// rstFools are the foolings that keep a server from a reset.
const rstFools = BadSum | MD5 | BadSeq | HopByHop | DestOpt

var rstSpec = spec{
	name: "rst", in: inTCP, phase: messagePhase,
	help:   "send a decoy that resets the connection",
	params: decoyParams(rstFools, placeNames[:each]),
	make:   func(p *parser, a *args) Step { return &rst{makeDecoy(p, a, rstFools)} },
}

func (r *rst) Need() Need     { return r.need() }
func (r *rst) Harm() Harm     { return Decoys }
func (r *rst) String() string { return r.text("rst", nil) }

func (r *rst) Apply(p *Plan, e *Env) error {
	d := Seg{Flags: packet.RST}
	if r.place == after {
		d.Off = p.size
	}
	return r.send(p, e, d)
}
