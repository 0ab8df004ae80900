package uci

import (
	"fmt"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"testing"
)

const full = `
config b4 'main'
	option enabled '1'
	option engine 'nfqueue'
	list wan 'wan'
	list wan 'wan6'
	list wan 'wan'
	list tcp_port '443'
	list tcp_port '8443'
	option mark '0x00100000'

config tunnel 'old'
	option device 'b4tun0'

config rule 'video'
	list domain 'Example.org'
	list domain '*.example.net'
	list not 'www.example.org'
	list domain_file '/etc/b4/video.txt'
	option strategy 'hard'
	option colour 'red'

config rule
	list domain 'a.test'
	option strategy 'split(1, midsld)
		disorder'

config strategy 'hard'
	option tls 'fake(ttl=auto) split(1)'
	option quic 'fake(repeat=6)'

config rule 'rest'
	option action 'pass'
	option strategy 'auto'
`

func TestDecode(t *testing.T) {
	c, warnings, err := decode(t, full)
	if err != nil {
		t.Fatal(err)
	}
	at := func(line int) Place { return Place{"b4", line} }
	wantMain := Main{Enabled: true, Engine: "nfqueue", Steer: "decisive", WAN: []string{"wan", "wan6"}, IPv6: true, Router: true,
		TCPPorts: []uint16{443, 8443}, HTTPPorts: []uint16{80}, QUICPorts: []uint16{443}, QueueNum: 537, Queues: 1, QueueLen: 1024, MaxFlows: 4096, MemoryLimit: 24, Mark: 1 << 20,
		Never: "/etc/b4/never.txt", Confine: true, LogLevel: "info", Socket: "/var/run/b4/b4d.sock"}
	if !reflect.DeepEqual(c.Main, wantMain) {
		t.Errorf("main:\n got %+v\nwant %+v", c.Main, wantMain)
	}
	wantRules := []Rule{
		{Name: "video", Domain: []string{"example.org", "example.net"}, Not: []string{"www.example.org"},
			DomainFile: []string{"/etc/b4/video.txt"}, Strategy: "hard", Action: "desync", At: at(15)},
		{Name: "cfg0492bd", Domain: []string{"a.test"}, Strategy: "cfg0492bd.strategy", Action: "desync", At: at(23)},
		{Name: "rest", Strategy: "default", Action: "pass", At: at(32)},
	}
	if !reflect.DeepEqual(c.Rules, wantRules) {
		t.Errorf("rules:\n got %+v\nwant %+v", c.Rules, wantRules)
	}
	wantStrategies := []Strategy{
		{Name: "hard", TLS: "fake(ttl=auto) split(1)", QUIC: "fake(repeat=6)", At: at(28)},
		{Name: "default", TLS: DefaultTLS},
		{Name: "cfg0492bd.strategy", TLS: "split(1, midsld) disorder", At: at(25)},
	}
	if !reflect.DeepEqual(c.Strategies, wantStrategies) {
		t.Errorf("strategies:\n got %+v\nwant %+v", c.Strategies, wantStrategies)
	}
	const wantWarnings = "[b4:12: section old of the unknown type tunnel is ignored" +
		" b4:21: rule.video.colour: unknown option, ignored]"
	if got := fmt.Sprint(warnings); got != wantWarnings {
		t.Errorf("warnings:\n got %s\nwant %s", got, wantWarnings)
	}
	for option, want := range map[string]string{
		"main": "b4:2", "main.wan": "b4:5", "main.queue_len": "default", "rule.video": "b4:15",
		"rule.video.domain": "b4:16", "rule.cfg0492bd.strategy": "b4:25", "strategy.hard.quic": "b4:30",
		"strategy.default.tls": "default", "strategy.cfg0492bd.strategy.tls": "b4:25", "no.such": "default",
	} {
		if got := c.Place(option).String(); got != want {
			t.Errorf("place of %s: got %s, want %s", option, got, want)
		}
	}
}

