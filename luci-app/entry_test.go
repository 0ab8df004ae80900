package luciapp

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"b4/uci"
)

// A reading is what parse of entry.js or devices.js makes of a text.
type reading struct {
	Kind  string `json:"kind"`
	Value string `json:"value"`
	Error string `json:"error"`
}

// asked is what the functions of a module return, each as JSON: name(args...).
func asked(t *testing.T, module, name string, args ...[]any) []string {
	t.Helper()
	var scenes []scene
	for _, list := range args {
		text, err := json.Marshal(list)
		if err != nil {
			t.Fatal(err)
		}
		scenes = append(scenes, scene{File: module, Expr: fmt.Sprintf("m.%s.apply(m, %s)", name, text)})
	}
	return play(t, scenes)
}

func one(texts ...string) (args [][]any) {
	for _, text := range texts {
		args = append(args, []any{text})
	}
	return args
}

// What people write becomes what b4d takes, without a warning.
func TestEntry(t *testing.T) {
	label, long := strings.Repeat("a", 63), strings.Repeat("abcdefg.", 31)
	tests := []struct{ text, kind, value string }{
		{"youtube.com", "domain", "youtube.com"},
		{"  YouTube.COM.  ", "domain", "youtube.com"},
		{"*.youtube.com", "domain", "youtube.com"},
		{".youtube.com..", "domain", "youtube.com"},
		{"*", "domain", "*"},
		{"https://www.youtube.com/watch?v=1#t", "domain", "www.youtube.com"},
		{"HTTPS://user:pass@www.YouTube.com:8443/", "domain", "www.youtube.com"},
		{"//cdn.example.org/a.js", "domain", "cdn.example.org"},
		{"www.youtube.com/watch", "domain", "www.youtube.com"},
		{"example.org:443", "domain", "example.org"},
		{"example.org?q", "domain", "example.org"},
		{"_dmarc.ex-ample.org", "domain", "_dmarc.ex-ample.org"},
		{"bücher.example", "domain", "xn--bcher-kva.example"},
		{"https://пример.РФ/путь", "domain", "xn--e1afmkfd.xn--p1ai"},
		{"例え。テスト", "domain", "xn--r8jz45g.xn--zckzah"},
		{label + ".org", "domain", label + ".org"},
		{"203.0.113.5", "prefix", "203.0.113.5"},
		{"203.0.113.5/32", "prefix", "203.0.113.5"},
		{"203.0.113.77/24", "prefix", "203.0.113.0/24"},
		{"255.255.255.255/1", "prefix", "128.0.0.0/1"},
		{"https://203.0.113.5:8443/x", "prefix", "203.0.113.5"},
		{"2001:DB8::1", "prefix", "2001:db8::1"},
		{"2001:db8:0:0:0:0:0:1/128", "prefix", "2001:db8::1"},
		{"2001:db8:ffff::1/33", "prefix", "2001:db8:8000::/33"},
		{"2001:db8::203.0.113.5/128", "prefix", "2001:db8::cb00:7105"},
		{"[2001:db8::1]", "prefix", "2001:db8::1"},
		{"http://[2001:db8::1]:80/", "prefix", "2001:db8::1"},
		{"::1/3", "prefix", "::/3"},
		{"/etc/b4/names.txt", "domain_file", "/etc/b4/names.txt"},
		{"/mnt/My Lists/Names.txt", "domain_file", "/mnt/My Lists/Names.txt"},

		{"", "", "Write a name such as example.org."},
		{"https://", "", "Write a name such as example.org."},
		{"*.", "", "Write a name such as example.org."},
		{"a b", "", "Write one entry at a time."},
		{"a.org,b.org", "", "Write one entry at a time."},
		{"a..org", "", "There are two dots in a row. Write a name such as example.org."},
		{"a*.org", "", "Leave out the *: a name stands for all names below it anyway."},
		{"<img>", "", "No name has the character \u2068<\u2069. Write one such as example.org."},
		{"a\u202eb.org", "", "No name has the character \u2068\\x202e\u2069. Write one such as example.org."},
		{"a" + label + ".org", "", "Between two dots a name has at most 63 characters."},
		{long + "abcdefgh", "", "This name is too long: a name has at most 253 characters."},
		{"203.0.113", "", "This is neither a name nor a whole address. Write one such as 203.0.113.5 or a network such as 203.0.113.0/24."},
		{"203.0.113.256", "", "This is neither a name nor a whole address. Write one such as 203.0.113.5 or a network such as 203.0.113.0/24."},
		{"0x7f.0x1", "", "This is neither a name nor a whole address. Write one such as 203.0.113.5 or a network such as 203.0.113.0/24."},
		{"203.0.113.0/33", "", "Write the length of the network as a number from 1 to 32."},
		{"2001:db8::/", "", "Write the length of the network as a number from 1 to 128."},
		{"0.0.0.0/0", "", "This is all addresses. To mean all, leave the field empty."},
		{"::/0", "", "This is all addresses. To mean all, leave the field empty."},
		{"::ffff:203.0.113.5", "", "Write this IPv4 address without ::ffff: ahead."},
		{"/" + strings.Repeat("é", 2048), "", "This path is too long."},
	}
	var texts []string
	for _, tt := range tests {
		texts = append(texts, tt.text)
	}
	for i, answer := range asked(t, "b4/entry.js", "parse", one(texts...)...) {
		tt, got := tests[i], reading{}
		into(t, json.RawMessage(answer), &got)
		if got != (reading{tt.kind, tt.value, ""}) && got != (reading{"", "", tt.value}) {
			t.Errorf("%.80q: %+v, want %+v", tt.text, got, tt)
		}
		taken(t, got)
	}
}

