package nfqtest

import (
	"errors"
	"os"
	"strings"
	"testing"
	"time"

	"b4/engine"
)

// A script judges a packet by its first letter and keeps what is held for Tick.
type script struct {
	held []byte
	kept []byte // of a packet, against the rules
}

func (s *script) Handle(_ time.Time, p *engine.Packet, out *engine.Batch) engine.Verdict {
	switch p.Bytes[0] {
	case 's': // split in two
		out.Add(p.Bytes[:2], p.Meta)
		out.Add(p.Bytes[2:], p.Meta)
		return engine.Replace | engine.Done
	case 'h': // hold
		s.held = append(s.held, p.Bytes...)
		return engine.Drop
	case 'k':
		s.kept = p.Bytes
	}
	return engine.Accept
}

func (s *script) Tick(_ time.Time, out *engine.Batch) time.Duration {
	if len(s.held) > 2 {
		out.Add(s.held[:2], engine.Meta{})
		out.Add(s.held[2:], engine.Meta{})
		s.held = nil
	}
	return time.Minute
}

func (s *script) Drain(*engine.Batch) {}

func start(t *testing.T) (*Queue, *script) {
	q, s := New(), new(script)
	if err := q.Start(); err != nil {
		t.Fatal(err)
	}
	end := make(chan error, 1)
	go func() { end <- q.Run(s) }()
	t.Cleanup(func() {
		if err := errors.Join(q.Close(), q.Close(), <-end); err != nil {
			t.Error(err)
		}
	})
	return q, s
}

func join(wire [][]byte) string {
	var s []string
	for _, w := range wire {
		s = append(s, string(w))
	}
	return strings.Join(s, "|")
}

func TestPush(t *testing.T) {
	q, s := start(t)
	for _, c := range []struct {
		in, wire string
		fail     error
		v        engine.Verdict
	}{
		{"accept", "accept", nil, engine.Accept},
		{"split", "sp|lit", nil, engine.Replace | engine.Done},
		{"split", "split", os.ErrInvalid, engine.Accept},
		{"hold", "", nil, engine.Drop},
		{"keep", "keep", nil, engine.Accept},
	} {
		q.FailSend(c.fail)
		o := q.Push(engine.Packet{Bytes: []byte(c.in), Meta: engine.Meta{Mark: 5}})
		if join(o.Wire) != c.wire || o.Verdict != c.v || len(o.Meta) != len(o.Wire) {
			t.Errorf("%s: left %s, verdict %#x, meta %v", c.in, join(o.Wire), o.Verdict, o.Meta)
		}
		for _, m := range o.Meta {
			if m.Mark != 5 {
				t.Errorf("%s: meta %v", c.in, o.Meta)
			}
		}
	}
	if got := join(q.Late(2, time.Minute)); got != "ho|ld" {
		t.Errorf("late: %s", got)
	}
	if got := q.Late(1, time.Millisecond); len(got) != 0 {
		t.Errorf("late again: %s", got)
	}
	want := engine.Counters{Read: 5, Accepted: 3, Dropped: 1, Replaced: 1, Sent: 3, SendFailed: 1}
	if got := q.Counters(); got != want {
		t.Errorf("counters %+v", got)
	}
	q.Push(engine.Packet{Bytes: []byte("next")})
	q.Close()
	if o := q.Push(engine.Packet{Bytes: []byte("split")}); join(o.Wire) != "split" {
		t.Errorf("after close: left %s", join(o.Wire))
	}
	if string(s.kept) == "keep" {
		t.Error("kept bytes are still whole")
	}
}

func TestLife(t *testing.T) {
	q := New()
	if o := q.Push(engine.Packet{Bytes: []byte("x")}); join(o.Wire) != "x" || o.Verdict != engine.Accept {
		t.Errorf("before start: %+v", o)
	}
	if q.Run(nil) == nil {
		t.Error("run without start")
	}
	if err := errors.Join(q.Supported(), q.Start()); err != nil {
		t.Error(err)
	}
	if err := q.Start(); err != engine.ErrStarted {
		t.Errorf("second start: %v", err)
	}
	if q.Name() != "nfqueue" || !q.Capabilities().FailOpen {
		t.Error("not like the real one")
	}
	if err := q.Close(); err != nil {
		t.Error(err)
	}
	if err := q.Start(); err != os.ErrClosed {
		t.Errorf("start after close: %v", err)
	}
}

var _ engine.Engine = New()