func TestDecodeEmpty(t *testing.T) {
	c, warnings, err := decode(t, "")
	if err != nil || len(warnings) > 0 {
		t.Fatal(warnings, err)
	}
	want := Config{Version: 1,
		Main: Main{Engine: "auto", Steer: "decisive", IPv6: true, Router: true, TCPPorts: []uint16{443}, HTTPPorts: []uint16{80}, QUICPorts: []uint16{443}, QueueNum: 537, Queues: 1,
			QueueLen: 1024, MaxFlows: 4096, MemoryLimit: 24, Mark: 0x01000000, Never: "/etc/b4/never.txt", Confine: true, LogLevel: "info", Socket: "/var/run/b4/b4d.sock"},
		Tun: Tun{Device: "b4tun0", V4: netip.MustParsePrefix("10.255.0.1/32"), V6: netip.MustParsePrefix("fd62:3400::1/128"),
			Table: 25140, NAT: "auto"},
		Rules:      []Rule{{Name: "all", Strategy: "default", Action: "desync"}},
		Strategies: []Strategy{{Name: "default", TLS: DefaultTLS}},
		places:     map[string]Place{},
	}
	if !reflect.DeepEqual(c, want) {
		t.Errorf("\n got %+v\nwant %+v", c, want)
	}
}

func TestDecodeOwnDefault(t *testing.T) {
	c, _, err := decode(t, "config strategy default\n\toption quic 'fake()'\n")
	if err != nil {
		t.Fatal(err)
	}
	want := []Strategy{{Name: "default", QUIC: "fake()", At: Place{"b4", 1}}}
	if !reflect.DeepEqual(c.Strategies, want) {
		t.Errorf("got %+v, want %+v", c.Strategies, want)
	}
}

func TestDecodeAllNames(t *testing.T) {
	c, _, err := decode(t, "config rule r\nlist domain a.test\nlist domain '*'\nlist domain_file /x\nlist prefix 192.0.2.1\nlist not b.test\n")
	if err != nil {
		t.Fatal(err)
	}
	want := []Rule{{Name: "r", Not: []string{"b.test"}, Strategy: "default", Action: "desync", At: Place{"b4", 1}}}
	if !reflect.DeepEqual(c.Rules, want) {
		t.Errorf("got %+v, want %+v", c.Rules, want)
	}
}

// Every error of a file is told, by line, and no half of a configuration comes
// with them.
func TestDecodeErrors(t *testing.T) {
	const in = `config rule 'a'
	option strategy 'hrad'
	list domain 'ok.test'
	list domain 'http://x.test/'
	list domain ''
	list domain 'y..test'
config strategy 'auto'
config b4 'main'
	list engine 'auto'
	list engine 'tun'
	option nonsense '1'
	option queue_len '1'
	option queue_len '9'
config rule 'b'
	list not '*'
`
	c, warnings, err := decode(t, in)
	if !reflect.DeepEqual(c, Config{}) {
		t.Errorf("a configuration came with the error: %+v", c)
	}
	if got := fmt.Sprint(warnings); got != "[b4:11: main.nonsense: unknown option, ignored]" {
		t.Errorf("warnings: %s", got)
	}
	want := []string{
		`b4:2: rule.a.strategy: there is no strategy "hrad": want auto, default, auto, or a text such as "split(midsld) disorder"`,
		`b4:4: rule.a.domain: "http://x.test/" is more than a name: write "x.test"`,
		`b4:5: rule.a.domain: "" has an empty label: want a name such as example.org`,
		`b4:6: rule.a.domain: "y..test" has an empty label: want a name such as example.org`,
		`b4:7: strategy auto: this name is kept for b4's own choice, take another`,
		`b4:10: main.engine: want one value, and this is another`,
		`b4:13: main.queue_len: "9": want a number from 16 to 65535 (packets)`,
		`b4:15: rule.b.not: "*" would leave nothing to the rule`,
	}
	if err == nil || err.Error() != strings.Join(want, "\n") {
		t.Errorf("errors:\n got %v\nwant %s", err, strings.Join(want, "\n"))
	}
}

