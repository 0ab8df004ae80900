package desync

import (
	"errors"
	"time"
)

// A Seg is a piece of the stream, or a decoy that pretends to be one.
type Seg struct {
	Off, Len int    // range of the message; a decoy pretends to begin at Off
	Head     []byte // bytes of no meaning sent just below Off; of real segments only
	Decoy    bool
	Data     []byte // a decoy's bytes
	Flags    uint8  // TCP flags of a decoy, or of the handshake; 0 is the client's
	Window   uint16 // 0 is the client's
	TTL      uint8  // 0 is the client's
	Fool     Fool
	Group    int // a real segment and the decoys that go with it
}

// real reports whether the segment carries the client's bytes.
func (s *Seg) real() bool { return !s.Decoy }

// A pkt is one packet to be: a segment, or the part of it that fits.
type pkt struct {
	Seg
	id    idMode
	after time.Duration // when it leaves, counted from the first
	frag  int           // bytes of TCP in the first of two IP fragments; 0 is no fragments
}

// A Plan is the packets for one message in the order they leave.
type Plan struct {
	segs      []Seg
	spare     []Seg
	pkts      []pkt
	rewritten bool     // packet steps have been at work
	arena     []byte   // bytes that are not the client's
	text      []byte   // the message with its bytes changed, in the arena; nil: as it came
	dgram     datagram // what is asked of a QUIC datagram
	env       Env      // what steps work on where the message's bytes change
	whole     []byte   // the packet that fragments are made of
	size      int      // bytes of the message
}

// maxSegs bounds what the steps together make of one message.
const maxSegs = 512

var errTooMany = errors.New("the steps make more than 512 segments of this message")

func (p *Plan) reset(size int) {
	p.segs, p.pkts, p.arena, p.text, p.size, p.rewritten = p.segs[:0], p.pkts[:0], p.arena[:0], nil, size, false
	p.dgram.reset()
	if size > 0 {
		p.segs = append(p.segs, Seg{Len: size})
	}
}

// Whole reports whether the message would leave as one piece and alone, that
// is, unchanged.
func (p *Plan) Whole() bool {
	return len(p.segs) == 0 || len(p.segs) == 1 && p.segs[0].Head == nil && !p.rewritten && p.text == nil
}

// made is what the arena holds from start on.
func (p *Plan) made(start int) []byte { return p.arena[start:len(p.arena):len(p.arena)] }

// cutAt cuts the real segment that has position at inside.
func (p *Plan) cutAt(at int) {
	for i := range p.segs {
		s := &p.segs[i]
		end := s.Off + s.Len
		if !s.real() || at <= s.Off || at >= end {
			continue
		}
		p.segs = append(p.segs, Seg{})
		copy(p.segs[i+1:], p.segs[i:])
		first, rest := &p.segs[i], &p.segs[i+1]
		first.Len = at - first.Off
		rest.Off, rest.Len, rest.Head, rest.Group = at, end-at, nil, p.newGroup()
		return
	}
}

// newGroup returns a group number no segment has yet.
func (p *Plan) newGroup() int {
	g := 0
	for i := range p.segs {
		g = max(g, p.segs[i].Group+1)
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

// cut makes packets of the segments, none longer than the connection's MTU.
func (p *Plan) cut(e *Env) {
	for i := range p.segs {
		room := e.Conn.MTU - e.headerLen(p.segs[i].Fool)
		if len(p.segs[i].Head)+p.segs[i].Len <= room {
			p.pkts = append(p.pkts, pkt{Seg: p.segs[i]})
			continue
		}
		for s := p.segs[i]; ; {
			part := s
			part.Len = min(max(room-len(s.Head), 1), s.Len)
			if s.Decoy {
				part.Data, s.Data = s.Data[:part.Len], s.Data[part.Len:]
			}
			p.pkts = append(p.pkts, pkt{Seg: part})
			s.Off, s.Len, s.Head = s.Off+part.Len, s.Len-part.Len, nil
			if s.Len == 0 {
				break
			}
		}
	}
}

// clip narrows k to bytes [from, to) of the message and reports whether
// anything is left. A decoy is kept whole, and only if its group's real bytes
// are wanted.
func (k *pkt) clip(p *Plan, from, to int) bool {
	if p.size == 0 { // of the handshake
		return true
	}
	if k.real() {
		end := min(k.Off+k.Len, to)
		if k.Off < from {
			k.Off, k.Head = from, nil
		}
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
