package matrix

import (
	"bytes"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"b4/desync"
	"b4/engine"
	"b4/packet"
	"b4/quic"
)

// What became of a connection.
var (
	errPlan  = errors.New("the strategy is not for this message")
	errWrong = errors.New("the server read what the client did not write")
	errReset = errors.New("reset")
	errLost  = errors.New("not all of it arrived")
)

const (
	replies   = 30  // packets of an answer: with what goes back, past every count that a censor keeps
	replySize = 600 // bytes of each: all together more than a throttle lets through at once
	// Of TCP, an answer comes as fast as it can; a QUIC connection lasts longer
	// than a censor takes to begin.
	tcpPace = time.Millisecond
	udpPace = 400 * time.Millisecond
)

var (
	epoch   = time.Unix(1_700_000_000, 0)
	clients = [2]netip.Addr{netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("2001:db8:f::1")}
	servers = [2]netip.Addr{netip.MustParseAddr("198.51.100.7"), netip.MustParseAddr("2001:db8:1::7")}
)

// A caller is one connection of a client.
type caller struct {
	way      *way
	strategy *desync.Strategy
	kind     Kind
	src, dst netip.AddrPort
	plain    bool // sends no TCP options
	hops     int  // routers to what answers in the server's name, as earlier answers tell
}

// ends are the two ends of a connection of the port-th client.
func ends(k Kind, v6 bool, port int) (src, dst netip.AddrPort) {
	f := 0
	if v6 {
		f = 1
	}
	return netip.AddrPortFrom(clients[f], uint16(40000+port)), netip.AddrPortFrom(servers[f], k.port())
}

const (
	clientISN = 0xfffffe00 // the message's numbers wrap
	serverISN = 7000

	initialTTL = 64
)

// segment is a packet of the client's, without addresses' and numbers' defaults.
func (c *caller) segment(seq, ack uint32, flags uint8, payload []byte) packet.Segment {
	s := packet.Segment{Src: c.src, Dst: c.dst, Seq: seq, Ack: ack, Flags: flags, Window: 500, TTL: initialTTL, ID: 1000, Payload: payload}
	if !c.plain {
		s.Options = []byte{1, 1, 8, 10, 0, 0x10, 0, 0, 0, 0, 0, 2}
	}
	return s
}

// answer is a packet of the server's.
func (c *caller) answer(seq, ack uint32, flags uint8, payload []byte) []byte {
	s := packet.Segment{Src: c.dst, Dst: c.src, Seq: seq, Ack: ack, Flags: flags, Window: 65535, TTL: initialTTL, ID: 77, Payload: payload}
	return s.Append(nil)
}

// tcp connects, sends msg and reads the answer.
func (c *caller) tcp(msg []byte) error {
	server := receiver{answers: true, sent: serverISN + 1}
	client := receiver{sent: clientISN + 1 + uint32(len(msg))}
	c.way.server, c.way.client = server.take, client.take
	syn := c.segment(clientISN, 0, packet.SYN, nil)
	if err := c.handshake(syn.Append(nil), (*desync.Strategy).PlanSYN, true); err != nil {
		return err
	}
	if server.open && server.base != clientISN+1 {
		return errWrong
	}
	reply := c.answer(serverISN, clientISN+1, packet.SYN|packet.ACK, nil)
	if err := c.handshake(reply, (*desync.Strategy).PlanReply, false); err != nil {
		return err
	}
	if !server.open || !client.open {
		return errLost
	}
	ack := c.segment(clientISN+1, serverISN+1, packet.ACK, nil)
	c.way.send(ack.Append(nil), true)
	header := c.segment(clientISN+1, serverISN+1, packet.PSH|packet.ACK, nil)
	if err := c.plan(header.Append(nil), msg, nil, client.window); err != nil {
		return err
	}
	switch {
	case server.wasReset || client.wasReset:
		return errReset
	case server.next < len(msg):
		return errLost
	case !c.kind.same(server.read(), msg):
		return errWrong
	}
	return c.listen(&server, &client, len(msg))
}

// measure learns from an answer's TTL how far it comes.
func (c *caller) measure() {
	c.way.client = func(b []byte) {
		var v packet.View
		v.Decode(b)
		c.hops = initialTTL - int(v.TTL)
	}
	c.way.send(c.answer(serverISN, clientISN+1, packet.SYN|packet.ACK, nil), false)
}

