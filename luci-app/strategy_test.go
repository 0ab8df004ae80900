package luciapp

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"testing"

	"b4/desync"
)

const (
	strategyPath = "htdocs/luci-static/resources/b4/strategy.js"
	stepsPath    = "htdocs/luci-static/resources/b4/steps.js"
)

// A call names a function of a module, and has its arguments behind.
type call []any

// called returns what functions of a module return, each as JSON.
func called(t *testing.T, module string, calls []call) []json.RawMessage {
	t.Helper()
	node, err := exec.LookPath("node")
	if err != nil {
		t.Skip("no node on PATH: " + filepath.Base(module) + " is not run")
	}
	in, err := json.Marshal(calls)
	if err != nil {
		t.Fatal(err)
	}
	const runner = "testdata/strategy.js"
	read(t, module) // so that go test knows what its result is of
	read(t, runner)
	cmd := exec.Command(node, runner, module)
	var msg strings.Builder
	cmd.Stdin, cmd.Stderr = strings.NewReader(string(in)), &msg
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v: %s", err, &msg)
	}
	var results []json.RawMessage
	if err := json.Unmarshal(out, &results); err != nil || len(results) != len(calls) {
		t.Fatalf("%d results of %d calls, %v", len(results), len(calls), err)
	}
	return results
}

// A step is one of a text, as strategy.js reads it.
type step struct {
	Name string `json:"name"`
	Args []struct {
		Key string `json:"key"`
		Val string `json:"val"`
		At  int    `json:"at"`
	} `json:"args"`
	At  int `json:"at"`
	End int `json:"end"`
}

// A wrong is an error of strategy.js.
type wrong struct {
	Pos  int    `json:"pos"`
	Text string `json:"text"`
}

type parsed struct {
	Steps []step `json:"steps"`
	Error *wrong `json:"error"`
}

// into decodes JSON of a result.
func into(t *testing.T, result json.RawMessage, v any) {
	t.Helper()
	if err := json.Unmarshal(result, v); err != nil {
		t.Fatalf("%v: %s", err, result)
	}
}

// languages are what the method strategies tells of each protocol.
var languages map[string]json.RawMessage

// language is one of them, as strategy.js has it.
func language(t *testing.T, proto string) json.RawMessage {
	t.Helper()
	if languages == nil {
		help := map[string]any{"steps": desync.Steps(), "markers": desync.Markers()}
		all := called(t, strategyPath, []call{{"language", help, "tls"}, {"language", help, "quic"}, {"language", help, "http"}})
		languages = map[string]json.RawMessage{"tls": all[0], "quic": all[1], "http": all[2]}
	}
	return languages[proto]
}

func protoNamed(t *testing.T, name string) desync.Proto {
	t.Helper()
	for pr := range desync.Protos {
		if pr.String() == name {
			return pr
		}
	}
	t.Fatalf("no protocol %q", name)
	return 0
}

// parse is b4d's own word on a text: what it is canonically, or what is wrong.
func parse(t *testing.T, proto, text string) (string, *desync.Error) {
	t.Helper()
	s, err := protoNamed(t, proto).ParseWith(text, func(string) ([]byte, error) { return []byte("x"), nil })
	var e *desync.Error
	if err != nil && !errors.As(err, &e) {
		t.Fatal(err)
	}
	if e != nil {
		return "", e
	}
	return s.String(), nil
}

// documented are the strategies that the manuals have, with the protocols that take
// them.
func documented(t *testing.T) (all [][2]string) {
	t.Helper()
	seen := map[[2]string]bool{}
	for _, path := range []string{"../docs/STRATEGIES.md", "../docs/MATRIX.md"} {
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range regexp.MustCompile("`([^`]+)`").FindAllStringSubmatch(string(b), -1) {
			for _, proto := range []string{"tls", "quic", "http"} {
				one := [2]string{proto, m[1]}
				if canonical, wrong := parse(t, proto, m[1]); wrong == nil && canonical != "" && !seen[one] {
					seen[one] = true
					all = append(all, one, [2]string{proto, canonical})
				}
			}
		}
	}
	if len(all) < 100 {
		t.Fatalf("%d strategies in the manuals", len(all))
	}
	return all
}

