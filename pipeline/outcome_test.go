package pipeline

import (
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"b4/desync"
	"b4/engine"
	"b4/flow"
	"b4/packet"
)

// watched is a rig that is shown replies.
func watched(t testing.TB) *rig {
	t.Helper()
	rule := Rule{Name: "all", For: treat(Desync, strategy(t, "split(midsld) disorder"))}
	rule.For[desync.HTTP] = web(t, Desync, "split(midsld)")[desync.HTTP]
	r := newRig(t, rule)
	r.p.Use(&Config{Rules: []Rule{rule}, Observe: true})
	return r
}

// reply is a packet of the server.
func (r *rig) reply(flags, ttl uint8, payload string) {
	r.t.Helper()
	pkt := r.handshake(flags|packet.ACK, ttl, []byte(payload))
	r.expect(engine.Accept, "reply")(r.handle(pkt))
}

// outcomes are all that came about, by name.
func (r *rig) outcomes() map[string]uint64 {
	all := map[string]uint64{}
	for _, t := range r.p.Outcomes() {
		for o, n := range t.Outcomes {
			all[o] += n
		}
	}
	return all
}

func TestOutcomes(t *testing.T) {
	msg, get := hello(host, 0, false), request(host, 0, false)
	serverHello := "\x16\x03\x03\x00\x04\x02\x00\x00\x00"
	for _, tt := range []struct {
		name, want string
		data       []byte
		after      func(r *rig)
	}{
		{"the client goes on", "opened", msg, func(r *rig) { r.send(len(msg), []byte{23, 3, 3}, 200) }},
		{"and did so once", "opened", msg, func(r *rig) {
			r.reply(0, 52, serverHello)
			r.send(len(msg), []byte{23, 3, 3}, 200)
			r.reply(packet.RST, 9, "")
		}},
		{"nothing more", "no_evidence", msg, func(*rig) {}},
		{"a second hello", "opened", msg, func(r *rig) { r.send(len(msg), []byte{20, 3, 3, 0, 1, 1}, 200) }},
		{"the server's RST", "reset", msg, func(r *rig) { r.reply(packet.RST, 51, "") }},
		{"another's RST", "forged", msg, func(r *rig) { r.reply(packet.RST, 60, "") }},
		{"both", "forged", msg, func(r *rig) { r.reply(packet.RST, 60, ""); r.reply(packet.RST, 52, "") }},
		{"FIN", "closed", msg, func(r *rig) { r.reply(packet.FIN, 52, "") }},
		{"an answer, then FIN", "through", msg, func(r *rig) { r.reply(0, 52, serverHello); r.reply(packet.FIN, 52, "") }},
		{"an alert with FIN", "through", msg, func(r *rig) { r.reply(packet.FIN, 52, "\x15\x03\x03\x00\x02\x02\x28") }},
		{"an answer that stops", "frozen", msg, func(r *rig) { r.reply(0, 52, serverHello) }},
		{"other use of the ports", "through", msg, func(r *rig) {
			r.reply(0, 52, serverHello)
			r.base += 5 << 20
			r.handle(r.handshake(packet.SYN, 63, nil))
		}},
		{"silence", "silent", msg, func(r *rig) {
			for range 2 * silentAfter {
				r.expect(engine.Replace, "again")(r.send(0, msg, 100))
			}
		}},
		{"an end that comes again", "no_evidence", msg, func(r *rig) {
			for range 2 * silentAfter {
				r.expect(engine.Replace, "again")(r.send(300, msg[300:], 100))
			}
		}},
		{"an answer that is lost again and again", "frozen", msg, func(r *rig) {
			r.reply(0, 52, serverHello)
			for range 2 * silentAfter {
				r.expect(engine.Replace, "again")(r.send(0, msg, 100))
			}
		}},
		{"silence at first", "opened", msg, func(r *rig) {
			r.send(0, msg, 100)
			r.send(0, msg, 100)
			r.send(len(msg), []byte{23, 3, 3}, 200)
		}},
		{"a page", "through", get, func(r *rig) { r.reply(0, 52, "HTTP/1.1 200 OK\r\n") }},
		{"unchanged", "through", get, func(r *rig) { r.reply(0, 52, "HTTP/1.1 304 Not Modified\r\n") }},
		{"elsewhere", "redirect", get, func(r *rig) { r.reply(packet.FIN, 60, "HTTP/1.1 302 Found\r\n") }},
		{"forbidden", "redirect", get, func(r *rig) { r.reply(0, 60, "HTTP/1.0 451 No\r\n") }},
		{"no HTTP", "through", get, func(r *rig) { r.reply(0, 60, "302") }},
	} {
		for _, v6 := range []bool{false, true} {
			r := watched(t)
			r.v6 = v6
			r.reply(packet.SYN, 52, "")
			r.expect(engine.Replace, "treated")(r.send(0, tt.data, 100))
			tt.after(r)
			r.wait(2 * flow.Idle)
			if got := r.outcomes(); len(got) != 1 || got[tt.want] != 1 {
				t.Errorf("%s: %v, want %s", tt.name, got, tt.want)
			}
			if got := r.p.Recent(); len(got) != 1 || got[0].Outcome != strings.TrimPrefix(tt.want, "no_evidence") {
				t.Errorf("%s: %+v, want %s", tt.name, got, tt.want)
			}
		}
	}
}

