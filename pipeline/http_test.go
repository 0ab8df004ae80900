package pipeline

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"

	"b4/desync"
	"b4/engine"
	"b4/flow"
)

// request is the head of a GET for name, of at least size bytes; the name stands
// in front or behind what fills it.
func request(name string, size int, nameLast bool) []byte {
	head, field := "GET /index.html HTTP/1.1\r\n", "Host: "+name+"\r\n"
	fill := "Cookie: " + strings.Repeat("x", max(0, size-len(head)-len(field)-12)) + "\r\n"
	if nameLast {
		return []byte(head + fill + field + "\r\n")
	}
	return []byte(head + field + fill + "\r\n")
}

// web is a treatment of HTTP.
func web(t testing.TB, a Action, text string) (list [desync.Protos]Treatment) {
	t.Helper()
	list[desync.HTTP].Action = a
	if text != "" {
		s, err := desync.HTTP.Parse(text)
		if err != nil {
			t.Fatal(err)
		}
		list[desync.HTTP].Steps = s
	}
	return list
}

func webRig(t testing.TB) *rig {
	t.Helper()
	return newRig(t, Rule{Name: "web", For: web(t, Desync, "split(midsld) disorder")})
}

func TestRequest(t *testing.T) {
	for _, v6 := range []bool{false, true} {
		for _, size := range []int{0, 600, 3000} {
			for _, nameLast := range []bool{false, true} {
				r := webRig(t)
				r.v6 = v6
				msg := request(host, size, nameLast)
				for off := 0; off < len(msg); off += 1000 {
					v, why := r.send(off, msg[off:min(off+1000, len(msg))], 100)
					if off+1000 < len(msg) {
						r.expect(engine.Drop, "held")(v, why)
					} else {
						r.expect(engine.Replace, "treated")(v, why)
					}
				}
				r.reads(msg)
				if r.shown() || r.p.Messages(desync.HTTP) != 1 || r.p.Hellos() != 0 {
					t.Errorf("%d bytes: name shown %v, %d requests, %d hellos", size, r.shown(), r.p.Messages(desync.HTTP), r.p.Hellos())
				}
				r.wire = nil
				r.expect(engine.Replace, "again")(r.send(0, msg[:min(len(msg), 1000)], 100))
				r.reads(msg[:min(len(msg), 1000)])
			}
		}
	}
}

// Each request of a connection is treated by the rule for its own host, whether
// it waits for the answer to the one before or not.
func TestRequests(t *testing.T) {
	rules := []Rule{
		{Name: "bank", Domains: set(t, "bank.example"), For: web(t, Pass, "")},
		{Name: "ads", Domains: set(t, "ads.example"), For: web(t, Drop, "")},
		{Name: "web", Domains: set(t, "blocked.example"), For: web(t, Desync, "split(midsld) disorder")},
	}
	for _, pipelined := range []bool{false, true} {
		r := newRig(t, rules...)
		ack, off := uint32(100), 0
		var all []byte
		for i, step := range []struct {
			host string
			v    engine.Verdict
			why  string
		}{
			{"www.bank.example", engine.Accept, "passed"},
			{host, engine.Replace, "treated"},
			{"other.example", engine.Accept, "no_rule"},
			{host, engine.Replace, "treated"},
		} {
			msg := request(step.host, 200+i, i%2 == 0)
			r.expect(step.v, step.why)(r.send(off, msg, ack))
			off, all = off+len(msg), append(all, msg...)
			if !pipelined {
				ack += 1000
			}
		}
		r.reads(all)
		if r.shown() {
			t.Error("name shown")
		}
		r.expect(engine.Drop, "dropped")(r.send(off, request("ads.example", 0, false), ack))
	}
}

// A request sent again while the next is under way is treated again.
func TestRequestBeforeAgain(t *testing.T) {
	r := webRig(t)
	one, two := request(host, 300, false), request(host, 400, true)
	r.send(0, one, 100)
	r.expect(engine.Replace, "treated")(r.send(len(one), two, 100))
	r.wire = nil
	r.expect(engine.Replace, "treated")(r.send(0, one, 100))
	r.expect(engine.Replace, "treated")(r.send(len(one), two, 100))
	r.reads(slices.Concat(one, two))
	if r.shown() {
		t.Error("name shown")
	}
}

