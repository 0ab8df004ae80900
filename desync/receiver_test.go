package desync

import (
	"bytes"
	"encoding/binary"
	"math/rand"
	"slices"
	"strings"
	"testing"

	"b4/engine"
	"b4/packet"
)

// A receiver is a server's TCP behind 10 hops, as far as it can tell our bytes
// from others. What receivers are free in is a knob of it.
type receiver struct {
	base      uint32 // sequence number of the message's first byte
	size      int
	lastWins  bool // of bytes that come twice, ahead of their turn
	stream    []byte
	have      []bool
	next      int // bytes that the application has
	parts     map[fragID][]fragPart
	wasReset  bool
	ended     bool // by a FIN that does not stand behind the message
	urgent    bool // a byte is taken out of the stream
	unaligned bool // a fragment that is not the last is no multiple of 8 long
}

// What the server knows from the handshake that env's header is part of.
const (
	sentNext = 77      // it has sent nothing yet
	tsRecent = 1       // the client's timestamp
	rcvWnd   = 1 << 16 // bytes
	reach    = 10      // the least TTL that gets to it
)

type fragID struct {
	v6 bool
	id uint32
}

type fragPart struct {
	id   fragID
	off  int
	more bool
	head []byte // the IP header, as without the fragment header
	data []byte
}

// fragmentOf reads a fragment.
func fragmentOf(b []byte) (id fragID, f fragPart, ok bool) {
	if b[0]>>4 == 4 {
		field := binary.BigEndian.Uint16(b[6:])
		f = fragPart{fragID{false, uint32(binary.BigEndian.Uint16(b[4:]))}, int(field&0x1fff) * 8, field>>13&1 == 1, b[:20], b[20:]}
		return f.id, f, field&0x3fff != 0
	}
	n, next := 40, 6
	for b[next] == 0 {
		n, next = n+8, n
	}
	if b[next] != 44 {
		return id, f, false
	}
	head := bytes.Clone(b[:n])
	head[next] = b[n]
	field := binary.BigEndian.Uint16(b[n+2:])
	f = fragPart{fragID{true, binary.BigEndian.Uint32(b[n+4:])}, int(field &^ 7), field&1 == 1, head, b[n+8:]}
	return f.id, f, true
}

// join keeps a fragment and returns the packet that it completes.
func (r *receiver) join(id fragID, f fragPart) []byte {
	if f.more && len(f.data)%8 != 0 || id.id == 0 || !id.v6 && packet.Fold(packet.Sum(0, f.head)) != 0xffff {
		r.unaligned = true
	}
	f.data = bytes.Clone(f.data)
	parts := append(r.parts[id], f)
	slices.SortStableFunc(parts, func(a, b fragPart) int { return a.off - b.off })
	r.parts[id] = parts
	var whole []byte
	for _, q := range parts {
		if q.off > len(whole) {
			return nil
		}
		whole = append(whole[:q.off], q.data...)
		if !q.more {
			b := append(bytes.Clone(parts[0].head), whole...)
			if !id.v6 {
				b[6], b[7] = 0, 0
			}
			n := len(parts[0].head)
			packet.Finish(b, n, 0)
			delete(r.parts, id)
			return b
		}
	}
	return nil
}

// take takes one packet off the wire.
func (r *receiver) take(b []byte) {
	if id, f, ok := fragmentOf(b); ok {
		if b = r.join(id, f); b == nil {
			return
		}
	}
	var v packet.View
	if !v.Decode(b) || v.TTL < reach || !packet.ChecksumOK(b) || discards(b, v.IPLen) {
		return
	}
	if _, signed := v.TCPOption(b, 19); signed {
		return
	}
	at := int(int32(v.Seq - r.base))
	end := at + len(v.Payload)
	if end < r.next || at > r.next+rcvWnd {
		return
	}
	if v.Flags&packet.RST != 0 {
		r.wasReset = true // whatever else it has: only its sequence number counts
		return
	}
	ts, ok := v.TCPOption(b, 8)
	if ok && int32(binary.BigEndian.Uint32(ts)-tsRecent) < 0 || v.Flags&packet.ACK == 0 || int32(v.Ack-sentNext) > 0 {
		return
	}
	if v.Flags&packet.SYN != 0 {
		return // answered, and discarded
	}
	r.urgent = r.urgent || v.Flags&packet.URG != 0 && binary.BigEndian.Uint16(b[v.IPLen+18:]) > 0
	r.ended = r.ended || v.Flags&packet.FIN != 0 && end != r.size
	for k, c := range v.Payload {
		if i := at + k; i >= r.next && i < r.size && (!r.have[i] || r.lastWins) {
			r.stream[i], r.have[i] = c, true
		}
	}
	for r.next < r.size && r.have[r.next] {
		r.next++
	}
}

