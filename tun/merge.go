package tun

import (
	"bytes"
	"encoding/binary"
	"errors"

	"b4/engine"
	"b4/packet"

	"golang.org/x/sys/unix"
)

// A returning packet goes back to the kernel with the next Flush.
type returning struct {
	settled
	layout
	flow uint32 // 0 is any
	fit  bool   // it may be merged with its neighbours
	gone bool
}

const (
	maxMerged = 1<<16 - 1 // the longest superpacket, as its header declares its length
	maxFront  = 40 + 60   // the longest headers of one
)

// back gathers p.
func (s *stream) back(p *engine.Packet, v engine.Verdict) {
	r := returning{settled: settled{p, v}, flow: engine.Flow(p.Bytes)}
	var ok bool
	if r.layout, ok = transport(p.Bytes); ok {
		r.fit = !p.Super && r.mergeable(p.Bytes) && (s.sure[(p.ID-1)%burst] || packet.ChecksumOK(p.Bytes))
	}
	s.returns = append(s.returns, r)
}

// mergeable reports whether b is of the kind that a superpacket is made of: data of
// TCP without options of IP and without flags that the kernel would set otherwise
// when it cuts.
func (l *layout) mergeable(b []byte) bool {
	plain := b[0] == 0x45
	if b[0]>>4 == 6 {
		plain = l.l4 == 40
	}
	return plain && l.proto == unix.IPPROTO_TCP && len(b) > l.hdr && b[l.l4+13]&^tcpPSH == tcpACK
}

// giveBack writes the packets that are to go back, as one those that the kernel will
// cut again as they came: each write costs the whole way through its forwarding, five
// times what it takes to read a packet. A flow keeps its order.
func (s *stream) giveBack() (errs error) {
	for i := range s.returns {
		if s.returns[i].gone {
			continue
		}
		m := s.run(i)
		merged := m.more > 0 && s.writeMerged(&m) == nil
		for _, q := range s.members {
			if merged {
				errs = errors.Join(errs, s.left(q))
			} else {
				errs = errors.Join(errs, s.let(q.p, q.v))
			}
		}
	}
	s.returns = s.returns[:0]
	return errs
}

// run makes members of the first packet and those that are to be one with it.
func (s *stream) run(first int) merged {
	r := &s.returns[first]
	m := merged{layout: r.layout, b: r.p.Bytes, size: len(r.p.Bytes) - r.hdr, total: len(r.p.Bytes)}
	s.members, s.parts = s.members[:0], s.parts[:0]
	if s.join(r); !r.fit {
		return m
	}
	for i := first + 1; i < len(s.returns) && !m.closed; i++ {
		q := &s.returns[i]
		if q.gone || q.flow != r.flow && q.flow != 0 {
			continue
		}
		if !q.fit || !m.add(q.p.Bytes) {
			break
		}
		s.join(q)
	}
	return m
}

// join makes a member of r.
//
//go:noinline
func (s *stream) join(r *returning) {
	r.gone = true
	s.members, s.parts = append(s.members, r.settled), append(s.parts, r.p.Bytes[r.hdr:])
}

// A merged is a superpacket in the making.
type merged struct {
	layout
	b      []byte // the first packet
	size   int    // payload of each packet but the last
	total  int    // length of all
	more   int    // packets behind the first
	push   bool   // the last has PSH
	closed bool   // nothing can follow
}

// add reports whether c, which is mergeable, goes on where the last packet ended, so
// that the kernel will cut it off again as it is (tcp_gro_receive in
// net/ipv4/tcp_offload.c, but for IPv4 identifications, which here must count on).
func (m *merged) add(c []byte) bool {
	n := len(c) - m.hdr
	if m.b[m.l4+13]&tcpPSH != 0 || n <= 0 || n > m.size || m.total+n > maxMerged || !m.alike(c) {
		return false
	}
	b, t := m.b[m.l4:m.hdr], c[m.l4:m.hdr]
	if binary.BigEndian.Uint32(t[4:]) != binary.BigEndian.Uint32(b[4:])+uint32(m.total-m.hdr) {
		return false
	}
	if m.b[0]>>4 == 4 && binary.BigEndian.Uint16(c[4:]) != binary.BigEndian.Uint16(m.b[4:])+uint16(m.more+1) {
		return false
	}
	m.total += n
	m.more++
	m.push = t[13]&tcpPSH != 0
	m.closed = m.push || n < m.size
	return true
}

// alike compares the headers but for what the kernel makes anew for each segment, and
// PSH.
func (m *merged) alike(c []byte) bool {
	var scratch [maxFront]byte
	b, t := m.b[:m.hdr], scratch[:m.hdr]
	copy(t, c)
	ignore := func(from, to int) { copy(t[from:to], b[from:to]) }
	if b[0]>>4 == 4 {
		ignore(2, 6) // length, identification
		ignore(10, 12)
	} else {
		ignore(4, 6)
	}
	ignore(m.l4+4, m.l4+8)
	ignore(m.l4+13, m.l4+14)
	ignore(m.l4+16, m.l4+18)
	return bytes.Equal(t, b)
}

// writeMerged writes what run has made, its payload from where it was read to.
func (s *stream) writeMerged(m *merged) error {
	h := Header{Flags: needsCsum, GSOType: gsoTCPv4, HdrLen: uint16(m.hdr), GSOSize: uint16(m.size), CsumStart: uint16(m.l4), CsumOffset: 16}
	b := append(s.front[:0], m.b[:m.hdr]...)
	if b[0]>>4 == 4 {
		binary.BigEndian.PutUint16(b[2:], uint16(m.total))
		sumIPv4(b[:m.l4])
	} else {
		h.GSOType = gsoTCPv6
		binary.BigEndian.PutUint16(b[4:], uint16(m.total-40))
	}
	if m.push {
		b[m.l4+13] |= tcpPSH
	}
	binary.BigEndian.PutUint16(b[m.l4+16:], packet.Fold(packet.Pseudo(b, unix.IPPROTO_TCP, m.total-m.l4)))
	return s.link.WriteParts(h, b, s.parts)
}
