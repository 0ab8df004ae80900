package tun

import (
	"errors"
	"fmt"
	"time"

	"b4/engine"

	"golang.org/x/sys/unix"
)

const (
	// One Read returns at most so many packets, as for NFQUEUE.
	burst = 64

	// The longest packet: BIG TCP is for those who set gso_max_size.
	maxPacket = 1 << 16

	// A burst of the largest usual packets besides one superpacket. It is
	// touched, and so costs memory, only as far as packets fill it.
	readBuffer = 4 * maxPacket

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
	got   int

	whole  engine.Batch // the segments of a superpacket that is sent after all
	signal [maxSignal]byte
}

func newStream(e *Engine, l Link) *stream {
	return &stream{link: l, e: e, in: make([]byte, readBuffer), segs: make([]byte, cutBuffer)}
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

// fill reads until there is no more packet or no more room.
func (s *stream) fill(wait time.Duration) error {
	for s.got < burst {
		if n := s.cut.Len(); n > 0 {
			if s.used+n > len(s.segs) {
				return nil
			}
			s.add(s.cut.Next(s.segs[s.used:]), Header{})
			s.used += n
			wait = 0
			continue
		}
		if s.end+maxPacket > len(s.in) {
			return nil
		}
		var h = &s.heads[s.got]
		n, err := s.link.Read(wait, h, s.in[s.end:s.end+maxPacket])
		if n == 0 || err != nil {
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
			s.add(b[:n], Header{})
		}
	case s.e.c.Whole != nil && s.e.c.Whole(b[:n]):
		s.end += n
		s.add(b[:n], *h)
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
func (s *stream) add(b []byte, h Header) {
	s.heads[s.got] = h
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

// Settle implements engine.Sink. It takes effect at once. What cannot replace a
// packet leaves it as it came.
func (s *stream) Settle(p *engine.Packet, v engine.Verdict, payload []byte) error {
	if v.Act() == engine.Drop {
		s.e.n.Dropped.Add(1)
		return nil
	}
	var errs error
	if v.Act() == engine.Replace {
		if errs = s.carry(engine.Out{Bytes: payload, Meta: p.Meta}); errs == nil {
			s.e.n.Replaced.Add(1)
			return s.done(p, v)
		}
	}
	if err := s.accept(p); err != nil {
		return errors.Join(errs, err, s.forgo(p, err))
	}
	s.e.n.Accepted.Add(1)
	return errors.Join(errs, s.done(p, v))
}

// forgo is for a packet that is lost because err forbids sending it, as a
// firewall's rule against what the router sends does, and a device whose MTU has
// become smaller. It would be so with the client's next try: that is to go the
// kernel's own way. Of other errors, as of a device that is down, the kernel knows
// no way round either.
func (s *stream) forgo(p *engine.Packet, err error) error {
	if errors.Is(err, unix.EPERM) || errors.Is(err, unix.EMSGSIZE) {
		return s.done(p, engine.Done)
	}
	return nil
}

// accept sends p on as it came.
func (s *stream) accept(p *engine.Packet) error {
	h := &s.heads[(p.ID-1)%burst]
	if s.e.c.Back {
		if err := s.link.Write(*h, p.Bytes); err != nil {
			s.e.n.SendFailed.Add(1)
			return err
		}
		return nil
	}
	if !h.Super() {
		return s.carry(engine.Out{Bytes: p.Bytes, Meta: p.Meta})
	}
	s.whole.Reset()
	if err := Cut(h, p.Bytes, &s.whole, p.Meta); err != nil {
		return err
	}
	for i := range s.whole.Len() {
		if err := s.carry(s.whole.At(i)); err != nil {
			return err
		}
	}
	return nil
}

// carry sends one packet.
func (s *stream) carry(o engine.Out) error {
	err := s.e.c.Send.Send(o)
	if err != nil {
		s.e.n.SendFailed.Add(1)
	}
	return err
}

// done tells conntrack of a connection that is Done.
func (s *stream) done(p *engine.Packet, v engine.Verdict) error {
	if !s.e.c.Signal || v&engine.Done == 0 {
		return nil
	}
	b := Signal(s.signal[:], p.Bytes)
	if b == nil {
		return nil
	}
	if err := s.link.Write(Header{}, b); err != nil {
		return fmt.Errorf("signal that a connection is done: %w", err)
	}
	return nil
}

// Send implements engine.Sink.
func (s *stream) Send(o engine.Out) error {
	err := s.carry(o)
	if err == nil {
		s.e.n.Sent.Add(1)
	}
	return err
}

// Flush implements engine.Sink; Settle leaves nothing to do.
func (s *stream) Flush() error { return nil }
