package desync

import (
	"strconv"
	"strings"

	"b4/packet"
)

// rst sends a decoy that resets the connection, for a censor that then forgets
// it. Without all doubt the server must not take it: it looks at a reset's
// sequence number alone, so that badack, noack and ts keep it from nothing.
type rst struct {
	fooling
	place  place // before or after
	repeat int
}

// rstFools are the foolings that keep a server from a reset.
const rstFools = BadSum | MD5 | BadSeq | HopByHop | DestOpt

func parseRST(p *parser, args []arg) Step {
	r := &rst{repeat: 1}
	end := p.pos
	for _, a := range args {
		switch {
		case r.take(p, a):
			if r.fool&^rstFools != 0 {
				p.fail(a.pos, "%s does not keep a server from a reset, want ttl=, %s", a.val, foolWords(rstFools))
			}
		case a.key == "repeat":
			r.repeat = p.number(a, 1, 10)
		case a.key == "place":
			r.place = p.placed(a, each)
		default:
			p.unknown("rst", a, foolWords(rstFools)+", ttl=, place=, repeat=")
		}
	}
	if r.ttl == 0 && r.fool == 0 {
		p.fail(end, "rst needs ttl= or one of %s: without one it ends the connection", foolWords(rstFools))
	}
	return r
}

func (r *rst) Need() Need { return Need{} }
func (r *rst) Harm() Harm { return Decoys }

func (r *rst) String() string {
	w := r.place.words(r.words(nil))
	if r.repeat != 1 {
		w = append(w, "repeat="+strconv.Itoa(r.repeat))
	}
	return "rst(" + strings.Join(w, ", ") + ")"
}

func (r *rst) Apply(p *Plan, e *Env) error {
	f, err := r.on(e)
	if err != nil {
		return err
	}
	d := Seg{Decoy: true, Flags: packet.RST, TTL: f.ttl, Fool: f.fool}
	if r.place == after {
		d.Off = p.size
	}
	p.add(d, r.place, r.repeat)
	return nil
}
