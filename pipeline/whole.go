package pipeline

import "b4/packet"

// Whole reports whether an engine may hand over a superpacket in one piece
// where it takes all traffic: all but datagrams of QUIC's handshake, and what may
// begin a message, behind a change_cipher_spec or not. Those must come as the
// wire's own packets, which are what is treated, and what bounds the size of
// ours. pkt may be just the packet's beginning, headers and a record's, of a
// packet to any side.
//
// What continues a message whose beginning came before is not told from other data;
// a Pipeline copes with it, and lets nothing leave that is longer than the path
// carries. Whole allocates nothing and keeps nothing of pkt.
func Whole(pkt []byte) bool {
	var v packet.View
	switch {
	case !v.DecodeStart(pkt):
		return true
	case v.Proto == packet.UDP:
		return !longHeader(v.Payload)
	}
	return v.Proto != packet.TCP || !begins(v.Payload)
}
