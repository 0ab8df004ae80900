package tun

import (
	"errors"
	"fmt"

	"b4/engine"

	"golang.org/x/sys/unix"
)

// A settled packet waits for Flush: what it leaves as is gathered.
type settled struct {
	p *engine.Packet
	v engine.Verdict
}

// Settle implements engine.Sink. What leaves is gathered, so that a burst leaves at
// once, and so is what goes back, one kind at a time, so that order is kept.
func (s *stream) Settle(p *engine.Packet, v engine.Verdict, payload []byte) error {
	b := p.Bytes
	var err error
	switch {
	case v.Act() == engine.Drop:
		s.e.n.Dropped.Add(1)
		return nil
	case v.Act() == engine.Replace:
		b, err = payload, s.giveBack()
	case s.e.c.Back:
		err = s.sendGathered()
		s.back(p, v)
		return err
	case p.Super:
		return errors.Join(s.sendGathered(), s.let(p, v))
	}
	s.outs = append(s.outs, engine.Out{Bytes: b, Meta: p.Meta})
	s.settle = append(s.settle, settled{p, v})
	return err
}

// Flush implements engine.Sink.
func (s *stream) Flush() error { return errors.Join(s.sendGathered(), s.giveBack()) }

// sendGathered sends what is to leave. What cannot replace a packet leaves it as it
// came.
func (s *stream) sendGathered() (errs error) {
	for at := 0; at < len(s.outs); {
		n, err := s.carry(s.outs[at:])
		for i := range n {
			errs = errors.Join(errs, s.left(s.settle[at+i]))
		}
		if at += n; err == nil {
			continue
		}
		q := s.settle[at]
		if at++; q.v.Act() == engine.Replace {
			errs = errors.Join(errs, err, s.let(q.p, q.v))
		} else {
			errs = errors.Join(errs, err, s.forgo(q.p, err))
		}
	}
	s.outs, s.settle = s.outs[:0], s.settle[:0]
	return errs
}

// left notes that a packet, or what replaces it, has left.
func (s *stream) left(q settled) error {
	if q.v.Act() == engine.Replace {
		s.e.n.Replaced.Add(1)
	} else {
		s.e.n.Accepted.Add(1)
	}
	return s.done(q.p, q.v)
}

// let lets p go on as it came, now.
func (s *stream) let(p *engine.Packet, v engine.Verdict) error {
	if err := s.accept(p); err != nil {
		return errors.Join(err, s.forgo(p, err))
	}
	s.e.n.Accepted.Add(1)
	return s.done(p, v)
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
	s.whole.Reset()
	if !h.Super() {
		s.whole.Add(p.Bytes, p.Meta)
	} else if err := Cut(h, p.Bytes, &s.whole, p.Meta); err != nil {
		return err
	}
	_, err := s.carry(s.whole.Outs())
	return err
}

// carry sends packets.
func (s *stream) carry(outs []engine.Out) (sent int, err error) {
	sent, err = s.e.c.Send.Send(outs)
	if err != nil {
		s.e.n.SendFailed.Add(1)
	}
	return sent, err
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
func (s *stream) Send(outs []engine.Out) (sent int, err error) {
	sent, err = s.carry(outs)
	s.e.n.Sent.Add(uint64(sent))
	return sent, err
}
