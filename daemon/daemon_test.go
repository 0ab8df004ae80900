package daemon

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"b4/control"
	"b4/engine"
	"b4/netif"
	"b4/nfq/nfqtest"
	"b4/packet"
	"b4/tlshello"
)

const enabled = "config b4 'main'\n\toption enabled '1'\n"

// hello is a client's segment with a ClientHello.
func hello(name string, port uint16) engine.Packet {
	s := packet.Segment{
		Src: netip.AddrPortFrom(netip.MustParseAddr("192.0.2.1"), port), Dst: netip.MustParseAddrPort("198.51.100.7:443"),
		Seq: 1, Ack: 1, Flags: packet.ACK | packet.PSH, Payload: tlshello.AppendDecoy(nil, name, 1),
	}
	return engine.Packet{Bytes: s.Append(nil)}
}

func push(r *running, name string, port uint16) nfqtest.Outcome {
	return get(r.fake, func() *nfqtest.Queue { return r.queue }).Push(hello(name, port))
}

// From a UCI file to packets on the wire, through everything but the kernel.
func TestRun(t *testing.T) {
	t.Parallel()
	r := start(t, newFake(t), enabled+`
config rule 'bank'
	list domain 'bank.example'
	option action 'pass'
config rule 'rest'
`)
	for _, tt := range []struct {
		host  string
		wire  int
		shown bool
	}{{"www.blocked.example", 2, false}, {"my.bank.example", 1, true}} {
		o := push(r, tt.host, 40000+uint16(tt.wire))
		shown := slices.ContainsFunc(o.Wire, func(b []byte) bool { return bytes.Contains(b, []byte(tt.host)) })
		if len(o.Wire) != tt.wire || shown != tt.shown {
			t.Errorf("%s: %d packets, name shown: %v", tt.host, len(o.Wire), shown)
		}
	}
	s := r.status()
	if s.Version != "0-test" || s.Engine.Name != "nfqueue" || s.Engine.Counters.Read != 2 || s.Hellos != 2 || s.Reasons["treated"] != 1 ||
		s.Reasons["passed"] != 1 || s.WAN != "wan0 (v4, v6)" || !slices.Equal(s.Watched, []string{"wan0"}) || s.Kernel.Opened != 3 || len(s.Health) != 0 {
		t.Errorf("%+v", s)
	}
	if len(s.Rules) != 2 || s.Rules[0].Names != 1 || s.Rules[1].Names != -1 || s.Rules[1].TLS != "split(midsld) disorder" {
		t.Errorf("rules %+v", s.Rules)
	}
	before := get(r.fake, func() int { return r.answered })
	r.eventually("what is watched is renewed", func() bool { return get(r.fake, func() bool { return r.answered > before+2 }) })
}

// Each step fails once, and whatever had been built is gone afterwards.
func TestStartFailsAtEachStep(t *testing.T) {
	t.Parallel()
	common := []string{"watch", "probe", "sender", "table", "engine", "apply"}
	for engine, steps := range map[string][]string{
		"nfqueue": append([]string{"nfqueue supported"}, common...),
		"tun":     append([]string{"tun supported", "routes", "firewall"}, common...),
	} {
		for _, step := range steps {
			k := newFake(t)
			k.fail[step] = true
			r := prepare(t, k, enabled+"\toption engine '"+engine+"'\n")
			if err := r.d.Run(context.Background(), r.reload); !errors.Is(err, errBroken) {
				t.Errorf("%s: %s: error %v", engine, step, err)
			}
			if l := k.left(); len(l) != 0 || k.routed != "" {
				t.Errorf("%s: %s: left open %v, routes %q", engine, step, l, k.routed)
			}
			if _, err := os.Stat(r.socket); err == nil {
				t.Errorf("%s: %s: the socket is left", engine, step)
			}
		}
	}
}

func TestSecondDaemon(t *testing.T) {
	t.Parallel()
	r := start(t, newFake(t), enabled)
	second := New(Options{Config: r.conf, Overrides: r.d.opts.Overrides, Log: r.d.log})
	second.kernel = newFake(t)
	if err := second.Run(context.Background(), nil); !errors.Is(err, control.ErrRunning) {
		t.Errorf("error %v", err)
	}
	if r.status().Engine == nil {
		t.Error("the first one was disturbed")
	}
}

func (r *running) hangup() { r.reload <- struct{}{} }

func TestReload(t *testing.T) {
	t.Parallel()
	r := start(t, newFake(t), enabled)
	first := r.queue
	r.write(enabled + "\tlist tcp_port '443'\n\tlist tcp_port '8443'\nconfig rule 'x'\n\toption action 'pass'\n")
	r.hangup()
	r.eventually("the new rule decides", func() bool { return r.status().Rules[0].Name == "x" })
	if o := push(r, "blocked.example", 1); len(o.Wire) != 1 || r.queue != first {
		t.Errorf("%d packets, same engine: %v", len(o.Wire), r.queue == first)
	}
	if !strings.Contains(get(r.fake, func() string { return r.applied }), "8443") {
		t.Error("the new port is not in the rules")
	}
}

