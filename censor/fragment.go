package censor

import (
	"encoding/binary"
	"net/netip"
	"slices"
	"time"

	"b4/packet"
)

const (
	maxParts     = 45               // fragments of a packet (IMC'22)
	maxUnjoined  = 256              // packets of which fragments wait
	fragmentLife = 30 * time.Second // Linux's ipfrag_time
)

// A fragmentID is what the fragments of one packet have in common.
type fragmentID struct {
	src, dst netip.Addr
	id       uint32
	proto    uint8
}

// A part is one fragment.
type part struct {
	off  int
	more bool
	data []byte
}

// unjoined is a packet of which not all fragments have come.
type unjoined struct {
	seen  time.Time
	head  []byte // the first fragment's IP header, without the fragment header
	parts []part // by offset
}

// fragments joins IP fragments. Of bytes that come twice the first copy counts.
type fragments struct {
	waiting table[fragmentID, unjoined]
}

func newFragments() fragments {
	return fragments{waiting: newTable[fragmentID, unjoined](maxUnjoined)}
}

// join takes pkt in. fragment tells that it is a fragment; whole is the packet that
// it completes, or nil.
func (f *fragments) join(now time.Time, pkt []byte) (whole []byte, fragment bool) {
	id, head, p, ok := readFragment(pkt)
	if !ok {
		return nil, false
	}
	for k, old, ok := f.waiting.oldest(); ok && (f.waiting.full() || now.Sub(old.seen) > fragmentLife); k, old, ok = f.waiting.oldest() {
		f.waiting.remove(k)
	}
	u := f.waiting.get(id)
	if u == nil {
		u = f.waiting.put(id, unjoined{seen: now})
	}
	if p.off == 0 && u.head == nil {
		u.head = head
	}
	if len(u.parts) >= maxParts {
		return nil, true
	}
	at, _ := slices.BinarySearchFunc(u.parts, p.off, func(q part, off int) int { return q.off - off })
	for at < len(u.parts) && u.parts[at].off == p.off {
		at++
	}
	u.parts = slices.Insert(u.parts, at, p)
	if whole = u.whole(); whole != nil {
		f.waiting.remove(id)
	}
	return whole, true
}

// whole is the packet that the parts make, if they are all there.
func (u *unjoined) whole() []byte {
	if u.head == nil {
		return nil
	}
	b := slices.Clone(u.head)
	for _, p := range u.parts {
		have := len(b) - len(u.head)
		if p.off > have {
			return nil
		}
		if skip := have - p.off; skip < len(p.data) {
			b = append(b, p.data[skip:]...)
		}
		if !p.more {
			finishJoined(b)
			return b
		}
	}
	return nil
}

// finishJoined writes the IP lengths and IPv4's checksum, and leaves the
// transport's as the sender made it.
func finishJoined(b []byte) {
	if b[0]>>4 == 6 {
		binary.BigEndian.PutUint16(b[4:], uint16(len(b)-40))
		return
	}
	b[6], b[7], b[10], b[11] = 0, 0, 0, 0
	binary.BigEndian.PutUint16(b[2:], uint16(len(b)))
	binary.BigEndian.PutUint16(b[10:], ^packet.Fold(packet.Sum(0, b[:int(b[0]&15)*4])))
}

// readFragment reads pkt, which it borrows nothing of. It reports false for what
// is no fragment.
func readFragment(pkt []byte) (id fragmentID, head []byte, p part, ok bool) {
	switch {
	case len(pkt) >= 20 && pkt[0]>>4 == 4:
		field := binary.BigEndian.Uint16(pkt[6:])
		n, end := int(pkt[0]&15)*4, min(len(pkt), int(binary.BigEndian.Uint16(pkt[2:])))
		if field&0x3fff == 0 || n < 20 || end < n {
			return id, nil, p, false
		}
		id = fragmentID{netip.AddrFrom4([4]byte(pkt[12:])), netip.AddrFrom4([4]byte(pkt[16:])), uint32(binary.BigEndian.Uint16(pkt[4:])), pkt[9]}
		return id, slices.Clone(pkt[:n]), part{int(field&0x1fff) * 8, field&0x2000 != 0, slices.Clone(pkt[n:end])}, true
	case len(pkt) >= 48 && pkt[0]>>4 == 6:
		n, next := 40, 6
		for (pkt[next] == 0 || pkt[next] == 60) && n+16 <= len(pkt) {
			next, n = n, n+8+int(pkt[n+1])*8
		}
		end := min(len(pkt), 40+int(binary.BigEndian.Uint16(pkt[4:])))
		if pkt[next] != 44 || n+8 > end {
			return id, nil, p, false
		}
		id = fragmentID{netip.AddrFrom16([16]byte(pkt[8:])), netip.AddrFrom16([16]byte(pkt[24:])), binary.BigEndian.Uint32(pkt[n+4:]), pkt[n]}
		field := binary.BigEndian.Uint16(pkt[n+2:])
		head = slices.Clone(pkt[:n])
		head[next] = pkt[n]
		return id, head, part{int(field &^ 7), field&1 != 0, slices.Clone(pkt[n+8 : end])}, true
	}
	return id, nil, p, false
}