// A body is none of our business, whatever it says, and ends it once the server
// has answered.
func TestUpload(t *testing.T) {
	r := webRig(t)
	head := []byte("POST /up HTTP/1.1\r\nHost: " + host + "\r\nContent-Length: 100000\r\n\r\n")
	msg := append(slices.Clone(head), bytes.Repeat([]byte("data "), 200)...)
	r.expect(engine.Replace, "treated")(r.send(0, msg, 100))
	r.reads(msg)
	body := []byte("GET / HTTP/1.1\r\nHost: " + host + "\r\n\r\n")
	r.expect(engine.Accept, "early")(r.send(len(msg), body, 100))
	r.expect(engine.Replace, "again")(r.send(0, msg, 100)) // a piece was lost
	r.expect(engine.Accept|engine.Done, "finished")(r.send(len(msg)+len(body), []byte("more"), 200))
	if r.p.flows.Len() != 0 {
		t.Error("flow left")
	}
}

// What a strategy changes in a request it changes alike whenever the request is
// sent again, and leaves alone where some has left as it came.
func TestRewrittenRequest(t *testing.T) {
	msg := request(host, 3000, true)
	n := len(msg)
	for _, tt := range []struct {
		name    string
		parts   [][2]int
		changed bool
	}{
		{"in order", [][2]int{{0, 1400}, {1400, 2800}, {2800, n}}, true},
		{"again", [][2]int{{0, 1400}, {1400, 2800}, {2800, n}, {0, 1400}, {1000, 2400}, {2800, n}}, true},
		{"last first", [][2]int{{2800, n}, {0, 1400}, {1400, 2800}, {2800, n}}, false},
		{"late", [][2]int{{0, 1400}, {-1, 0}, {1400, 2800}, {2800, n}, {0, 1400}, {1400, n - 100}}, false},
	} {
		r := newRig(t, Rule{Name: "web", For: web(t, Desync, "hostcase hostnospace split(host)")})
		for _, p := range tt.parts {
			if p[0] < 0 {
				r.wait(flow.Wait)
				continue
			}
			r.send(p[0], msg[p[0]:p[1]], 1)
		}
		got := r.stream(n)
		if !bytes.Equal(got, msg) != tt.changed || tt.changed && !bytes.Contains(got, []byte("hoSt:"+host)) {
			t.Errorf("%s: the server reads %q", tt.name, got[n-60:])
		}
	}
}

// stream is the first n bytes that the server reads, which no two packets may
// say differently.
func (r *rig) stream(n int) []byte {
	r.t.Helper()
	got, have := make([]byte, n), make([]bool, n)
	offs, data := r.pieces()
	for i := range offs {
		for k, c := range data[i] {
			if at := offs[i] + k; at >= 0 && at < n {
				if have[at] && got[at] != c {
					r.t.Fatalf("byte %d is %q and then %q", at, got[at], c)
				}
				got[at], have[at] = c, true
			}
		}
	}
	if slices.Contains(have, false) {
		r.t.Error("bytes are missing")
	}
	return got
}

// Of a request beyond the bounds the name is hidden where it is in the part that
// is held.
func TestLongRequest(t *testing.T) {
	r := webRig(t)
	msg := request(host, 40_000, false)
	for off := 0; off < len(msg); off += 1400 {
		r.send(off, msg[off:min(off+1400, len(msg))], 1)
	}
	r.reads(msg)
	if c := r.p.Counts(); r.shown() || c["too_long"] != 1 || c["held"] != flow.MaxHeld {
		t.Errorf("name shown: %v, %v", r.shown(), c)
	}
	r.wait(2 * flow.Idle)
	r.reads(msg)
}

// A superpacket that begins a request comes as the wire's segments.
func TestSuperRequest(t *testing.T) {
	for _, size := range []int{1700, 5000} {
		r := all(t)
		c := *r.p.config.Load()
		c.Rules = []Rule{{Name: "web", For: web(t, Desync, "split(midsld) disorder")}}
		r.p.Use(&c)
		msg := append(request(host, size, true), make([]byte, 30_000)...)
		r.super(0, msg, 100)
		r.reads(msg)
		if r.shown() || r.p.Messages(desync.HTTP) != 1 {
			t.Errorf("%d bytes: name shown %v", size, r.shown())
		}
	}
}

