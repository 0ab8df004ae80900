package tuntest

import (
	"errors"
	"slices"
	"testing"
	"time"

	"b4/engine"
	"b4/tun"
)

// A script is a Handler that does what the packet's last byte says, and keeps
// the bytes, which it must not.
type script struct {
	kept []byte
	due  chan string
}

func (s *script) Handle(_ time.Time, p *engine.Packet, out *engine.Batch) engine.Verdict {
	s.kept = p.Bytes
	switch p.Bytes[len(p.Bytes)-1] {
	case 'd':
		return engine.Drop
	case 'r':
		out.Add([]byte("first"), p.Meta)
		out.Add([]byte("second"), p.Meta)
		return engine.Replace
	}
	return engine.Accept
}

func (s *script) Tick(_ time.Time, out *engine.Batch) time.Duration {
	select {
	case w := <-s.due:
		out.Add([]byte(w), engine.Meta{})
	default:
	}
	return time.Millisecond
}

func (s *script) Drain(out *engine.Batch) { out.Add([]byte("drained"), engine.Meta{}) }

func packet(word string) []byte {
	b := make([]byte, 20, 60)
	b[0], b[8], b[9], b[12], b[16] = 0x45, 64, 253, 192, 198
	b = append(b, word...)
	b[3] = byte(len(b))
	return b
}

func TestPush(t *testing.T) {
	e, s := New(tun.Config{Out: 7}), &script{due: make(chan string, 1)}
	if o := e.Push(packet("early")); len(o.Wire) != 1 || len(o.Verdicts) != 0 {
		t.Errorf("before start: %+v", o)
	}
	if err := errors.Join(e.Supported(), e.Start()); err != nil {
		t.Fatal(err)
	}
	if err := e.Start(); err != engine.ErrStarted {
		t.Errorf("second start: %v", err)
	}
	end := make(chan error, 1)
	go func() { end <- e.Run(s) }()
	for _, tt := range []struct {
		word string
		v    engine.Verdict
		wire []string
	}{
		{"accept", engine.Accept, []string{string(packet("accept"))}},
		{"d", engine.Drop, nil},
		{"r", engine.Replace, []string{"first", "second"}},
	} {
		o := e.Push(packet(tt.word))
		var wire []string
		for i, b := range o.Wire {
			wire = append(wire, string(b))
			if o.Meta[i].Out != 7 {
				t.Errorf("%s: meta %+v", tt.word, o.Meta[i])
			}
		}
		if !slices.Equal(wire, tt.wire) || !slices.Equal(o.Verdicts, []engine.Verdict{tt.v}) {
			t.Errorf("%s: %q, verdicts %v", tt.word, wire, o.Verdicts)
		}
		if s.kept[0] != 0xdb {
			t.Errorf("%s: kept bytes are good", tt.word)
		}
	}
	broken := errors.New("broken on purpose")
	e.FailSend(broken)
	if o := e.Push(packet("accept")); len(o.Wire) != 0 {
		t.Errorf("left %q", o.Wire)
	}
	e.FailSend(nil)
	s.due <- "late"
	if l := e.Late(1, 5*time.Second); len(l) != 1 || string(l[0]) != "late" {
		t.Errorf("late %q", l)
	}
	if err := errors.Join(e.SetMTU(1400), e.Close(), e.Close(), <-end); err != nil || e.MTU() != 1400 {
		t.Errorf("%v, MTU %d", err, e.MTU())
	}
	if l := e.Late(2, time.Millisecond); len(l) != 1 || string(l[0]) != "drained" {
		t.Errorf("drained %q", l)
	}
	if o := e.Push(packet("after")); len(o.Wire) != 1 || len(o.Verdicts) != 0 {
		t.Errorf("after close: %+v", o)
	}
	want := engine.Counters{Read: 4, Accepted: 1, Dropped: 1, Replaced: 1, Sent: 3, SendFailed: 1}
	if n := e.Counters(); n != want {
		t.Errorf("counters %+v, want %+v", n, want)
	}
}
