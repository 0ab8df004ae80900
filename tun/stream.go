package tun

import (
	"errors"
	"fmt"
	"time"

	"b4/engine"
)

const (
	// One Read returns at most so many packets, as for NFQUEUE.
	burst = 64

	// The longest packet: BIG TCP is for those who set gso_max_size.
	maxPacket = 1 << 16

	// A burst of the largest usual packets besides one superpacket. It is
	// touched, and so costs memory, only as far as packets fill it.
	readBuffer = 4 * maxPacket

	// So many times a packet is taken to be alone after one that was.
	trust = 7

	// A burst of the segments of a superpacket: 64 of 1500 bytes, and at
	// least one of the longest.
	cutBuffer = 3 * maxPacket / 2
)

// A stream is a device as Source and Sink. All but Close is for the one
// goroutine that reads.
type stream struct {
	link Link
	e    *Engine

	in    []byte // what the device gave, end to end
	end   int    // of what is in use of in
	segs  []byte // what was cut
	used  int    // of segs
	cut   Cutter // borrows from in until its last segment
	mark  uint32 // of what the device gave last
	pkts  [burst]engine.Packet
	heads [burst]Header
	sure  [burst]bool // of each packet that its checksum is right
	got   int
	alone int // reads that are not to look for a second packet

	outs    []engine.Out // what is to leave, and whom each stands for
	settle  []settled
	returns []returning // what is to go back
	members []settled   // of the superpacket in the making
	parts   [][]byte    // its payload
	front   [maxFront]byte

	whole  engine.Batch // the segments of a superpacket that is sent after all
	signal [maxSignal]byte
}

func newStream(e *Engine, l Link) *stream {
	return &stream{
		link: l, e: e, in: make([]byte, readBuffer), segs: make([]byte, cutBuffer),
		outs: make([]engine.Out, 0, burst), settle: make([]settled, 0, burst), returns: make([]returning, 0, burst),
		members: make([]settled, 0, burst), parts: make([][]byte, 0, burst),
	}
}

// Close implements engine.Source.
func (s *stream) Close() error { return s.link.Close() }

// Read implements engine.Source: it waits for one packet and takes along what
// else is there. Checksums are filled in and superpackets are cut. It may return
// early with nothing.
func (s *stream) Read(wait time.Duration) ([]engine.Packet, error) {
	s.got, s.used = 0, 0
	if s.cut.Len() == 0 {
		s.end = 0
	}
	err := s.fill(max(wait, 1))
	s.e.n.Read.Add(uint64(s.got))
	if s.got > 0 {
		return s.pkts[:s.got], nil // an error comes again
	}
	return nil, err
}

// fill reads until there is no more packet or no more room. While packets come one
// by one it mostly leaves it to the next wait, which must ask anyway, to find no more:
// a read in vain is one of the eight system calls of a connection that comes alone.
func (s *stream) fill(wait time.Duration) error {
	for s.got < burst {
		if n := s.cut.Len(); n > 0 {
			if s.used+n > len(s.segs) {
				return nil
			}
			s.add(s.cut.Next(s.segs[s.used:]), Header{}, true)
			s.used += n
			wait = 0
			continue
		}
		if s.end+maxPacket > len(s.in) {
			return nil
		}
		if s.got > 0 && s.alone > 0 {
			s.alone--
			return nil
		}
		var h = &s.heads[s.got]
		n, err := s.link.Read(wait, h, s.in[s.end:s.end+maxPacket])
		if n == 0 || err != nil {
			if s.got == 1 {
				s.alone = trust
			}
			return err
		}
		wait = 0
		s.take(h, s.in[s.end:s.end+n])
	}
	return nil
}

var errShape = errors.New("packet from the device cannot be sent on")

// take takes what the device gave at s.end.
func (s *stream) take(h *Header, b []byte) {
	if chatter(b) {
		return
	}
	n, ok := length(b)
	if ok && s.e.c.Groups != 0 {
		s.mark = unlabel(h, b[:n], s.e.c.Groups)
	}
	err := errNotIP
	switch {
	case !ok:
	case !h.Super():
		if err = h.Complete(b[:n]); err == nil {
			s.end += n
			s.add(b[:n], Header{}, h.Flags&(needsCsum|dataValid) != 0)
		}
	case s.e.c.Whole != nil && s.e.c.Whole(b[:n]):
		s.end += n
		s.add(b[:n], *h, false)
		err = nil
	default:
		if err = s.cut.Reset(h, b); err == nil {
			s.end += n
		}
	}
	if err != nil {
		s.e.n.Lost.Add(1)
		s.e.c.Report(fmt.Errorf("%w: %w", errShape, err))
	}
}

// add appends a packet to those of this Read. Its ID is its place among them,
// from 1.
func (s *stream) add(b []byte, h Header, sure bool) {
	s.heads[s.got], s.sure[s.got] = h, sure
	s.pkts[s.got] = engine.Packet{
		Bytes: b[:len(b):len(b)], Full: len(b), ID: uint32(s.got + 1), Partial: h.Super(), Super: h.Super(),
		Meta: engine.Meta{Mark: s.mark, Out: s.e.out.Load()},
	}
	s.got++
}

// chatter reports whether b is the device's own talk to its link, as for a
// router or about groups. It ends here: on WAN it would carry a stranger's
// address.
func chatter(b []byte) bool {
	switch {
	case len(b) >= 20 && b[0]>>4 == 4:
		return b[16] >= 224 || b[12] == 0
	case len(b) >= 40 && b[0]>>4 == 6:
		return b[24] == 0xff || linkLocal(b[24:]) || linkLocal(b[8:]) || b[8] == 0 && [16]byte(b[8:24]) == [16]byte{}
	}
	return false
}

// linkLocal reports whether the IPv6 address is of fe80::/10.
func linkLocal(a []byte) bool { return a[0] == 0xfe && a[1]&0xc0 == 0x80 }
