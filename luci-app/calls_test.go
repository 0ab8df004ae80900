package luciapp

import (
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"testing"
)

// A bridged is one call of testdata/calls.json: what a page calls of luci.b4, and
// what b4d is asked then; nothing where the call is refused. Of the arguments in long
// only the number of their bytes is given, in what is called and in what is asked.
// The lab's stand-in for the plugin goes by the same calls.
type bridged struct {
	Method string
	Args   map[string]any
	Long   map[string]int
	Asks   string
	Params map[string]any
}

func bridgedCalls(t *testing.T) (calls []bridged) {
	t.Helper()
	const path = "testdata/calls.json"
	text, err := os.ReadFile(path)
	if err == nil {
		err = json.Unmarshal(text, &calls)
	}
	if err != nil || len(calls) == 0 {
		t.Fatalf("%s: %d calls, %v", path, len(calls), err)
	}
	for i := range calls {
		for name, n := range calls[i].Long {
			calls[i].Args[name] = strings.Repeat("x", n)
			if calls[i].Params != nil {
				calls[i].Params[name] = calls[i].Args[name]
			}
		}
	}
	return calls
}

// The plugin asks what the table says, whichever way it goes.
func TestBridgedCalls(t *testing.T) {
	t.Parallel()
	all := ways(t)
	path := serve(t, nil)
	asked := map[string]bool{}
	for _, w := range all {
		for _, c := range bridgedCalls(t) {
			args, err := json.Marshal(c.Args)
			if err != nil {
				t.Fatal(err)
			}
			params, err := json.Marshal(c.Params)
			if err != nil {
				t.Fatal(err)
			}
			want := "2 null"
			if c.Asks != "" {
				asked[c.Method] = true
				want = fmt.Sprintf(`0 {"method":%q,"params":%s}`, c.Asks, params)
			}
			if got := w.call(t, path, c.Method, string(args)); !same(got, want) {
				t.Errorf("%s: %s %.100s: got %.100s, want %.100s", w.name, c.Method, args, got, want)
			}
		}
	}
	if len(asked) != 10 {
		t.Errorf("calls of %v are let pass, want one of each of 10 methods", asked)
	}
}
