package tun_test

import (
	"errors"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"b4/engine"
	"b4/packet"
	"b4/tun"
	"b4/tun/tuntest"
)

// A script is a Handler that answers with one verdict and some packets.
type script struct {
	v      engine.Verdict
	pieces []string
	seen   []engine.Packet
}

func (s *script) Handle(_ time.Time, p *engine.Packet, out *engine.Batch) engine.Verdict {
	q := *p
	q.Bytes = slices.Clone(p.Bytes)
	s.seen = append(s.seen, q)
	for _, w := range s.pieces {
		out.Add([]byte(w), p.Meta)
	}
	return s.v
}
func (s *script) Tick(time.Time, *engine.Batch) time.Duration { return time.Minute }
func (s *script) Drain(*engine.Batch)                         {}

// serve runs an engine on a fake device until the test ends.
func serve(t *testing.T, c tun.Config, s *script) (*tuntest.Engine, *[]error) {
	t.Helper()
	var reported []error
	c.Report = func(err error) { reported = append(reported, err) }
	e := tuntest.New(c)
	if err := e.Start(); err != nil {
		t.Fatal(err)
	}
	end := make(chan error, 1)
	go func() { end <- e.Run(s) }()
	t.Cleanup(func() {
		if err := errors.Join(e.Close(), <-end); err != nil {
			t.Error(err)
		}
	})
	return e, &reported
}

// tcp is a segment with n bytes of payload.
func tcp(v6 bool, n int) []byte {
	s := packet.Segment{Src: src4, Dst: dst4, Seq: 5, Ack: 6, Flags: packet.ACK | packet.PSH, Payload: make([]byte, n)}
	if v6 {
		s.Src, s.Dst = src6, dst6
	}
	return s.Append(nil)
}

var errBroken = errors.New("broken on purpose")

func TestVerdicts(t *testing.T) {
	for _, v6 := range []bool{false, true} {
		pkt := tcp(v6, 100)
		whole := string(pkt)
		for _, tt := range []struct {
			name   string
			c      tun.Config
			s      script
			fail   bool
			wire   []string
			signal bool
			back   int
			n      engine.Counters
		}{
			{"accept", tun.Config{}, script{}, false, []string{whole}, false, 0, engine.Counters{Read: 1, Accepted: 1}},
			{"accept, done", tun.Config{Signal: true}, script{v: engine.Done}, false, []string{whole}, true, 1, engine.Counters{Read: 1, Accepted: 1}},
			{"done without a signal", tun.Config{}, script{v: engine.Done}, false, []string{whole}, false, 0, engine.Counters{Read: 1, Accepted: 1}},
			{"drop", tun.Config{}, script{v: engine.Drop}, false, nil, false, 0, engine.Counters{Read: 1, Dropped: 1}},
			{"replace", tun.Config{Signal: true}, script{v: engine.Replace | engine.Done, pieces: []string{"a", "b", "c"}}, false, []string{"a", "b", "c"}, true, 1, engine.Counters{Read: 1, Replaced: 1, Sent: 2}},
			{"ahead", tun.Config{}, script{pieces: []string{"a"}}, false, []string{"a", whole}, false, 0, engine.Counters{Read: 1, Accepted: 1, Sent: 1}},
			{"back", tun.Config{Back: true}, script{}, false, nil, false, 1, engine.Counters{Read: 1, Accepted: 1}},
			{"back, replaced", tun.Config{Back: true}, script{v: engine.Replace, pieces: []string{"a"}}, false, []string{"a"}, false, 0, engine.Counters{Read: 1, Replaced: 1}},
			{"broken wire", tun.Config{Signal: true}, script{v: engine.Done}, true, nil, false, 0, engine.Counters{Read: 1, SendFailed: 1}},
			{"broken wire, replaced", tun.Config{}, script{v: engine.Replace, pieces: []string{"a"}}, true, nil, false, 0, engine.Counters{Read: 1, SendFailed: 2}},
			{"broken wire, back", tun.Config{Back: true}, script{v: engine.Replace, pieces: []string{"a"}}, true, nil, false, 1, engine.Counters{Read: 1, Accepted: 1, SendFailed: 1}},
		} {
			t.Run(tt.name, func(t *testing.T) {
				tt.c.Out = 3
				e, reported := serve(t, tt.c, &tt.s)
				if tt.fail {
					e.FailSend(errBroken)
				}
				o := e.Push(pkt)
				var wire []string
				for i, b := range o.Wire {
					wire = append(wire, string(b))
					if o.Meta[i] != (engine.Meta{Out: 3}) {
						t.Errorf("packet %d: meta %+v", i, o.Meta[i])
					}
				}
				if !slices.Equal(wire, tt.wire) {
					t.Errorf("left %q, want %q", wire, tt.wire)
				}
				if len(o.Back) != tt.back || tt.signal != (tt.back > 0 && len(o.Back[0]) < 100) {
					t.Errorf("written back %q", o.Back)
				}
				if n := e.Counters(); n != tt.n {
					t.Errorf("counters %+v, want %+v", n, tt.n)
				}
				if tt.fail != (len(*reported) > 0 && errors.Is((*reported)[0], errBroken)) {
					t.Errorf("reported %v", *reported)
				}
			})
		}
	}
}

