package pipeline

import (
	"bytes"
	"fmt"
	"slices"
	"testing"
	"time"

	"b4/engine"
	"b4/flow"
)

// orders calls each with every order of n numbers.
func orders(n int, each func([]int)) {
	var rest func(done []int)
	rest = func(done []int) {
		if len(done) == n {
			each(done)
		}
		for i := range n {
			if !slices.Contains(done, i) {
				rest(append(slices.Clone(done), i))
			}
		}
	}
	rest(nil)
}

// In whatever order a hello's segments come, its name is hidden where it is not in
// those that could not but go on: the first, and what lies above all that came.
func TestOrders(t *testing.T) {
	const mss = 600
	for _, nameLast := range []bool{false, true} {
		msg := hello(host, 4*mss-30, nameLast)
		at := bytes.Index(msg, []byte(host)) / mss
		if at != (bytes.Index(msg, []byte(host))+len(host)-1)/mss {
			t.Fatal("the name stands in two segments")
		}
		for _, passed := range []bool{false, true} {
			orders(4, func(order []int) {
				rule, gone, lowest := Rule{For: treat(Desync, strategy(t, "split(midsld) disorder"))}, false, order[0]
				if passed {
					rule.For = treat(Pass, nil)
				}
				r := newRig(t, rule)
				for _, i := range order {
					gone = gone || i == at && lowest > 0 && i >= lowest
					lowest = min(lowest, i)
					r.send(i*mss, msg[i*mss:min((i+1)*mss, len(msg))], 1)
				}
				if len(r.wire) < 4 || r.flow().Held() > 0 {
					t.Errorf("%v: %d packets left at once", order, len(r.wire))
				}
				r.reads(msg)
				if !passed && r.shown() != gone {
					t.Errorf("%v, name in %d: shown %v", order, at, r.shown())
				}
				if n := len(r.wire); passed && n != 4 {
					t.Errorf("%v: %d packets left of four", order, n)
				}
			})
		}
	}
}

// flow is that of the packet sent last.
func (r *rig) flow() *flow.Flow[state] {
	if f, ok := r.p.flows.Peek(flow.KeyOf(&r.p.view)); ok {
		return f
	}
	return &flow.Flow[state]{}
}

// Of another protocol a segment that was overtaken waits for a moment, once.
func TestOvertaken(t *testing.T) {
	r := newRig(t)
	say := func(v engine.Verdict, why string, off int, text string, ack uint32) {
		t.Helper()
		r.expect(v, why)(r.send(off, []byte(text), ack))
	}
	say(engine.Accept, "not_tls", 40, "* fourth *", 1)
	say(engine.Accept, "not_tls", 50, "* fifth **", 1)
	say(engine.Drop, "held", 30, "* third **", 1)
	say(engine.Drop, "held", 20, "* second *", 1)
	r.wait(overtaken - 1)
	if len(r.wire) != 2 {
		t.Errorf("%d packets left early", len(r.wire)-2)
	}
	r.wait(1)
	if len(r.wire) != 4 || r.p.Counts()["late"] != 2 {
		t.Errorf("%d packets left, %v", len(r.wire), r.p.Counts())
	}
	say(engine.Accept, "not_tls", 10, "* first **", 1)
	say(engine.Accept, "not_tls", 10, "* first **", 2)
	say(engine.Accept|engine.Done, "not_tls", 60, "* sixth **", 2)
	if r.p.flows.Len() != 0 {
		t.Error("flow left")
	}
	// What waits leaves when the server has spoken meanwhile,
	r = newRig(t)
	say(engine.Accept, "not_tls", 20, "* second *", 1)
	say(engine.Drop, "held", 10, "* first **", 1)
	say(engine.Accept|engine.Done, "not_tls", 30, "* third **", 2)
	r.base += 10
	r.reads([]byte("* first *** second ** third **"))
	// or when a message follows,
	r = newRig(t)
	say(engine.Accept, "not_tls", 10, "* second *", 1)
	say(engine.Drop, "held", 0, "* first **", 1)
	msg := hello(host, 0, false)
	r.expect(engine.Replace, "not_tls+treated")(r.send(20, msg, 1))
	r.reads(slices.Concat([]byte("* first *** second *"), msg))
	// and not at all what could not be sent, or lies far from it.
	r = newRig(t)
	say(engine.Accept, "not_tls", 1400, "* second *", 1)
	super := r.segment(0, make([]byte, 1400), 1)
	super.Super = true
	r.expect(engine.Accept, "not_tls")(r.handle(super))
	r = newRig(t)
	say(engine.Accept, "not_tls", 20<<10, "* other **", 1)
	say(engine.Accept, "not_tls", 10<<10, "* far off *", 1)
}

// What of a hello has waited and gone on is no reason not to treat the rest.
func TestOvertakenTooLate(t *testing.T) {
	r := newRig(t)
	msg := hello(host, 1800, false)
	r.send(1200, msg[1200:], 1)
	r.expect(engine.Drop, "held")(r.send(600, msg[600:1200], 1))
	r.wait(time.Second)
	r.expect(engine.Drop, "held")(r.send(0, msg[:50], 1))
	r.expect(engine.Replace, "treated")(r.send(50, msg[50:600], 1))
	r.reads(msg)
	if r.shown() {
		t.Error("name shown")
	}
}

