package luci

import (
	"encoding/json"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

// The bridge lets pass what rpcd's plugin lets pass, and refuses the rest: the
// plugin's own test goes by the same table, of which it says what the fields mean.
func TestBridge(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(app, "testdata/calls.json"))
	if err != nil {
		t.Fatal(err)
	}
	var calls []struct {
		Method       string
		Args, Params map[string]any
		Long         map[string]int
		Asks         string
	}
	if err := json.Unmarshal(text, &calls); err != nil {
		t.Fatal(err)
	}
	asked := map[string]bool{}
	for _, c := range calls {
		for name, n := range c.Long {
			c.Args[name] = strings.Repeat("x", n)
			if c.Params != nil {
				c.Params[name] = c.Args[name]
			}
		}
		args, err := json.Marshal(c.Args)
		if err != nil {
			t.Fatal(err)
		}
		m := methods[c.Method]
		params, fit := m.params(args)
		switch {
		case fit != (c.Asks != ""):
			t.Errorf("%s %.100s: let pass: %v", c.Method, args, fit)
		case fit:
			asked[c.Method] = true
			if got := plain(t, params); m.asks != c.Asks || len(got) != len(c.Params) || len(got) > 0 && !reflect.DeepEqual(got, c.Params) {
				t.Errorf("%s %.100s: asks %s %.100v, want %s %.100v", c.Method, args, m.asks, got, c.Asks, c.Params)
			}
		}
	}
	for name := range methods {
		if !asked[name] {
			t.Errorf("no call of %s is let pass", name)
		}
	}
}

// plain is what of params goes over the wire.
func plain(t *testing.T, params map[string]any) (got map[string]any) {
	t.Helper()
	text, err := json.Marshal(params)
	if err == nil {
		err = json.Unmarshal(text, &got)
	}
	if err != nil {
		t.Fatal(err)
	}
	return got
}