// What the handler sees of a superpacket: segments with good checksums, or all
// of it where Whole says so; and what leaves is the same either way.
func TestSuperpacket(t *testing.T) {
	always := func([]byte) bool { return true }
	for _, v6 := range []bool{false, true} {
		pkt, h := superpacket(v6, 100_000/2, 500)
		for _, tt := range []struct {
			name             string
			c                tun.Config
			seen, wire, back int
		}{
			{"cut", tun.Config{}, 100, 100, 0},
			{"refused by whole", tun.Config{Whole: func([]byte) bool { return false }}, 100, 100, 0},
			{"whole", tun.Config{Whole: always}, 1, 100, 0},
			{"whole and back", tun.Config{Whole: always, Back: true}, 1, 0, 1},
			{"cut and back", tun.Config{Back: true}, 100, 0, 2}, // merged again: 64 and 36
		} {
			t.Run(tt.name, func(t *testing.T) {
				var s script
				e, reported := serve(t, tt.c, &s)
				o := e.PushSuper(h, pkt)
				if len(s.seen) != tt.seen || len(o.Wire) != tt.wire || len(o.Back) != tt.back || len(*reported) > 0 {
					t.Fatalf("seen %d, left %d, written back %d, reported %v", len(s.seen), len(o.Wire), len(o.Back), *reported)
				}
				for i, p := range s.seen {
					if p.Full != len(p.Bytes) || p.Partial != (tt.seen == 1) || p.Partial == packet.ChecksumOK(p.Bytes) {
						t.Errorf("packet %d: %d bytes, full %d, partial %v", i, len(p.Bytes), p.Full, p.Partial)
					}
				}
				for i, b := range o.Wire {
					if !packet.ChecksumOK(b) {
						t.Errorf("packet %d is not fit for the wire", i)
					}
				}
				if tt.name == "whole and back" && (o.Heads[0] != h || string(o.Back[0]) != string(pkt)) {
					t.Errorf("written back with %+v, want %+v", o.Heads[0], h)
				}
			})
		}
	}
}

