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
	ttl    uint8 // 0 is the client's
	fool   Fool
	place  place
	repeat int
}

// take takes argument a of a step that may fool by those in can and put its
// decoys in one of places. words are the step's own.
func (d *decoy) take(p *parser, a arg, step, words string, can Fool, places []string) {
	switch bit := foolNamed(a.val); {
	case a.key == "ttl" && a.val == "auto":
		p.fail(a.pos, "ttl=auto needs the distance to the server, which this version does not measure; give a number")
	case a.key == "ttl":
		d.ttl = uint8(p.number(a, 1, 255))
	case a.key == "repeat":
		d.repeat = p.number(a, 1, 10)
	case a.key == "place":
		i := index(places, a.val)
		if i < 0 {
			p.fail(a.pos, "%q is no place, want %s", a.val, list(places))
		}
		d.place = place(i)
	case a.key != "" || bit == 0:
		p.unknown(step, a, words+foolWords(can)+", ttl=, place=, repeat=")
	case bit&can == 0:
		p.fail(a.pos, "%s does not keep the server from it, want ttl=, %s", a.val, foolWords(can))
	default:
		d.fool |= bit
	}
}

// fooled refuses a step whose decoys the server would read.
func (d *decoy) fooled(p *parser, at int, step string, can Fool) {
	if d.ttl == 0 && d.fool == 0 {
		p.fail(at, "%s needs ttl= or one of %s: without one the server takes it for the client's", step, foolWords(can))
	}
}

// foolNamed is the bit of a word, 0 if there is none.
func foolNamed(word string) Fool {
	if i := index(foolNames[:], word); i >= 0 {
		return 1 << i
	}
	return 0
}

// foolWords lists the foolings in f.
func foolWords(f Fool) string {
	var w []string
	for i, name := range foolNames {
		if f>>i&1 == 1 {
			w = append(w, name)
		}
	}
	return list(w)
}

// text is the canonical text of a step, whose own words are w.
func (d *decoy) text(step string, w []string) string {
	if d.ttl != 0 {
		w = append(w, "ttl="+strconv.Itoa(int(d.ttl)))
	}
	if d.fool != 0 {
		w = append(w, foolWords(d.fool))
	}
	if d.place != before {
		w = append(w, "place="+placeNames[d.place])
	}
	if d.repeat != 1 {
		w = append(w, "repeat="+strconv.Itoa(d.repeat))
	}
	return step + "(" + list(w) + ")"
}

// send puts s among p's segments, fooling as far as the connection has a place
// for it: a timestamp, IPv6, room in the header. What has none is left out where
// something else remains; a ttl does not count, as only the user knows where it
// ends.
func (d *decoy) send(p *Plan, e *Env, s Seg) error {
	s.Decoy, s.TTL, s.Fool = true, d.ttl, d.fool
	for bit := BadSum; bit != 0; bit <<= 1 {
		if d.fool&bit != 0 && !e.can(bit) {
			s.Fool &^= bit
		}
	}
	if d.fool != 0 && s.Fool == 0 {
		return errUnfooled
	}
	p.add(&s, d.place, d.repeat)
	return nil
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
