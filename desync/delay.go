package desync

import (
	"strconv"
	"time"
)

// delay lets the second and every later packet leave ms milliseconds later than
// the one ahead of it, decoys and copies included. Of a retransmitted part the
// first packet leaves at once.
type delay struct{ ms int }

const (
	maxDelay = 200 // ms; clients send again after that (RTO_MIN in include/net/tcp.h)
	// maxDelayed bounds how late the last of many packets leaves: behind it the
	// client would have sent all of them again. What is later leaves together.
	maxDelayed = time.Second
)

var delaySpec = spec{
	name: "delay", in: inAll, phase: packetPhase, once: true,
	help: "let each packet leave later than the one ahead of it, at most 1 s in all",
	params: []param{
		{name: "ms", kind: number, lo: 1, hi: maxDelay, must: true, help: "milliseconds between two packets"},
	},
	make: func(_ *parser, a *args) Step { return &delay{a.number("ms")} },
}

func (*delay) Need() Need       { return Need{} }
func (*delay) Harm() Harm       { return Segments }
func (d *delay) String() string { return "delay(" + strconv.Itoa(d.ms) + ")" }

func (d *delay) Rewrite(p *Plan, _ *Env) {
	for i := range p.pkts {
		p.pkts[i].after = min(time.Duration(i*d.ms)*time.Millisecond, maxDelayed)
		p.rewritten = p.rewritten || i > 0
	}
}
