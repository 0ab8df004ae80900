package luciapp

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
)

const (
	resources = "htdocs/luci-static/resources/"
	viewPath  = resources + "view/b4/overview.js"
	aclPath   = "root/usr/share/rpcd/acl.d/luci-app-b4.json"
	menuPath  = "root/usr/share/luci/menu.d/luci-app-b4.json"
)

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
	// Hosts' names and interfaces to pick from, b4's lines of the log, and of the
	// firewall the offloading that hides hellos from b4 and is cured by a click: who
	// may change that file may change the firewall, so it can be withheld by itself.
	others := map[string][]string{"luci.b4": reads, "luci-rpc": {"getHostHints"}, "log": {"read"}, "network.interface": {"dump"}}
	firewall := acl["luci-app-b4-firewall"]
	if len(acl) != 2 || !reflect.DeepEqual(group.Read.Ubus, others) || len(group.Write.Ubus) != 1 ||
		fmt.Sprint(group.Read.UCI, group.Write.UCI) != "[b4 firewall] [b4]" ||
		len(firewall.Read.Ubus)+len(firewall.Write.Ubus)+len(firewall.Read.UCI) > 0 || fmt.Sprint(firewall.Write.UCI) != "[firewall]" {
		t.Errorf("not what the app needs: %+v", acl)
	}
	if want := []string{"pause", "reload", "trace"}; !slices.Equal(writes, want) {
		t.Errorf("write: %v, want %v", writes, want)
	}
	all := slices.Sorted(slices.Values(append(reads, writes...)))
	var methods []string
	for _, m := range regexp.MustCompile(`(?m)^\t\t(\w+): \{$`).FindAllStringSubmatch(read(t, plugin), -1) {
		methods = append(methods, m[1])
	}
	if slices.Sort(methods); !slices.Equal(methods, all) || len(methods) != 10 {
		t.Errorf("the plugin has %v, access is given to %v", methods, all)
	}
	called := regexp.MustCompile(`: method\('(\w+)'`).FindAllStringSubmatch(read(t, resources+"b4/common.js"), -1)
	if len(called) != len(methods) {
		t.Errorf("the pages call %d methods, the plugin has %d", len(called), len(methods))
	}
	for _, m := range called {
		if !slices.Contains(all, m[1]) {
			t.Errorf("the pages call %s, which nobody may", m[1])
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
		if !slices.Equal(entry.Depends.ACL, []string{"luci-app-b4"}) {
			t.Errorf("%s: %+v", path, entry)
		}
		if path == "admin/services/b4" && entry.Action.Type == "firstchild" && entry.Depends.UCI["b4"] {
			continue
		}
		if !strings.HasPrefix(path, "admin/services/b4/") || entry.Action.Type != "view" {
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

// A scene is what testdata/view.js is asked for.
type scene struct {
	File     string                                  `json:"file"`
	Expr     string                                  `json:"expr,omitempty"`    // of a module
	Options  []string                                `json:"options,omitempty"` // values to try on those of a form
	Replies  map[string]json.RawMessage              `json:"replies,omitempty"`
	Config   map[string]map[string]map[string]string `json:"config,omitempty"`
	Changes  json.RawMessage                         `json:"changes,omitempty"`
	Menu     json.RawMessage                         `json:"menu,omitempty"`
	ReadOnly bool                                    `json:"readonly,omitempty"`
	Lang     string                                  `json:"lang,omitempty"`      // LuCI's; "" is en
	Browser  []string                                `json:"languages,omitempty"` // that it prefers; none is en-US
	Clicks   []string                                `json:"clicks,omitempty"`
}

// play is what comes of each scene.
func play(t *testing.T, scenes []scene) []string {
	t.Helper()
	node, err := exec.LookPath("node")
	if err != nil {
		t.Skip("no node on PATH: the pages are not run")
	}
	cases, err := json.Marshal(scenes)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(node, "testdata/view.js", resources, string(cases))
	cmd.Env = append(os.Environ(), "LC_ALL=en_US.UTF-8") // which numbers are written by
	var msg strings.Builder
	cmd.Stderr = &msg
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v: %s", err, &msg)
	}
	var answers []string
	if err := json.Unmarshal(out, &answers); err != nil || len(answers) != len(scenes) {
		t.Fatalf("%d answers to %d scenes, %v: %s", len(answers), len(scenes), err, out)
	}
	return answers
}

const (
	statusOn = `{"version":"0.1.0","enabled":true,"engine":{"name":"nfqueue","why":"auto: native queue","reason":{"code":"engine_queue","args":["native"]},"uplink":"","ways":null,"counters":{"read":7,"sent":3,"lost":0}},` +
		`"wan":"wan (v4, v6), lte (down)","internet":{"v4":["wan"],"v6":["wan","wan2"],"down":["lte"]},"watched":["wan"],"paused_until":null,"rules":[{"name":"<b>video</b>","names":2,"not":1,"devices":"","who":{"macs":null,"sources":null,"interfaces":null},"ports":"","prefixes":3,"action":"desync","strategy":"mine","quic_action":"reject"}],` +
		`"kernel":{"opened":9,"queued":7,"quic":2,"replies":1},"hellos":2,"requests":0,"initials":1,"outcomes":[{"outcomes":{"opened":5,"silent":1}},{"outcomes":{"opened":1,"redirect":4,"forged":2}}],"health":[]}`
	gone = `{"error":"b4d is not running","running":false}`
)

// sick is statusOn with findings.
func sick(findings string) string {
	return strings.Replace(statusOn, `"health":[]`, `"health":[`+findings+`]`, 1)
}

func TestOverview(t *testing.T) {
	const overview = "view/b4/overview.js"
	const lever = "Switch b4 on or off"
	paused := strings.Replace(sick(`{"code":"paused","text":"","args":["2026-11-21T10:00:00Z"]}`), `"paused_until":null`, `"paused_until":"2026-11-21T10:00:00Z"`, 1)
	off := `{"version":"0.1.0","enabled":false,"engine":null,"wan":"","watched":[],"paused_until":null,"rules":[],"kernel":{"opened":0,"queued":0},"hellos":0,"outcomes":[],"health":[{"code":"off","text":"","args":[]}]}`
	who := strings.Replace(statusOn, `"macs":null,"sources":null,"interfaces":null`, `"macs":["00:11:22:aa:bb:cc","00:11:22:aa:bb:dd"],"sources":["192.168.1.7"],"interfaces":["lan"]`, 1)
	hints := map[string]json.RawMessage{"luci-rpc.getHostHints": json.RawMessage(`{"00:11:22:AA:BB:CC":{"name":"<b>tv</b>","ipaddrs":["192.168.1.7"]}}`)}
	tun := strings.Replace(statusOn, `"ways":null`, `"ways":[{"code":"","text":"wan, MTU 1500"},{"code":"way_masqueraded","args":["IPv4","192.0.2.1"]},{"code":"way_none","args":["IPv6"]}]`, 1)
	const offload = `{"code":"no_hellos","text":"","args":["12"]}`
	tests := []struct {
		name, status, enabled string
		more                  scene
		has, lacks            []string
	}{
		{"on", statusOn, "1", scene{},
			[]string{"[" + lever + "] true\n", "b4 is on\n", "[Pause for 10 minutes]\n", "✓\nThe engine nfqueue runs.\n", "✓\nThe internet is found behind wan.\n", "Packets come to b4: 9 so far.\n", "asked for: 3 times",
				"help of b4: 6.\n", "New connections\n", "9 since b4 started\n", "3 since b4 started, counting only sites", "10 since b4 started; all others pass by b4\n",
				"<b>video</b>\nNames: 2\nNetworks: 3\nExceptions: 1\nAll\nAll that are watched\nTreat by strategy mine\nQUIC: Block and tell the device\n", "nfqueue (the best one, which this router has)\n", "IPv4: wan\nIPv6: wan, wan2\nDown: lte\n", "0.1.0\n",
				"drawn by luci.b4.status() uci.get(\"b4\")\n"},
			[]string{"[Go on]", "Uplink", "disabled", "[Log]", "!\n"}},
		{"for devices", who, "1", scene{Replies: hints}, []string{"<b>tv</b>\n00:11:22:aa:bb:cc\n00:11:22:aa:bb:dd\n<b>tv</b>\n192.168.1.7\nlan\n"}, nil},
		{"for devices that LuCI does not know", who, "1", scene{}, []string{"00:11:22:aa:bb:cc\n00:11:22:aa:bb:dd\n192.168.1.7\nlan\n"}, nil},
		{"behind a TUN", tun, "1", scene{}, []string{"wan, MTU 1500\nIPv4 is masqueraded as 192.0.2.1.\nIPv6 is left alone.\n"}, nil},
		{"in Persian", strings.Replace(statusOn, `"opened":9`, `"opened":1234`, 1), "1", scene{Lang: "fa"}, []string{"Names: ۲\n", "۱٬۲۳۴ since"}, []string{"1,234"}},
		{"read-only", statusOn, "1", scene{ReadOnly: true}, []string{"[" + lever + "] disabled true", "[Pause for 10 minutes] disabled"}, nil},
		{"paused", paused, "1", scene{Clicks: []string{"Go on"}}, []string{"b4 is paused\n", "luci.b4.pause(0) luci.b4.status()"}, []string{"[Pause", "!\n"}},
		{"to pause", statusOn, "1", scene{Clicks: []string{"Pause for 10 minutes"}}, []string{"luci.b4.pause(10) luci.b4.status()"}, nil},
		{"to reload", statusOn, "1", scene{Clicks: []string{"Reload configuration and lists"}}, []string{"notification info: The configuration and all lists", "called luci.b4.reload() luci.b4.status()"}, nil},
		{"ill", sick(`{"code":"news","text":"Hellos are <b>late</b>.","args":[]},{"code":"no_wan","text":"","args":[]},{"code":"note_new","text":"No Seccomp.","args":["No Seccomp"]}`), "1", scene{},
			[]string{"b4 is on, but not all is well\n", "!\nNo interface leads to the internet,", "[Settings]\n!\nHellos are <b>late</b>.\ni\nNo Seccomp.\n✓\n"}, []string{"b4 is on\n"}},
		{"noted", sick(`{"code":"note_new","text":"No Seccomp.","args":["No Seccomp"]}`), "1", scene{}, []string{"b4 is on\n", "i\nNo Seccomp.\n"}, nil},
		{"off", off, "0", scene{}, []string{"[" + lever + "] false\n", "b4 is off\n"}, []string{"[Pause", "Health", "All\n"}},
		{"switched off", gone, "0", scene{}, []string{"[" + lever + "] false\n", "b4 is off\n", "What it does\n"}, []string{"Health"}},
		{"died", gone, "1", scene{}, []string{"[" + lever + "] true\n", "b4 is switched on and does not run\n", "[Log]\n"}, []string{"Health"}},
		{"stuck", `{"error":"b4d does not answer","running":true}`, "1", scene{}, []string{"The state of b4 is not known\nb4d does not answer. Try again"}, []string{"Health"}},
		{"without rpcd's plugin, or a session", "", "1", scene{}, []string{"The router does not answer."}, nil},
		{"to switch off", statusOn, "1", scene{Clicks: []string{lever}},
			[]string{"called uci.set(\"b4\",\"main\",\"enabled\",\"0\") uci.save() uci.apply() luci.b4.status()"}, nil},
		{"to switch on", gone, "0", scene{Clicks: []string{lever}}, []string{"called uci.set(\"b4\",\"main\",\"enabled\",\"1\") uci.save() uci.apply()"}, nil},
		{"while others' changes wait", gone, "0", scene{Changes: json.RawMessage(`{"network":[["set"]]}`), Clicks: []string{lever}},
			[]string{"Other changes are waiting", "network: 1 changes\n", "called \n"}, nil},
		{"saved and not applied", gone, "1", scene{Changes: json.RawMessage(`{"b4":[["set","main","enabled","1"]]}`)}, []string{"[" + lever + "] false\n", "b4 is off\n"}, nil},
		{"with them", gone, "0", scene{Changes: json.RawMessage(`{"network":[["set"]]}`), Clicks: []string{lever, "Apply all of them"}}, []string{"uci.save() uci.apply()"}, nil},
		{"without them", gone, "0", scene{Changes: json.RawMessage(`{"network":[["set"]]}`), Clicks: []string{lever, "Cancel"}}, []string{"[" + lever + "] false"}, []string{"uci.save"}},
		{"what LuCI refuses", statusOn, "1", scene{Replies: map[string]json.RawMessage{"uci.apply": nil}, Clicks: []string{lever}}, []string{"notification error: The change is saved and could not be applied."}, nil},
		{"offloading", sick(offload), "1", scene{Clicks: []string{"Switch off hardware offloading"}},
			[]string{"uci.get(\"firewall\")", "called uci.set(\"firewall\",\"@defaults[0]\",\"flow_offloading_hw\",\"0\") uci.save() uci.apply()"}, []string{"asked for yet"}},
		{"a package is missing", sick(`{"code":"missing","text":"","args":["kmod-nft-queue","not supported"]}`), "1",
			scene{Clicks: []string{"Install"}, Menu: json.RawMessage(`{"children":{"admin":{"children":{"system":{"children":{"opkg":{}}}}}}}`)}, []string{"/admin/system/opkg?query=kmod-nft-queue\n"}, nil},
		{"no page for packages", sick(`{"code":"missing","text":"","args":["kmod-nft-queue","not supported"]}`), "1",
			scene{Clicks: []string{"Install"}, Menu: json.RawMessage(`{"children":{"admin":{"children":{"system":{"children":{}}}}}}`)}, []string{"Install kmod-nft-queue by its command line."}, nil},
	}
	var scenes []scene
	for _, tt := range tests {
		s := tt.more
		_, refuse := s.Replies["uci.apply"]
		hints := s.Replies["luci-rpc.getHostHints"]
		s.File = overview
		s.Replies = map[string]json.RawMessage{"luci.b4.pause": json.RawMessage(`{}`), "luci.b4.reload": json.RawMessage(`{"rules":1}`), "uci.apply": json.RawMessage(`0`)}
		if refuse {
			delete(s.Replies, "uci.apply")
		}
		if tt.status != "" {
			s.Replies["luci.b4.status"] = json.RawMessage(tt.status)
		}
		if hints != nil {
			s.Replies["luci-rpc.getHostHints"] = hints
		}
		s.Config = map[string]map[string]map[string]string{"b4": {"main": {"enabled": tt.enabled}}, "firewall": {"@defaults[0]": {"flow_offloading_hw": "1"}}}
		scenes = append(scenes, s)
	}
	for i, got := range play(t, scenes) {
		tt := tests[i]
		for _, want := range tt.has {
			if !strings.Contains(got, want) {
				t.Errorf("%s: no %q in\n%s", tt.name, want, got)
			}
		}
		for _, not := range tt.lacks {
			if strings.Contains(got, not) {
				t.Errorf("%s: %q in\n%s", tt.name, not, got)
			}
		}
	}
}

// What the page for settings takes, where a range does not say it: b4d would refuse
// all of the configuration otherwise.
func TestSettings(t *testing.T) {
	tried := []string{"", "0", "0x1", "0x3", "0x10000000", "0x20000000", "7", "8", "252", "255", "256", "1279", "1280", "4096", "4097", "b4tun0", "a/b", "/x"}
	want := map[string][]string{
		"b4.mark":         {"", "0x1", "0x10000000"},
		"b4.memory_limit": {"", "0", "8", "252", "255", "256", "1279", "1280", "4096"},
		"b4.never":        {"", "/x"},
		"tun.mtu":         {"", "0", "1280", "4096", "4097"},
		"tun.device":      slices.Delete(slices.Clone(tried), len(tried)-2, len(tried)),
	}
	var options []struct {
		Section, Name string
		Values, Taken []string
	}
	answers := play(t, []scene{{File: "view/b4/settings.js", Options: tried,
		Replies: map[string]json.RawMessage{"network.interface.dump": json.RawMessage(`{"interface":[{"interface":"loopback"},{"interface":"wan","l3_device":"pppoe-wan"}]}`)},
		Config:  map[string]map[string]map[string]string{"b4": {"main": {}, "tun": {}}}}})
	if err := json.Unmarshal([]byte(answers[0]), &options); err != nil {
		t.Fatal(err)
	}
	for _, o := range options {
		name := o.Section + "." + o.Name
		if w := want[name]; w != nil && !slices.Equal(o.Taken, w) {
			t.Errorf("%s takes %q, want %q", name, o.Taken, w)
		}
		delete(want, name)
		if (o.Name == "wan" || o.Name == "out") && !slices.Equal(o.Values, []string{"wan", "pppoe-wan"}) {
			t.Errorf("%s offers %q", name, o.Values)
		}
		if name == "tun.route_table" && (slices.Contains(o.Taken, "252") || slices.Contains(o.Taken, "255") || !slices.Contains(o.Taken, "256")) {
			t.Errorf("%s takes %q", name, o.Taken)
		}
	}
	if len(want) > 0 {
		t.Errorf("not on the page: %v", want)
	}
}

func TestChart(t *testing.T) {
	const samples = `[{time:0,n:0},{time:5000,n:10},{time:10000,n:10},{time:15000,n:40},{time:60000,n:50},{time:65000,n:51},{time:70000,n:3}]`
	tests := []struct{ expr, want string }{
		{`m.rates(` + samples + `, 'n', 1000, 60000)`, `[null,2,1,2.6666666666666665,null,0.2,null]`}, // a gap, and a new start
		{`m.rates(` + samples + `, 'n', 60000, 5000)`, `[null,120,0,360,null,12,null]`},
		{`m.rates([], 'n', 1, 1)`, `[]`},
		{`[ 0, 0.3, 1, 1.1, 5, 5.1, 99, 100, 101, 4321 ].map(n => m.top([ n, null ]))`, `[1,1,1,2,5,6,100,100,200,5000]`},
		{`m.runs([{time:0},{time:150000},{time:300000}], [ 0, null, 4 ], 4)`, `[[[0,64]],[[300,0]]]`},
		{`m.line([[[0,64],[10,0]],[[300,0]]])`, `"M0,64L10,0M300,0"`},
		{`m.area([[[0,64],[10,0]]])`, `"M0,64L0,64L10,0V64Z"`},
		{`m.area([])`, `""`},
		{`[ m.push([{time:1},{time:400000},{time:500000}], {time:450000}), m.push([{time:400000}], {time:401000}) ]`, `[[{"time":400000},{"time":450000}],[{"time":400000}]]`}, // too old, of a clock set back, too young
		{`[ m.number(null), m.number(0.04), m.number(9.94), m.number(9.96), m.number(1234) ]`, `["–","0","9.9","10","1,234"]`},
	}
	var scenes []scene
	for _, tt := range tests {
		scenes = append(scenes, scene{File: "b4/chart.js", Expr: tt.expr})
	}
	for i, got := range play(t, scenes) {
		if got != tests[i].want {
			t.Errorf("%s = %s, want %s", tests[i].expr, got, tests[i].want)
		}
	}
}

// Numbers and times are written as LuCI's language has them, of the region that the
// browser prefers; and in the browser's where LuCI's is none.
func TestLocale(t *testing.T) {
	const time = `'2026-11-22T15:04:05'`
	tests := []struct {
		lang    string
		browser []string
		want    string
	}{
		{"en", []string{"de-DE", "en-GB"}, `'en-GB'`},
		{"en", []string{"de-DE"}, `'en'`},
		{"ru", []string{"en-US"}, `'ru'`},
		{"zh_Hans", []string{"zh-TW"}, `'zh-Hans'`},
		{"tr", nil, `'tr'`},
		{"fa", nil, `'fa'`},
		{"auto", nil, `undefined`},
	}
	var scenes []scene
	for _, tt := range tests {
		at := `new Date(` + time + `)`
		scenes = append(scenes, scene{File: "b4/common.js", Lang: tt.lang, Browser: tt.browser, Expr: `[
			[ m.number(1234.5), (1234.5).toLocaleString(` + tt.want + `) ],
			[ m.clock(` + time + `), ` + at + `.toLocaleTimeString(` + tt.want + `) ],
			[ m.date(` + time + `), ` + at + `.toLocaleString(` + tt.want + `) ]
		].filter(pair => pair[0] != pair[1])`})
	}
	for i, got := range play(t, scenes) {
		if got != "[]" {
			t.Errorf("%s: %s are not as %s has them", tests[i].lang, got, tests[i].want)
		}
	}
}

// A finding has the values in its words, and those of a code that is news are b4d's;
// every outcome that b4d may show has words.
func TestWords(t *testing.T) {
	tests := []struct{ expr, want string }{
		{`m.finding({code:'missing',text:'',args:['kmod-tun','no <TUN>']})`, `"Install the package kmod-tun, which b4 needs on this router."`},
		{`m.finding({code:'accounting',text:'',args:['why','x=1']})`, `"The router shows b4 nothing, as it does not count the packets of connections. Add this line to /etc/sysctl.conf and restart the router: x=1"`},
		{`m.finding({code:'no_table',text:'',args:['<EPERM>']})`, `"The counters of b4 in the firewall cannot be read: <EPERM>."`},
		{`m.finding({code:'wan',args:['b4:3','a; b'],causes:[{code:'unknown',args:['a'],where:'b4:3: main.wan'},{code:'',text:'odd'}]})`,
			`"The internet interfaces in the settings (b4:3) do not fit: b4:3: main.wan: a is neither an interface nor a device; odd. Choose others."`},
		{`m.finding({code:'lost',args:['1234']})`, `"The router had no room for 1,234 packets on their way to b4, and they passed untouched. A longer queue in the settings may help."`},
		{`m.packet('bytes 0-16, ttl 63, syn, bad checksum, md5 option, to the client, 5ms later')`, `"Bytes 0 to 16, TTL 63, syn, wrong checksum, TCP MD5 signature, to the device, 5 ms later"`},
		{`m.packet('fragment, bytes 8-44 of the datagram, 1s later, udp of 7 bytes')`, `"Fragment, bytes 8 to 44 of the datagram, 1s later, udp: 7 bytes"`},
		{`m.finding({code:'news',text:'Something new.',args:[]})`, `"Something new."`},
		{`m.finding({code:'news',text:'Something new.'})`, `"Something new."`},
		{`[ 'off', 'paused', 'refused', 'lost', 'note_x', 'quic_x', 'offload_x', 'news' ].map(code => m.weight({ code: code }))`, `["","","error","warning","info","info","warning","warning"]`},
		{`m.explain({ message: '/etc/config/b4:3: <b>', reply: {} })`, `"/etc/config/b4:3: <b>"`},
		{`m.count({}, [ 'opened' ])`, `0`},
		{`m.outcome('')`, `"-"`},
		{`m.outcome('news')`, `"news"`},
	}
	var scenes []scene
	for _, tt := range tests {
		scenes = append(scenes, scene{File: "b4/common.js", Expr: tt.expr})
	}
	// From right to left a path would begin at its end, and a number leave its word.
	for _, tt := range []struct{ expr, want string }{
		{`m.finding({code:'no_file',args:['/x']})`, "\"there is no file \u2068/x\u2069\""},
		{`m.packet('ttl 5, 40ms later')`, "\"\u2068TTL 5\u2069, \u206840 ms later\u2069\""},
	} {
		tests = append(tests, tt)
		scenes = append(scenes, scene{File: "b4/common.js", Expr: tt.expr, Lang: "fa"})
	}
	for i, got := range play(t, scenes) {
		if got != tests[i].want {
			t.Errorf("%s = %s, want %s", tests[i].expr, got, tests[i].want)
		}
	}
	for _, m := range regexp.MustCompile(`error: ('b4d [^']+')`).FindAllStringSubmatch(read(t, plugin), -1) {
		if !strings.Contains(read(t, resources+"b4/common.js"), m[1]+": _(") {
			t.Errorf("%s of the bridge has no words", m[1])
		}
	}
	common := read(t, resources+"b4/common.js")
	names := func(path, pattern string) []string {
		m := regexp.MustCompile(pattern).FindStringSubmatch(read(t, path))
		return regexp.MustCompile(`[a-z_]+`).FindAllString(m[1], -1)
	}
	for _, name := range names("../pipeline/outcome.go", `(?s)outcomeNames = .*?\{(.*?)\}`) {
		if !strings.Contains(common, "\n\t\t"+name+": _(") {
			t.Errorf("outcome %s has no words", name)
		}
	}
}

func TestLog(t *testing.T) {
	const lines = `{"log":[{"msg":"b4d[12]: time=2026-11-22T01:02:03Z level=WARN msg=\"uplink is <b>gone</b>\" err=\"no \\\"route\\\"\"","priority":30,"time":1},` +
		`{"msg":"dnsmasq[1]: b4d: no","priority":30,"time":2},{"msg":"b4d[12]: panic: odd","priority":27,"time":3},{"msg":"procd: /etc/rc.d/S21b4: b4d: wrong","priority":29,"time":4},{"msg":"procd: /etc/rc.d/S20b4x: no","priority":29,"time":5}]}`
	answers := play(t, []scene{
		{File: "view/b4/log.js", Replies: map[string]json.RawMessage{"log.read": json.RawMessage(lines)}},
		{File: "view/b4/log.js", Replies: map[string]json.RawMessage{"log.read": json.RawMessage(`{"log":[]}`)}},
		{File: "view/b4/log.js"},
	})
	for i, want := range []string{"uplink is <b>gone</b>  err=\"no \\\"route\\\"\"\n", "b4 has logged nothing yet.\n", "The system log cannot be read"} {
		if !strings.Contains(answers[i], want) {
			t.Errorf("no %q in\n%s", want, answers[i])
		}
	}
	if strings.Contains(answers[0], "dnsmasq") || strings.Contains(answers[0], "b4x") || !strings.Contains(answers[0], "panic: odd\n") || !strings.Contains(answers[0], "\nb4d: wrong\n") {
		t.Errorf("other lines:\n%s", answers[0])
	}
}

func TestCard(t *testing.T) {
	tests := []struct{ name, status, want string }{
		{"on", statusOn, "State\nOn\nConnections opened with the help of b4\n6\n"},
		{"ill", sick(`{"code":"lost","text":"","args":["3"]},{"code":"no_wan","text":"","args":[]}`), "No interface leads to the internet"},
		{"not running", gone, "<nothing>"},
		{"not allowed", "", "<nothing>"},
	}
	var scenes []scene
	for _, tt := range tests {
		s := scene{File: "view/status/include/45_b4.js", Replies: map[string]json.RawMessage{}}
		if tt.status != "" {
			s.Replies["luci.b4.status"] = json.RawMessage(tt.status)
		}
		scenes = append(scenes, s)
	}
	for i, got := range play(t, scenes) {
		if !strings.Contains(got, tests[i].want) {
			t.Errorf("%s: no %q in\n%s", tests[i].name, tests[i].want, got)
		}
	}
}
