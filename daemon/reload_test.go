package daemon

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"

	"b4/control"
	"b4/netif"
	"b4/route"
)

// After a refusal everything of the old configuration is in force, be it refused
// before or after the old engine was stopped.
func TestRefusedReloadRestores(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ name, conf, fail string }{
		{"same engine", "\toption engine 'nfqueue'\n\tlist wan 'ppp0'\n\tlist tcp_port '8443'\n", "apply"},
		{"another engine", "\toption engine 'tun'\n\tlist wan 'ppp0'\n", "device b4tun0"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			k := newFake(t)
			k.outs = map[string]*lookup{"ppp0": {wan: netif.WAN{V4: []string{"ppp0"}}}}
			r := start(t, k, enabled)
			why := r.status().Engine.Why
			r.set(func() { r.fail[tt.fail] = true })
			r.write(enabled + tt.conf)
			r.hangup()
			r.complains("refused")
			s := r.status()
			if s.WAN != "wan0 (v4, v6)" || s.Engine == nil || s.Engine.Name != "nfqueue" || s.Engine.Why != why || len(s.Health) != 1 {
				t.Errorf("%+v %+v", s, s.Engine)
			}
			if w := get(k, func() []string { return k.watched }); !slices.Equal(w, []string{"wan0"}) || !slices.Equal(s.Watched, w) {
				t.Errorf("watched %v, status says %v", w, s.Watched)
			}
		})
	}
}

// A table that is gone is no fault of a new configuration.
func TestReloadWithoutTable(t *testing.T) {
	t.Parallel()
	r := start(t, newFake(t), enabled)
	if err := control.Call(r.socket, "pause", PauseRequest{5}, nil); err != nil {
		t.Fatal(err)
	}
	r.eventually("paused: nothing asks for the table", func() bool { return len(r.status().Watched) == 0 })
	r.set(func() { r.gone, r.applied = true, "" })
	r.write(enabled + "\tlist tcp_port '8443'\n")
	r.hangup()
	r.eventually("the new rules are there", func() bool { return strings.Contains(r.rules(), "8443") })
	if h := r.status().Health; len(h) != 1 {
		t.Errorf("%q", h)
	}
}

// What is wrong already is no reason to refuse what does not make it worse.
func TestReloadWhileWrong(t *testing.T) {
	t.Parallel()
	r := start(t, newFake(t), tunEnabled)
	r.tell(func() { r.wan.V4 = []string{"wan0", "ppp0"} })
	r.rests("two uplinks")
	for _, more := range []string{"\tlist tcp_port '8443'\n", "\toption max_flows '100'\n"} { // with the same engine, and another
		r.write(tunEnabled + more)
		r.hangup()
		r.rounds()
		if h := r.status().Health; len(h) != 1 || strings.Contains(h[0].Text, "refused") || !strings.Contains(h[0].Text, "name one of them") {
			t.Errorf("%s: %q", more, h)
		}
	}
}

// Auto takes what the kernel has got meanwhile, at a reload.
func TestReloadFindsQueue(t *testing.T) {
	t.Parallel()
	k := newFake(t)
	queue := k.features.Queue
	k.features.Queue, k.features.Missing = 0, "kmod-nft-queue"
	r := start(t, k, enabled)
	if e := r.status().Engine; e.Name != "tun" || !strings.Contains(e.Why, "install kmod-nft-queue") {
		t.Errorf("%+v", e)
	}
	r.tell(func() { r.features.Queue = queue })
	r.hangup()
	r.eventually("the queue is served", func() bool {
		e := r.status().Engine
		return e.Name == "nfqueue" && e.Why == "auto: this kernel has NFQUEUE (native queue)"
	})
	if r.routes() != "" {
		t.Error(r.routes())
	}
}

// Whatever fails on the way down, the rest is still taken down, and it is told.
func TestStopTellsRoutes(t *testing.T) {
	t.Parallel()
	k := newFake(t)
	r := prepare(t, k, tunEnabled)
	s, _, err := load(r.conf, nil)
	if err != nil {
		t.Fatal(err)
	}
	c, err := startCore(k, s, scope{devices: []string{"wan0"}}, nil, quiet)
	if err != nil || c.idle != nil {
		t.Fatal(err, c.idle)
	}
	k.set(func() { k.gone, k.fail["release"] = true, true })
	if err := c.stop(); err == nil || !strings.Contains(err.Error(), "broken on purpose") || strings.Contains(err.Error(), "inet b4") {
		t.Errorf("error %v", err)
	}
	if l := k.left(); len(l) != 0 {
		t.Errorf("left %v", l)
	}
}