// What is read is written as it was, in its canonical form, and what b4d takes is
// not refused.
func TestStrategyRoundTrip(t *testing.T) {
	all := documented(t)
	var calls []call
	for _, one := range all {
		calls = append(calls, call{"parse", one[1]}, call{"check", language(t, one[0]), one[1]})
	}
	results := called(t, strategyPath, calls)
	var prints []call
	for i := range all {
		var p parsed
		into(t, results[2*i], &p)
		if p.Error != nil || string(results[2*i+1]) != "null" {
			t.Errorf("%s: %+v, %s", all[i], p.Error, results[2*i+1])
		}
		prints = append(prints, call{"print", p.Steps})
	}
	for i, result := range called(t, strategyPath, prints) {
		var text string
		if into(t, result, &text); i%2 == 1 && text != all[i][1] {
			t.Errorf("%q is written as %q", all[i][1], text)
		}
		was, _ := parse(t, all[i][0], all[i][1])
		if is, wrong := parse(t, all[i][0], text); wrong != nil || was != is {
			t.Errorf("%q is written as %q, %v", all[i][1], text, wrong)
		}
	}
}

// What is wrong is wrong for b4d too, in the same argument; "-" is left to b4d.
func TestStrategyErrors(t *testing.T) {
	tests := []struct{ proto, text, want string }{
		{"tls", "spilt(1)", "There is no step spilt."},
		{"tls", "split(1) )", "A step must stand here."},
		{"tls", "split", "split needs a value: pos."},
		{"tls", "split(0)", "Position 0 cuts nothing off."},
		{"tls", "split(1, middle)", "middle is not a place in the message."},
		{"tls", "split(host+x)", "+x is not a number from -16384 to 16384."},
		{"tls", "split(99999)", "is not a number"},
		{"tls", "split(at=1)", "split does not take at=."},
		{"tls", "split(=5)", "A name must stand in front of =."},
		{"tls", "split(1", "A comma or a closing bracket is missing."},
		{"tls", "split(1,)", "A value is missing."},
		{"tls", "disorder()", "A value is missing."},
		{"tls", "split(1) disorder(2)", "disorder takes no values."},
		{"tls", "fake", "The server would read this decoy."},
		{"tls", "synfake(repeat=2)", "The server would read this decoy."},
		{"quic", "fake", ""},
		{"tls", "fake(ttl=0)", "0 is not a TTL"},
		{"tls", "fake(ttl=256)", "256 is not a TTL"},
		{"tls", "fake(ttl=auto1, badsum)", "auto1 is not a TTL"},
		{"tls", "fake(ttl=auto+21, badsum)", "auto+21 is not a TTL"},
		{"tls", "fake(ttl=auto-20)", ""},
		{"tls", "fake(ttl=3, ttl=4)", "fake takes only one value for ttl."},
		{"tls", "fake(http, zero, md5)", "fake takes only one value for payload."},
		{"tls", "fake(badsum, badsum)", ""},
		{"tls", "fake(sni=a_b, badsum)", "a_b is not a site name."},
		{"tls", "fake(gone)", "fake does not take gone."},
		{"tls", "fake(badsum, repeat=11)", "11 is not a number from 1 to 10."},
		{"tls", "fake(badsum, place=inside)", "inside is none of: before, after, each, around."},
		{"quic", "fake(place=each)", "each is none of: before, after."},
		{"tls", "split(1) syndata", "syndata must stand in front of split."},
		{"tls", "dup(1) split(1)", "split must stand in front of dup."},
		{"tls", "syndata syndata(zero)", "syndata may stand only once."},
		{"tls", "hostcase", "The step hostcase is for another protocol."},
		{"tls", "split(method)", "method is not a place in the message."},
		{"http", "split(method)", "-"},
		{"tls", "ipfrag(30)", "30 is not a multiple of 8."},
		{"quic", "ipfrag(8)", ""},
		{"tls", "ipfrag(8)", "8 is not a number from 24 to 1480."},
		{"tls", "seqovl(5, 6)", "seqovl does not take 6."},
		{"tls", "seqovl(zero)", "seqovl needs a value: n."},
		{"tls", "seqovl(zero, 5)", ""},
		{"tls", "fake(ttl=auto+1)", "-"},
		{"tls", "fake(zero, md5, sni=a.b)", "-"},
		{"tls", strings.Repeat("disorder ", 17), "There are more than 16 steps."},
		{"tls", "split(" + strings.Repeat("1, ", 16) + "1)", "There are more than 16 values."},
		{"tls", "split(1)" + strings.Repeat(" ", 1024), "The text is longer than 1024 bytes."},
	}
	var calls []call
	for _, tt := range tests {
		calls = append(calls, call{"check", language(t, tt.proto), tt.text})
	}
	for i, result := range called(t, strategyPath, calls) {
		tt := tests[i]
		var got *wrong
		into(t, result, &got)
		_, theirs := parse(t, tt.proto, tt.text)
		switch {
		case tt.want == "" || tt.want == "-":
			if got != nil || tt.want == "" && theirs != nil {
				t.Errorf("%q: %+v, b4d %v", tt.text, got, theirs)
			}
		case got == nil || theirs == nil || !strings.Contains(got.Text, tt.want):
			t.Errorf("%q: %+v, b4d %v, want %s", tt.text, got, theirs, tt.want)
		case strings.ContainsAny(tt.text[min(got.Pos, theirs.Pos):max(got.Pos, theirs.Pos)], "(,)") && len(tt.text) < 40:
			t.Errorf("%q: position %d, b4d's %d", tt.text, got.Pos, theirs.Pos)
		}
	}
}

