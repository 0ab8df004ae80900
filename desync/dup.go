package desync

import "strconv"

// dup sends every packet n more times, right behind the first.
type dup struct{ n int }

// maxDup bounds the copies of a packet: five lost in a row are no accident.
const maxDup = 5

var dupSpec = spec{
	name: "dup", in: inAll, phase: packetPhase, once: true,
	help: "send every packet more than once",
	params: []param{
		{name: "n", kind: number, lo: 1, hi: maxDup, must: true, help: "copies besides the first"},
	},
	make: func(_ *parser, a *args) Step { return &dup{a.number("n")} },
}

func (*dup) Need() Need       { return Need{} }
func (*dup) Harm() Harm       { return Segments }
func (d *dup) String() string { return "dup(" + strconv.Itoa(d.n) + ")" }

func (d *dup) Rewrite(p *Plan, _ *Env) {
	n := len(p.pkts)
	for range n * d.n {
		p.pkts = append(p.pkts, pkt{})
	}
	for i := len(p.pkts) - 1; i >= 0; i-- {
		p.pkts[i] = p.pkts[i/(d.n+1)]
	}
	p.rewritten = true
}