// A bad file, a strategy that does not parse, a list that is not there, and a
// kernel that refuses: the old configuration stays, and status says so.
func TestReloadRefused(t *testing.T) {
	t.Parallel()
	list := filepath.Join(t.TempDir(), "list")
	if err := os.WriteFile(list, []byte("ok.example\nnot ok\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	tests := []struct{ name, conf, why string }{
		{"syntax", "config b4 'main\n", "b4:"},
		{"value", "config b4 'main'\n\toption enabled 'maybe'\n", "b4:2: "},
		{"step", enabled + "config strategy 'default'\n\toption tls 'spilt(1)'\n", `b4:4: strategy.default.tls: strategy "spilt(1)", position 1: unknown step "spilt"`},
		{"list", enabled + "config rule 'x'\n\tlist domain_file '/nowhere'\n", "b4:4: rule.x.domain_file: open /nowhere"},
		{"line of a list", enabled + "config rule 'x'\n\tlist domain_file '" + list + "'\n", list + `:2: host name "not ok": unexpected " "`},
		{"wan", enabled + "\tlist wan 'nosuch0'\n", "b4:3: main.wan: "},
		{"engine", enabled + "\toption engine 'tun'\n", "install kmod-nft-nat"},
		{"kernel", enabled + "\tlist tcp_port '8443'\n", "broken on purpose"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := start(t, newFake(t), enabled)
			before := get(r.fake, func() string { return r.applied })
			switch tt.name {
			case "kernel":
				r.set(func() { r.fail["apply"] = true })
			case "engine":
				r.set(func() { r.features.Tun = false })
			case "wan":
				r.set(func() { r.werr = fmt.Errorf("nosuch0: %w", netif.ErrUnknown) })
			}
			r.write(tt.conf)
			r.hangup()
			r.eventually("status tells", func() bool { return len(r.status().Health) > 0 })
			if h := r.status().Health[0].Text; !strings.Contains(h, "refused") || !strings.Contains(h, tt.why) {
				t.Errorf("status says %q, want %q in it", h, tt.why)
			}
			if o := push(r, "blocked.example", 1); len(o.Wire) != 2 {
				t.Errorf("%d packets: the old configuration is not in force", len(o.Wire))
			}
			if get(r.fake, func() string { return r.applied }) != before {
				t.Error("the rules have changed")
			}
			r.write(enabled) // and a good one heals it
			r.set(func() { r.fail["apply"], r.werr = false, nil })
			r.hangup()
			r.eventually("the complaint is gone", func() bool { return len(r.status().Health) == 0 })
		})
	}
}

// What needs a new engine gets one; if that cannot be had the old one comes back.
func TestReloadEngine(t *testing.T) {
	t.Parallel()
	r := start(t, newFake(t), enabled)
	r.write(enabled + "\toption queue_num '600'\n")
	r.hangup()
	r.eventually("the new queue is served", func() bool { return get(r.fake, func() uint16 { return r.queueNum }) == 600 })
	r.eventually("the table names it", func() bool {
		return strings.Contains(get(r.fake, func() string { return r.applied }), "to 600")
	})
	r.set(func() { r.fail["queue 700"] = true })
	r.write(enabled + "\toption queue_num '700'\n")
	r.hangup()
	r.eventually("status tells", func() bool { return len(r.status().Health) > 0 })
	if n := get(r.fake, func() uint16 { return r.queueNum }); n != 600 || r.status().Engine == nil {
		t.Errorf("queue %d is served: %v", n, r.status().Health)
	}
}

func TestOnAndOff(t *testing.T) {
	t.Parallel()
	r := start(t, newFake(t), "config b4 'main'\n\toption enabled '0'\n")
	if s := r.status(); s.Engine != nil || s.Enabled || !strings.Contains(strings.Join(sentences(s.Health), " "), "is off") {
		t.Errorf("%+v", s)
	}
	r.write(enabled)
	r.hangup()
	r.eventually("on", func() bool { return r.status().Engine != nil })
	r.write("config b4 'main'\n")
	r.hangup()
	r.eventually("off", func() bool { return r.status().Engine == nil })
	if l := r.left(); l["table"] != 0 || l["engine"] != 0 || l["sender"] != 0 {
		t.Errorf("left while off: %v", l)
	}
}

