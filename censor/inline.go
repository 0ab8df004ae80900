package censor

import (
	"encoding/binary"
	"slices"
	"time"

	"b4/packet"
)

// An Inline is a box that puts TCP in order on the way: what leaves it is the
// stream, in whole segments of the box's own, towards the server with a full TTL,
// and no options that the handshake did not have. It censors nothing. What breaks
// behind it is a decoy that it takes for data.
//
// Sequence numbers are kept, so that the ends notice nothing. IP fragments are
// joined, and UDP passes. It is for one goroutine.
type Inline struct {
	endSystem bool
	flows     table[tuple, [2]relay]
	fragments fragments
	view      packet.View
}

// NewNormaliser returns a box that looks at checksums and sequence numbers, as
// traffic normalisers do. Of bytes that come twice the first copy counts. What it
// sends to the client has the TTL of what came, as where only what leaves a network
// is put in order: the client sees how far the server is.
func NewNormaliser() *Inline { return newInline(false) }

// NewProxy returns a box that takes what an end system takes and nothing else:
// a transparent proxy runs a TCP of its own, and all that it sends has a full TTL.
// It stands before the server, so that it gets what has too short a TTL for that.
func NewProxy() *Inline { return newInline(true) }

func newInline(endSystem bool) *Inline {
	return &Inline{endSystem: endSystem, flows: newTable[tuple, [2]relay](maxFlows), fragments: newFragments()}
}

const (
	inlineTTL    = 64
	inlineWindow = 1 << 16 // bytes ahead that are kept
	inlineKept   = 1 << 15 // bytes that have left and are kept to be sent again
	inlineMSS    = 1200    // bytes of its segments, few enough for any link and header
)

// A relay is one direction of a connection.
type relay struct {
	stream   stream
	left     int    // bytes of the stream that have left
	ack      uint32 // the highest number its sender has acknowledged
	acked    bool   // ack is known
	recent   uint32 // its newest timestamp
	stamped  bool   // recent is known
	options  []byte // of its newest packet that counted
	window   uint16
	keepsTTL bool // its packets leave with the TTL of the one that made them leave
}

// Judge passes a packet on as the box would. The packets it makes of what it
// had kept are injected behind it. It is Censor.Judge for a box that is none.
func (x *Inline) Judge(now time.Time, pkt []byte, fromClient bool) Verdict {
	whole, part := x.fragments.join(now, pkt)
	if !part {
		return x.judge(pkt, fromClient)
	}
	if whole == nil {
		return Verdict{}
	}
	v := x.judge(whole, fromClient)
	if v.Forward && v.Rewritten == nil {
		v.Rewritten = whole
	}
	return v
}

func (x *Inline) judge(pkt []byte, fromClient bool) Verdict {
	v := &x.view
	if !v.Decode(pkt) || v.Proto != packet.TCP {
		return Verdict{Forward: true}
	}
	if !packet.ChecksumOK(pkt) {
		return Verdict{}
	}
	k := tuple{v.Src, v.Dst}
	if !fromClient {
		k = tuple{v.Dst, v.Src}
	}
	if v.Flags&packet.SYN != 0 {
		return x.open(k, pkt, fromClient)
	}
	f := x.flows.get(k)
	if f == nil || !f[sideOf(fromClient)].stream.begun {
		return Verdict{Forward: true} // opened before the box was there
	}
	mine, peer := &f[sideOf(fromClient)], &f[sideOf(!fromClient)]
	if !x.takes(mine, peer, pkt) {
		return Verdict{}
	}
	return x.relay(mine, pkt, fromClient)
}

// open begins one direction. A SYN passes with its options, and without data (RFC
// 7413), which comes again.
func (x *Inline) open(k tuple, pkt []byte, fromClient bool) Verdict {
	if last, _, ok := x.flows.oldest(); ok && x.flows.full() {
		x.flows.remove(last)
	}
	f := x.flows.get(k)
	if f == nil {
		f = x.flows.put(k, [2]relay{})
	}
	r := &f[sideOf(fromClient)]
	if x.endSystem && (x.signed(pkt) || x.discards(pkt)) {
		return Verdict{}
	}
	if r.stream.begun && r.stream.base == x.view.Seq+1 {
		return x.hello(r, pkt)
	}
	*r = relay{}
	r.stream.begin(x.view.Seq + 1)
	r.keepsTTL = !x.endSystem && !fromClient
	r.note(&x.view, pkt)
	return x.hello(r, pkt)
}

// hello is the SYN in x.view as it leaves.
func (x *Inline) hello(r *relay, pkt []byte) Verdict {
	s := x.segment(r, x.view.Seq, nil)
	s.Ack, s.Flags, s.Options = x.view.Ack, x.view.Flags, pkt[x.view.IPLen+20:x.view.Hdr]
	return Verdict{Forward: true, Rewritten: s.Append(nil)}
}