// discards reports whether one of b's IPv6 extension headers has an option to
// discard the packet for. The ones we make are 8 bytes long.
func discards(b []byte, ipLen int) bool {
	for at := 40; b[0]>>4 == 6 && at < ipLen; at += 8 {
		if b[at+2]>>6 == 1 {
			return true
		}
	}
	return false
}

// read gives the packets to a receiver in the given order.
func read(e *Env, out *engine.Batch, order []int, lastWins bool) *receiver {
	r := &receiver{
		base: e.Conn.Base, size: len(e.Msg.Bytes), lastWins: lastWins, parts: make(map[fragID][]fragPart),
		stream: make([]byte, len(e.Msg.Bytes)), have: make([]bool, len(e.Msg.Bytes)),
	}
	for _, i := range order {
		r.take(out.At(i).Bytes)
	}
	return r
}

// orders are as sent, the other way around, and one that rnd shuffles.
func orders(n int, rnd uint64) [][]int {
	sent := make([]int, n)
	for i := range sent {
		sent[i] = i
	}
	back := slices.Clone(sent)
	slices.Reverse(back)
	return [][]int{sent, back, rand.New(rand.NewSource(int64(rnd))).Perm(n)}
}

// check asserts the invariant: the server reads exactly what the client wrote.
func check(t *testing.T, s *Strategy, e *Env) {
	t.Helper()
	text, out := wire(t, s, e, 0, len(e.Msg.Bytes))
	if strings.HasPrefix(text, "error") {
		return
	}
	for i, order := range orders(out.Len(), e.Rand^uint64(len(e.Msg.Bytes))) {
		for _, last := range []bool{false, true} {
			r := read(e, out, order, last)
			if r.next != r.size || r.wasReset || r.unaligned || r.ended || r.urgent || !bytes.Equal(r.stream, e.Msg.Bytes) {
				t.Fatalf("%s: order %d: the server reads something else (%d of %d, reset %v, ended %v, urgent %v, bad fragment %v):\n%s",
					s, i, r.next, r.size, r.wasReset, r.ended, r.urgent, r.unaligned, text)
			}
		}
	}
	for i := range out.Len() {
		if b := out.At(i).Bytes; len(b) > e.Conn.MTU {
			t.Errorf("%s: packet of %d bytes, MTU %d", s, len(b), e.Conn.MTU)
		}
	}
}

// The model reads what nothing keeps from it.
func TestReceiverIsFooledByNothing(t *testing.T) {
	for _, v6 := range []bool{false, true} {
		e := env(t, v6, 517)
		for _, st := range []Step{zeroes(ttl{}), &rst{decoy{repeat: 1}}, zeroes(ttl{n: 64})} {
			_, out := wire(t, newStrategy(TLS, []Step{st}), e, 0, len(e.Msg.Bytes))
			if r := read(e, out, orders(out.Len(), 0)[0], false); !r.wasReset && bytes.Equal(r.stream, e.Msg.Bytes) {
				t.Errorf("%s: not read", st)
			}
		}
	}
}

// Every fooling does by itself.
func TestEachFooling(t *testing.T) {
	for i, name := range foolNames {
		for _, v6 := range []bool{false, true} {
			e := env(t, v6, 1800)
			check(t, mustParse(t, "fake(zero, "+name+") split(700)"), e)
			if rstFools>>i&1 == 1 {
				check(t, mustParse(t, "rst("+name+") rst("+name+", place=after)"), e)
			}
		}
	}
}

// A first fragment has the whole TCP header, and a packet with IPv4 options or
// too little in it leaves whole.
func TestFragment(t *testing.T) {
	for _, v6 := range []bool{false, true} {
		e := env(t, v6, 517)
		_, out := wire(t, mustParse(t, "fake(md5, zero) ipfrag(24)"), e, 0, len(e.Msg.Bytes))
		_, f, ok := fragmentOf(out.At(0).Bytes)
		if !ok || len(f.data) != 56 || out.Len() != 4 {
			t.Errorf("v6 %v: %d packets, the first with %d bytes of a header of 52", v6, out.Len(), len(f.data))
		}
		if _, out = wire(t, mustParse(t, "split(3) ipfrag(32)"), e, 0, 3); out.Len() != 1 {
			t.Errorf("v6 %v: %d packets of 35 bytes of TCP", v6, out.Len())
		}
	}
	e := env(t, false, 517)
	h := e.Conn.Header
	e.Conn.Header = append(append(h[:20:20], 0x94, 4, 0, 0), h[20:]...) // router alert (RFC 2113)
	e.Conn.Header[0], e.Conn.IPLen = 0x46, 24
	if _, out := wire(t, mustParse(t, "ipfrag(32)"), e, 0, len(e.Msg.Bytes)); out.Len() != 1 {
		t.Errorf("%d packets with IPv4 options", out.Len())
	}
}

// zeroes is a decoy that nothing but t keeps from the server.
func zeroes(t ttl) *fake {
	return &fake{"hello", payload{kind: "zero"}, decoy{ttl: t, repeat: 1}}
}
