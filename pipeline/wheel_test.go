package pipeline

import (
	"slices"
	"testing"
	"time"

	"b4/engine"
	"b4/flow"
	"b4/packet"
)

// batch adds packets to the rig's batch: a positive number is one that leaves so
// many milliseconds later, each of as many bytes as its place says.
func (r *rig) batch(own int, delays ...int) {
	r.out.Reset()
	for i, d := range delays {
		if i == own {
			r.out.Own()
		}
		r.out.Add(make([]byte, i+1), engine.Meta{Mark: uint32(i + 1)})
		if d > 0 {
			r.out.Delay(time.Duration(d) * time.Millisecond)
		}
	}
	r.p.now, r.p.out = r.now, &r.out
}

// left is the packets in the batch, by their lengths.
func (r *rig) left() (list []int) {
	for i := range r.out.Len() {
		o := r.out.At(i)
		if o.After != 0 || int(o.Mark) != len(o.Bytes) {
			r.t.Errorf("packet %d: %v later, mark %d", len(o.Bytes), o.After, o.Mark)
		}
		list = append(list, len(o.Bytes))
	}
	return list
}

func TestPutOff(t *testing.T) {
	for _, tt := range []struct {
		name   string
		own    int
		delays []int
		v      engine.Verdict
		opens  bool
		want   engine.Verdict
		now    []int
		others int
	}{
		{"nothing", 0, []int{0, 0}, engine.Replace, false, engine.Replace, []int{1, 2}, 0},
		{"the first", 0, []int{5, 0}, engine.Replace, false, engine.Replace, []int{2}, 0},
		{"the last", 0, []int{0, 5}, engine.Replace, false, engine.Replace, []int{1}, 0},
		{"all", 0, []int{5, 5}, engine.Replace, false, engine.Drop, nil, 0},
		{"all, and done", 0, []int{5}, engine.Replace | engine.Done, false, engine.Drop | engine.Done, nil, 0},
		{"all of a new flow", 0, []int{5, 5}, engine.Replace, true, engine.Replace, []int{1}, 0},
		{"the last of a new flow", 0, []int{0, 5}, engine.Replace, true, engine.Replace, []int{1}, 0},
		{"another's", 1, []int{5, 0}, engine.Replace, true, engine.Replace, []int{2}, 0},
		{"all behind another's", 1, []int{0, 5}, engine.Replace, false, engine.Drop, []int{1}, 1},
		{"all of a new flow behind another's", 1, []int{0, 5, 5}, engine.Replace, true, engine.Replace, []int{1, 2}, 1},
		{"beside what goes on", 0, []int{5, 0}, engine.Accept, false, engine.Accept, []int{2}, 0},
	} {
		r := newRig(t)
		r.batch(tt.own, tt.delays...)
		v := r.p.putOff(tt.v, tt.opens)
		now := r.left()
		if v != tt.want || !slices.Equal(now, tt.now) {
			t.Errorf("%s: verdict %#x, now %v", tt.name, v, now)
		}
		if v.Act() == engine.Replace && r.out.Others() != tt.others {
			t.Errorf("%s: %d of others", tt.name, r.out.Others())
		}
		n := len(now)
		r.out.Reset()
		if wait := r.p.Tick(r.now.Add(5*time.Millisecond), &r.out); n+r.out.Len() != len(tt.delays) || wait != idle {
			t.Errorf("%s: %d and then %d leave, wait %v", tt.name, n, r.out.Len(), wait)
		}
	}
}

func TestWheelOrder(t *testing.T) {
	r := newRig(t)
	r.batch(0, 30, 10, 20, 10, 1)
	r.p.putOff(engine.Replace, false)
	if wait := r.tick(0); wait != time.Millisecond || r.out.Len() != 0 {
		t.Errorf("wait %v, %d left", wait, r.out.Len())
	}
	for _, step := range []struct {
		after time.Duration
		want  []int
		wait  time.Duration
	}{
		{1 * time.Millisecond, []int{5}, 9 * time.Millisecond},
		{9*time.Millisecond - time.Microsecond, nil, time.Microsecond},
		{time.Microsecond, []int{2, 4}, 10 * time.Millisecond}, // of equal times the older first
		{time.Second, []int{3, 1}, idle},
	} {
		wait := r.tick(step.after)
		if got := r.left(); !slices.Equal(got, step.want) || wait != step.wait {
			t.Errorf("%v left, wait %v; want %v, %v", got, wait, step.want, step.wait)
		}
	}
}