// Whatever step is added to whatever others, b4d takes the text; what may stand but
// once is offered once.
func TestStrategyAdd(t *testing.T) {
	var calls []call
	var protos []string
	for _, proto := range []string{"tls", "quic", "http"} {
		lang := language(t, proto)
		for _, text := range []string{"", "split(1)", "ipid(rnd) dup(1)"} {
			calls = append(calls, call{"added", lang, text})
			protos = append(protos, proto)
		}
	}
	for i, result := range called(t, strategyPath, calls) {
		var texts []string
		into(t, result, &texts)
		want := len(desync.Steps()) / 3
		if len(texts) < want {
			t.Errorf("%s: %d steps are offered", protos[i], len(texts))
		}
		for _, text := range texts {
			if _, wrong := parse(t, protos[i], text); wrong != nil {
				t.Errorf("%s: %v", protos[i], wrong)
			}
		}
	}
}

// An edit of one parameter leaves the others as they are.
func TestStrategyEdit(t *testing.T) {
	tests := []struct {
		text, param string
		values      []string
		want        string
	}{
		{"fake(md5, ttl=3, clone)", "ttl", []string{"auto"}, "fake(md5, ttl=auto, clone)"},
		{"fake(md5, ttl=3, clone)", "fooling", []string{"badsum", "md5"}, "fake(badsum, md5, ttl=3, clone)"},
		{"fake(ttl=3)", "payload", []string{"zero"}, "fake(zero, ttl=3)"},
		{"fake(ttl=3, repeat=2)", "place", []string{"each"}, "fake(ttl=3, place=each, repeat=2)"},
		{"fake(ttl=3, repeat=2)", "ttl", []string{}, "fake(repeat=2)"},
		{"fake(ttl=3, gone, what=1)", "repeat", []string{"4"}, "fake(ttl=3, repeat=4, gone, what=1)"},
		{"split(1, midsld)", "pos", []string{"2", "x", "-1"}, "split(2, x, -1)"},
		{"seqovl(8)", "pattern", []string{"random"}, "seqovl(8, random)"},
		{"seqovl(random, 8)", "n", []string{"9"}, "seqovl(random, 9)"},
	}
	lang := language(t, "tls")
	var calls []call
	for _, tt := range tests {
		calls = append(calls, call{"edited", lang, tt.text, tt.param, tt.values})
	}
	for i, result := range called(t, strategyPath, calls) {
		var text string
		tt := tests[i]
		if into(t, result, &text); text != tt.want {
			t.Errorf("%s, %s=%v: %s, want %s", tt.text, tt.param, tt.values, text, tt.want)
		}
	}
}

// Steps move within their phase alone.
func TestStrategyMove(t *testing.T) {
	const text = "syndata split(1) disorder dup(1) delay(2)"
	tests := []struct {
		from, to int
		want     string
	}{
		{1, 2, `"syndata disorder split(1) dup(1) delay(2)"`},
		{4, 3, `"syndata split(1) disorder delay(2) dup(1)"`},
		{0, 1, "null"}, {2, 3, "null"}, {0, -1, "null"}, {4, 5, "null"}, {1, 1, "null"},
	}
	lang := language(t, "tls")
	var calls []call
	for _, tt := range tests {
		calls = append(calls, call{"moved", lang, text, tt.from, tt.to})
	}
	for i, result := range called(t, strategyPath, calls) {
		if tt := tests[i]; string(result) != tt.want {
			t.Errorf("%d to %d: %s, want %s", tt.from, tt.to, result, tt.want)
		}
	}
}

// An error is of the last step that begins ahead of it.
func TestStrategyStepAt(t *testing.T) {
	steps := []step{{At: 1}, {At: 8}}
	got := fmt.Sprintf("%s", called(t, strategyPath, []call{{"stepAt", steps, 0}, {"stepAt", steps, 7}, {"stepAt", steps, 8}, {"stepAt", steps, 99}, {"stepAt", []step{}, 0}}))
	if got != "[-1 0 1 1 -1]" {
		t.Error(got)
	}
}

