package desync

import (
	"strconv"

	"b4/quic"
)

// pad puts PADDING frames ahead of the CRYPTO frames, those the client has behind
// them and as many more as the datagram lacks of n bytes.
type pad struct{ n int }

// maxPad is what a packet of 1500 bytes holds by IPv6.
const maxPad = 1452

var padSpec = spec{
	name: "pad", in: inQUIC, phase: messagePhase, once: true,
	help: "put padding ahead of the client's hello, and make the datagram longer",
	params: []param{
		{name: "n", kind: number, lo: quic.MinDatagram, hi: maxPad, must: true, help: "bytes of the datagram"},
	},
	make: func(_ *parser, a *args) Step { return &pad{a.number("n")} },
}

func (*pad) Need() Need       { return Need{} }
func (*pad) Harm() Harm       { return Segments }
func (s *pad) String() string { return "pad(" + strconv.Itoa(s.n) + ")" }

func (s *pad) Apply(p *Plan, _ *Env) error {
	p.dgram.layout.Ahead, p.dgram.layout.Size, p.dgram.anew = true, s.n, true
	return nil
}

// udplen puts n bytes behind the last packet of the datagram, where a receiver
// discards what is no packet (RFC 9000 section 12.2). A datagram that has no room
// for them goes without.
type udplen struct{ n int }

// maxTail and a datagram of 1200 bytes make a packet of less than 1500.
const maxTail = 240

var udplenSpec = spec{
	name: "udplen", in: inQUIC, phase: messagePhase, once: true,
	help: "put bytes behind the last packet of the datagram, which a receiver discards",
	params: []param{
		{name: "n", kind: number, lo: 1, hi: maxTail, must: true, help: "bytes"},
	},
	make: func(_ *parser, a *args) Step { return &udplen{a.number("n")} },
}

func (*udplen) Need() Need       { return Need{} }
func (*udplen) Harm() Harm       { return Decoys }
func (s *udplen) String() string { return "udplen(" + strconv.Itoa(s.n) + ")" }

func (s *udplen) Apply(p *Plan, _ *Env) error {
	p.dgram.tail = s.n
	return nil
}
