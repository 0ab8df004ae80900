package desync

import (
	"errors"
	"strings"
	"time"

	"b4/engine"
	"b4/http1"
	"b4/packet"
	"b4/quic"
	"b4/tlshello"
)

// Phases of a connection in which a strategy wants to see packets.
type Phases uint8

const (
	SYN    Phases = 1 << iota // the client's SYN
	SYNACK                    // the server's answer to it
)

// Need is what a strategy asks of the rule set and of the engine.
type Need struct {
	Phases Phases // besides the message itself
	Hops   bool   // the distance to the server
	Shift  int    // bytes by which the stream grows
}

// Union is what n and m need together.
func (n Need) Union(m Need) Need {
	return Need{n.Phases | m.Phases, n.Hops || m.Hops, n.Shift + m.Shift}
}

// Harm says what kind of thing a strategy puts on the wire, mildest first. A
// normaliser or proxy on the way leaves Segments alone and may take Decoys for
// data.
type Harm uint8

const (
	Nothing  Harm = iota // the message leaves as it came
	Segments             // only the client's bytes, cut and ordered anew
	Decoys               // packets with other bytes besides
)

func (h Harm) String() string { return [...]string{"nothing", "segments", "decoys"}[h] }

// A Step is one word of a strategy. String gives its canonical text.
type Step interface {
	Need() Need
	Harm() Harm
	String() string
}

// A streamStep makes, orders and adds segments.
type streamStep interface {
	Step
	Apply(p *Plan, e *Env) error
}

// A packetStep acts on the packets of a plan after cutting to size.
type packetStep interface {
	Step
	Rewrite(p *Plan, e *Env)
}

// A Proto is what kind of message a strategy is for. Its zero value is TLS.
type Proto uint8

const (
	TLS  Proto = iota // the ClientHello, over TCP
	HTTP              // the head of a plain HTTP/1 request, over TCP
	QUIC              // the client's Initial packets, over UDP
	Protos
)

func (pr Proto) String() string { return [...]string{"tls", "http", "quic"}[pr] }

// A Strategy is a checked list of steps. It is immutable.
type Strategy struct {
	proto  Proto
	syn    []synStep
	reply  *wsize
	stream []streamStep
	packet []packetStep
	steps  []string // their canonical texts
	text   string
	need   Need
	harm   Harm
}

// Proto is what kind of message s is for.
func (s *Strategy) Proto() Proto { return s.proto }

// String is the canonical text, which parses to the same strategy.
func (s *Strategy) String() string { return s.text }

// Steps are the canonical texts of the steps, in order.
func (s *Strategy) Steps() []string { return s.steps }

// Need is what all steps need together.
func (s *Strategy) Need() Need { return s.need }

// Harm is the harshest of the steps' harms.
func (s *Strategy) Harm() Harm { return s.harm }

// newStrategy joins steps, packet steps last, that the parser has checked.
func newStrategy(proto Proto, steps []Step) *Strategy {
	s := &Strategy{proto: proto, steps: make([]string, len(steps))}
	for i, st := range steps {
		s.steps[i] = st.String()
		s.need = s.need.Union(st.Need())
		s.harm = max(s.harm, st.Harm())
		switch st := st.(type) {
		case synStep:
			s.syn = append(s.syn, st)
		case *wsize:
			s.reply = st
		case streamStep:
			s.stream = append(s.stream, st)
		case packetStep:
			s.packet = append(s.packet, st)
		}
	}
	s.text = strings.Join(s.steps, " ")
	return s
}

// A Message is what the client said, from its first byte.
type Message struct {
	Proto  Proto
	Bytes  []byte         // borrowed for the call; of QUIC the payload of one datagram
	Hello  tlshello.Hello // of TLS: positions in Bytes; of QUIC: in Crypto
	Crypto []byte         // of QUIC: the client's handshake bytes as far as they are known; borrowed
	QUIC   *quic.Conn     // of QUIC: who has decoded Bytes, for its keys; nil: they follow from Bytes

	Request http1.Request // of HTTP: positions in Bytes
	Begun   bool          // of HTTP: some of Bytes have left as they came, so that none may move
	Body    bool          // of HTTP: Bytes may be part of another request's body, so that none may change
}

// A Conn is what is known of the connection. Header is the client's latest IP
// and TCP header, from which every packet of the plan is made.
type Conn struct {
	Header []byte // borrowed for the call
	IPLen  int    // bytes of Header that are IP
	Base   uint32 // sequence number of the message's first byte
	MTU    int    // bytes an IP packet may have on the way out
	Hops   uint8  // routers between here and the server; 0 is unknown
	First  bool   // the server has all that comes below the message
}

// An Env is everything steps may depend on.
type Env struct {
	Msg  Message
	Conn Conn
	Rand uint64 // equal for every plan of one message, so that a retransmission repeats it
}

// errUrgent is why a message with urgent data goes as it came: where it lies is
// told by its distance from the segment's beginning (RFC 9293 section 3.1).
var errUrgent = errors.New("the client's segment has urgent data, which a cut would move")

// urgent reports whether the client's segment has urgent data.
func (e *Env) urgent() bool {
	h, n := e.Conn.Header, e.Conn.IPLen
	return e.Msg.Proto != QUIC && h[n+13]&packet.URG != 0
}

// Plan works out the packets for e.Msg into p, whose memory is reused. After an
// error p is empty, and the message must go as it came.
func (s *Strategy) Plan(p *Plan, e *Env) error {
	p.reset(len(e.Msg.Bytes))
	if e.urgent() {
		p.reset(0)
		return errUrgent
	}
	if s.proto == HTTP { // its steps change the message, for those behind them too
		p.env = *e
		e = &p.env
	}
	if err := s.segments(p, e); err != nil {
		p.reset(0)
		return err
	}
	if s.proto == QUIC {
		p.datagrams(e)
	} else {
		p.cut(e)
	}
	for _, st := range s.packet {
		st.Rewrite(p, e)
	}
	return nil
}

// segments lets the stream steps make p's segments. What keeps one of them from
// its work may be the packet at hand, and that is another one when the message
// comes again. How a request is written must not depend on it, or the server would
// read some of each: then only the steps that write it are done.
func (s *Strategy) segments(p *Plan, e *Env) error {
	var failed error
	for _, st := range s.stream {
		_, rewrites := st.(*rewriting)
		if failed != nil && !rewrites {
			continue
		}
		err := st.Apply(p, e)
		if err == nil && len(p.segs) > maxSegs {
			err = errTooMany
		}
		if err != nil && rewrites {
			return err
		}
		if err != nil {
			failed = err
		}
	}
	if failed != nil && p.text != nil {
		p.segs, failed = append(p.segs[:0], Seg{Len: p.size}), nil
	}
	return failed
}

// Emit adds the packets of p that carry bytes [from, to) of the message, with
// the decoys of their groups, to out: all of them for a new message, a part for
// a retransmission. Of a plan for the handshake it adds all. It reports how many
// it added.
func (p *Plan) Emit(out *engine.Batch, m engine.Meta, e *Env, from, to int) int {
	before := out.Len()
	var first time.Duration // when the first of them leaves: the others follow it
	for i := range p.pkts {
		k := p.pkts[i]
		if e.Msg.Proto != QUIC && !k.clip(p, from, to) {
			continue
		}
		if out.Len() == before {
			first = k.after
		}
		k.after -= first
		p.emit(&k, out, m, e)
	}
	return out.Len() - before
}
