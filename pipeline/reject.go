package pipeline

import (
	"time"

	"b4/engine"
	"b4/flow"
	"b4/packet"
)

const (
	// answerEvery is how often one flow is answered at most. A client that is
	// told again falls back no sooner.
	answerEvery = time.Second
	// answerAfter is what an ICMP error waits for: only when the datagram that
	// takes the refused one's place has left is the flow's NAT binding confirmed,
	// by which the error finds the client.
	answerAfter = time.Millisecond
	// keptAnswers bounds what is remembered of answers; in a house few flows are
	// refused at a time.
	keptAnswers = 64
)

// An answers remembers the flows answered lately, each in the place its hash
// gives it. Two flows that share a place may be answered more often.
type answers [keptAnswers]struct {
	flow uint64 // Key.Hash
	at   time.Time
}

// due reports whether a flow may be answered now, and takes it as answered.
func (a *answers) due(now time.Time, k flow.Key) bool {
	h := k.Hash()
	last := &a[h%keptAnswers]
	if last.flow == h && now.Sub(last.at) < answerEvery {
		return false
	}
	last.flow, last.at = h, now
	return true
}

// reject keeps a packet from its server and tells the client, so that it need
// not wait: a TCP client by RST, a UDP client by ICMP port unreachable, both in
// the server's name. A client that goes on is told once in a second.
//
// A TCP packet is dropped. A datagram is replaced, as the flow's first must
// confirm its binding: by one without data to the same place, which ends its
// way at the next router. p.view must have the packet.
func (p *Pipeline) reject(pkt *engine.Packet) engine.Verdict {
	v := &p.view
	if v.Flags&packet.RST != 0 || !p.answers.due(p.now, flow.KeyOf(v)) {
		return engine.Drop
	}
	if v.Proto == packet.TCP {
		p.scratch = appendReset(p.scratch[:0], v)
		p.out.Add(p.scratch, engine.Meta{Back: true})
		return engine.Drop
	}
	p.scratch = packet.ICMPError(p.scratch[:0], packet.PortUnreachable, v.Dst.Addr(), 0, pkt.Bytes)
	if len(p.scratch) == 0 {
		return engine.Drop // its source is no host's
	}
	p.out.Add(p.scratch, engine.Meta{Back: true})
	p.out.Delay(answerAfter)
	p.out.Own()
	stub(p.out.Grow(v.Hdr, pkt.Meta), pkt.Bytes, v)
	return engine.Replace
}

// appendReset appends the RST that refuses the segment v has (RFC 9293 section
// 3.10.7.1) to dst.
func appendReset(dst []byte, v *packet.View) []byte {
	s := packet.Segment{Src: v.Dst, Dst: v.Src, Seq: v.Ack, Flags: packet.RST}
	if v.Flags&packet.ACK == 0 {
		s.Seq, s.Flags = 0, packet.RST|packet.ACK
		s.Ack = v.Seq + uint32(len(v.Payload))
		if v.Flags&packet.SYN != 0 {
			s.Ack++
		}
		if v.Flags&packet.FIN != 0 {
			s.Ack++
		}
	}
	return s.Append(dst)
}

// stub writes the datagram b without its data to dst, to live for one hop.
func stub(dst, b []byte, v *packet.View) {
	copy(dst, b)
	if dst[0]>>4 == 4 {
		dst[8] = 1
	} else {
		dst[7] = 1
	}
	packet.Finish(dst, v.IPLen, packet.UDP)
}
