package engine

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"slices"
	"testing"
	"time"
)

var errBroken = errors.New("broken on purpose")

// source yields n bursts of the same packets, then it is closed.
type source struct {
	bursts int
	pkts   []Packet
	err    error
	waits  []time.Duration
}

func (s *source) Read(wait time.Duration) ([]Packet, error) {
	if s.bursts == 0 {
		return nil, s.err
	}
	s.bursts--
	s.waits = append(s.waits, wait)
	return s.pkts, nil
}
func (s *source) Close() error { return nil }

// sink writes down what it is asked to do.
type sink struct {
	log    []string
	quiet  bool
	fail   int // the send that fails, from 1
	sends  int
	settle error
}

func (s *sink) note(format string, a ...any) {
	if !s.quiet {
		s.log = append(s.log, fmt.Sprintf(format, a...))
	}
}
func (s *sink) Send(outs []Out) (int, error) {
	for i, o := range outs {
		if s.sends++; s.sends == s.fail {
			return i, errBroken
		}
		if !s.quiet {
			s.note("send %s mark %d", o.Bytes, o.Mark)
		}
	}
	return len(outs), nil
}
func (s *sink) Settle(p *Packet, v Verdict, payload []byte) error {
	if !s.quiet {
		s.note("settle %d %#x %s", p.ID, uint8(v), payload)
	}
	return s.settle
}
func (s *sink) Flush() error {
	if !s.quiet {
		s.note("flush")
	}
	return nil
}

// handler plans the words it was given and answers with a verdict.
type handler struct {
	v      Verdict
	others []string // of other packets
	words  []string
	due    []string // added by Tick
	kept   string   // added by Drain
}

func (h *handler) Handle(_ time.Time, p *Packet, out *Batch) Verdict {
	for _, w := range h.others {
		out.Add([]byte(w), Meta{Mark: 8})
	}
	out.Own()
	for _, w := range h.words {
		copy(out.Grow(len(w), p.Meta), w)
	}
	return h.v
}

func (h *handler) Tick(_ time.Time, out *Batch) time.Duration {
	for _, w := range h.due {
		out.Add([]byte(w), Meta{Mark: 9})
	}
	return time.Minute
}

func (h *handler) Drain(out *Batch) {
	if h.kept != "" {
		out.Add([]byte(h.kept), Meta{Mark: 10})
	}
}

func TestRun(t *testing.T) {
	tests := []struct {
		name string
		h    handler
		fail int
		want []string
	}{
		{"accept", handler{v: Accept}, 0, []string{"settle 5 0x0 ", "flush"}},
		{"accept and done", handler{v: Accept | Done}, 0, []string{"settle 5 0x80 ", "flush"}},
		{"drop", handler{v: Drop}, 0, []string{"settle 5 0x1 ", "flush"}},
		{"ahead of an accepted packet", handler{v: Accept, words: []string{"a"}}, 0,
			[]string{"flush", "send a mark 7", "settle 5 0x0 ", "flush"}},
		{"replace", handler{v: Replace, words: []string{"a", "b", "c"}}, 0,
			[]string{"send a mark 7", "send b mark 7", "settle 5 0x2 c", "flush"}},
		{"replace by one", handler{v: Replace, words: []string{"a"}}, 0, []string{"settle 5 0x2 a", "flush"}},
		{"replace by nothing", handler{v: Replace}, 0, []string{"settle 5 0x0 ", "flush"}},
		{"send fails", handler{v: Replace | Done, words: []string{"a", "b", "c"}}, 2,
			[]string{"send a mark 7", "settle 5 0x0 ", "flush"}},
		{"an early send fails", handler{v: Replace, words: []string{"a", "b", "c", "d"}}, 1,
			[]string{"settle 5 0x0 ", "flush"}},
		{"another's send fails", handler{v: Replace, others: []string{"o", "p"}, words: []string{"a", "b"}}, 1,
			[]string{"flush", "send p mark 8", "send a mark 7", "settle 5 0x2 b", "flush"}},
		{"others of an accepted packet", handler{others: []string{"o", "p"}}, 1,
			[]string{"flush", "send p mark 8", "settle 5 0x0 ", "flush"}},
		{"others only", handler{v: Replace, others: []string{"o"}}, 0, []string{"flush", "send o mark 8", "settle 5 0x0 ", "flush"}},
		{"due", handler{due: []string{"late"}}, 0, []string{"settle 5 0x0 ", "flush", "send late mark 9"}},
		{"one of those due fails", handler{due: []string{"x", "y", "z"}}, 2, []string{"settle 5 0x0 ", "flush", "send x mark 9", "send z mark 9"}},
		{"kept until the end", handler{kept: "last"}, 0, []string{"settle 5 0x0 ", "flush", "send last mark 10"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			src := &source{bursts: 1, pkts: []Packet{{Bytes: []byte("x"), ID: 5, Meta: Meta{Mark: 7}}}, err: os.ErrClosed}
			dst := &sink{fail: tt.fail}
			var reported []error
			if err := Run(src, &tt.h, dst, func(err error) { reported = append(reported, err) }); err != nil {
				t.Fatal(err)
			}
			want := append(tt.want, "flush") // of Drain
			if tt.h.kept != "" {
				want[len(want)-1], want[len(want)-2] = want[len(want)-2], want[len(want)-1]
			}
			if !slices.Equal(dst.log, want) {
				t.Errorf("did %q, want %q", dst.log, want)
			}
			if len(reported) != min(tt.fail, 1) {
				t.Errorf("reported %v", reported)
			}
		})
	}
}