func TestDecodeWarnings(t *testing.T) {
	tests := []struct{ in, want string }{
		{"config b4\n\toption enabled 1\n", "b4:1: section cfg01771b of type b4 is ignored: the only one is named main"},
		{"config b4 'other'\n", "b4:1: section other of type b4 is ignored: the only one is named main"},
		{"config tun\n\toption device x\n", "b4:1: section cfg01afdc of type tun is ignored: the only one is named tun"},
		{"config tun 'tun1'\n\toption device x\n", "b4:1: section tun1 of type tun is ignored: the only one is named tun"},
		{"config rule\n\tlist domain 'пример.рф'\n",
			`b4:2: rule.cfg0192bd.domain: "пример.рф": on the wire names are ASCII, so this one never matches: write its xn-- form`},
	}
	for _, tt := range tests {
		c, warnings, err := decode(t, tt.in)
		if err != nil || len(warnings) != 1 || warnings[0].String() != tt.want {
			t.Errorf("%q: got %v %v, want %s", tt.in, warnings, err, tt.want)
		}
		if c.Main.Enabled || c.Tun.Device != "b4tun0" {
			t.Errorf("%q: %+v %+v", tt.in, c.Main, c.Tun)
		}
	}
}

func TestOverride(t *testing.T) {
	tree, err := Parse("b4", []byte(full))
	if err != nil {
		t.Fatal(err)
	}
	before := dump(tree)
	c, warnings, err := Decode(tree,
		"main.wan=", "main.engine=auto", "main.tcp_port=80", "main.tcp_port=81",
		"default.tls=split(2)", "rest.strategy=fake(sni=a)", "video.domain=b.test")
	if err != nil || len(warnings) != 2 {
		t.Fatal(warnings, err)
	}
	if dump(tree) != before {
		t.Errorf("the tree has changed: %s", dump(tree))
	}
	got := fmt.Sprint(c.Main.WAN, c.Main.Engine, c.Main.TCPPorts, c.Rules[0].Domain, c.Rules[0].Not, c.Strategies)
	const want = "[]auto[80 81] [b.test] [www.example.org] [" +
		"{hard fake(ttl=auto) split(1) fake(repeat=6)  b4:28} {default split(2)   default}" +
		" {cfg0492bd.strategy split(1, midsld) disorder   b4:25} {rest.strategy fake(sni=a)   -set rest.strategy}]"
	if got != want {
		t.Errorf("\n got %s\nwant %s", got, want)
	}
	for option, want := range map[string]string{"main.wan": "default", "main.engine": "-set main.engine"} {
		if got := c.Place(option).String(); got != want {
			t.Errorf("place of %s: got %s, want %s", option, got, want)
		}
	}
}

// Sections that no file needs to have can be set all the same.
func TestOverrideImplied(t *testing.T) {
	c, _, err := decode(t, "config rule 'default'\n", "main.enabled=1", "default.tls=x", "default.action=pass")
	if err != nil || !c.Main.Enabled || c.Strategies[0].TLS != "x" || c.Rules[0].Action != "pass" {
		t.Errorf("%+v %v", c, err)
	}
	c, _, err = decode(t, "", "all.action=drop")
	if err != nil || c.Rules[0].Action != "drop" {
		t.Errorf("%+v %v", c, err)
	}
}

