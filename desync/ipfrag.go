package desync

import (
	"encoding/binary"
	"strconv"

	"b4/engine"
	"b4/packet"
)

// ipfrag sends every packet as two IP fragments, for a censor that does not join
// them. Some networks let none pass. A packet too short for two leaves whole.
type ipfrag struct{ at int }

// The first fragment has at least 24 bytes of TCP, or 8 of UDP: a receiver refuses
// less than a header there (RFC 1858 section 3, RFC 8200 section 4.5).
const (
	minFrag    = 24
	minUDPFrag = 8
	maxFrag    = 1480
)

var (
	ipfragSpec    = fragSpec(inTCP, minFrag)
	udpIPFragSpec = fragSpec(inQUIC, minUDPFrag)
)

func fragSpec(in protos, least int) spec {
	return spec{
		name: "ipfrag", in: in, phase: packetPhase, once: true,
		help: "send every packet as two IP fragments, by an identification of their own; some networks let none pass",
		params: []param{
			{name: "n", kind: number, lo: least, hi: maxFrag, by: 8, must: true, help: "bytes in the first fragment behind the IP header"},
		},
		make: func(_ *parser, a *args) Step { return &ipfrag{a.number("n")} },
	}
}

func (*ipfrag) Need() Need       { return Need{} }
func (*ipfrag) Harm() Harm       { return Segments }
func (s *ipfrag) String() string { return "ipfrag(" + strconv.Itoa(s.at) + ")" }

func (s *ipfrag) Rewrite(p *Plan, _ *Env) {
	for i := range p.pkts {
		p.pkts[i].frag = s.at
	}
	p.rewritten = true
}

// fragHeader is the length of an IPv6 fragment header (RFC 8200 section 4.5).
const fragHeader = 8

// udpHeader is the length of a UDP header (RFC 768).
const udpHeader = 8

// fragment adds packet b, of which ipLen bytes are IP and hdr are headers, to out
// as two fragments, as k says, the first with the transport's whole header.
//
// Of a datagram it leaves last: what leaves last takes the place of the one that
// the kernel waits for, and a last fragment is lost there where the datagram opens a
// flow (measured on Linux 6.1 on MIPS; not on 6.18 on x86).
func fragment(out *engine.Batch, m engine.Meta, b []byte, ipLen, hdr int, k *pkt, rnd uint64) {
	at := ipLen + max(k.frag, (hdr-ipLen+7)&^7)
	head, next, ok := unfragmentable(b, ipLen)
	if !ok || at+fragHeader > len(b) {
		out.Add(b, m)
		out.Delay(k.after)
		return
	}
	id := fragmentID(b, ipLen, hdr, rnd^uint64(out.Len())<<32)
	v4, ext := b[0]>>4 == 4, fragHeader
	if v4 {
		ext = 0
	}
	parts := [2]struct {
		from, to int
		more     uint16 // whether another follows
	}{{head, at, 1}, {at, len(b), 0}}
	if hdr-ipLen == udpHeader {
		parts[0], parts[1] = parts[1], parts[0]
	}
	for _, part := range parts {
		f := out.Grow(head+ext+part.to-part.from, m)
		out.Delay(k.after)
		copy(f, b[:head])
		copy(f[head+ext:], b[part.from:part.to])
		place, more := uint16(part.from-head), part.more
		if v4 {
			binary.BigEndian.PutUint16(f[6:], more<<13|place>>3)
			binary.BigEndian.PutUint16(f[4:], uint16(id))
		} else {
			f[head], f[head+1], f[next] = f[next], 0, 44
			binary.BigEndian.PutUint16(f[head+2:], place|more)
			binary.BigEndian.PutUint32(f[head+4:], id)
		}
		packet.Finish(f, head, 0) // a fragment has no checksum but the header's
	}
}

// fragmentID is an identification for b's fragments. By what the packet is, its place
// and its checksum, another one has another: a receiver would join a fragment of
// each if one of the others were lost, and a later copy of a message is cut anew.
// Counted on from the client's they would meet those of its next packets. It is
// not 0, of which the kernel would make another for each fragment.
func fragmentID(b []byte, ipLen, hdr int, seed uint64) uint32 {
	seed ^= uint64(binary.BigEndian.Uint32(b[ipLen+4:])) // of TCP the sequence number, of UDP length and checksum
	if hdr-ipLen > udpHeader {
		seed = lcg(seed) ^ uint64(binary.BigEndian.Uint16(b[ipLen+16:]))<<16 ^ uint64(len(b))
	}
	return uint32(lcg(lcg(seed))>>32) | 1
}

// unfragmentable is how many bytes of b every fragment repeats, and where in
// them the number of the next header stands.
func unfragmentable(b []byte, ipLen int) (n, next int, ok bool) {
	if b[0]>>4 == 4 {
		return ipLen, 0, ipLen == 20 // options are copied or not, each as it says
	}
	n, next = 40, 6
	for b[next] == 0 || b[next] == 43 { // hop-by-hop, routing
		n, next = n+8+int(b[n+1])*8, n
	}
	return n, next, true
}