// The engine waits for what is due first, held or delayed.
func TestTickWaits(t *testing.T) {
	for _, ms := range []int{5, 900} {
		r := newRig(t)
		r.send(0, []byte{22, 3, 1}, 1)
		r.batch(0, ms)
		r.p.putOff(engine.Accept, false)
		if wait, want := r.tick(0), min(flow.Wait, time.Duration(ms)*time.Millisecond); wait != want {
			t.Errorf("waits %v, want %v", wait, want)
		}
	}
}

// tick lets time pass.
func (r *rig) tick(d time.Duration) time.Duration {
	r.now = r.now.Add(d)
	r.out.Reset()
	return r.p.Tick(r.now, &r.out)
}

// What there is no room for leaves at once; nothing is lost, and what Drain finds
// leaves.
func TestWheelBounds(t *testing.T) {
	for _, tt := range []struct{ n, size, room int }{{200, 100, maxLater}, {200, 4000, laterBytes / 4000}} {
		r := newRig(t)
		r.out.Reset()
		r.p.now, r.p.out = r.now, &r.out
		for range tt.n {
			r.out.Add(make([]byte, tt.size), engine.Meta{})
			r.out.Delay(time.Second)
		}
		r.p.putOff(engine.Accept, false)
		if now := r.out.Len(); now != tt.n-tt.room {
			t.Errorf("%d of %d left at once", now, tt.n)
		}
		r.out.Reset()
		r.p.Drain(&r.out)
		if r.out.Len() != tt.room || r.p.wheel.size != 0 || len(r.p.wheel.free) != maxLater {
			t.Errorf("%d left at the end, %d bytes and %d places", r.out.Len(), r.p.wheel.size, len(r.p.wheel.free))
		}
	}
}

func TestWheelAllocs(t *testing.T) {
	r := newRig(t)
	b := make([]byte, 1400)
	if n := testing.AllocsPerRun(1000, func() {
		r.out.Reset()
		r.p.now, r.p.out = r.now, &r.out
		for i := range 4 {
			r.out.Add(b, engine.Meta{})
			r.out.Delay(time.Duration(5-i) * time.Millisecond)
		}
		r.p.putOff(engine.Replace, false)
		r.tick(5 * time.Millisecond)
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestDescribe(t *testing.T) {
	r := newRig(t)
	whole := r.segment(0, []byte("0123456789abcdef"), 1).Bytes
	frag4 := append([]byte(nil), whole...)
	frag4[6], frag4[7] = 0x20, 1
	r.v6 = true
	six := r.segment(0, []byte("0123456789abcdef"), 1).Bytes
	frag6 := append(append([]byte(nil), six[:40]...), packet.TCP, 0, 0, 16, 0, 0, 0, 7)
	frag6[6] = 44
	frag6 = append(frag6, six[40:]...)
	udp := append([]byte(nil), whole[:28]...)
	udp[9], udp[25] = packet.UDP, 8
	packet.Finish(udp, 20, packet.UDP)
	rst := append([]byte(nil), whole[:40]...)
	rst[33] |= packet.RST | packet.SYN
	packet.Finish(rst, 20, packet.TCP)
	for _, tt := range []struct {
		o    engine.Out
		want string
	}{
		{engine.Out{Bytes: whole}, "bytes 0-16, ttl 63"},
		{engine.Out{Bytes: rst, After: 5 * time.Millisecond, Meta: engine.Meta{Back: true}}, "bytes 0-0, ttl 63, syn, rst, to the client, 5ms later"},
		{engine.Out{Bytes: frag4}, "fragment, bytes 8-44 of the datagram, ttl 63"},
		{engine.Out{Bytes: frag6}, "fragment, bytes 16-52 of the datagram, ttl 63"},
		{engine.Out{Bytes: frag6[:41]}, "41 bytes"},
		{engine.Out{Bytes: udp}, "udp of 0 bytes, ttl 63"},
		{engine.Out{}, "0 bytes"},
	} {
		if got := Describe(tt.o, r.base); got != tt.want {
			t.Errorf("%q, want %q", got, tt.want)
		}
	}
}
