package engine

import (
	"sync"
	"time"
)

// Shared makes h a Handler that several Runs share, each with a Source of its own:
// one calls it at a time. A packet must come by the same Source as the others of its
// connection. What Tick and Drain add leaves by the Run that has called them; a packet
// of the same connection that comes just then by its own Run may overtake it. Drain
// is called by each Run, and packets may still come by the others.
func Shared(h Handler) Handler { return &shared{h: h} }

type shared struct {
	mu sync.Mutex
	h  Handler
}

func (s *shared) Handle(now time.Time, p *Packet, out *Batch) Verdict {
	s.mu.Lock()
	v := s.h.Handle(now, p, out)
	s.mu.Unlock()
	return v
}

func (s *shared) Tick(now time.Time, out *Batch) time.Duration {
	s.mu.Lock()
	wait := s.h.Tick(now, out)
	s.mu.Unlock()
	return wait
}

func (s *shared) Drain(out *Batch) {
	s.mu.Lock()
	s.h.Drain(out)
	s.mu.Unlock()
}
