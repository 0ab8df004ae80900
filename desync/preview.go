package desync

import (
	"net/netip"

	"b4/engine"
	"b4/http1"
	"b4/packet"
	"b4/quic"
	"b4/tlshello"
)

// SampleHost is the name that samples say: nobody's (RFC 2606 section 3).
const SampleHost = "www.example.org"

// Sample returns what a client says first, a message of kind pr to a server at a
// known distance. The connection has a place for all that fools: it is of IPv6, and
// with timestamps. It is the same each time.
func (pr Proto) Sample() *Env {
	const port, seed, hops = 443, 1, 8
	client, server := netip.MustParseAddr("2001:db8::1"), netip.MustParseAddr("2001:db8:1::7")
	s := packet.Segment{
		Src: netip.AddrPortFrom(client, port), Dst: netip.AddrPortFrom(server, port), Seq: 1, Flags: packet.ACK | packet.PSH,
		Options: []byte{1, 1, 8, 10, 9: 1, 11: 0}, // RFC 7323 appendix A
	}
	header := s.Append(nil)
	e := &Env{
		Msg:  Message{Proto: pr},
		Conn: Conn{Header: header, IPLen: 40, Base: s.Seq, MTU: 1500, Hops: hops, First: true},
		Rand: seed,
	}
	m := &e.Msg
	switch pr {
	case HTTP:
		m.Bytes = appendHello(nil, HTTP, SampleHost, seed)
		m.Request, _ = http1.Parse(m.Bytes)
	case QUIC:
		e.Conn.Header = header[:40+udpHeader]
		header[6] = packet.UDP
		m.Bytes, _ = new(quic.Sealer).AppendDecoy(nil, quic.V1, SampleHost, seed) // a name of this length fits
		m.QUIC = new(quic.Conn)
		new(quic.Decoder).Datagram(m.QUIC, m.Bytes)
		m.Crypto = m.QUIC.Message()
		m.Hello, _ = m.QUIC.Hello()
	default:
		m.Bytes = tlshello.AppendDecoy(nil, SampleHost, seed)
		m.Hello, _ = tlshello.Parse(m.Bytes)
	}
	return e
}

// A Mark is where a message has the place that a marker names.
type Mark struct {
	Name string `json:"name"`
	At   int    `json:"at"` // of QUIC in the client's handshake bytes, else in the message
}

// Marks lists the places that positions may name, as far as m has them.
func (m *Message) Marks() []Mark {
	var all []Mark
	for _, name := range markerNames(m.Proto) {
		if at, ok := marked(name, m); ok {
			all = append(all, Mark{name, at})
		}
	}
	return all
}

// A Piece is what a packet has of a message.
type Piece struct {
	From, To int  // bytes of the message, or those that a decoy passes for; below 0 what seqovl has ahead
	Decoy    bool // the server does not read it
}

// Preview adds the packets to out that s makes of a sample, in the order they leave,
// those of the handshake first, and says what each of them is. With an error the
// message is there as it came.
func (s *Strategy) Preview(e *Env, out *engine.Batch) ([]Piece, error) {
	var p Plan
	var all []Piece
	if len(s.syn) > 0 {
		syn := *e
		syn.Msg = Message{Proto: e.Msg.Proto}
		syn.Conn.Header = append([]byte(nil), e.Conn.Header...)
		syn.Conn.Header[e.Conn.IPLen+13] = packet.SYN
		if s.PlanSYN(&p, &syn) == nil {
			all = p.pieces(all, &syn, out)
		}
	}
	err := s.Plan(&p, e)
	if err != nil {
		none := Strategy{proto: s.proto}
		none.Plan(&p, e) // which cannot fail
	}
	return p.pieces(all, e, out), err
}

// pieces adds all packets of p to out, and each as a Piece to all.
func (p *Plan) pieces(all []Piece, e *Env, out *engine.Batch) []Piece {
	for i := range p.pkts {
		k, before := p.pkts[i], out.Len()
		p.emit(&k, out, engine.Meta{}, e)
		from := min(k.Off, len(e.Msg.Bytes)) // a decoy of a SYN is far from it
		piece := Piece{from - len(k.Head), from + k.Len, k.Decoy || p.size == 0 && k.Len > 0}
		if out.Len() == before+1 {
			all = append(all, piece)
			continue
		}
		first, swap := before, e.Msg.Proto == QUIC // its last fragment leaves first
		if swap {
			first++
		}
		head, tail := piece, piece
		head.To = piece.From + max(len(out.At(first).Bytes)-fragHeader-e.headerLen(k.Fool), 0)
		tail.From = head.To
		if swap {
			head, tail = tail, head
		}
		all = append(all, head, tail)
	}
	return all
}
