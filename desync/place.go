package desync

// A place is where a step puts its decoys.
type place uint8

const (
	before place = iota // ahead of all segments
	after               // behind all segments
	each                // ahead of each segment, each with its share of the decoy
	around              // on both sides of each segment
)

var placeNames = [...]string{"before", "after", "each", "around"}

// placed reads the value of place=, one of the first n.
func (p *parser) placed(a arg, n place) place {
	for i, name := range placeNames[:n] {
		if a.val == name {
			return place(i)
		}
	}
	p.fail(a.pos, "%q is no place, want %s", a.val, list(placeNames[:n]))
	return before
}

func (w place) words(words []string) []string {
	if w != before {
		words = append(words, "place="+placeNames[w])
	}
	return words
}

// add puts decoy d n times in its place, into the group of the segment it stands by.
func (p *Plan) add(d Seg, w place, n int) {
	last := len(p.segs) - 1
	p.spare = p.spare[:0]
	for i, s := range p.segs {
		by := d
		by.Group = s.Group
		ahead, behind := w == before && i == 0, w == after && i == last
		if w >= each && s.real() {
			by.share(s.Off, s.Len)
			ahead, behind = by.Len > 0, by.Len > 0 && w == around
		}
		if ahead {
			p.repeat(by, n)
		}
		p.spare = append(p.spare, s)
		if behind {
			p.repeat(by, n)
		}
	}
	p.segs, p.spare = p.spare, p.segs
}

func (p *Plan) repeat(d Seg, n int) {
	for range n {
		p.spare = append(p.spare, d)
	}
}

// share narrows decoy d, which pretends to begin the message, to n bytes from off.
func (d *Seg) share(off, n int) {
	from := min(off, len(d.Data))
	d.Data = d.Data[from:min(off+n, len(d.Data))]
	d.Off, d.Len = off, len(d.Data)
}
