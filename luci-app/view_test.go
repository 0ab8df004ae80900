package luciapp

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

const (
	viewPath = "htdocs/luci-static/resources/view/b4/status.js"
	aclPath  = "root/usr/share/rpcd/acl.d/luci-app-b4.json"
	menuPath = "root/usr/share/luci/menu.d/luci-app-b4.json"
	potPath  = "po/templates/b4.pot"
)

var update = flag.Bool("update", false, "write "+potPath+" anew")

func read(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func readJSON(t *testing.T, path string, v any) {
	t.Helper()
	d := json.NewDecoder(strings.NewReader(read(t, path)))
	d.DisallowUnknownFields()
	if err := d.Decode(v); err != nil {
		t.Fatalf("%s: %v", path, err)
	}
}

// What may be read with a login that may only read changes nothing, and every
// method has its place.
func TestAccess(t *testing.T) {
	type half struct {
		Ubus map[string][]string `json:"ubus"`
		UCI  []string            `json:"uci"`
	}
	var acl map[string]struct {
		Description string `json:"description"`
		Read, Write half
	}
	readJSON(t, aclPath, &acl)
	group := acl["luci-app-b4"]
	reads, writes := group.Read.Ubus["luci.b4"], group.Write.Ubus["luci.b4"]
	if len(acl) != 1 || len(group.Read.Ubus) != 1 || len(group.Write.Ubus) != 1 || fmt.Sprint(group.Read.UCI, group.Write.UCI) != "[b4] [b4]" {
		t.Errorf("more is allowed than the app needs: %+v", acl)
	}
	if want := []string{"pause", "reload", "trace"}; !slices.Equal(writes, want) {
		t.Errorf("write: %v, want %v", writes, want)
	}
	all := slices.Sorted(slices.Values(append(reads, writes...)))
	var methods []string
	for _, m := range regexp.MustCompile(`(?m)^\t\t(\w+): \{$`).FindAllStringSubmatch(read(t, plugin), -1) {
		methods = append(methods, m[1])
	}
	if slices.Sort(methods); !slices.Equal(methods, all) || len(methods) != 9 {
		t.Errorf("the plugin has %v, access is given to %v", methods, all)
	}
	for _, m := range regexp.MustCompile(`method: '(\w+)'`).FindAllStringSubmatch(read(t, viewPath), -1) {
		if !slices.Contains(all, m[1]) {
			t.Errorf("the view calls %s, which nobody may", m[1])
		}
	}

	var menu map[string]struct {
		Title   string `json:"title"`
		Order   int    `json:"order"`
		Action  struct{ Type, Path string }
		Depends struct {
			ACL []string        `json:"acl"`
			UCI map[string]bool `json:"uci"`
		}
	}
	readJSON(t, menuPath, &menu)
	for path, entry := range menu {
		if !strings.HasPrefix(path, "admin/services/") || entry.Action.Type != "view" || !slices.Equal(entry.Depends.ACL, []string{"luci-app-b4"}) {
			t.Errorf("%s: %+v", path, entry)
		}
		if _, err := os.Stat("htdocs/luci-static/resources/view/" + entry.Action.Path + ".js"); err != nil {
			t.Error(err)
		}
	}
}

// The two packages are of one version.
func TestVersion(t *testing.T) {
	version := regexp.MustCompile(`(?m)^PKG_VERSION:=(.+)$`)
	ours, theirs := version.FindStringSubmatch(read(t, "Makefile")), version.FindStringSubmatch(read(t, "../openwrt/Makefile"))
	if ours == nil || theirs == nil || ours[1] != theirs[1] {
		t.Errorf("luci-app-b4 %q, b4 %q", ours, theirs)
	}
}

// The template for translators has every text, as LuCI's scanner would write it.
func TestTemplate(t *testing.T) {
	places := map[string][]string{}
	find := func(path, pattern string) {
		for i, line := range strings.Split(read(t, path), "\n") {
			for _, m := range regexp.MustCompile(pattern).FindAllStringSubmatch(line, -1) {
				places[m[1]] = append(places[m[1]], fmt.Sprintf("#: applications/luci-app-b4/%s:%d\n", path, i+1))
			}
		}
	}
	find(viewPath, `\b_\('([^'"\\]+)'\)`)
	find(aclPath, `"description": "([^"\\]+)"`)
	find(menuPath, `"title": "([^"\\]+)"`)
	if n := len(regexp.MustCompile(`\b_\(`).FindAllString(read(t, viewPath), -1)); n < len(places)-3 || n == 0 {
		t.Errorf("%d texts in the view", n)
	}
	if odd := regexp.MustCompile(`\b_\([^'].*|\b_\('[^']*'[^)].*|\b_\('[^']*["\\].*`).FindString(read(t, viewPath)); odd != "" {
		t.Errorf("not one plain text: %s", odd)
	}
	pot := "msgid \"\"\nmsgstr \"Content-Type: text/plain; charset=UTF-8\"\n"
	for _, text := range slices.Sorted(func(yield func(string) bool) {
		for text := range places {
			if !yield(text) {
				return
			}
		}
	}) {
		pot += fmt.Sprintf("\n%smsgid \"%s\"\nmsgstr \"\"\n", strings.Join(places[text], ""), text)
	}
	if *update {
		if err := os.WriteFile(potPath, []byte(pot), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if read(t, potPath) != pot {
		t.Errorf("%s is stale: go test ./luci-app -update", potPath)
	}
}

// LuCI's minifier stumbles over nested templates, and HTML is never made of
// strings.
func TestPlainScript(t *testing.T) {
	if odd := regexp.MustCompile("`|innerHTML|insertAdjacentHTML|document\\.write|eval\\(|https?:").FindString(read(t, viewPath)); odd != "" {
		t.Errorf("the view has %s", odd)
	}
}

// visit is the view being opened: what the methods of luci.b4 return, and the
// section main.
type visit struct {
	Replies  json.RawMessage `json:"replies"`
	Config   json.RawMessage `json:"config"`
	ReadOnly bool            `json:"readonly"`
}

// shown is what the view makes of each visit.
func shown(t *testing.T, visits []visit) []string {
	t.Helper()
	node, err := exec.LookPath("node")
	if err != nil {
		t.Skip("no node on PATH: the view is not run")
	}
	path, err := filepath.Abs(viewPath)
	if err != nil {
		t.Fatal(err)
	}
	cases, err := json.Marshal(visits)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(node, "testdata/view.js", path, string(cases))
	var msg strings.Builder
	cmd.Stderr = &msg
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v: %s", err, &msg)
	}
	var texts []string
	if err := json.Unmarshal(out, &texts); err != nil || len(texts) != len(visits) {
		t.Fatalf("%d texts for %d visits, %v: %s", len(texts), len(visits), err, out)
	}
	return texts
}

const (
	statusOn = `{"version":"0.1.0","enabled":true,"engine":{"name":"nfqueue","why":"auto: native queue","uplink":"","counters":{"read":7,"sent":3,"lost":0}},` +
		`"wan":"wan (v4, v6)","watched":["wan"],"paused_until":null,"kernel":{"opened":9,"queued":7},"hellos":2,"reasons":{"treated":1,"again":4},"health":[]}`
	hostsSeen = `{"hosts":[{"host":"<img src=x onerror=alert(1)>","time":"2026-11-21T10:00:00Z","client":"192.0.2.1","rule":"video","strategy":"split(1)","why":"treated","hellos":3,"again":0,"answered":2},` +
		`{"host":"bank.example","time":"2026-11-21T10:00:00Z","client":"2001:db8::1","rule":"bank","strategy":"","why":"passed","hellos":1,"again":0,"answered":0}]}`
)

func TestView(t *testing.T) {
	paused := strings.Replace(statusOn, `"paused_until":null`, `"paused_until":"2026-11-21T10:00:00Z"`, 1)
	sick := strings.Replace(statusOn, `"health":[]`, `"health":["Hellos are <b>late</b>."]`, 1)
	off := `{"version":"0.1.0","enabled":false,"engine":null,"wan":"","watched":[],"paused_until":null,"kernel":{"opened":0,"queued":0},"hellos":0,"reasons":{},"health":["b4 is off."]}`
	const reloads, gone = `{"rules":1}`, `{"error":"b4d is not running","running":false}`
	replies := func(status, recent, reload string) string {
		return fmt.Sprintf(`{"status":%s,"recent":%s,"pause":{"minutes":10},"reload":%s}`, status, recent, reload)
	}
	tests := []struct {
		name, replies, config string
		readonly              bool
		has, lacks            []string
	}{
		{"on", replies(statusOn, hostsSeen, reloads), `{}`, false,
			[]string{"[On]", "[Pause for 10 minutes]\n[Reload configuration]\n", "Engine\nnfqueue (auto: native queue)\n", "Internet\nwan (v4, v6)\n", "Version\n0.1.0\n", "Connections opened\n9\n",
				"<img src=x onerror=alert(1)>\nTreated\nvideo\nsplit(1)\n2 of 3\n", "bank.example\nLet pass by the rule\nbank\n-\n-\n",
				"called pause(10) status() recent() reload() status() recent()", "notification info: The configuration is in force."},
			[]string{"Go on", "Uplink", "disabled"}},
		{"read-only", replies(statusOn, hostsSeen, reloads), `{}`, true, []string{"[Pause for 10 minutes] disabled", "[Reload configuration] disabled", "called \n"}, nil},
		{"paused", replies(paused, hostsSeen, reloads), `{}`, false, []string{"[Paused until ", "[Go on]", "called pause(0) "}, []string{"[Pause for"}},
		{"sick", replies(sick, hostsSeen, reloads), `{}`, false, []string{"[On, but not well]", "Hellos are <b>late</b>.\n"}, []string{"[On]"}},
		{"off", replies(off, `{"hosts":[]}`, reloads), `{}`, false, []string{"[Off]", "b4 is off.", "Engine\nnone\n", "No connection has come by yet."}, []string{"[Pause"}},
		{"switched off", replies(gone, gone, reloads), `{"enabled":"0"}`, false,
			[]string{"[Not running]", "b4 is switched off."}, []string{"[Reload", "Counters"}},
		{"died", replies(gone, hostsSeen, reloads), `{"enabled":"1"}`, false, []string{"[Not running]", "b4 is switched on and yet not running."}, nil},
		{"stuck", replies(statusOn, `{"error":"b4d does not answer","running":true}`, reloads), `{}`, false, []string{"[Unknown]", "b4d does not answer\n"}, []string{"switched"}},
		{"refused", replies(statusOn, hostsSeen, `{"error":"b4:3: bad","running":true}`), `{}`, false, []string{"notification error: b4:3: bad"}, nil},
		{"without rpcd's plugin, or a session", `{}`, `{}`, false, []string{"The router does not answer."}, nil},
	}
	var visits []visit
	for _, tt := range tests {
		visits = append(visits, visit{json.RawMessage(tt.replies), json.RawMessage(tt.config), tt.readonly})
	}
	texts := shown(t, visits)
	for i, tt := range tests {
		for _, want := range tt.has {
			if !strings.Contains(texts[i], want) {
				t.Errorf("%s: no %q in\n%s", tt.name, want, texts[i])
			}
		}
		for _, not := range tt.lacks {
			if strings.Contains(texts[i], not) {
				t.Errorf("%s: %q in\n%s", tt.name, not, texts[i])
			}
		}
	}
}