// takes reports whether the packet in x.view is one of mine's stream.
func (x *Inline) takes(mine, peer *relay, pkt []byte) bool {
	v := &x.view
	first := int(int32(v.Seq - mine.stream.base))
	last := first + len(v.Payload)
	next := len(mine.stream.ready())
	if last < next-inlineKept || first > next+inlineWindow || last > next+inlineWindow {
		return false
	}
	if v.Flags&packet.RST != 0 {
		return first >= next && !(x.endSystem && x.signed(pkt))
	}
	if !x.endSystem {
		return true
	}
	if v.Flags&packet.ACK == 0 || x.signed(pkt) || x.discards(pkt) {
		return false
	}
	if peer.stream.begun && int32(v.Ack-peer.stream.base)-int32(len(peer.stream.ready())) > 1 {
		return false // of what was never sent; a FIN counts one
	}
	if ts, ok := v.TCPOption(pkt, 8); ok && mine.stamped && len(ts) == 8 {
		return int32(binary.BigEndian.Uint32(ts)-mine.recent) >= 0 // RFC 7323 section 5
	}
	return true
}

func (x *Inline) signed(pkt []byte) bool {
	_, ok := x.view.TCPOption(pkt, 19)
	return ok
}

// discards reports whether an IPv6 extension header of pkt has an option that
// who does not know it discards the packet for (RFC 8200 section 4.2).
func (x *Inline) discards(pkt []byte) bool {
	for at := 40; pkt[0]>>4 == 6 && at+2 < x.view.IPLen; at += 8 + int(pkt[at+1])*8 {
		if pkt[at+2]>>6 == 1 {
			return true
		}
	}
	return false
}

// note keeps what x's own packets say besides the stream.
func (r *relay) note(v *packet.View, pkt []byte) {
	r.window = v.Window
	if v.Flags&packet.ACK != 0 && (!r.acked || int32(v.Ack-r.ack) > 0) {
		r.acked, r.ack = true, v.Ack
	}
	r.options = r.options[:0]
	if ts, ok := v.TCPOption(pkt, 8); ok && len(ts) == 8 {
		r.stamped, r.recent = true, binary.BigEndian.Uint32(ts)
		r.options = append(append(r.options, 1, 1, 8, 10), ts...)
	}
	if v.Flags&packet.SYN == 0 {
		if sack, ok := v.TCPOption(pkt, 5); ok && len(sack) <= 24 {
			r.options = append(append(r.options, 1, 1, 5, byte(2+len(sack))), sack...)
		}
	}
}

// relay takes the packet in x.view into r and sends what is in order.
func (x *Inline) relay(r *relay, pkt []byte, fromClient bool) Verdict {
	v := &x.view
	r.note(v, pkt)
	if v.Flags&packet.RST != 0 {
		s := x.segment(r, v.Seq, nil)
		s.Flags, s.Options = v.Flags, nil
		return Verdict{Forward: true, Rewritten: s.Append(nil)}
	}
	off := int(int32(v.Seq - r.stream.base))
	if len(v.Payload) > 0 {
		// To an end system, what comes in its turn counts for more than what came
		// early (tcp_data_queue in net/ipv4/tcp_input.c).
		how := Reassembly{Mode: Full, Gap: inlineWindow, LastWins: x.endSystem && off <= len(r.stream.ready())}
		r.stream.add(&how, v.Seq, v.Payload, 1<<30)
	}
	ready := r.stream.ready()
	fin := v.Flags&packet.FIN != 0 && off+len(v.Payload) == len(ready)
	from := r.left
	send := ready
	if off < from && len(v.Payload) > 0 { // sent again: from what was kept
		if len(ready) == from {
			send = ready[:max(off+len(v.Payload), 0)]
		}
		from = max(off, 0)
	}
	r.left = len(ready)
	out := x.pieces(r, from, send, fin)
	r.forget()
	if len(out) == 0 {
		if len(v.Payload) > 0 {
			return Verdict{} // early
		}
		s := x.segment(r, v.Seq, nil)
		return Verdict{Forward: true, Rewritten: s.Append(nil)}
	}
	verdict := Verdict{Forward: true, Rewritten: out[0]}
	for _, b := range out[1:] {
		verdict.Inject = append(verdict.Inject, Injected{Bytes: b, ToClient: !fromClient})
	}
	return verdict
}

// pieces are segments with the bytes of ready from from on.
func (x *Inline) pieces(r *relay, from int, ready []byte, fin bool) (out [][]byte) {
	for from < len(ready) || fin {
		n := min(len(ready)-from, inlineMSS)
		s := x.segment(r, r.stream.base+uint32(from), ready[from:from+n])
		if from += n; from == len(ready) {
			s.Flags |= packet.PSH
			if fin {
				s.Flags |= packet.FIN
			}
			fin = false
		}
		out = append(out, s.Append(nil))
	}
	return out
}

// segment is a packet of r's in the direction of the one in x.view.
func (x *Inline) segment(r *relay, seq uint32, payload []byte) packet.Segment {
	ttl := uint8(inlineTTL)
	if r.keepsTTL {
		ttl = x.view.TTL
	}
	return packet.Segment{Src: x.view.Src, Dst: x.view.Dst, Seq: seq, Ack: r.ack, Flags: packet.ACK,
		Window: r.window, TTL: ttl, Options: r.options, Payload: payload}
}

// forget drops what has left long ago.
func (r *relay) forget() {
	if r.left <= 2*inlineKept {
		return
	}
	n := r.left - inlineKept
	r.stream.buf = slices.Delete(r.stream.buf, 0, n)
	for i := range r.stream.held {
		h := &r.stream.held[i]
		h.from, h.end = max(h.from-n, 0), h.end-n
	}
	r.stream.base += uint32(n)
	r.left -= n
}
