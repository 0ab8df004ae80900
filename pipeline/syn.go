package pipeline

import (
	"encoding/binary"
	"net/netip"

	"b4/desync"
	"b4/engine"
	"b4/flow"
	"b4/packet"
)

// httpPort is where plain HTTP is served (RFC 9110 section 4.2.1). Before a
// connection's first data its port is all that tells what it will speak.
const httpPort = 80

// early is r's strategy for connections to a port if it acts in a phase before the
// message, nil if it does not. r may be nil.
func (r *Rule) early(port uint16, phase desync.Phases) *desync.Strategy {
	kind := desync.TLS
	if port == httpPort {
		kind = desync.HTTP
	}
	if r == nil {
		return nil
	}
	if t := &r.For[kind]; t.Action == Desync && t.Steps != nil && t.Steps.Need().Phases&phase != 0 {
		return t.Steps
	}
	return nil
}

// answered is the strategy that changes how a server answers a SYN, nil if none does.
func (c *Config) answered(server netip.AddrPort) *desync.Strategy {
	return c.Handshake(server).early(server.Port(), desync.SYNACK)
}

// open takes a client's SYN. It is replaced and never dropped: conntrack knows
// the connection only once its first packet has left.
func (p *Pipeline) open(pkt *engine.Packet) (engine.Verdict, Reason) {
	v := &p.view
	if f, known := p.flows.Lookup(p.now, flow.KeyOf(v)); known {
		if off := f.Stream().Offset(v.Seq + 1); off > 0 || outside(off) {
			p.evict(f) // the ports are used by another connection now
			p.flows.Remove(f)
		}
	}
	steps := p.config.Load().Certain(pkt.Mark, v.Dst).early(v.Dst.Port(), desync.SYN)
	if steps == nil {
		return engine.Accept, Other
	}
	p.setHandshake(pkt, v.Dst.Addr())
	switch err := steps.PlanSYN(&p.plan, &p.env); {
	case err != nil:
		return engine.Accept, Failed
	case !p.plan.Whole():
		p.out.Own()
		p.plan.Emit(p.out, pkt.Meta, &p.env, 0, 0)
		return engine.Replace, Handshake
	case len(v.Payload) > 0:
		p.out.Own()
		p.withoutData(pkt)
		return engine.Replace, Handshake
	}
	return engine.Accept, AsIs
}

// withoutData sends a SYN without the data it brings by TCP Fast Open. The server
// then acknowledges the SYN alone, and the client sends the data again, as
// ordinary segments (RFC 7413 section 4.2.2): those can be treated.
func (p *Pipeline) withoutData(pkt *engine.Packet) {
	v := &p.view
	b := p.out.Grow(v.Hdr, pkt.Meta)
	copy(b, pkt.Bytes)
	packet.Finish(b, v.IPLen, packet.TCP)
}

// answer takes a server's packet.
func (p *Pipeline) answer(pkt *engine.Packet) (engine.Verdict, Reason) {
	v := &p.view
	if v.Flags&(packet.SYN|packet.ACK) != packet.SYN|packet.ACK {
		if p.config.Load().Observe {
			p.observe()
		}
		return engine.Accept, Reply
	}
	p.hops.learn(v.Src.Addr(), v.TTL)
	steps := p.config.Load().answered(v.Src)
	if steps == nil {
		return engine.Accept, Reply
	}
	p.setHandshake(pkt, v.Src.Addr())
	switch err := steps.PlanReply(&p.plan, &p.env); {
	case err != nil:
		return engine.Accept, Failed
	case p.plan.Whole():
		return engine.Accept, AsIs
	}
	p.out.Own()
	p.plan.Emit(p.out, pkt.Meta, &p.env, 0, 0)
	return engine.Replace, Handshake
}

// narrow reports whether the client waits for the server with the rest of f's
// message: the window is narrow by our doing, and has no room for another segment
// like the one at hand. Holding that would hold both up.
func (p *Pipeline) narrow(f *flow.Flow[state]) bool {
	v := &p.view
	steps := p.config.Load().answered(v.Dst)
	return steps != nil && len(f.Stream().Bytes())+len(v.Payload) > steps.Window()
}

// setHandshake fills p.env for a packet of the handshake, the view's, with a
// server.
func (p *Pipeline) setHandshake(pkt *engine.Packet, server netip.Addr) {
	v := &p.view
	p.header = append(p.header[:0], pkt.Bytes[:v.Hdr]...)
	mtu := max(len(pkt.Bytes), minMTU(pkt.Bytes))
	if mss, ok := v.TCPOption(pkt.Bytes, mssOption); ok && len(mss) == 2 {
		mtu = max(mtu, v.IPLen+20+int(binary.BigEndian.Uint16(mss)))
	}
	p.env = desync.Env{
		Msg:  desync.Message{Bytes: v.Payload},
		Conn: desync.Conn{Header: p.header, IPLen: v.IPLen, Base: v.Seq, MTU: mtu, Hops: p.hops.to(server), First: true},
	}
	k := flow.KeyOf(v)
	p.env.Rand = k.Hash() ^ uint64(v.Seq)
}

// mssOption is the kind of the option that says the longest segment its sender
// takes (RFC 9293 section 3.7.1), and so what its link carries.
const mssOption = 2