// What stays unread of a stream without its beginning is bounded.
func TestAheadBounds(t *testing.T) {
	r := newRig(t)
	for i := range 12 {
		r.expect(engine.Accept, "not_tls")(r.send(i*1400, bytes.Repeat([]byte{0}, 1400), 1))
	}
	if n := len(r.flow().Stream().Bytes()); n > maxAhead {
		t.Errorf("%d bytes kept", n)
	}
}

// Only what may begin a request, or a hello, waits for more of it.
func TestFirstWords(t *testing.T) {
	for _, tt := range []struct {
		text string
		held bool
	}{
		{"G", true}, {"GET", true}, {"GET ", true}, {"GET /a", true}, {"GET /a HTTP/1.1\r\nHo", true}, {"PROPF", true}, {"\r\nPOST ", true},
		{"PURGE /a HTTP/1.1\r\n", true}, {"PURGE /a HTTP/1.1", false}, {"\x16", true}, {"\x16\x03\x01", true}, {"\x14\x03\x03\x00\x01\x01\x16", true},
		{"EHLO", false}, {"EHLO me", false}, {"EHLO me\r\n", false}, {"HELP", false}, {"SSH-2.0-", false}, {"PURGE /a", false}, {"get /", false},
		{"GETS", false}, {"GETS ", false}, {"GE ", false}, {"GE /", false}, {"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", false}, {"PRI", false}, {"PRI * ", false}, {"\r\n", false}, {"*1\r\n", false},
		{"\x00", false}, {"\x14", false}, {"\x14\x03\x03\x00\x01\x01", false}, {"\x05\x01\x00", false}, {"7", false}, {"a word", false},
	} {
		r := newRig(t)
		v, why := r.send(0, []byte(tt.text), 1)
		if (v == engine.Drop) != tt.held || (why == "held") != tt.held {
			t.Errorf("%q: verdict %#x because %s", tt.text, v, why)
		}
		r.wait(flow.Wait)
		r.reads([]byte(tt.text))
	}
}

// A request is rewritten only where it is one for certain: behind the end of the
// one before. What a body holds stays as it is.
func TestBodyLikeRequest(t *testing.T) {
	for _, tt := range []struct {
		head      string
		body      int
		rewritten bool
	}{
		{"GET / HTTP/1.1\r\n", 0, true},
		{"POST / HTTP/1.1\r\nContent-Length: 0\r\n", 0, true},
		{"POST / HTTP/1.1\r\ncontent-length:  700 \r\n", 700, true},
		{"POST / HTTP/1.1\r\nContent-Length: 700\r\n", 0, false},
		{"POST / HTTP/1.1\r\nContent-Length: 700\r\n", 300, false},
		{"POST / HTTP/1.1\r\nContent-Length: x\r\n", 0, false},
		{"POST / HTTP/1.1\r\nContent-Length: -1\r\n", 0, false},
		{"POST / HTTP/1.1\r\nContent-Length: 99999999999999999999\r\n", 0, false},
		{"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n", 0, false},
		{"POST / HTTP/1.1\r\nContent-Length: 0\r\ntransfer-encoding: chunked\r\n", 0, false},
	} {
		r := newRig(t, Rule{For: web(t, Desync, "hostcase split(host)")})
		one, two := []byte(tt.head+"Host: "+host+"\r\n\r\n"), request(host, 0, false)
		r.send(0, one, 1)
		at := len(one)
		if tt.body > 0 {
			r.send(at, make([]byte, tt.body), 1)
			at += tt.body
		}
		for range 2 { // and again when it is sent again
			r.wire = nil
			r.send(at, two, 2)
			r.base += uint32(at)
			if got := !bytes.Equal(r.stream(len(two)), two); got != tt.rewritten {
				t.Errorf("%q and %d bytes: rewritten %v", tt.head, tt.body, got)
			}
			r.base -= uint32(at)
		}
		// A third one is as certain as the second.
		r.wire = nil
		r.send(at+len(two), two, 3)
		r.base += uint32(at + len(two))
		if got := !bytes.Equal(r.stream(len(two)), two); got != tt.rewritten {
			t.Errorf("%q and %d bytes: the third rewritten %v", tt.head, tt.body, got)
		}
	}
}

// A pipelined request behind one with a body is found where the body ends.
func TestPipelinedBehindBody(t *testing.T) {
	r := webRig(t)
	one := []byte(fmt.Sprintf("POST / HTTP/1.1\r\nHost: x.example\r\nContent-Length: %d\r\n\r\nbody", 4))
	two := request(host, 0, false)
	r.send(0, one, 1)
	r.expect(engine.Replace, "treated")(r.send(len(one), two, 1))
	r.reads(slices.Concat(one, two))
}
