package luci

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

const before = `
config b4 'main'
	option enabled '0'
	list tcp_port '443'
	list tcp_port '8443'

config rule
	option action 'pass'

config rule 'all'
	option strategy 'default'

`

// A desk is a store with one file and who works with it.
type desk struct {
	*testing.T
	*store
	acl     acl
	changed []string
}

func newDesk(t *testing.T) *desk {
	t.Helper()
	a, err := readACL(app)
	if err != nil {
		t.Fatal(err)
	}
	d := &desk{T: t, acl: a}
	dir := t.TempDir()
	d.store = newStore(dir, func(config string) { d.changed = append(d.changed, config) })
	if err := os.WriteFile(filepath.Join(dir, "b4"), []byte(before), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(d.close)
	return d
}

// call makes a call and asks for its code; it returns the answer as JSON.
func (d *desk) call(want status, session, method, args string) string {
	d.Helper()
	code, data := d.functions(d.acl)[method](session, json.RawMessage(args))
	if code != want {
		d.Errorf("%s %s: code %d, want %d", method, args, code, want)
	}
	text, err := json.Marshal(data)
	if err != nil {
		d.Fatal(err)
	}
	return string(text)
}

func (d *desk) text() string {
	d.Helper()
	b, err := os.ReadFile(d.path("b4"))
	if err != nil {
		d.Fatal(err)
	}
	return string(b)
}

// A file that nobody has changed is written as it was read.
func TestFormat(t *testing.T) {
	d := newDesk(t)
	f, err := readFile(d.path("b4"))
	if err != nil {
		t.Fatal(err)
	}
	if got := f.String(); got != before {
		t.Errorf("written:\n%s", got)
	}
	f.section("all").set("strategy", "it's", false)
	if err := f.write(d.path("b4")); err != nil {
		t.Fatal(err)
	}
	again, err := readFile(d.path("b4"))
	if err != nil {
		t.Fatal(err)
	}
	if got := again.section("all").option("strategy").values[0]; got != "it's" {
		t.Errorf("a quote became %q", got)
	}
}

// Changes wait, seen by their session alone, until they are applied.
func TestPending(t *testing.T) {
	d := newDesk(t)
	d.call(ok, fullSession, "set", `{"config":"b4","section":"main","values":{"enabled":"1","tcp_port":["443"]}}`)
	d.call(ok, fullSession, "add", `{"config":"b4","type":"rule","name":"video","values":{"domain":["a.example","b.example"],"action":"desync"}}`)
	d.call(ok, fullSession, "order", `{"config":"b4","sections":["main","video","all"]}`)
	d.call(ok, fullSession, "delete", `{"config":"b4","section":"all","options":["strategy"]}`)
	if got := d.text(); got != before {
		t.Errorf("the file has changed:\n%s", got)
	}
	get := `{"config":"b4","section":"main","option":"enabled"}`
	if got := d.call(ok, fullSession, "get", get); got != `{"value":"1"}` {
		t.Errorf("its own change: %s", got)
	}
	if got := d.call(ok, "another", "get", get); got != `{"value":"0"}` {
		t.Errorf("another session sees %s", got)
	}
	d.mu.Lock()
	code := d.apply(fullSession, true, time.Hour)
	d.mu.Unlock()
	if code != ok || len(d.changed) != 1 {
		t.Errorf("apply: %d, told of %v", code, d.changed)
	}
	d.call(permissionDenied, "another", "confirm", `{}`)
	d.call(ok, fullSession, "confirm", `{}`)
	const want = `
config b4 'main'
	option enabled '1'
	list tcp_port '443'

config rule 'video'
	list domain 'a.example'
	list domain 'b.example'
	option action 'desync'

config rule 'all'

config rule
	option action 'pass'

`
	if got := d.text(); got != want {
		t.Errorf("after apply:\n%s", got)
	}
	if got := d.call(ok, fullSession, "changes", `{}`); got != `{"changes":{}}` {
		t.Errorf("changes that still wait: %s", got)
	}
}

// What nobody confirms is undone, and waits again.
func TestRollback(t *testing.T) {
	d := newDesk(t)
	d.call(ok, fullSession, "set", `{"config":"b4","section":"main","values":{"enabled":"1"}}`)
	d.mu.Lock()
	code := d.apply(fullSession, true, time.Hour)
	now := d.trial
	d.mu.Unlock()
	if code != ok || !strings.Contains(d.text(), "enabled '1'") {
		t.Fatalf("apply: %d\n%s", code, d.text())
	}
	d.call(permissionDenied, fullSession, "revert", `{"config":"b4"}`)
	d.expire(now)
	if got := d.text(); got != before {
		t.Errorf("after the rollback:\n%s", got)
	}
	if got := d.call(ok, fullSession, "changes", `{}`); got != `{"changes":{"b4":[["set","main","enabled","1"]]}}` {
		t.Errorf("changes: %s", got)
	}
	d.call(ok, fullSession, "revert", `{"config":"b4"}`)
	d.call(noData, fullSession, "apply", `{}`)
}

// What rpcd refuses is refused.
func TestUCIRefuses(t *testing.T) {
	d := newDesk(t)
	for _, tt := range []struct {
		code         status
		method, args string
	}{
		{invalidArgument, "get", `{}`},
		{notFound, "get", `{"config":"system"}`},
		{permissionDenied, "get", `{"config":"network"}`},
		{notFound, "get", `{"config":"b4","section":"none"}`},
		{notFound, "get", `{"config":"b4","section":"main","option":"none"}`},
		{invalidArgument, "add", `{"config":"b4","type":"rule","name":"no-name"}`},
		{invalidArgument, "set", `{"config":"b4","section":"main","values":{"bad-name":"1"}}`},
		{invalidArgument, "set", `{"config":"b4","section":"main","values":{"tcp_port":[]}}`},
		{notFound, "set", `{"config":"b4","section":"none","values":{"a":"1"}}`},
		{notFound, "delete", `{"config":"b4","section":"main","option":"none"}`},
		{notFound, "order", `{"config":"b4","sections":["none"]}`},
		{noData, "confirm", `{}`},
	} {
		d.call(tt.code, fullSession, tt.method, tt.args)
	}
	for _, method := range []string{"set", "add", "delete", "order", "rename", "commit", "revert"} {
		d.call(permissionDenied, readOnlySession, method, `{"config":"b4","section":"main"}`)
	}
	if got := fmt.Sprint(d.pendingOf(fullSession)); got != "map[]" {
		t.Errorf("it keeps %s", got)
	}
}

// The menu leads to the overview; who may only read is told so.
func TestMenu(t *testing.T) {
	a, err := readACL(app)
	if err != nil {
		t.Fatal(err)
	}
	for _, readOnly := range []bool{false, true} {
		menu, err := readMenu(app, a, readOnly)
		if err != nil {
			t.Fatal(err)
		}
		shown, n := menu.find([]string{"admin", "services", "b4"})
		if n == nil || strings.Join(shown, "/") != "admin/services/b4/overview" || n.ReadOnly != readOnly || !n.Satisfied {
			t.Errorf("read only %v: shown is %v, %+v", readOnly, shown, n)
		}
		for _, name := range Pages {
			if _, n := menu.find([]string{"admin", "services", "b4", name}); n == nil || n.Action.Type != "view" {
				t.Errorf("there is no page %s", name)
			}
		}
	}
	if _, n := (&node{}).find([]string{"admin"}); n != nil {
		t.Error("an empty menu has a page")
	}
}
