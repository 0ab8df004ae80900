package desync

import "encoding/binary"

// An idMode says what the IPv4 identification of a packet becomes. IPv6 has none.
type idMode uint8

const (
	idKeep idMode = iota // the client's for the first packet, counted on for the rest
	idZero
	idSeq
	idRnd
)

// ipid sets the IPv4 identification of every packet of the message. Fragments have
// one that ipfrag gives them.
type ipid struct{ mode idMode }

// idNames are the words for what a mode does, from idZero on.
var idNames = [...]string{"zero", "seq", "rnd"}

var ipidSpec = spec{
	name: "ipid", in: inAll, phase: packetPhase,
	help: "set the IPv4 identification of every packet",
	params: []param{
		{name: "mode", kind: word, words: idNames[:], must: true,
			help: "0 where the client forbids fragments (else as it was), counted on from the client's, or random"},
	},
	make: func(_ *parser, a *args) Step { return ipid{idZero + idMode(index(idNames[:], a.word("mode")))} },
}

func (ipid) Need() Need { return Need{} }
func (ipid) Harm() Harm { return Segments }

func (s ipid) String() string {
	return "ipid(" + idNames[s.mode-idZero] + ")"
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
	// Linux keeps a zero only in packets with DF; in others it would send some
	// number of its own (raw_send_hdrinc in net/ipv4/raw.c, ip_select_ident).
	if m == idZero && b[6]&0x40 == 0 {
		m = idKeep
	}
	switch m {
	case idKeep:
		if id != 0 { // RFC 6864: zero is what a sender of atomic packets may always use
			id += order
		}
	case idZero:
		id = 0
	case idSeq:
		id = id + order + 1
	case idRnd:
		// The client's makes it another in each of the connection's packets.
		id = uint16((rnd + uint64(id)<<16 + uint64(order) + 1) * 0x9e3779b97f4a7c15 >> 48)
	}
	binary.BigEndian.PutUint16(b[4:], id)
}
