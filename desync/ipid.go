package desync

import "encoding/binary"

// An idMode says what the IPv4 identification of a packet becomes. IPv6 has none.
type idMode uint8

const (
	idKeep idMode = iota // the client's for the first packet, counted on for the rest
	idSeq
	idRnd
)

// ipid sets the IPv4 identification of every packet of the message.
type ipid struct{ mode idMode }

// Zero is not among them: where a raw socket is given one, the kernel fills in
// another (raw_send_hdrinc in net/ipv4/raw.c).
var idNames = map[string]idMode{"seq": idSeq, "rnd": idRnd}

func parseIPID(p *parser, args []arg) Step {
	if len(args) != 1 || args[0].key != "" || idNames[args[0].val] == idKeep {
		at := p.pos
		if len(args) > 0 {
			at = args[0].pos
		}
		p.fail(at, "ipid wants seq or rnd")
		return nil
	}
	return ipid{idNames[args[0].val]}
}

func (ipid) Need() Need { return Need{} }
func (ipid) Harm() Harm { return Segments }

func (s ipid) String() string {
	return "ipid(" + [...]string{idSeq: "seq", idRnd: "rnd"}[s.mode] + ")"
}

func (s ipid) Rewrite(p *Plan, _ *Env) {
	for i := range p.pkts {
		p.pkts[i].id = s.mode
	}
	p.rewritten = true
}

// set writes the identification of the order-th packet of a plan.
func (m idMode) set(b []byte, order uint16, rnd uint64) {
	if b[0]>>4 != 4 {
		return
	}
	id := binary.BigEndian.Uint16(b[4:])
	switch m {
	case idKeep:
		if id != 0 { // RFC 6864: zero is what a sender of atomic packets may always use
			id += order
		}
	case idSeq:
		id = id + order + 1
	case idRnd:
		id = uint16((rnd + uint64(order) + 1) * 0x9e3779b97f4a7c15 >> 48)
	}
	binary.BigEndian.PutUint16(b[4:], id)
}
