package desync

import (
	"errors"
	"strconv"
)

// seqovl begins the first segment n bytes too early, with other bytes. They lie
// below what the server waits for, and every receiver trims them (RFC 9293
// section 3.10.7.4): it has all that comes ahead of a connection's first message,
// if nothing else the SYN. Where it may not have, the step is passed over. A censor
// that does not follow sequence numbers reads them in the place of the message's
// beginning.
//
// No other segment can have such bytes: who has not got what belongs there keeps
// what comes first or what comes last, as it likes.
type seqovl struct {
	n       int
	pattern string // zero, random, or empty for a message that says sni
	sni     string
	proto   Proto
}

// maxOverlap leaves room for a byte of the message in a packet of 1280 bytes.
const maxOverlap = 1200

var errNoOverlap = errors.New("no room in the first packet for the bytes of seqovl and one of the message")

var seqovlSpec = spec{
	name: "seqovl", in: inTCP, phase: messagePhase, once: true,
	help: "begin the first segment too early, with bytes that the server has read past",
	params: []param{
		{name: "n", kind: number, lo: 1, hi: maxOverlap, must: true, help: "bytes ahead of the message"},
		{name: "pattern", kind: word, words: []string{"zero", "random"}, def: "zero", help: "what they are"},
		{name: "sni", keyed: true, kind: hostname, help: "or the beginning of a message like the client's that says this name"},
	},
	make: func(p *parser, a *args) Step {
		s := &seqovl{n: a.number("n"), pattern: a.word("pattern"), proto: p.proto}
		if x := a.find("sni"); x != nil {
			if a.find("pattern") != nil {
				p.fail(x.pos, "%s says no name", s.pattern)
			}
			s.pattern, s.sni = "", x.val
		}
		return s
	},
}

func (s *seqovl) Need() Need { return Need{} }
func (s *seqovl) Harm() Harm { return Decoys }

func (s *seqovl) String() string {
	pattern := s.pattern
	if pattern == "" {
		pattern = "sni=" + s.sni
	}
	return "seqovl(" + strconv.Itoa(s.n) + ", " + pattern + ")"
}

func (s *seqovl) Apply(p *Plan, e *Env) error {
	if !e.Conn.First {
		return nil
	}
	if e.headerLen(0)+s.n+1 > e.Conn.MTU {
		return errNoOverlap
	}
	for i := range p.segs {
		if seg := &p.segs[i]; seg.real() && seg.Off == 0 {
			start := len(p.arena)
			p.arena = s.head(p.arena, e)
			seg.Head = p.made(start)
		}
	}
	return nil
}

// head appends the n bytes: of a message its beginning, and zeroes behind it.
func (s *seqovl) head(dst []byte, e *Env) []byte {
	end := len(dst) + s.n
	switch s.pattern {
	case "":
		dst = appendHello(dst, s.proto, s.sni, e.Rand)
	case "random":
		dst = appendRandom(dst, s.n, e.Rand)
	}
	return appendZero(dst[:min(len(dst), end)], end-min(len(dst), end))
}
