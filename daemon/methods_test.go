package daemon

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"b4/control"
	"b4/route"
	"b4/uci"
)

const twoRules = enabled + `
config rule 'bank'
	list domain 'bank.example'
	list not 'ads.bank.example'
	option action 'pass'
config rule 'rest'
`

// ask calls a method with JSON parameters and returns the answer as JSON, or
// the error's text.
func (r *running) ask(method, params string) string {
	r.t.Helper()
	var q any
	if params != "" {
		q = json.RawMessage(params)
	}
	var answer json.RawMessage
	if err := control.Call(r.socket, method, q, &answer); err != nil {
		return err.Error()
	}
	return string(answer)
}

// get asks a method and reads the answer into v.
func (r *running) get(method, params string, v any) {
	r.t.Helper()
	answer := r.ask(method, params)
	if err := json.Unmarshal([]byte(answer), v); err != nil {
		r.t.Fatalf("%s %s: %s", method, params, answer)
	}
}

func TestCounters(t *testing.T) {
	t.Parallel()
	r := start(t, newFake(t), enabled)
	push(r, "www.blocked.example", 1)
	var c Counters
	r.get("counters", "", &c)
	if s := r.status(); c.Engine == nil || *c.Engine != s.Engine.Counters || c.Engine.Read != 1 || c.Hellos != 1 || c.Kernel != s.Kernel ||
		!reflect.DeepEqual(c.Reasons, s.Reasons) || time.Since(c.Time) > time.Minute {
		t.Errorf("%+v", c)
	}
	r.write("config b4 'main'\n\toption enabled '0'\n")
	r.ask("reload", "")
	c = Counters{}
	r.get("counters", "", &c)
	if c.Engine != nil || c.Hellos != 0 || len(c.Reasons) != 0 {
		t.Errorf("while disabled: %+v", c)
	}
}

func TestRecent(t *testing.T) {
	t.Parallel()
	r := start(t, newFake(t), twoRules)
	if got := r.ask("recent", ""); got != `{"hosts":[]}` {
		t.Errorf("before anything came: %s", got)
	}
	push(r, "my.bank.example", 1)
	push(r, "www.blocked.example", 2)
	var got Recent
	r.get("recent", "{}", &got)
	if len(got.Hosts) != 2 || got.Hosts[0].Host != "www.blocked.example" || got.Hosts[0].Why != "treated" || got.Hosts[0].Rule != "rest" ||
		got.Hosts[0].Strategy != "split(midsld) disorder" || got.Hosts[0].Client.String() != "192.0.2.1" || got.Hosts[1].Why != "passed" {
		t.Errorf("%+v", got)
	}
	r.write("config b4 'main'\n\toption enabled '0'\n")
	r.ask("reload", "")
	if got := r.ask("recent", ""); got != `{"hosts":[]}` {
		t.Errorf("while disabled: %s", got)
	}
}

