package pipeline

import (
	"bytes"
	"math/rand"
	"slices"
	"testing"
	"time"

	"b4/engine"
	"b4/flow"
)

// What a client says behind a HelloRetryRequest: a change_cipher_spec and a second
// hello, in whatever segments. Places are counted from the CCS.
type retry struct {
	*rig
	ccs, both []byte
}

// newRetry is a client whose first hello has left, and was answered.
func newRetry(t *testing.T, second []byte) *retry {
	r := &retry{rig: newRig(t), ccs: []byte{20, 3, 3, 0, 1, 1}}
	r.both = slices.Concat(r.ccs, second)
	first := hello(host, 0, false)
	r.send(0, first, 100)
	r.base += uint32(len(first))
	r.wire = nil
	return r
}

// say sends bytes [off, end).
func (r *retry) say(off, end int) (engine.Verdict, string) {
	r.t.Helper()
	return r.send(off, r.both[off:end], 200)
}

// hidden asserts that the server reads all of it, and nobody a name.
func (r *retry) hidden(what string, args ...any) {
	r.t.Helper()
	r.reads(r.both)
	if r.shown() {
		r.t.Errorf(what+": name shown", args...)
	}
}

// The CCS was lost on its way to us, or had no PSH. It may be sent again alone, or
// together with the hello behind it, or with a part of that.
func TestRetryCCSUnseen(t *testing.T) {
	for _, long := range []bool{false, true} {
		second := hello(host, 900, long)
		end := len(second) + 6
		for _, first := range []int{6, 7, 300, end} {
			r := newRetry(t, second)
			r.expect(engine.Replace, "treated")(r.say(6, end))
			r.say(0, first)
			r.say(first, end)
			r.say(0, end)
			r.say(6, end)
			r.hidden("again up to %d", first)
			if r.flow().Held() > 0 {
				t.Errorf("again up to %d: something waits", first)
			}
			r.expect(engine.Accept|engine.Done, "finished")(r.send(end, []byte{23}, 300))
		}
	}
}

// A second hello may be as long as a first: a server can ask for the key share of
// 1216 bytes. Its segments come in any order, behind a CCS that was seen or not.
func TestRetryOrders(t *testing.T) {
	const mss = 600
	for _, nameLast := range []bool{false, true} {
		second := hello(host, 3*mss-30, nameLast)
		at := bytes.Index(second, []byte(host)) / mss
		for _, seen := range []bool{false, true} {
			orders(3, func(order []int) {
				r := newRetry(t, second)
				if seen {
					r.expect(engine.Accept, "early")(r.say(0, 6))
				}
				for _, i := range order {
					r.say(6+i*mss, min(6+(i+1)*mss, len(r.both)))
				}
				if !seen {
					r.say(0, 6)
				}
				if r.wait(flow.Wait); r.flow().Held() > 0 {
					t.Errorf("%v: something waits", order)
				}
				if seen || order[0] == 0 {
					r.hidden("%v, CCS seen %v, name in %d", order, seen, at)
				} else {
					r.reads(r.both)
				}
			})
		}
	}
}

// The first hello comes once more behind what follows it.
func TestRetryBehindFirst(t *testing.T) {
	r := newRetry(t, hello(host, 900, true))
	r.say(0, 6)
	first := hello(host, 0, false)
	r.send(-len(first), first, 100)
	r.wire = nil
	r.say(6, len(r.both))
	if r.shown() {
		t.Error("name shown")
	}
}

// In whatever segments, and however often, it is said: all of it arrives, and
// nothing waits for long.
func TestRetryLost(t *testing.T) {
	n := 5000
	if testing.Short() {
		n = 500
	}
	rnd := rand.New(rand.NewSource(1))
	for i := range n {
		r := newRetry(t, hello(host, 400+rnd.Intn(1400), i%2 == 0))
		sent := make([]bool, len(r.both))
		for range 1 + rnd.Intn(6) {
			off := max(0, rnd.Intn(12)-6)
			if rnd.Intn(2) == 0 {
				off = rnd.Intn(len(r.both))
			}
			end := min(off+1+rnd.Intn(1400), len(r.both))
			if off == 0 && rnd.Intn(2) == 0 {
				end = len(r.ccs)
			}
			r.say(off, end)
			for k := off; k < end; k++ {
				sent[k] = true
			}
			r.wait(time.Duration(rnd.Intn(2)*rnd.Intn(150)) * time.Millisecond)
		}
		r.wait(flow.Wait)
		arrived := make([]bool, len(sent))
		offs, data := r.pieces()
		for k, b := range data {
			for j, c := range b {
				if at := offs[k] + j; at >= 0 && at < len(sent) && c == r.both[at] {
					arrived[at] = true
				}
			}
		}
		for k := range sent {
			if sent[k] && !arrived[k] {
				t.Fatalf("%d: byte %d of %d was sent and did not arrive", i, k, len(sent))
			}
		}
	}
}

// A CCS that is sent again goes on again, whatever waits behind it, and does not go
// with what is treated, unless it comes with that.
func TestRetryCCSAgain(t *testing.T) {
	r := newRetry(t, hello(host, 900, false))
	for range 2 {
		r.expect(engine.Accept, "early")(r.say(0, 6))
	}
	r.expect(engine.Drop, "held")(r.say(6, 300))
	r.expect(engine.Accept, "early")(r.say(0, 6))
	r.wire = nil
	r.wait(flow.Wait)
	if offs, _ := r.pieces(); len(offs) != 2 || slices.Min(offs) != 6 {
		t.Errorf("pieces at %v", offs)
	}
	r = newRetry(t, hello(host, 900, false))
	r.say(0, 6)
	r.wire = nil
	r.expect(engine.Drop, "held")(r.say(0, 300))
	r.expect(engine.Replace, "treated")(r.say(300, len(r.both)))
	r.hidden("the CCS with it")
}
