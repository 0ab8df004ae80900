package desync

import (
	"errors"
	"strconv"

	"b4/tlshello"
)

// seqovl begins the first segment n bytes too early, with other bytes. They lie
// below what the server waits for, and every receiver trims them (RFC 9293
// section 3.10.7.4): the server has acknowledged all that comes ahead of a hello,
// if nothing else the SYN. A censor that does not follow sequence numbers reads
// them in the place of the hello's beginning.
//
// No other segment can have such bytes: who has not got what belongs there keeps
// what comes first or what comes last, as it likes.
type seqovl struct {
	n       int
	pattern string // zero, random, or empty for a hello that says sni
	sni     string
}

// maxOverlap leaves room for a byte of the message in a packet of 1280 bytes.
const maxOverlap = 1200

var errNoOverlap = errors.New("no room in the first packet for the bytes of seqovl and one of the message")

func parseSeqovl(p *parser, args []arg) Step {
	if len(args) == 0 || len(args) > 2 || args[0].key != "" {
		p.fail(p.pos, "seqovl wants a number of bytes and a pattern, as in seqovl(4, zero)")
		return nil
	}
	s := &seqovl{n: p.number(args[0], 1, maxOverlap), pattern: "zero"}
	if len(args) == 1 {
		return s
	}
	switch a := args[1]; {
	case a.key == "sni":
		s.pattern, s.sni = "", p.hostName(a)
	case a.key == "" && (a.val == "zero" || a.val == "random"):
		s.pattern = a.val
	default:
		p.unknown("seqovl", a, "zero, random, sni=")
	}
	return s
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

// head appends the n bytes: of a hello its beginning, and zeroes behind it.
func (s *seqovl) head(dst []byte, e *Env) []byte {
	end := len(dst) + s.n
	switch s.pattern {
	case "":
		dst = tlshello.AppendDecoy(dst, s.sni, e.Rand)
	case "random":
		dst = appendRandom(dst, s.n, e.Rand)
	}
	return appendZero(dst[:min(len(dst), end)], end-min(len(dst), end))
}