// settingsOf is a configuration ready to be put in force.
func settingsOf(t testing.TB, conf string) *settings {
	t.Helper()
	tree, err := uci.Parse("b4", []byte(enabled+conf))
	if err != nil {
		t.Fatal(err)
	}
	c, _, err := uci.Decode(tree)
	if err != nil {
		t.Fatal(err)
	}
	s, err := build("b4", c)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// check looks at the file, and changes nothing of what is in force.
func TestCheckWhileRunning(t *testing.T) {
	t.Parallel()
	r := start(t, newFake(t), enabled)
	state := func() string {
		before, _, _ := strings.Cut(r.ask("status", ""), `"memory"`)
		return before
	}
	before, left, applied := state(), r.left(), get(r.fake, func() string { return r.applied })
	r.write(twoRules)
	var got CheckResult
	r.get("check", "", &got)
	if len(got.Errors) != 0 || !strings.Contains(got.Text, "rule bank: 1 names but 1: pass") || !strings.Contains(got.Text, "table inet b4") {
		t.Errorf("%+v", got)
	}
	r.write(enabled + "\toption queue_num 'x'\nconfig rule 'y'\n\toption action 'fly'\n")
	r.get("check", "", &got)
	if len(got.Errors) != 2 || !strings.HasPrefix(got.Errors[0], r.conf+":3: ") || !strings.HasPrefix(got.Errors[1], r.conf+":5: ") {
		t.Errorf("%q", got.Errors)
	}
	if after := state(); after != before {
		t.Errorf("status before %s\nafter %s", before, after)
	}
	if l := r.left(); !reflect.DeepEqual(l, left) || get(r.fake, func() string { return r.applied }) != applied {
		t.Errorf("open before %v, after %v", left, l)
	}
	checking.Lock()
	defer checking.Unlock()
	if got := r.ask("check", ""); got != "check: another check is running" {
		t.Errorf("a second one: %s", got)
	}
}

func TestReloadAsked(t *testing.T) {
	t.Parallel()
	r := start(t, newFake(t), enabled)
	r.write(twoRules)
	if got := r.ask("reload", ""); got != `{"rules":2}` {
		t.Errorf("reload: %s", got)
	}
	if n := len(r.status().Rules); n != 2 {
		t.Errorf("%d rules in force", n)
	}
	r.write(enabled + "\toption queue_num 'x'\n")
	if got := r.ask("reload", ""); !strings.HasPrefix(got, "reload: refused, the old configuration stays: "+r.conf+":3: ") {
		t.Errorf("reload of a bad file: %s", got)
	}
	if n := len(r.status().Rules); n != 2 {
		t.Errorf("%d rules in force", n)
	}
}

func TestCollect(t *testing.T) {
	t.Parallel()
	r := start(t, newFake(t), enabled)
	if got := r.ask("collect", ""); got != `{"host":"","running":false,"events":[],"lost":0}` {
		t.Errorf("before the first: %s", got)
	}
	port := uint16(0)
	connect := func(names ...string) {
		for _, n := range names {
			port++
			push(r, n, port)
		}
	}
	var got Collected
	r.get("collect", `{"host":"blocked.example","seconds":60}`, &got)
	if !got.Running || got.Host != "blocked.example" || len(got.Events) != 0 {
		t.Errorf("at once: %+v", got)
	}
	connect("www.blocked.example", "other.example")
	r.get("collect", "", &got)
	if !got.Running || len(got.Events) != 1 || got.Events[0].Host != "www.blocked.example" || len(got.Events[0].Packets) != 2 {
		t.Errorf("%+v", got)
	}

	// Another one ends it, and is bounded.
	r.get("collect", `{"host":"other.example","seconds":60}`, &got)
	connect(slices.Repeat([]string{"other.example", "www.blocked.example"}, collectRoom+3)...)
	r.get("collect", "", &got)
	if len(got.Events) != collectRoom || got.Lost != 3 || got.Events[0].Host != "other.example" {
		t.Errorf("%d events, %d lost", len(got.Events), got.Lost)
	}
	if err := control.Stream(context.Background(), r.socket, "trace", TraceRequest{"*"}, nil); err == nil || !strings.Contains(err.Error(), "another trace is running") {
		t.Errorf("trace besides: %v", err)
	}

	// With the engine it ends too.
	if r.get("collect", `{"host":"*","seconds":60}`, &got); !got.Running {
		t.Errorf("a third: %+v", got)
	}
	r.write("config b4 'main'\n\toption enabled '0'\n")
	r.ask("reload", "")
	if r.get("collect", "", &got); got.Running {
		t.Error("runs without an engine")
	}
}

// A collection ends by itself, leaves what it has, and makes room for another trace.
func TestCollectEnds(t *testing.T) {
	if testing.Short() {
		t.Skip("takes a second, the shortest collection")
	}
	t.Parallel()
	r := start(t, newFake(t), enabled)
	var got Collected
	port := uint16(0)
	r.eventually("a packet comes while it runs", func() bool {
		port++
		r.get("collect", `{"host":"*","seconds":1}`, &got)
		push(r, "a.example", port)
		r.get("collect", "{}", &got)
		return got.Running
	})
	r.eventually("the time is over", func() bool {
		r.get("collect", "{}", &got)
		return !got.Running
	})
	if len(got.Events) != 1 {
		t.Errorf("%+v", got)
	}
	r.eventually("another trace may run", func() bool {
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Millisecond)
		defer cancel()
		return control.Stream(ctx, r.socket, "trace", TraceRequest{"*"}, func(json.RawMessage) error { return nil }) == context.DeadlineExceeded
	})
	r.eventually("that one has ended", func() bool { return !strings.Contains(r.ask("collect", `{"host":"*","seconds":60}`), "another trace") })
}

// What is not of a method's parameters is refused, by every one.
func TestParameters(t *testing.T) {
	t.Parallel()
	r := start(t, newFake(t), enabled)
	for _, m := range []string{"status", "counters", "recent", "check", "reload", "test_host", "preview", "pause", "trace", "collect"} {
		for params, want := range map[string]string{
			`{"more":1}`: `: unknown field "more"`, `[]`: ": the parameters are of type array: want an object", `"x"`: ": the parameters are of type string: want an object",
		} {
			if got := r.ask(m, params); got != m+want {
				t.Errorf("%s %s: %s", m, params, got)
			}
		}
	}
	for _, tt := range []struct{ method, params, want string }{
		{"pause", `{"minutes":"10"}`, "pause: parameter minutes is of type string: want int"},
		{"pause", `{"minutes":1.5}`, "pause: parameter minutes is of type number 1.5: want int"},
		{"pause", `{"minutes":1e99}`, "pause: parameter minutes is of type number 1e99: want int"},
		{"pause", `{"minutes":1441}`, "pause: want minutes from 0 to 1440"},
		{"test_host", `{"host":7}`, "test_host: parameter host is of type number: want string"},
		{"test_host", `{}`, `test_host: parameter host: host name "": want 1 to 253 characters`},
		{"collect", `{"host":"a.example"}`, "collect: want seconds from 1 to 120"},
		{"collect", `{"host":"a.example","seconds":121}`, "collect: want seconds from 1 to 120"},
		{"collect", `{"host":"a b","seconds":1}`, `collect: host name "a b": unexpected " "`},
		{"collect", `{"seconds":1}`, "collect: seconds go with a host"},
	} {
		if got := r.ask(tt.method, tt.params); got != tt.want {
			t.Errorf("%s %s: %s, want %s", tt.method, tt.params, got, tt.want)
		}
	}
}

