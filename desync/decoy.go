package desync

import (
	"errors"
	"strconv"
)

// A place is where a step puts its decoys.
type place uint8

const (
	before place = iota // ahead of all segments
	after               // behind all segments
	each                // ahead of each segment, each with its share of the decoy
	around              // on both sides of each segment
)

var placeNames = [...]string{"before", "after", "each", "around"}

// errUnfooled is why a decoy cannot be sent: the server would read it.
var errUnfooled = errors.New("no place in this connection's headers for what keeps the server from the decoy")

// A decoy is what steps that send decoys have in common: all that keeps the
// server from reading them, their place, and how many they are.
type decoy struct {
	ttl    ttl
	fool   Fool
	place  place
	repeat int
}

// fooling is the parameter that names Fools.
const fooling = "fooling"

// maxRepeat bounds how often a step sends its decoy.
const maxRepeat = 10

// decoyParams are the parameters of a step that may fool by those in can and put
// its decoys in one of places.
func decoyParams(can Fool, places []string) []param {
	params := []param{
		{name: "ttl", keyed: true, kind: distance,
			help: "the decoy's TTL; with auto it ends at the last router ahead of the server, as far as the server's answer tells, with auto-1 at the one before"},
		{name: fooling, kind: word, words: foolWords(can), many: true, help: "what keeps the server from it besides"},
	}
	if len(places) > 0 {
		help := "before or after all segments"
		if len(places) > int(each) {
			help += ", ahead of each, or around each"
		}
		params = append(params, param{name: "place", keyed: true, kind: word, words: places, def: placeNames[before], help: help})
	}
	return append(params, param{name: "repeat", keyed: true, kind: number, lo: 1, hi: maxRepeat, def: "1", help: "how often it is sent"})
}

// readDecoy reads a step's decoyParams.
func readDecoy(a *args) decoy {
	d := decoy{place: place(max(index(placeNames[:], a.word("place")), 0)), repeat: a.number("repeat")}
	for _, x := range a.list {
		if x.param.name == fooling {
			d.fool |= foolNamed(x.val)
		}
	}
	if t := a.find("ttl"); t != nil {
		d.ttl = ttl{t.num, t.auto}
	}
	return d
}

// makeDecoy is readDecoy for a step whose decoys the server would read if
// nothing keeps it from them.
func makeDecoy(p *parser, a *args, can Fool) decoy {
	d := readDecoy(a)
	switch t := a.find("ttl"); {
	case d.fool != 0:
	case t == nil:
		p.fail(a.end, "%s needs ttl= or one of %s: without one the server takes it for the client's", a.spec.name, list(foolWords(can)))
	case t.auto && t.num > 0:
		p.fail(t.pos, "a decoy with ttl=%s gets to the server: add one of %s", d.ttl, list(foolWords(can)))
	}
	return d
}

func (d *decoy) need() Need { return Need{Hops: d.ttl.auto} }

// foolNamed is the bit of a word, 0 if there is none.
func foolNamed(word string) Fool {
	if i := index(foolNames[:], word); i >= 0 {
		return 1 << i
	}
	return 0
}

// foolWords are the foolings in f.
func foolWords(f Fool) (w []string) {
	for i, name := range foolNames {
		if f>>i&1 == 1 {
			w = append(w, name)
		}
	}
	return w
}

// text is the canonical text of a step, whose own words are w.
func (d *decoy) text(step string, w []string) string {
	if d.ttl != (ttl{}) {
		w = append(w, "ttl="+d.ttl.String())
	}
	w = append(w, foolWords(d.fool)...)
	if d.place != before {
		w = append(w, "place="+placeNames[d.place])
	}
	if d.repeat != 1 {
		w = append(w, "repeat="+strconv.Itoa(d.repeat))
	}
	return step + "(" + list(w) + ")"
}

// send puts s among p's segments.
func (d *decoy) send(p *Plan, e *Env, s Seg) error {
	s.Decoy = true
	if !d.spoil(&s, e) {
		return errUnfooled
	}
	p.add(&s, d.place, d.repeat)
	return nil
}

// spoil lets s fool as far as the connection has a place for it: a timestamp,
// IPv6, room in the header, a known distance. What has none is left out where
// something else remains; it reports whether it does. A ttl that the user gave as
// a number does not count, as only the user knows where it ends.
func (d *decoy) spoil(s *Seg, e *Env) bool {
	s.Fool = d.fool
	for bit := BadSum; bit != 0; bit <<= 1 {
		if d.fool&bit != 0 && !e.can(bit) {
			s.Fool &^= bit
		}
	}
	n, short := d.ttl.of(&e.Conn)
	s.TTL = n
	return s.Fool != 0 || short || d.fool == 0 && !d.ttl.auto
}

// add puts decoy d n times in its place, into the group of the segment it stands by.
func (p *Plan) add(d *Seg, w place, n int) {
	last := len(p.segs) - 1
	p.spare = p.spare[:0]
	for i := range p.segs {
		s, by := &p.segs[i], *d
		by.Group = s.Group
		ahead, behind := w == before && i == 0, w == after && i == last
		if w >= each && s.real() {
			by.share(s.Off, s.Len)
			ahead, behind = by.Len > 0, by.Len > 0 && w == around
		}
		for k := 0; ahead && k < n; k++ {
			p.spare = append(p.spare, by)
		}
		p.spare = append(p.spare, *s)
		for k := 0; behind && k < n; k++ {
			p.spare = append(p.spare, by)
		}
	}
	p.segs, p.spare = p.spare, p.segs
}

// share narrows decoy d, which pretends to begin the message, to n bytes from off.
func (d *Seg) share(off, n int) {
	from := min(off, len(d.Data))
	d.Data = d.Data[from:min(off+n, len(d.Data))]
	d.Off, d.Len = off, len(d.Data)
}