// A line gives back the texts it was made of, and much of what people paste is read.
func TestStrategyLine(t *testing.T) {
	type texts map[string]string
	tests := []struct {
		in   string
		want texts
	}{
		{"tls=split(midsld) disorder | quic=fake(repeat=6) | http=split(method+2)", texts{"tls": "split(midsld) disorder", "quic": "fake(repeat=6)", "http": "split(method+2)"}},
		{"quic=fake(sni=a.b, file=/x|y)", texts{"tls": "", "quic": "fake(sni=a.b, file=/x|y)", "http": ""}},
		{"\u00a0`TLS = fake(ttl=auto\u20111)\n  split(1)|http=hostcase`\n", texts{"tls": "fake(ttl=auto-1) split(1)", "quic": "", "http": "hostcase"}},
		{" split(1,\n midsld) ", texts{"quic": "split(1, midsld)"}},
		{"config strategy 'x'\n\toption tls 'split(1) disorder'\n\toption http \"hostcase\"\n", texts{"tls": "split(1) disorder", "quic": "", "http": "hostcase"}},
		{"", texts{"quic": ""}},
		{"fake(sni=tls=x)", texts{"quic": "fake(sni=tls=x)"}},
	}
	var calls []call
	for _, tt := range tests {
		calls = append(calls, call{"readLine", tt.in, "quic"})
	}
	all := documented(t)
	for i := 0; i+2 < len(all); i += 3 {
		calls = append(calls, call{"line", texts{"tls": all[i][1], "quic": all[i+1][1], "http": all[i+2][1]}})
	}
	results := called(t, strategyPath, calls)
	for i, tt := range tests {
		var got texts
		if into(t, results[i], &got); !reflect.DeepEqual(got, tt.want) {
			t.Errorf("%q: %q, want %q", tt.in, got, tt.want)
		}
	}
	var back []call
	for _, line := range results[len(tests):] {
		back = append(back, call{"readLine", line, "tls"})
	}
	for i, result := range called(t, strategyPath, back) {
		var got texts
		want := calls[len(tests)+i][1].(texts)
		if into(t, result, &got); !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %q, want %q", results[len(tests)+i], got, want)
		}
	}
}

func TestStrategyUsers(t *testing.T) {
	rules := []any{
		map[string]any{".name": "bank", "action": "pass"},
		map[string]any{".name": "video", "strategy": "strong"},
		map[string]any{".name": "cfg0", ".anonymous": true},
		map[string]any{".name": "ads", "action": "drop", "quic": "desync"},
		map[string]any{".name": "tv", "action": "pass", "strategy": "strong"},
	}
	got := fmt.Sprintf("%s", called(t, strategyPath, []call{
		{"users", rules, "default"}, {"users", rules, "strong"}, {"users", rules, "mild"},
	}))
	want := `[["#3","ads"] ["video","tv"] []]`
	if got != want {
		t.Errorf("%s\nwant\n%s", got, want)
	}
}

// One question at a time, about what was typed last; every answer is shown.
func TestStrategyLatest(t *testing.T) {
	var lines []string
	into(t, called(t, strategyPath, []call{{"latest"}})[0], &lines)
	if got, want := strings.Join(lines, "\n"), "ask abc\nshow abc good\nask abcd\nshow abcd fine\nask e\nshow e gone\n1 at once"; got != want {
		t.Errorf("%s\nwant\n%s", got, want)
	}
}

// Every word of the language is told of on the page, not in b4d's English alone.
func TestStrategyWords(t *testing.T) {
	var calls []call
	var names []string
	add := func(what string, args ...any) {
		calls = append(calls, append(call{what}, args...))
		names = append(names, fmt.Sprintf("%s %+v", what, args))
	}
	const help = "b4d's own help"
	for _, s := range desync.Steps() {
		s.Help = help
		add("phase", s.Phase)
		for _, proto := range s.For {
			add("step", s, proto)
		}
		for _, p := range s.Params {
			p.Help = help
			add("param", s, p)
			for _, w := range p.Words {
				if p.Name == "payload" || p.Name == "fooling" || p.Name == "place" {
					add("word", w)
				}
			}
		}
	}
	for _, m := range desync.Markers() {
		m.Help = help
		add("marker", m)
	}
	add("step", map[string]string{"name": "constructor", "help": help}, "tls")
	results := called(t, stepsPath, calls)
	for i, result := range results {
		var text string
		into(t, result, &text)
		if isNew := i == len(results)-1; text == "" || (text == help) != isNew {
			t.Errorf("%s: %q", names[i], text)
		}
	}
}