// taken checks that b4d takes what a page would write, and as it is written.
func taken(t *testing.T, r reading) {
	t.Helper()
	switch r.Kind {
	case "":
		return
	case "prefix", "source":
		p, err := uci.ParseNetwork(r.Value)
		if err != nil || p.Masked() != p || strings.TrimSuffix(strings.TrimSuffix(p.String(), "/32"), "/128") != r.Value {
			t.Errorf("%s %q: b4d reads %v, %v", r.Kind, r.Value, p, err)
		}
	}
	tree, err := uci.Parse("b4", []byte("config rule 'x'\n\tlist "+r.Kind+" '"+r.Value+"'\n"))
	if err != nil {
		t.Fatal(err)
	}
	c, warnings, err := uci.Decode(tree)
	if err != nil || len(warnings) > 0 {
		t.Errorf("%s %q: %v, %v", r.Kind, r.Value, warnings, err)
	} else if r.Kind == "domain" && r.Value != "*" && c.Rules[0].Domain[0] != r.Value {
		t.Errorf("domain %q is %q to b4d", r.Value, c.Rules[0].Domain[0])
	}
}

func TestDeviceEntry(t *testing.T) {
	const wrong = "Write a MAC, an address, a network or an interface."
	tests := []struct{ text, kind, value string }{
		{"00:11:22:AA:BB:CC", "mac", "00:11:22:aa:bb:cc"},
		{" 00-11-22-aa-bb-cc ", "mac", "00:11:22:aa:bb:cc"},
		{"192.168.1.20", "source", "192.168.1.20"},
		{"192.168.1.20/24", "source", "192.168.1.0/24"},
		{"FD00:1::5/64", "source", "fd00:1::/64"},
		{"guest", "interface", "guest"},
		{"br-lan.10", "interface", "br-lan.10"},
		{strings.Repeat("i", 63), "interface", strings.Repeat("i", 63)},

		{"", "", wrong},
		{"192.168.1.300", "", wrong},
		{"192.168.1.20/x", "", "Write the length of the network as a number from 1 to 32."},
		{"00:11:22:aa:bb", "", wrong},
		{"00:11-22:aa:bb:cc", "", wrong},
		{"two words", "", wrong},
		{"a/b", "", wrong},
		{"fe80::1%eth0", "", wrong},
		{"01:11:22:aa:bb:cc", "", "No device sends by this MAC. Write the one of the device, such as 00:11:22:aa:bb:cc."},
		{"00:00:00:00:00:00", "", "No device sends by this MAC. Write the one of the device, such as 00:11:22:aa:bb:cc."},
		{strings.Repeat("é", 32), "", "The name of an interface has at most 63 characters."},
	}
	var texts []string
	for _, tt := range tests {
		texts = append(texts, tt.text)
	}
	for i, answer := range asked(t, "b4/devices.js", "parse", one(texts...)...) {
		tt, got := tests[i], reading{}
		into(t, json.RawMessage(answer), &got)
		if got != (reading{tt.kind, tt.value, ""}) && got != (reading{"", "", tt.value}) {
			t.Errorf("%q: %+v, want %+v", tt.text, got, tt)
		}
		taken(t, got)
	}
}

