package desync

// A Fool is how a decoy makes sure that the server does not read it.
type Fool uint8

const (
	BadSum Fool = 1 << iota // wrong TCP checksum
	MD5                     // TCP MD5 option (RFC 2385) that nobody has a key for
)

// A Seg is a piece of the stream, or a decoy that pretends to be one.
type Seg struct {
	Off, Len int    // range of the message; a decoy pretends to begin at Off
	Data     []byte // a decoy's bytes; nil for a real segment
	TTL      uint8  // 0 is the client's
	Fool     Fool
	Group    int // a real segment and the decoys that go with it
}

// real reports whether the segment carries the client's bytes.
func (s *Seg) real() bool { return s.Data == nil }

// A pkt is one packet to be: a segment, or the part of it that fits.
type pkt struct {
	Seg
	id idMode
}

// A Plan is the packets for one message in the order they leave.
type Plan struct {
	segs  []Seg
	pkts  []pkt
	arena []byte // decoys' bytes
	size  int    // bytes of the message
}

func (p *Plan) reset(size int) {
	p.segs, p.pkts, p.arena, p.size = p.segs[:0], p.pkts[:0], p.arena[:0], size
	if size > 0 {
		p.segs = append(p.segs, Seg{Len: size})
	}
}

// Whole reports whether the message would leave as one piece and alone, that
// is, unchanged.
func (p *Plan) Whole() bool {
	return len(p.segs) == 0 || len(p.segs) == 1 && p.segs[0].real() && !p.rewritten()
}

func (p *Plan) rewritten() bool { return len(p.pkts) > 0 && p.pkts[0].id != idKeep }

// cutAt cuts the real segment that has position at inside.
func (p *Plan) cutAt(at int) {
	for i := range p.segs {
		s := p.segs[i]
		if !s.real() || at <= s.Off || at >= s.Off+s.Len {
			continue
		}
		p.segs = append(p.segs, Seg{})
		copy(p.segs[i+1:], p.segs[i:])
		p.segs[i].Len = at - s.Off
		p.segs[i+1].Off, p.segs[i+1].Len = at, s.Off+s.Len-at
		p.segs[i+1].Group = p.newGroup()
		return
	}
}

// newGroup returns a group number no segment has yet.
func (p *Plan) newGroup() int {
	g := 0
	for _, s := range p.segs {
		g = max(g, s.Group+1)
	}
	return g
}

// reverse turns the order of the groups around. Within a group the order stays.
func (p *Plan) reverse() {
	reverse(p.segs)
	for i := 0; i < len(p.segs); {
		j := i + 1
		for j < len(p.segs) && p.segs[j].Group == p.segs[i].Group {
			j++
		}
		reverse(p.segs[i:j])
		i = j
	}
}

func reverse(s []Seg) {
	for i, j := 0, len(s)-1; i < j; i, j = i+1, j-1 {
		s[i], s[j] = s[j], s[i]
	}
}

// addDecoy puts d ahead of all segments, into the group of the first one.
func (p *Plan) addDecoy(d Seg) {
	d.Group = p.segs[0].Group
	p.segs = append(p.segs, Seg{})
	copy(p.segs[1:], p.segs)
	p.segs[0] = d
}

// cut makes packets of the segments, none longer than the connection's MTU.
func (p *Plan) cut(e *Env) {
	for _, s := range p.segs {
		room := max(e.Conn.MTU-e.headerLen(s.Fool), 1)
		for done := 0; done < s.Len; done += room {
			part := s
			part.Off, part.Len = s.Off+done, min(room, s.Len-done)
			if !s.real() {
				part.Data = s.Data[done : done+part.Len]
			}
			p.pkts = append(p.pkts, pkt{Seg: part})
		}
	}
}

// clip narrows k to bytes [from, to) of the message and reports whether
// anything is left. A decoy is kept whole, and only if its group's real bytes
// are wanted.
func (k *pkt) clip(p *Plan, from, to int) bool {
	if k.real() {
		end := min(k.Off+k.Len, to)
		k.Off = max(k.Off, from)
		k.Len = end - k.Off
		return k.Len > 0
	}
	for _, s := range p.segs {
		if s.Group == k.Group && s.real() && s.Off < to && s.Off+s.Len > from {
			return true
		}
	}
	return false
}
