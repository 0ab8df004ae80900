package matrix

import (
	"bytes"
	"encoding/binary"
	"slices"

	"b4/packet"
)

// A receiver is one end's TCP, as Linux's is as far as decoys count on it.
type receiver struct {
	open     bool   // has had the peer's SYN
	answers  bool   // its SYN answers another
	base     uint32 // sequence number of the stream's first byte
	sent     uint32 // after what it has sent itself
	stream   []byte // what has come
	have     []bool
	next     int    // bytes that the application has
	window   int    // of the peer's SYN
	recent   uint32 // the peer's newest timestamp
	stamped  bool
	wasReset bool
	parts    map[uint32][]part
}

const (
	window    = 1 << 16
	maxStream = 1 << 17
	usual     = replies * replySize
)

// take takes one packet off the wire.
func (r *receiver) take(b []byte) {
	if b = r.join(b); b == nil {
		return
	}
	var v packet.View
	if !v.Decode(b) || v.Proto != packet.TCP || !packet.ChecksumOK(b) || discards(b, v.IPLen) {
		return
	}
	if _, signed := v.TCPOption(b, 19); signed { // tcp_inbound_hash in net/ipv4/tcp.c
		return
	}
	if !r.open {
		r.handshake(&v)
		return
	}
	at := int(int32(v.Seq - r.base))
	if end := at + len(v.Payload); end < r.next || at > r.next+window || end > maxStream {
		return
	}
	if v.Flags&packet.RST != 0 { // anything but the next number is challenged (RFC 5961 section 3)
		r.wasReset = r.wasReset || at == r.next
		return
	}
	ts, stamped := v.TCPOption(b, 8)
	if stamped && r.stamped && int32(binary.BigEndian.Uint32(ts)-r.recent) < 0 ||
		v.Flags&packet.ACK == 0 || v.Flags&packet.SYN != 0 || int32(v.Ack-r.sent) > 0 {
		return
	}
	if stamped && at <= r.next {
		r.recent, r.stamped = binary.BigEndian.Uint32(ts), true
	}
	r.add(at, v.Payload)
}

// handshake takes the peer's SYN. Data on it is left for later, as without a Fast
// Open cookie (tcp_conn_request in net/ipv4/tcp_input.c).
func (r *receiver) handshake(v *packet.View) {
	if v.Flags&(packet.SYN|packet.RST) == packet.SYN && (v.Flags&packet.ACK != 0) == !r.answers {
		r.open, r.base, r.window = true, v.Seq+1, int(v.Window)
	}
}

// add takes bytes in at offset at. What comes in its turn counts for more than
// what came early; of what came early the first copy counts (tcp_data_queue in
// net/ipv4/tcp_input.c).
func (r *receiver) add(at int, data []byte) {
	if grow := at + len(data) - len(r.stream); grow > 0 {
		if r.stream == nil {
			r.stream, r.have = make([]byte, 0, usual), make([]bool, 0, usual)
		}
		r.stream = append(r.stream, make([]byte, grow)...)
		r.have = append(r.have, make([]bool, grow)...)
	}
	inTurn := at <= r.next
	for i, c := range data {
		if i += at; i >= r.next && (inTurn || !r.have[i]) {
			r.stream[i], r.have[i] = c, true
		}
	}
	for r.next < len(r.stream) && r.have[r.next] {
		r.next++
	}
}

// read is what the application has read.
func (r *receiver) read() []byte { return r.stream[:r.next] }

// discards reports whether one of b's IPv6 extension headers has an option to
// discard the packet for (RFC 8200 section 4.2).
func discards(b []byte, ipLen int) bool {
	for at := 40; b[0]>>4 == 6 && at+2 < ipLen; at += 8 + int(b[at+1])*8 {
		if b[at+2]>>6 == 1 {
			return true
		}
	}
	return false
}

// A part is an IP fragment.
type part struct {
	head []byte // the IP header, as without fragments
	off  int
	more bool
	data []byte
}

// join returns b if it is no fragment, and else the packet that it completes, or
// nil. Overlapping fragments never come.
func (r *receiver) join(b []byte) []byte {
	p, id, ok := fragmentOf(b)
	if !ok {
		return b
	}
	if r.parts == nil {
		r.parts = make(map[uint32][]part)
	}
	parts := append(r.parts[id], p)
	slices.SortFunc(parts, func(a, b part) int { return a.off - b.off })
	r.parts[id] = parts
	whole := slices.Clone(parts[0].head)
	for _, q := range parts {
		if q.off != len(whole)-len(parts[0].head) {
			return nil
		}
		whole = append(whole, q.data...)
	}
	if parts[len(parts)-1].more {
		return nil
	}
	delete(r.parts, id)
	packet.Finish(whole, len(parts[0].head), 0) // lengths and IPv4's checksum only
	return whole
}

func fragmentOf(b []byte) (p part, id uint32, ok bool) {
	if b[0]>>4 == 4 {
		field := binary.BigEndian.Uint16(b[6:])
		head := bytes.Clone(b[:20])
		head[6], head[7] = 0, 0
		return part{head, int(field&0x1fff) * 8, field&0x2000 != 0, bytes.Clone(b[20:])},
			uint32(binary.BigEndian.Uint16(b[4:])), field&0x3fff != 0
	}
	n, next := 40, 6
	for b[next] == 0 || b[next] == 60 {
		n, next = n+8+int(b[n+1])*8, n
	}
	if b[next] != 44 {
		return p, 0, false
	}
	head := bytes.Clone(b[:n])
	head[next] = b[n]
	field := binary.BigEndian.Uint16(b[n+2:])
	return part{head, int(field &^ 7), field&1 != 0, bytes.Clone(b[n+8:])}, binary.BigEndian.Uint32(b[n+4:]), true
}