// Off and on again by reload, with a TUN.
func TestTunOnAndOff(t *testing.T) {
	t.Parallel()
	r := start(t, newFake(t), "config b4 'main'\n\toption engine 'tun'\n")
	for range 3 {
		r.write(tunEnabled)
		r.hangup()
		r.sees("on", "snat", "default")
		r.well()
		r.write("config b4 'main'\n\toption engine 'tun'\n")
		r.hangup()
		r.eventually("off", func() bool { return r.status().Engine == nil })
		if l := r.left(); r.routes() != "" || l["table"]+l["engine"]+l["routes"]+l["sender"] != 0 {
			t.Errorf("routes %q, open %v", r.routes(), l)
		}
		if h := r.status().Health; len(h) != 1 {
			t.Errorf("%q", h)
		}
	}
	// What is wrong then refuses to go on.
	r.tell(func() { r.advice = []route.Advice{{Line: "x=1", Why: "dropped", Breaks: true}} })
	r.write(tunEnabled)
	r.hangup()
	r.complains("refused")
	if s := r.status(); s.Enabled || s.Engine != nil || len(r.left()) != 1 { // the watcher
		t.Errorf("%+v, open %v", s, r.left())
	}
}

// What an engine was started with cannot be changed under it; all else can.
func TestServes(t *testing.T) {
	t.Parallel()
	old := configured(t, enabled)
	for _, tt := range []struct {
		conf       string
		queue, tun bool
	}{
		{"", true, true},
		{"\toption max_flows '100'\n", false, false},
		{"\toption steer 'all'\n", false, false},
		{"\toption mark '0x02000000'\n", false, false},
		{"\toption queue_num '600'\n", false, true},
		{"\toption queue_len '2000'\n", false, true},
		{"config tun 'tun'\n\toption device 'b4tun9'\n", true, false},
		{"config tun 'tun'\n\toption mtu '1400'\n\toption route_table '9'\n\toption out 'x'\n", true, true},
		{console, false, false},
		{console + pass, true, true},
		{"\tlist tcp_port '8443'\n\toption ipv6 '0'\n\toption router '0'\n\tlist wan 'x'\n", true, true},
	} {
		s := configured(t, enabled+tt.conf)
		if queue, tun := serves(engineQueue, old, s), serves(engineTun, old, s); queue != tt.queue || tun != tt.tun {
			t.Errorf("%q: queue %v, TUN %v", tt.conf, queue, tun)
		}
	}
}

// A limit to memory is followed at once. What is not is said for as long as b4 goes by
// another value.
func TestReloadStale(t *testing.T) {
	t.Parallel()
	const bound = "\toption confine '0'\n\toption memory_limit '40'\n"
	r := prepare(t, newFake(t), enabled)
	limits := make(chan int, 9)
	r.d.opts.Memory = func(mib int) { limits <- mib }
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- r.d.Run(ctx, r.reload) }()
	r.eventually("the control socket answers", func() bool { return control.Call(r.socket, "status", nil, nil) == nil })
	stale := func(want string) {
		t.Helper()
		var got []string
		for _, f := range r.status().Health {
			got = append(got, f.Code+" "+strings.Join(f.Args, ","))
		}
		if strings.Join(got, ";") != want {
			t.Errorf("it says %q, want %q", got, want)
		}
	}
	stale("")
	r.reloadTo(enabled + bound)
	stale("stale main.confine")
	r.refuse(enabled + "\toption memory_limit '7'\n")
	r.reloadTo(enabled)
	stale("")
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
	close(limits)
	var got []int
	for mib := range limits {
		got = append(got, mib)
	}
	if want := []int{24, 40, 24}; !slices.Equal(got, want) {
		t.Errorf("limits %v, want %v", got, want)
	}
}

// Who starts b4d learns whether it is the configuration that has to change.
func TestConfigError(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		conf  string
		fails string // a step
		want  bool
	}{
		{enabled + "\toption queue_num 'x'\n", "", true},
		{enabled + "config strategy 'default'\n\toption tls 'fly'\n", "", true},
		{tunConf + "config strategy 'default'\n\toption tls 'fake(ttl=auto)'\n", "", true}, // which a TUN cannot
		{enabled, "watch", false},
	} {
		r := prepare(t, newFake(t), tt.conf)
		if tt.fails != "" {
			r.fail[tt.fails] = true
		}
		err := r.d.Run(context.Background(), r.reload)
		var wrong *ConfigError
		if err == nil || errors.As(err, &wrong) != tt.want {
			t.Errorf("%s%s: %v", tt.conf, tt.fails, err)
		}
	}
}