func TestRunWaitsAsTickSays(t *testing.T) {
	src := &source{bursts: 2, err: os.ErrClosed}
	Run(src, &handler{}, &sink{}, nil)
	if !slices.Equal(src.waits, []time.Duration{0, time.Minute}) {
		t.Errorf("waits %v", src.waits)
	}
}

func TestRunErrors(t *testing.T) {
	if err := Run(&source{err: errBroken}, &handler{}, &sink{}, nil); !errors.Is(err, errBroken) {
		t.Errorf("a source's error: %v", err)
	}
	var seen int
	src := &source{bursts: 3, pkts: make([]Packet, 2), err: os.ErrClosed}
	if err := Run(src, &handler{}, &sink{settle: errBroken}, func(error) { seen++ }); err != nil || seen != 6 {
		t.Errorf("a sink's error: %v, %d reported", err, seen)
	}
}

func TestRunAllocs(t *testing.T) {
	pkts := make([]Packet, 64)
	for i := range pkts {
		pkts[i].Bytes = make([]byte, 1400)
	}
	h := &handler{v: Replace, words: []string{"one piece", "another piece"}}
	src, dst := &source{pkts: pkts, err: os.ErrClosed, waits: make([]time.Duration, 0, 64)}, &sink{quiet: true}
	if n := testing.AllocsPerRun(20, func() {
		src.bursts, src.waits = 50, src.waits[:0]
		Run(src, h, dst, nil)
	}); n > 16 { // the batch's own growth, once a Run
		t.Errorf("%v allocations in 3200 packets", n)
	}
}

func TestBatch(t *testing.T) {
	var b Batch
	for range 2 {
		b.Reset()
		for i := range 100 {
			copy(b.Grow(i, Meta{Mark: uint32(i)}), bytes.Repeat([]byte{byte(i)}, i))
		}
		for i := range b.Len() {
			if o := b.At(i); !bytes.Equal(o.Bytes, bytes.Repeat([]byte{byte(i)}, i)) || o.Mark != uint32(i) {
				t.Fatalf("packet %d: %v", i, o)
			}
		}
	}
	b.Own()
	b.Reset()
	if b.Others() != 0 || b.Len() != 0 {
		t.Errorf("%d packets, %d of others in an empty batch", b.Len(), b.Others())
	}
	if g := b.Grow(3, Meta{}); cap(g) != 3 {
		t.Error("an append would reach into the next packet")
	}
}