// Several entries may be pasted at once, and none is lost or there twice.
func TestEntryLists(t *testing.T) {
	tests := [][2]string{
		{`m.pieces(' a.org, b.org;\n\n c.org ')`, `["a.org","b.org","c.org"]`},
		{`m.pieces('/etc/b4/my names.txt\r\na.org')`, `["/etc/b4/my names.txt","a.org"]`},
		{`m.array(null)`, `[]`},
		{`m.array('')`, `[]`},
		{`m.array('a b')`, `["a","b"]`},
		{`m.array([ 'a b' ])`, `["a b"]`},
		{`m.divide([ 'a.org', 'https://A.org/', '203.0.113.9/24', '203.0.113.0/24', '/l', 'b..d', 'b..d' ], [ 'domain', 'prefix', 'domain_file' ], m.parse)`,
			`{"domain":["a.org","b..d"],"prefix":["203.0.113.0/24"],"domain_file":["/l"]}`},
	}
	var scenes []scene
	for _, tt := range tests {
		scenes = append(scenes, scene{File: "b4/entry.js", Expr: tt[0]})
	}
	for i, got := range play(t, scenes) {
		if got != tests[i][1] {
			t.Errorf("%s: %s, want %s", tests[i][0], got, tests[i][1])
		}
	}
}

// Names offered for a host are it and the one somebody registered; what a client
// made up is none.
func TestEntryNames(t *testing.T) {
	tests := []struct{ host, want string }{
		{"rr4---sn-5hne.googlevideo.com", `["rr4---sn-5hne.googlevideo.com","googlevideo.com"]`},
		{"YouTube.com", `["youtube.com"]`},
		{"www.bbc.co.uk", `["www.bbc.co.uk","bbc.co.uk"]`},
		{"bbc.co.uk", `["bbc.co.uk"]`},
		{"co.uk", `["co.uk"]`},
		{"a.b.com.cn", `["a.b.com.cn","b.com.cn"]`},
		{"a.t.co", `["a.t.co","t.co"]`},
		{"localhost", `["localhost"]`},
		{"203.0.113.5", `["203.0.113.5"]`},
		{"<img src=x onerror=alert(1)>", `[]`},
		{"/etc/passwd", `[]`},
		{"bank.example/x", `[]`},
		{"https://bank.example", `[]`},
		{"*", `[]`},
		{"", `[]`},
	}
	var hosts []string
	for _, tt := range tests {
		hosts = append(hosts, tt.host)
	}
	for i, got := range asked(t, "b4/entry.js", "names", one(hosts...)...) {
		if got != tests[i].want {
			t.Errorf("%q: %s, want %s", hosts[i], got, tests[i].want)
		}
	}
}