// What is no packet for another host is not shown, and what is damaged counts as
// lost.
func TestOthers(t *testing.T) {
	edit := func(b []byte, f func([]byte)) []byte { f(b); return b }
	for _, tt := range []struct {
		name string
		pkt  []byte
		h    tun.Header
		lost uint64
	}{
		{"to a group", edit(tcp(false, 9), func(b []byte) { b[16] = 224 }), tun.Header{}, 0},
		{"from nobody", edit(tcp(false, 9), func(b []byte) { clear(b[12:16]) }), tun.Header{}, 0},
		{"to a group, v6", edit(tcp(true, 9), func(b []byte) { b[24] = 0xff }), tun.Header{}, 0},
		{"from the link, v6", edit(tcp(true, 9), func(b []byte) { b[8], b[9] = 0xfe, 0x80 }), tun.Header{}, 0},
		{"to the link, v6", edit(tcp(true, 9), func(b []byte) { b[24], b[25] = 0xfe, 0xbf }), tun.Header{}, 0},
		{"from nobody, v6", edit(tcp(true, 9), func(b []byte) { clear(b[8:24]) }), tun.Header{}, 0},
		{"not IP", []byte("no packet, though it is as long as a header is at least"), tun.Header{}, 1},
		{"cut short", tcp(false, 9)[:45], tun.Header{}, 1},
		{"checksum outside", tcp(false, 9), tun.Header{Flags: 1, CsumStart: 40, CsumOffset: 16}, 1},
		{"checksum in the IP header", tcp(false, 9), tun.Header{Flags: 1, CsumStart: 4, CsumOffset: 6}, 1},
		{"fragments", tcp(false, 9), tun.Header{GSOType: 3, GSOSize: 4}, 1},
		{"size zero", tcp(false, 9), tun.Header{GSOType: 1}, 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var s script
			e, reported := serve(t, tun.Config{}, &s)
			o := e.PushSuper(tt.h, tt.pkt)
			if len(s.seen) != 0 || len(o.Wire) != 0 || len(o.Back) != 0 {
				t.Errorf("seen %d, left %d", len(s.seen), len(o.Wire))
			}
			if n := e.Counters().Lost; n != tt.lost || len(*reported) != int(tt.lost) {
				t.Errorf("lost %d, reported %v", n, *reported)
			}
			if len(e.Push(tcp(false, 9)).Wire) != 1 {
				t.Error("the next packet does not pass")
			}
		})
	}
}

// Bytes behind the packet's own length are no part of it.
func TestTrailingBytes(t *testing.T) {
	var s script
	e, _ := serve(t, tun.Config{}, &s)
	for _, v6 := range []bool{false, true} {
		pkt := tcp(v6, 9)
		if o := e.Push(append(slices.Clone(pkt), 1, 2, 3)); len(o.Wire) != 1 || string(o.Wire[0]) != string(pkt) {
			t.Errorf("left %x", o.Wire)
		}
	}
}

func TestSetOut(t *testing.T) {
	var s script
	e, _ := serve(t, tun.Config{Out: 3}, &s)
	e.Push(tcp(false, 9))
	e.SetOut(4)
	if o := e.Push(tcp(false, 9)); o.Meta[0].Out != 4 || s.seen[0].Out != 3 || s.seen[1].Out != 4 {
		t.Errorf("left by %d", o.Meta[0].Out)
	}
}

func TestNotStarted(t *testing.T) {
	e := tun.New(tun.Config{Device: tun.DeviceConfig{Name: "a name that is too long"}})
	if err := e.Run(nil); err == nil || !strings.Contains(err.Error(), "not started") {
		t.Errorf("run: %v", err)
	}
	if err := e.SetMTU(1500); err == nil {
		t.Error("set the MTU of nothing")
	}
	if e.Name() != "tun" || e.Index() != 0 || e.Capabilities() != (engine.Capabilities{}) || e.Counters() != (engine.Counters{}) {
		t.Error("not zero")
	}
	if err := e.Start(); err == nil || e.Index() != 0 { // and may be tried again
		t.Errorf("start: %v", err)
	}
	if err := errors.Join(e.Close(), e.Close(), e.Run(nil)); err != nil {
		t.Error(err)
	}
	if err := e.Start(); err != os.ErrClosed {
		t.Errorf("start after close: %v", err)
	}
}

func TestStarted(t *testing.T) {
	e, _ := serve(t, tun.Config{Device: tun.DeviceConfig{MTU: 1492}, Whole: func([]byte) bool { return true }}, new(script))
	if e.Index() != 1 || !e.Capabilities().GSO || e.Capabilities().FailOpen || e.MTU() != 1492 {
		t.Errorf("index %d, capabilities %+v", e.Index(), e.Capabilities())
	}
	e.Push(tcp(false, 9)) // so that Run is under way
	if err := e.Run(new(script)); err == nil {
		t.Error("two runs")
	}
}
