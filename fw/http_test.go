package fw

import (
	"testing"

	"b4/nstest"
)

// Whatever a server answers, the next request is shown, and of the rest nothing,
// until the client has sent more than requests are. Nobody listens, and no route
// leads to a TUN, as in TestSteer and TestTunAllSteers.
func TestSteerHTTP(t *testing.T) {
	for _, tt := range []struct {
		name string
		edit func(*Config)
	}{
		{"one port", func(c *Config) { c.HTTP = []uint16{80} }},
		{"two ports", func(c *Config) { c.HTTP = []uint16{8080, 80} }},
		{"tun", func(c *Config) { toTUN(c, "", ""); c.HTTP = []uint16{80} }},
		{"tun, two ports", func(c *Config) { toTUN(c, "", ""); c.HTTP = []uint16{8080, 80} }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			nstest.Enter(t)
			w := &web{newRouter(t), mustOpen(t), Counters{}, 0}
			rules := mustPlan(t, func(c *Config) { c.TCP = []uint16{443, 8080, 80}; tt.edit(c) })
			for _, v6 := range []bool{false, true} {
				mustApply(t, w.rules, rules, "wan0")
				w.browse(v6)
				w.upload(v6)
				w.finish(v6, rules)
			}
		})
	}
}

// A web speaks plain HTTP, and keeps count of what is shown.
type web struct {
	*router
	rules *Conn
	want  Counters
	port  uint16 // of the client's last flow
}

// open returns a new flow that is past the bound.
func (w *web) open(v6 bool, port uint16) *flow {
	w.t.Helper()
	w.port++
	f := newFlow(v6, 40000+w.port, port)
	w.shake(f)
	w.want.Opened++
	w.want.Bare++
	w.say(f, psh|ack, 300, true)
	for range config(w.t, Native).Bound {
		w.arrive(w.wan, w.lan, f.back(ack, 1400))
	}
	w.check("an answer")
	return f
}

// say has the client of f send something.
func (w *web) say(f *flow, flags uint8, payload int, shown bool) {
	w.t.Helper()
	if err := w.rules.Answer(); err != nil { // an emulated machine takes longer than a watch lasts
		w.t.Fatal(err)
	}
	w.arrive(w.lan, w.wan, f.out(flags, payload))
	if shown {
		w.want.Queued++
	}
}

func (w *web) check(what string) {
	w.t.Helper()
	if got := w.counters(w.rules); got != w.want {
		w.t.Fatalf("flow %d: %s: got %+v, want %+v", w.port, what, got, w.want)
	}
}

func (w *web) browse(v6 bool) {
	w.t.Helper()
	f := w.open(v6, 80)
	for range 10 {
		w.say(f, ack, 1400, true)
		w.say(f, psh|ack, 30, true)
		w.check("a request of two segments")
		for range 36 { // some 100 KiB
			w.arrive(w.wan, w.lan, f.back(ack, 1400))
			w.arrive(w.wan, w.lan, f.back(ack, 1400))
			w.say(f, ack, 0, false)
			w.want.Bare++
		}
		w.check("its answer")
	}
	f = w.open(v6, 443)
	w.say(f, psh|ack, 300, false)
	w.check("TLS")
}

// upload says much that is acknowledged but not answered, and then another request.
func (w *web) upload(v6 bool) {
	w.t.Helper()
	f := w.open(v6, 80)
	header := len(segment(f.src, f.dst, 0, 0, ack, 0))
	total := 3*header + 300 // SYN, ACK and a request
	for total <= httpBytes {
		total += header + 1400
		w.say(f, ack, 1400, total <= httpBytes)
		w.arrive(w.wan, w.lan, f.back(ack, 0)) // or it is beyond the window
	}
	w.check("an upload")
	w.say(f, psh|ack, 300, false)
	w.check("a request behind it")
}

// finish has a connection marked as done.
func (w *web) finish(v6 bool, rules *Ruleset) {
	w.t.Helper()
	f := w.open(v6, 80)
	w.say(f, psh|ack, 300, true)
	done := chain{"finish", &hook{filter, prerouting, -151}, []rule{{setBits{ctMark, config(w.t, Native).Marks.Done}}}}
	mustApply(w.t, w.rules, &Ruleset{ports: rules.ports, chains: append([]chain{done}, rules.chains...)}, "wan0")
	w.say(f, psh|ack, 300, false)
	w.check("a request of one that is done")
}