// What is unseen, or turns the text around it, is shown in hex.
func TestEntryPlain(t *testing.T) {
	long := strings.Repeat("a", 50) + strings.Repeat("b", 50)
	tests := []struct{ text, want string }{
		{"www.example.org", "www.example.org"},
		{"пример.рф", "пример.рф"},
		{"<b>&amp;</b>", "<b>&amp;</b>"},
		{"a\u202egpj.exe", `a\x202egpj.exe`},
		{"a\x00b\x07\x1b[31m\u009b", `a\x0b\x7\x1b[31m\x9b`},
		{"\u2066x\u2069\u200f\ufeff\u00ad", `\x2066x\x2069\x200f\xfeff\xad`},
		{long, strings.Repeat("a", 39) + "…" + strings.Repeat("b", 39)},
	}
	var texts []string
	for _, tt := range tests {
		texts = append(texts, tt.text)
	}
	for i, answer := range asked(t, "b4/entry.js", "plain", one(texts...)...) {
		var got string
		if into(t, json.RawMessage(answer), &got); got != tests[i].want {
			t.Errorf("%q: %q, want %q", texts[i], got, tests[i].want)
		}
	}
}

// A rule's name comes from its entry, and is one that UCI takes.
func TestEntryLabel(t *testing.T) {
	tests := []struct{ text, taken, want string }{
		{"www.youtube.com", "", "youtube"},
		{"www.youtube.com", "youtube", "youtube2"},
		{"www.bbc.co.uk", "", "bbc"},
		{"", "", "rule"},
		{"*", "rule rule2", "rule3"},
		{"/etc/b4/my-list.txt", "", "my_list"},
		{"203.0.113.0/24", "", "net_203_0_113_0_24"},
		{"пример.рф", "", "xn_e1afmkfd"},
		{"never", "", "never"},
		{"default.example", "", "default2"}, // the strategy's that b4 has by itself
		{"www.tun.com", "tun2", "tun3"},
		{strings.Repeat("x", 40) + ".org", "", strings.Repeat("x", 24)},
	}
	var scenes []scene
	for _, tt := range tests {
		expr := fmt.Sprintf("m.label(%q, function(name) { return %q.split(' ').indexOf(name) >= 0 })", tt.text, tt.taken)
		scenes = append(scenes, scene{File: "b4/entry.js", Expr: expr})
	}
	for i, answer := range play(t, scenes) {
		var got string
		if into(t, json.RawMessage(answer), &got); got != tests[i].want {
			t.Errorf("%q: %q, want %q", tests[i].text, got, tests[i].want)
		}
	}
}

// What devices call themselves is theirs to choose.
func TestDevices(t *testing.T) {
	const hints = `{ '00:11:22:AA:BB:CC': { ipaddrs: [ '192.168.1.20' ], ip6addrs: [ 'fd00::20' ], name: 'tv' }, '02:00:00:00:00:01': {},
		'04:00:00:00:00:02': { ipaddrs: [ '192.168.1.9' ], name: '<b>\u202ex</b>' }, 'ff:ff:ff:ff:ff:ff': { name: 'all' }, 'odd': null }`
	expr := func(text string) scene {
		return scene{File: "b4/devices.js", Expr: "(function(known) { return " + text + " })(m.known(" + hints + "))"}
	}
	want := []string{
		`["04:00:00:00:00:02","00:11:22:aa:bb:cc","02:00:00:00:00:01"]`,
		`["\u2068\u003cb\u003e\\x202ex\u003c/b\u003e\u2069 (192.168.1.9)","` + "\u2068tv\u2069" + ` (192.168.1.20)","02:00:00:00:00:01"]`,
		`["tv","tv","tv","192.168.1.77","guest"]`,
		`[]`,
	}
	got := play(t, []scene{
		expr("known.map(function(d) { return d.mac })"),
		expr("known.map(m.title)"),
		expr("[ '192.168.1.20', 'fd00::20', '00:11:22:AA:bb:cc', '192.168.1.77', 'guest' ].map(function(text) { return m.called(known, text) })"),
		expr("m.known(null)"),
	})
	for i := range want {
		var a, b []string
		into(t, json.RawMessage(got[i]), &a)
		into(t, json.RawMessage(want[i]), &b)
		if fmt.Sprintf("%q", a) != fmt.Sprintf("%q", b) {
			t.Errorf("%q, want %q", a, b)
		}
	}
}