func TestWANChanges(t *testing.T) {
	t.Parallel()
	k := newFake(t)
	k.wan = netif.WAN{}
	r := start(t, k, enabled)
	if h := strings.Join(sentences(r.status().Health), " "); !strings.Contains(h, "No interface leads to the internet") {
		t.Errorf("health %q", h)
	}
	devices := func() []string { return get(k, func() []string { return k.watched }) }
	k.set(func() { k.wan = netif.WAN{V4: []string{"ppp0"}} })
	k.news <- struct{}{}
	r.eventually("ppp0 is watched", func() bool { return slices.Equal(devices(), []string{"ppp0"}) })
	// netifd does not answer: what was known stays.
	k.set(func() { k.wan, k.werr = netif.WAN{}, errBroken })
	k.news <- struct{}{}
	r.eventually("status tells", func() bool {
		return strings.Contains(strings.Join(sentences(r.status().Health), " "), "broken on purpose")
	})
	if got := devices(); !slices.Equal(got, []string{"ppp0"}) {
		t.Errorf("watched %v", got)
	}
}

func TestPause(t *testing.T) {
	t.Parallel()
	r := start(t, newFake(t), enabled)
	devices := func() int { return get(r.fake, func() int { return len(r.watched) }) }
	if err := control.Call(r.socket, "pause", PauseRequest{5}, nil); err != nil {
		t.Fatal(err)
	}
	r.eventually("nothing is watched", func() bool { return devices() == 0 })
	if s := r.status(); s.Paused == nil || time.Until(*s.Paused) < 4*time.Minute {
		t.Errorf("%+v", s.Paused)
	}
	r.hangup() // a reload does not end it
	r.eventually("reloaded", func() bool { return r.status().Paused != nil })
	if devices() != 0 {
		t.Error("reload ended the pause")
	}
	if err := control.Call(r.socket, "pause", PauseRequest{0}, nil); err != nil {
		t.Fatal(err)
	}
	r.eventually("watched again", func() bool { return devices() == 1 })
	for _, bad := range []int{-1, maxPause + 1} {
		if control.Call(r.socket, "pause", PauseRequest{bad}, nil) == nil {
			t.Errorf("pause %d: no error", bad)
		}
	}
}

func TestTrace(t *testing.T) {
	t.Parallel()
	r := start(t, newFake(t), enabled)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	events, ended := make(chan Event, 8), make(chan error, 1)
	go func() {
		ended <- control.Stream(ctx, r.socket, "trace", TraceRequest{"blocked.example"}, func(line json.RawMessage) error {
			var e Event
			err := json.Unmarshal(line, &e)
			events <- e
			return err
		})
	}()
	port := uint16(1)
	r.eventually("an event", func() bool {
		push(r, "other.example", port)
		push(r, "www.blocked.example", port+1)
		port += 2
		return len(events) > 0
	})
	if e := <-events; e.Host != "www.blocked.example" || e.Why != "treated" || e.Rule != "all" || len(e.Packets) != 2 {
		t.Errorf("%+v", e)
	}
	if err := control.Stream(ctx, r.socket, "trace", TraceRequest{"*"}, nil); err == nil || !strings.Contains(err.Error(), "another trace is running") {
		t.Errorf("a second trace: %v", err)
	}
	cancel()
	<-ended
	if err := control.Call(r.socket, "trace", TraceRequest{"a b"}, nil); err == nil {
		t.Error("a host name with a space was taken")
	}
}

// Our own failure to send costs no packet: it goes on as it came.
func TestSendFails(t *testing.T) {
	t.Parallel()
	r := start(t, newFake(t), enabled)
	r.queue.FailSend(errBroken)
	o := push(r, "www.blocked.example", 9)
	if len(o.Wire) != 1 || !bytes.Equal(o.Wire[0], hello("www.blocked.example", 9).Bytes) {
		t.Errorf("%d packets left, want the client's own", len(o.Wire))
	}
	if h := strings.Join(sentences(r.status().Health), " "); !strings.Contains(h, "could not be sent") {
		t.Errorf("health %q", h)
	}
}

func TestCheck(t *testing.T) {
	t.Parallel()
	k := newFake(t)
	r := prepare(t, k, enabled+"\toption colour 'red'\n")
	var out strings.Builder
	if err := check(k, r.d.opts, &out); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"warning: " + r.conf + ":3: ", "rule all: all names: desync", "wan: wan0 (v4, v6)", "table inet b4 {", "puts segments on the wire"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %q in:\n%s", want, &out)
		}
	}
	if l := k.left(); len(l) != 0 {
		t.Errorf("check opened %v", l)
	}
	k.wan = netif.WAN{}
	if err := check(k, r.d.opts, &out); err == nil || !strings.Contains(err.Error(), "main.wan: no interface holds a default route") {
		t.Errorf("without WAN: %v", err)
	}
}