func TestOverrideRefuses(t *testing.T) {
	tests := []struct{ set, want string }{
		{"main.enabled", "-set main.enabled: want section.option=value, such as main.engine=nfqueue"},
		{"enabled=1", "-set enabled: want section.option=value, such as main.engine=nfqueue"},
		{"=", "-set : want section.option=value, such as main.engine=nfqueue"},
		{"main.x=1", `-set main.x: section main has no option "x"`},
		{"video.colour=1", `-set video.colour: section video has no option "colour"`},
		{"all.action=pass", `-set all.action: there is no section "all"`},
		{"old.device=x", `-set old.device: section old has no option "device"`},
		{"tun.colour=x", `-set tun.colour: section tun has no option "colour"`},
		{"tun.mtu=1279", `-set tun.mtu: tun.mtu: "1279": want a number from 1280 to 65535 (bytes), or 0 for WAN's`},
		{"main.queue_len=1", `-set main.queue_len: main.queue_len: "1": want a number from 16 to 65535 (packets)`},
	}
	for _, tt := range tests {
		if _, _, err := decode(t, full, tt.set); err == nil || err.Error() != tt.want {
			t.Errorf("%q:\n got %v\nwant %s", tt.set, err, tt.want)
		}
	}
	if _, _, err := decode(t, "", "main.engine=auto", "main.engine=tun"); err == nil {
		t.Error("two values for an option that has one")
	}
}

// FuzzDecode asks that a configuration keeps what its types promise, and that
// an error comes without one.
func FuzzDecode(f *testing.F) {
	f.Add(full, "main.wan=wan")
	f.Add("config rule r\n list not A.\n list domain '*'\n option strategy 'split(1)'\nconfig strategy default\n", "default.tls=")
	f.Add("config b4 main\n option mark 0x3\n", "main.mark=0x1")
	f.Add("config b4 main\n option steer all\nconfig tun tun\n option device a/b\n option ipaddr 10.0.0.1\n option mtu 0\n", "tun.device=b4tun1")
	f.Add("config tun tun\n option ip6addr fd00::1/64\n option ip6gw fe80::1\n option gateway ::1\n option route_table 254\n", "tun.gateway=192.0.2.1")
	f.Add("config rule r\n list mac 00-11-22-AA-BB-CC\n list source 192.168.1.9/24\n list source fd00::1\n list interface lan\n list port 8443\n", "r.mac=")
	f.Fuzz(func(t *testing.T, in, override string) {
		tree, err := Parse("b4", []byte(in))
		if err != nil {
			return
		}
		c, _, err := Decode(tree, override)
		if err != nil {
			if !reflect.DeepEqual(c, Config{}) {
				t.Fatalf("%q: %+v came with %v", in, c, err)
			}
			return
		}
		if len(c.Rules) == 0 || c.Main.Mark == 0 || c.Main.Mark&(c.Main.Mark-1) != 0 || c.Main.QueueLen < 16 || len(c.Main.TCPPorts) == 0 {
			t.Errorf("%q: %+v", in, c)
		}
		if u := c.Tun; !isDevice(u.Device) || len(u.Device) > maxDevice || !u.V4.Addr().Is4() || !u.V6.Addr().Is6() || u.V6.Addr().Is4In6() ||
			u.Table == 0 || systemTables[uint64(u.Table)] != "" || u.MTU != 0 && u.MTU < minMTU || u.Out == u.Device {
			t.Errorf("%q: %+v", in, u)
		}
		strategies := map[string]bool{}
		for _, s := range c.Strategies {
			strategies[s.Name] = true
		}
		for _, r := range c.Rules {
			if !strategies[r.Strategy] {
				t.Errorf("%q: rule %s has no strategy %q", in, r.Name, r.Strategy)
			}
			for _, p := range r.Sources {
				if again, err := ParseNetwork(p.String()); err != nil || again != p {
					t.Errorf("%q: rule %s has the source %v", in, r.Name, p)
				}
			}
			if slices.Contains(r.MACs, [6]byte{}) || slices.Contains(r.Ports, 0) || slices.Contains(r.Interfaces, "") {
				t.Errorf("%q: %+v", in, r)
			}
			for _, name := range append(r.Domain, r.Not...) {
				if again, err := normalise(name); err != nil || again != name || name == allNames {
					t.Errorf("%q: rule %s has the name %q", in, r.Name, name)
				}
			}
		}
	})
}