// What a connection speaks is told by what it says, not by its port, and a
// proxy's client may say one behind the other.
func TestConnect(t *testing.T) {
	rule := Rule{Name: "all", For: web(t, Desync, "split(host+2)")}
	rule.For[desync.TLS] = Treatment{Steps: strategy(t, "split(midsld) disorder")}
	r := newRig(t, rule)
	head := []byte("CONNECT " + host + ":443 HTTP/1.1\r\n\r\n")
	r.send(0, head, 100)
	msg := hello(host, 1760, true)
	r.expect(engine.Drop, "held")(r.send(len(head), msg[:1400], 200))
	r.expect(engine.Replace, "treated")(r.send(len(head)+1400, msg[1400:], 200))
	r.reads(slices.Concat(head, msg))
	list := r.p.Recent()
	if r.p.Hellos() != 1 || len(list) != 1 || list[0].Proto != "tls" {
		t.Errorf("%d hellos, %+v", r.p.Hellos(), list)
	}
}

func TestRequestTrace(t *testing.T) {
	r := webRig(t)
	var events []Event
	r.p.Trace(&Tracer{Hosts: set(t, "blocked.example"), Each: func(e Event) { events = append(events, e) }})
	r.send(0, []byte("GET / HTTP/1.1\r\nhOST:"+strings.ToUpper(host)+":8080\r\n\r\n"), 100)
	if len(events) != 1 || events[0].Host != host || events[0].Proto != "http" || events[0].Strategy != "split(midsld) disorder" {
		t.Errorf("%+v", events)
	}
	if list := r.p.Recent(); len(list) != 1 || list[0].Proto != "http" || list[0].Strategy != "split(midsld) disorder" {
		t.Errorf("%+v", list)
	}
}

// A word in the middle of a connection is not held for a request.
func TestWordUnderWay(t *testing.T) {
	r := webRig(t)
	r.expect(engine.Accept, "not_tls")(r.send(0, []byte{0x81, 5, 1, 2, 3}, 1))
	r.expect(engine.Accept|engine.Done, "not_tls")(r.send(5, []byte("word"), 2))
	r = all(t)
	r.expect(engine.Accept, "under_way")(r.send(5, []byte("word"), 1))
}

func TestRequestReject(t *testing.T) {
	r := newRig(t, Rule{Name: "no", For: web(t, Reject, "")})
	r.out.Reset()
	if v := r.p.Handle(r.now, r.segment(0, request(host, 0, false), 77), &r.out); v != engine.Drop || r.out.Len() != 1 || !r.out.At(0).Back {
		t.Errorf("verdict %#x, %d packets", v, r.out.Len())
	}
	if why := Describe(r.out.At(0), r.base); !strings.Contains(why, "rst") {
		t.Error(why)
	}
}

// However requests are cut, ordered and repeated, the server reads them.
func FuzzRequests(f *testing.F) {
	f.Add([]byte{255, 200, 255, 0}, uint16(1760), true)
	f.Add([]byte{1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1}, uint16(600), false)
	f.Add([]byte{5, 100, 37, 40, 0}, uint16(90), true)
	f.Fuzz(func(t *testing.T, cuts []byte, size uint16, nameLast bool) {
		msg := append(request(host, min(int(size), 4000), nameLast), request("other.example", 0, false)...)
		r := webRig(t)
		for off, i := 0, 0; off < len(msg); i++ {
			n := 1400
			if i < len(cuts) {
				n = 1 + int(cuts[i])*5
			}
			end := min(off+n, len(msg))
			if i < len(cuts) && cuts[i]%3 == 0 && end < len(msg) { // what follows comes first
				r.send(end, msg[end:min(end+100, len(msg))], 1)
			}
			r.send(off, msg[off:end], 1)
			if i < len(cuts) && cuts[i]%7 == 0 {
				r.wait(flow.Wait)
			}
			if i < len(cuts) && cuts[i]%5 == 0 {
				r.send(off, msg[off:end], 1)
			}
			off = end
		}
		r.wait(flow.Wait)
		r.wait(2 * flow.Idle)
		r.reads(msg)
		if n := r.p.flows.Len(); n != 0 {
			t.Error(fmt.Sprint(n), "flows left")
		}
	})
}