// handshake sends a packet of the handshake by the strategy, which changes the
// server's behind the way and the client's ahead of it.
func (c *caller) handshake(pkt []byte, plan func(*desync.Strategy, *desync.Plan, *desync.Env) error, fromClient bool) error {
	var v packet.View
	v.Decode(pkt)
	env := c.env(pkt, &v)
	var p desync.Plan
	if err := plan(c.strategy, &p, &env); err != nil {
		return fmt.Errorf("%w: %w", errPlan, err)
	}
	var b engine.Batch
	if !p.Whole() {
		p.Emit(&b, engine.Meta{}, &env, 0, 0)
	} else {
		b.Add(pkt, engine.Meta{})
	}
	for i := range b.Len() {
		c.way.send(b.At(i).Bytes, fromClient)
	}
	return nil
}

// env is what the strategy knows of a connection of which v is header.
func (c *caller) env(header []byte, v *packet.View) desync.Env {
	return desync.Env{
		Msg:  desync.Message{Proto: c.kind.Proto()},
		Conn: desync.Conn{Header: header, IPLen: v.IPLen, Base: v.Seq, MTU: mtu, Hops: uint8(c.hops)},
		Rand: 7,
	}
}

// mtu is of the client's link, in bytes.
const mtu = 1500

// page is the answer.
var page = bytes.Repeat([]byte("answer "), replies*replySize/7+1)[:replies*replySize]

// listen has the server answer, and the client acknowledge.
func (c *caller) listen(server, client *receiver, size int) error {
	for i := range replies {
		c.way.now = c.way.now.Add(tcpPace)
		at := i * replySize
		server.sent = serverISN + 1 + uint32(at+replySize)
		c.way.send(c.answer(serverISN+1+uint32(at), clientISN+1+uint32(size), packet.ACK, page[at:at+replySize]), false)
		if i%2 == 1 {
			ack := c.segment(clientISN+1+uint32(size), serverISN+1+uint32(client.next), packet.ACK, nil)
			c.way.send(ack.Append(nil), true)
		}
	}
	switch {
	case server.wasReset || client.wasReset:
		return errReset
	case server.next != size || !bytes.HasPrefix(page, client.read()):
		return errWrong
	case client.next < len(page):
		return errLost
	}
	return nil
}

// plan sends msg, of which header is the packet's header, by the strategy. Where
// that leaves it alone the client sends what the server's first window holds, and
// then the rest, which it has cut by then: Linux takes no longer pieces than the
// window for what is written while that is small (tcp_bound_to_half_wnd in
// include/net/tcp.h), and sends two or three of them together.
func (c *caller) plan(header, msg []byte, conn *quic.Conn, first int) error {
	var v packet.View
	v.Decode(header)
	env := c.env(header, &v)
	env.Msg = c.kind.read(msg, conn)
	var p desync.Plan
	if err := c.strategy.Plan(&p, &env); err != nil {
		return fmt.Errorf("%w: %w", errPlan, err)
	}
	var b engine.Batch
	if p.Whole() && first < len(msg) && v.Proto == packet.TCP {
		for at, n := 0, first; at < len(msg); at, n = at+n, first*5/2 {
			p.Emit(&b, engine.Meta{}, &env, at, min(at+n, len(msg)))
		}
	} else {
		p.Emit(&b, engine.Meta{}, &env, 0, len(msg))
	}
	for i := range b.Len() {
		o := b.At(i)
		c.way.now = c.way.now.Add(time.Millisecond)
		c.way.send(o.Bytes, true)
	}
	return nil
}

// udp sends the datagrams and then talks for a while.
func (c *caller) udp(datagrams [][]byte) error {
	var server endpoint
	var client quic.Conn
	back := 0
	c.way.server = server.take
	c.way.client = func([]byte) { back++ }
	for _, b := range datagrams {
		if err := c.plan(datagram(c.src, c.dst, nil), b, &client, len(b)); err != nil {
			return err
		}
	}
	if !server.heard(client.Message()) {
		return errLost
	}
	for range replies {
		c.way.now = c.way.now.Add(udpPace)
		c.way.send(datagram(c.dst, c.src, talk), false)
		c.way.send(datagram(c.src, c.dst, talk), true)
	}
	if server.talked < replies || back < replies {
		return errLost
	}
	return nil
}