// The router's web interface sees what the socket serves, name by name.
func TestWeb(t *testing.T) {
	ucode, err := exec.LookPath("ucode")
	if err != nil {
		t.Skip("no ucode on PATH: the rpcd plugin is not run")
	}
	t.Parallel()
	r := start(t, newFake(t), twoRules)
	push(r, "www.blocked.example", 1)
	push(r, "\x01\xff.example", 2)
	app, err := filepath.Abs("../luci-app")
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct{ method, args, own string }{
		{"pause", `{"minutes":5}`, "pause"},
		{"pause", `{"minutes":9999}`, "pause"},
		{"test_host", `{"host":"ads.bank.example"}`, "test_host"},
		{"test_host", `{"host":"$(reboot)"}`, "test_host"},
		{"recent", `{}`, "recent"},
		{"status", `{}`, "status"},
		{"check", `{}`, "check"},
		{"reload", `{}`, "reload"},
		{"trace", `{"host":"*","seconds":60}`, "collect"},
		{"trace", `{}`, "collect"},
	} {
		cmd := exec.Command(ucode, "-R", "-L", app+"/testdata/*.uc", app+"/testdata/rpcd.uc", app+"/root/usr/share/rpcd/ucode/b4.uc", tt.method, tt.args)
		cmd.Env = append(os.Environ(), "B4_SOCKET="+r.socket)
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("%s: %v: %s", tt.method, err, out)
		}
		want := r.ask(tt.own, tt.args)
		if !json.Valid([]byte(want)) {
			text, _ := json.Marshal(want)
			want = fmt.Sprintf(`{"error":%s,"running":true}`, text)
		}
		var a, b map[string]any
		if err := json.Unmarshal(out[len("0 "):], &a); err != nil {
			t.Fatalf("%s: %s", tt.method, out)
		}
		json.Unmarshal([]byte(want), &b)
		if tt.method == "pause" || tt.method == "status" {
			delete(a, "paused_until")
			delete(b, "paused_until")
		}
		if !reflect.DeepEqual(a, b) || len(a) == 0 {
			t.Errorf("%s %s:\n%s\n%s", tt.method, tt.args, out, want)
		}
	}
}

// Whatever the parameters, a method answers or refuses, and names itself.
func FuzzParameters(f *testing.F) {
	for _, s := range []string{"", "null", "{}", `{"host":"a.example","seconds":5}`, `{"minutes":5}`, `{"host":"*"}{}`, `{"HOST":"\u0000"}`, "[{}]", `{"minutes":-1e3}`} {
		f.Add([]byte(s))
	}
	s := settingsOf(f, "")
	f.Fuzz(func(t *testing.T, params []byte) {
		d := &Daemon{set: s, poke: make(chan struct{}, 1)}
		var c collector
		handlers := map[string]control.Handler{
			"pause": typed("pause", d.handlePause), "trace": typed("trace", d.handleTrace), "test_host": typed("test_host", d.handleTestHost),
			"collect": typed("collect", func(_ context.Context, q CollectRequest, _ func(any) error) (any, error) { return d.collect(&c, q) }),
			"recent":  typed("recent", d.handleRecent), "counters": typed("counters", d.handleCounters),
		}
		for name, h := range handlers {
			v, err := h(context.Background(), params, nil)
			if err != nil && (v != nil || !strings.HasPrefix(err.Error(), name+": ")) {
				t.Errorf("%s: %v, %v", name, v, err)
			}
			if _, bad := json.Marshal(v); bad != nil {
				t.Errorf("%s: %v", name, bad)
			}
		}
	})
}

// What keeps all packets from b4, and what b4d keeps that it need not have, is
// said with the cure.
func TestHealthOfSurroundings(t *testing.T) {
	t.Parallel()
	r := start(t, newFake(t), enabled)
	r.set(func() { r.uncount = []route.Advice{{Line: "x=1", Why: "nobody counts"}} })
	r.d.mu.Lock()
	r.d.opts.Notes = []Finding{{Text: "b4d has it all"}}
	r.d.mu.Unlock()
	want := []string{"b4d has it all.", "b4 is shown nothing, as nobody counts: set x=1 in /etc/sysctl.conf."}
	if got := sentences(r.status().Health); !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}
