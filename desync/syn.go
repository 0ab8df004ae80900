package desync

import (
	"encoding/binary"
	"strconv"

	"b4/packet"
)

// A synStep works on the client's SYN. It may add packets, and data to the SYN.
type synStep interface {
	Step
	SYN(p *Plan, e *Env) error
}

// syndata puts a decoy's bytes into the client's SYN. RFC 9293 section 3.10.7.2
// lets a server keep them; Linux does only for a TCP Fast Open cookie, or where
// the sysctl tcp_fastopen asks for none (0x200), and acknowledges the SYN alone
// (tcp_conn_request in net/ipv4/tcp_input.c), so that the message comes in their
// place. Nothing else keeps a server from them, and some firewalls drop a SYN
// that has any.
type syndata struct{ payload }

// synPayloads are payloadNames without clone: there is no message yet.
var synPayloads = []string{"hello", "http", "quic", "zero", "random"}

var syndataSpec = spec{
	name: "syndata", in: inTCP, phase: synPhase, once: true,
	help:   "put a decoy's bytes into the SYN, which a server without TCP Fast Open does not read",
	params: payloadParams("hello", synPayloads),
	make:   func(p *parser, a *args) Step { return &syndata{makePayload(p, a)} },
}

// synSize is how many bytes without meaning a SYN gets, those of a small hello.
const synSize = 517

func (*syndata) Need() Need { return Need{Phases: SYN} }
func (*syndata) Harm() Harm { return Decoys }

func (s *syndata) String() string {
	w := s.words("hello")
	if len(w) == 0 {
		return "syndata"
	}
	return "syndata(" + list(w) + ")"
}

// SYN takes as much of the payload as fits one packet.
func (s *syndata) SYN(p *Plan, e *Env) error {
	start := len(p.arena)
	p.arena = s.append(p.arena, e, synSize)
	data := p.made(start)
	syn := &p.segs[len(p.segs)-1]
	syn.Data = data[:min(max(e.Conn.MTU-len(e.Conn.Header), 0), len(data))]
	syn.Len = len(syn.Data)
	return nil
}

// synfake sends a decoy ahead of the client's SYN: a SYN with another sequence
// number, or a SYN,ACK, for a censor that then follows another connection, or one
// the other way around. A server that hears of it first answers it, and the
// client's SYN is none to it any more: so something must keep it from it.
type synfake struct {
	ack bool
	decoy
}

// synFools are the foolings that keep a listener from a SYN. It has no window, no
// timestamp and no acknowledgment to compare with.
const synFools = BadSum | MD5 | HopByHop | DestOpt

var synfakeSpec = spec{
	name: "synfake", in: inTCP, phase: synPhase,
	help: "send a decoy SYN ahead of the client's",
	params: append([]param{{name: "kind", kind: word, words: []string{"syn", "synack"}, def: "syn", help: "what it says to be"}},
		decoyParams(synFools, nil)...),
	make: func(p *parser, a *args) Step {
		return &synfake{a.word("kind") == "synack", makeDecoy(p, a, synFools)}
	},
}

func (s *synfake) Need() Need {
	n := s.need()
	n.Phases = SYN
	return n
}

func (s *synfake) Harm() Harm { return Decoys }

func (s *synfake) String() string {
	if s.ack {
		return s.text("synfake", []string{"synack"})
	}
	return s.text("synfake", nil)
}

// synAway is how far from the client's the sequence number of a decoy is: outside
// any window.
const synAway = 1 << 30

func (s *synfake) SYN(p *Plan, e *Env) error {
	d := Seg{Flags: packet.SYN, Off: synAway}
	if s.ack {
		d.Flags |= packet.ACK
	}
	return s.send(p, e, d)
}

// wsize makes the window in the server's SYN,ACK as small as n bytes, so that the
// client itself sends its message in segments of n at first. That window is never
// scaled (RFC 7323 section 2.2); the scale that it agrees on stays, and with the
// server's next packet the window is the server's again.
type wsize struct{ n int }

var wsizeSpec = spec{
	name: "wsize", in: inTCP, phase: synPhase, once: true,
	help: "make the window in the server's answer to the SYN smaller, so that the client sends small segments at first",
	params: []param{
		{name: "n", kind: number, lo: 1, hi: 65535, must: true, help: "bytes; a server's own window that is smaller stays"},
	},
	make: func(_ *parser, a *args) Step { return &wsize{a.number("n")} },
}

func (*wsize) Need() Need       { return Need{Phases: SYNACK} }
func (*wsize) Harm() Harm       { return Segments }
func (w *wsize) String() string { return "wsize(" + strconv.Itoa(w.n) + ")" }

// Reply changes the SYN,ACK that p has.
func (w *wsize) Reply(p *Plan, e *Env) {
	if own := int(binary.BigEndian.Uint16(e.Conn.Header[e.Conn.IPLen+14:])); w.n < own {
		p.segs[0].Window = uint16(w.n)
	}
}

// Window is what the window in the server's answer to the SYN is made at most, in
// bytes; 0 leaves it.
func (s *Strategy) Window() int {
	if s.reply == nil {
		return 0
	}
	return s.reply.n
}

// PlanSYN works out into p what leaves in place of the client's SYN, whose IP and
// TCP header e.Conn.Header is. Nothing is done to a SYN that brings data,
// e.Msg.Bytes, or has a Fast Open option: with a cookie the server would read
// more. Then, and after an error, p.Whole tells to let it go as it came.
func (s *Strategy) PlanSYN(p *Plan, e *Env) error {
	h := e.Conn.Header
	v := packet.View{Proto: packet.TCP, IPLen: e.Conn.IPLen, Hdr: len(h)}
	_, fast := v.TCPOption(h, 34)        // RFC 7413 section 4.1.1
	_, experiment := v.TCPOption(h, 254) // what it was before, among others
	p.handshake(h[e.Conn.IPLen+13])
	for _, st := range s.syn {
		if fast || experiment || len(e.Msg.Bytes) > 0 {
			break
		}
		if err := st.SYN(p, e); err != nil {
			p.reset(0)
			return err
		}
	}
	p.shake()
	return nil
}

// PlanReply works out into p what reaches the client in place of the server's
// SYN,ACK, whose IP and TCP header e.Conn.Header is. One that brings data,
// e.Msg.Bytes, is left as it is.
func (s *Strategy) PlanReply(p *Plan, e *Env) error {
	p.handshake(e.Conn.Header[e.Conn.IPLen+13])
	if s.reply != nil && len(e.Msg.Bytes) == 0 {
		s.reply.Reply(p, e)
	}
	p.shake()
	return nil
}

// handshake begins a plan for a packet of the handshake with these flags.
func (p *Plan) handshake(flags uint8) {
	p.reset(0)
	p.segs = append(p.segs, Seg{Flags: flags})
}

// shake makes packets of p's segments, unless there is but the one that came.
func (p *Plan) shake() {
	if len(p.segs) == 1 && p.segs[0].Len == 0 && p.segs[0].Window == 0 {
		p.segs = p.segs[:0]
	}
	for _, s := range p.segs {
		p.pkts = append(p.pkts, pkt{Seg: s})
	}
	p.rewritten = len(p.pkts) > 0
}