// A RST is the server's if it comes from about as far away as its SYN,ACK, or if
// that is not known.
func TestForged(t *testing.T) {
	msg := hello(host, 0, false)
	for _, tt := range []struct {
		synack, rst uint8
		want        string
	}{
		{52, 52 + ttlSlack, "reset"}, {52, 52 - ttlSlack, "reset"}, {52, 52 + ttlSlack + 1, "forged"}, {52, 52 - ttlSlack - 1, "forged"},
		{0, 200, "reset"}, {0, 1, "reset"},
	} {
		r := watched(t)
		if tt.synack > 0 {
			r.reply(packet.SYN, tt.synack, "")
		}
		r.send(0, msg, 100)
		r.reply(packet.RST, tt.rst, "")
		if got := r.outcomes(); len(got) != 1 || got[tt.want] != 1 {
			t.Errorf("SYN,ACK %d, RST %d: %v", tt.synack, tt.rst, got)
		}
	}
}

// What was treated because the rest did not come has an outcome too.
func TestOutcomeLate(t *testing.T) {
	r := watched(t)
	msg := hello(host, 1760, false)
	r.send(0, msg[:1400], 100)
	r.wait(flow.Wait)
	r.send(1400, msg[1400:], 100)
	r.send(1760, []byte{23, 3, 3}, 200)
	if got := r.outcomes(); len(got) != 1 || got["opened"] != 1 {
		t.Errorf("%v", got)
	}
}

// Each request of a connection has its outcome, and each strategy its own count.
func TestTallies(t *testing.T) {
	r := watched(t)
	get := request(host, 0, false)
	r.send(0, get, 100)
	r.reply(0, 52, "HTTP/1.1 302 Found\r\n")
	r.send(len(get), get, 200)
	r.send(2*len(get), get, 300)
	r.port++
	r.send(0, hello(host, 0, false), 100)
	r.wait(2 * flow.Idle)
	got := r.p.Outcomes()
	if len(got) != 2 || got[0].Proto != "http" || got[0].Strategy != "split(midsld)" || got[1].Proto != "tls" || got[1].Rule != "all" ||
		!maps.Equal(got[0].Outcomes, map[string]uint64{"redirect": 1, "opened": 1, "no_evidence": 1}) {
		t.Errorf("%+v", got)
	}
}

// More strategies than there is room for are not counted; what is there goes on.
func TestTalliesBound(t *testing.T) {
	r := newRig(t)
	for i := range 2 * keptTallies {
		r.p.tallies.count(&Rule{Name: string(rune('a' + i))}, desync.TLS, strategy(t, "split(1)"), Opened)
	}
	r.p.tallies.count(&Rule{Name: "a"}, desync.TLS, strategy(t, "split(1)"), Opened)
	if got := r.p.Outcomes(); len(got) != keptTallies || got[0].Outcomes["opened"] != 2 {
		t.Errorf("%d tallies, %v", len(got), got[0])
	}
}

// A chooser of the test's own.
type chooser struct {
	steps   *desync.Strategy
	names   []string
	reports []Outcome
}

func (c *chooser) Choose(k Choice, _ time.Time) (*desync.Strategy, Token) {
	c.names = append(c.names, string(k.Name))
	return c.steps, Token(len(c.names))
}

func (c *chooser) Report(t Token, o Outcome, _ time.Time) {
	if int(t) == len(c.names) {
		c.reports = append(c.reports, o)
	}
}

// A chooser is asked once for a message, whatever is sent again, and told once.
func TestChooser(t *testing.T) {
	c := &chooser{steps: strategy(t, "split(1)")}
	r := newRig(t)
	conf := *r.p.config.Load()
	conf.Chooser = c
	r.p.Use(&conf)
	msg := hello(host, 0, false)
	r.send(0, msg, 100)
	r.send(0, msg, 100)
	if offs, _ := r.pieces(); !slices.Equal(offs, []int{0, 1, 0, 1}) {
		t.Errorf("pieces at %v", offs)
	}
	r.send(len(msg), []byte{23}, 200)
	if !slices.Equal(c.names, []string{host}) || !slices.Equal(c.reports, []Outcome{Opened}) {
		t.Errorf("asked for %v, told %v", c.names, c.reports)
	}
	c.steps = nil
	r.port++
	r.expect(engine.Accept, "as_is")(r.send(0, msg, 100))
}

// What one chooser has picked is reported to it, whoever picks now.
func TestChooserReplaced(t *testing.T) {
	r := newRig(t)
	one, two := &chooser{steps: strategy(t, "split(1)")}, &chooser{steps: strategy(t, "split(2)")}
	use := func(c Chooser) {
		conf := *r.p.config.Load()
		conf.Chooser = c
		r.p.Use(&conf)
	}
	use(one)
	msg := hello(host, 0, false)
	r.send(0, msg, 100)
	use(two)
	r.expect(engine.Replace, "again")(r.send(0, msg, 100))
	if offs, _ := r.pieces(); !slices.Equal(offs, []int{0, 1, 0, 1}) {
		t.Errorf("pieces at %v", offs)
	}
	r.send(len(msg), []byte{23}, 200)
	r.port++
	r.send(0, msg, 100)
	use(nil)
	r.send(len(msg), []byte{23}, 200)
	if !slices.Equal(one.reports, []Outcome{Opened}) || !slices.Equal(two.reports, []Outcome{Opened}) || len(two.names) != 1 {
		t.Errorf("told %v and %v, the second asked for %v", one.reports, two.reports, two.names)
	}
}

func TestOutcomeAllocs(t *testing.T) {
	r := watched(t)
	msg := hello(host, 0, false)
	pkts := []*engine.Packet{r.handshake(packet.SYN|packet.ACK, 52, nil), r.segment(0, msg, 1), r.handshake(packet.RST|packet.ACK, 60, nil), r.segment(len(msg), []byte{23}, 2)}
	if n := testing.AllocsPerRun(1000, func() {
		for _, k := range pkts {
			r.out.Reset()
			r.p.Handle(r.now, k, &r.out)
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
