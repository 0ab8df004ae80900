package uci

import (
	"fmt"
	"strings"
	"testing"
)

// rows says for each row of the schema where it lands, which value is the
// default, and which are good and bad.
var rows = map[string]struct {
	get  func(*Config) any
	zero string            // the default
	good map[string]string // text in the file: value in the Config
	bad  []string
}{
	"b4.version": {func(c *Config) any { return c.Version }, "1", map[string]string{"1": "1"}, []string{"0", "x", "-1"}},
	"b4.enabled": {func(c *Config) any { return c.Main.Enabled }, "false",
		map[string]string{"1": "true", "on": "true", "true": "true", "yes": "true", "enabled": "true",
			"0": "false", "off": "false", "false": "false", "no": "false", "disabled": "false"},
		[]string{"2", "True", "y"}},
	"b4.engine": {func(c *Config) any { return c.Main.Engine }, "auto",
		map[string]string{"auto": "auto", "nfqueue": "nfqueue", "tun": "tun"}, []string{"NFQUEUE", "nfq"}},
	"b4.steer": {func(c *Config) any { return c.Main.Steer }, "decisive",
		map[string]string{"all": "all"}, []string{"ALL", "none"}},
	"b4.wan": {func(c *Config) any { return c.Main.WAN }, "[]",
		map[string]string{"wan": "[wan]", "pppoe-wan": "[pppoe-wan]", "eth0.2": "[eth0.2]"},
		[]string{"wan wan6", "a/b", strings.Repeat("x", 64)}},
	"b4.ipv6":   {func(c *Config) any { return c.Main.IPv6 }, "true", map[string]string{"0": "false"}, []string{"none"}},
	"b4.router": {func(c *Config) any { return c.Main.Router }, "true", map[string]string{"0": "false"}, []string{"all"}},
	"b4.tcp_port": {func(c *Config) any { return c.Main.TCPPorts }, "[443]",
		map[string]string{"1": "[1]", "65535": "[65535]"}, []string{"0", "65536", "https", "80 443", "443-445"}},
	"b4.http_port": {func(c *Config) any { return c.Main.HTTPPorts }, "[80]",
		map[string]string{"8080": "[8080]"}, []string{"0", "http"}},
	"b4.quic_port": {func(c *Config) any { return c.Main.QUICPorts }, "[443]",
		map[string]string{"8443": "[8443]"}, []string{"0", "quic"}},
	"b4.observe": {func(c *Config) any { return c.Main.Observe }, "false", map[string]string{"1": "true"}, []string{"2"}},
	"b4.never": {func(c *Config) any { return c.Main.Never }, "/etc/b4/never.txt",
		map[string]string{"/tmp/n": "/tmp/n"}, []string{"never.txt", "/" + strings.Repeat("x", 4095)}},
	"b4.confine": {func(c *Config) any { return c.Main.Confine }, "true", map[string]string{"0": "false"}, []string{"2"}},
	"b4.queue_num": {func(c *Config) any { return c.Main.QueueNum }, "537",
		map[string]string{"0": "0", "65535": "65535"}, []string{"65536", "-1", "0x10"}},
	"b4.queues": {func(c *Config) any { return c.Main.Queues }, "1",
		map[string]string{"2": "2", "8": "8"}, []string{"0", "9", "auto"}},
	"b4.queue_len": {func(c *Config) any { return c.Main.QueueLen }, "1024",
		map[string]string{"16": "16", "65535": "65535"}, []string{"15", "65536", "1k", "18446744073709551616"}},
	"b4.max_flows": {func(c *Config) any { return c.Main.MaxFlows }, "4096",
		map[string]string{"64": "64", "65536": "65536"}, []string{"63", "65537"}},
	"b4.memory_limit": {func(c *Config) any { return c.Main.MemoryLimit }, "24",
		map[string]string{"0": "0", "8": "8", "4096": "4096"}, []string{"7", "4097", "24MiB", "-1"}},
	"b4.mark": {func(c *Config) any { return fmt.Sprintf("%#x", c.Main.Mark) }, "0x1000000",
		map[string]string{"0x1": "0x1", "0X10000000": "0x10000000"},
		[]string{"0x0", "0x3", "0x20000000", "16", "0x", "0xg", "0x100000000"}},
	"b4.log_level": {func(c *Config) any { return c.Main.LogLevel }, "info",
		map[string]string{"debug": "debug", "warn": "warn", "error": "error"}, []string{"trace", "7"}},
	"b4.socket": {func(c *Config) any { return c.Main.Socket }, "/var/run/b4/b4d.sock",
		map[string]string{"/tmp/s": "/tmp/s"}, []string{"b4.sock", "/" + strings.Repeat("x", 107), "/a\tb"}},

	"tun.device": {func(c *Config) any { return c.Tun.Device }, "b4tun0",
		map[string]string{"t": "t", "b4-tun.0_1": "b4-tun.0_1", "fifteen-bytes-x": "fifteen-bytes-x", "...": "..."},
		[]string{".", "..", "a/b", "a:0", "a b", "a\tb", "b4tun%d", "sixteen-bytes-xy", "tün", "a\x7f"}},
	"tun.ipaddr": {func(c *Config) any { return c.Tun.V4 }, "10.255.0.1/32",
		map[string]string{"10.1.2.3": "10.1.2.3/32", "10.1.2.3/24": "10.1.2.3/24", "192.0.2.0/31": "192.0.2.0/31"},
		[]string{"fd00::1", "fd00::1/64", "::ffff:10.0.0.1", "::ffff:10.0.0.1/128", "0.0.0.0", "0.0.0.0/0", "127.0.0.1/8",
			"224.0.0.1", "255.255.255.255", "10.0.0.1/33", "10.0.0.1/", "10.0.0.1/24/8", "10.0.0.1/255.255.255.0", "10.0.0.1/-1",
			"10.0.0.1/+8", "10.0.0.1/08", "10.0.0", "10.0.0.01", "10.0.0.1 10.0.0.2", "router.lan"}},
	"tun.ip6addr": {func(c *Config) any { return c.Tun.V6 }, "fd62:3400::1/128",
		map[string]string{"FD00::1": "fd00::1/128", "2001:db8::1/64": "2001:db8::1/64", "fe80::1/64": "fe80::1/64"},
		[]string{"10.0.0.1", "10.0.0.1/32", "::ffff:10.0.0.1", "::ffff:10.0.0.1/128", "::", "::/0", "::1", "::1/128",
			"ff02::1", "fe80::1%eth0", "fe80::1%eth0/64", "fd00::1/129", "[fd00::1]", "fd00::1/"}},
	"tun.out": {func(c *Config) any { return c.Tun.Out }, "",
		map[string]string{"wanb": "wanb", "pppoe-wan": "pppoe-wan"}, []string{"wan wan6", "a/b", strings.Repeat("x", 64)}},
	"tun.gateway": {func(c *Config) any { return c.Tun.Gateway4 }, "invalid IP",
		map[string]string{"192.0.2.1": "192.0.2.1"},
		[]string{"192.0.2.1/32", "fe80::1", "::ffff:192.0.2.1", "0.0.0.0", "127.0.0.1", "239.1.1.1", "255.255.255.255", "wan"}},
	"tun.ip6gw": {func(c *Config) any { return c.Tun.Gateway6 }, "invalid IP",
		map[string]string{"fe80::1": "fe80::1", "2001:db8::1": "2001:db8::1"},
		[]string{"fe80::1/64", "192.0.2.1", "::ffff:192.0.2.1", "::", "::1", "ff02::1", "fe80::1%wan", "wan"}},
	"tun.route_table": {func(c *Config) any { return c.Tun.Table }, "25140",
		map[string]string{"1": "1", "251": "251", "256": "256", "4294967295": "4294967295"},
		[]string{"0", "252", "253", "254", "255", "4294967296", "4294967550", "main", "0x100", "-1"}},
	"tun.mtu": {func(c *Config) any { return c.Tun.MTU }, "0",
		map[string]string{"00": "0", "1280": "1280", "1492": "1492", "65535": "65535"}, []string{"1", "1279", "65536", "-1", "auto"}},
	"tun.nat": {func(c *Config) any { return c.Tun.NAT }, "auto",
		map[string]string{"masquerade": "masquerade", "none": "none"}, []string{"1", "snat"}},

	"rule.domain": {func(c *Config) any { return c.Rules[0].Domain }, "[]",
		map[string]string{"Example.ORG.": "[example.org]", "*": "[]"}, []string{"a b", "https://a/b", "a..b"}},
	"rule.not": {func(c *Config) any { return c.Rules[0].Not }, "[]",
		map[string]string{"*.example.org": "[example.org]"}, []string{"*", ".", "a:443"}},
	"rule.domain_file": {func(c *Config) any { return c.Rules[0].DomainFile }, "[]",
		map[string]string{"/etc/b4/a b": "[/etc/b4/a b]"}, []string{"names.txt", "/" + strings.Repeat("x", 4095)}},
	"rule.prefix": {func(c *Config) any { return c.Rules[0].Prefixes }, "[]",
		map[string]string{"203.0.113.7": "[203.0.113.7/32]", "203.0.113.0/24": "[203.0.113.0/24]", "2001:DB8::/32": "[2001:db8::/32]"},
		[]string{"example.org", "203.0.113.0/33", "203.0.113", "0.0.0.0/0", "::/0", "::ffff:203.0.113.7", "fe80::1%wan", "203.0.113.1 203.0.113.2"}},
	"rule.mac": {func(c *Config) any { return c.Rules[0].MACs }, "[]",
		map[string]string{"00:11:22:aa:bb:cc": "[[0 17 34 170 187 204]]", "02-11-22-AA-bB-0C": "[[2 17 34 170 187 12]]"},
		[]string{"00:00:00:00:00:00", "01:00:5e:00:00:01", "ff:ff:ff:ff:ff:ff", "00:11:22:aa:bb", "00:11:22:aa:bb:cc:dd", "0:1:2:a:b:c",
			"00:11:22-aa-bb-cc", "00.11.22.aa.bb.cc", "001122aabbcc", "00:11:22:aa:bb:cg", "+0:11:22:aa:bb:cc", "00:11:22:aa:bb: c", "laptop",
			"00:11:22:aa:bb:cc 00:11:22:aa:bb:cd"}},
	"rule.source": {func(c *Config) any { return c.Rules[0].Sources }, "[]",
		map[string]string{"192.168.1.20": "[192.168.1.20/32]", "192.168.1.0/24": "[192.168.1.0/24]", "FD00:1::/64": "[fd00:1::/64]",
			"fe80::1": "[fe80::1/128]", "10.0.0.0/8": "[10.0.0.0/8]"},
		[]string{"laptop", "192.168.1", "192.168.1.0/33", "192.168.1.0/", "192.168.1.0/255.255.255.0", "192.168.1.1-192.168.1.9", "0.0.0.0/0", "::/0",
			"::ffff:192.168.1.1", "::ffff:192.168.1.0/120", "fe80::1%br-lan", "fd00::/129", "192.168.1.1 192.168.1.2"}},
	"rule.interface": {func(c *Config) any { return c.Rules[0].Interfaces }, "[]",
		map[string]string{"guest": "[guest]", "br-lan.20": "[br-lan.20]"}, []string{"lan guest", "a/b", strings.Repeat("x", 64)}},
	"rule.port": {func(c *Config) any { return c.Rules[0].Ports }, "[]",
		map[string]string{"1": "[1]", "65535": "[65535]"}, []string{"0", "65536", "https", "443 8443", "443-445", "-1"}},
	"rule.strategy": {func(c *Config) any { return c.Rules[0].Strategy }, "default",
		map[string]string{"auto": "default", "default": "default", "split(1)": "s.strategy", "x y": "s.strategy"},
		[]string{"missing", "split(" + strings.Repeat("1", 1024) + ")", "a\x01b"}},
	"rule.action": {func(c *Config) any { return c.Rules[0].Action }, "desync",
		map[string]string{"pass": "pass", "drop": "drop", "reject": "reject"}, []string{"block"}},
	"rule.quic": {func(c *Config) any { return c.Rules[0].QUIC }, "",
		map[string]string{"desync": "desync", "pass": "pass", "drop": "drop", "reject": "reject"}, []string{"block", "action"}},

	"strategy.tls": {func(c *Config) any { return c.Strategies[0].TLS }, "",
		map[string]string{"split(1)\n\t disorder": "split(1) disorder"}, []string{strings.Repeat("x", 1025), "a\x7f"}},
	"strategy.quic": {func(c *Config) any { return c.Strategies[0].QUIC }, "",
		map[string]string{"fake(repeat=6)": "fake(repeat=6)"}, []string{"\x1b"}},
	"strategy.http": {func(c *Config) any { return c.Strategies[0].HTTP }, "",
		map[string]string{"split(method+2)": "split(method+2)"}, []string{"\x1b"}},
}

// decode parses and decodes a file named b4.
func decode(t *testing.T, in string, override ...string) (Config, []Warning, error) {
	t.Helper()
	tree, err := Parse("b4", []byte(in))
	if err != nil {
		t.Fatal(err)
	}
	return Decode(tree, override...)
}

func TestSchemaRows(t *testing.T) {
	for _, f := range Schema() {
		t.Run(f.Section+"."+f.Option, func(t *testing.T) {
			row, ok := rows[f.Section+"."+f.Option]
			if !ok {
				t.Fatal("the table of this test has no such row")
			}
			name, only := onlyNames[f.Section]
			if !only {
				name = "s"
			}
			head := "config " + f.Section + " " + name + "\n"
			set := func(text string) string { return head + "\n\toption " + f.Option + " '" + text + "'\n" }

			check := func(in, want string) {
				t.Helper()
				c, warnings, err := decode(t, in)
				if err != nil || len(warnings) > 0 {
					t.Fatalf("%q: %v %v", in, warnings, err)
				}
				if got := fmt.Sprint(row.get(&c)); got != want {
					t.Errorf("%q: got %s, want %s", in, got, want)
				}
			}
			check(head, row.zero)
			if f.Default != "" {
				check(set(f.Default), row.zero)
			}
			for text, want := range row.good {
				check(set(text), want)
			}
			label := f.Section + "." + name
			if only {
				label = name
			}
			for _, text := range row.bad {
				_, _, err := decode(t, set(text))
				if want := "b4:3: " + label + "." + f.Option + ": "; err == nil || !strings.HasPrefix(err.Error(), want) {
					t.Errorf("%q: error %v, want one with %q", text, err, want)
				}
			}
		})
	}
	if len(rows) != len(schema) {
		t.Errorf("the schema has %d rows, the table of this test %d", len(schema), len(rows))
	}
}

func TestSchemaSane(t *testing.T) {
	seen := map[string]bool{}
	for _, f := range Schema() {
		name := f.Section + "." + f.Option
		if seen[name] {
			t.Errorf("%s stands twice", name)
		}
		seen[name] = true
		if f.Help == "" || strings.Contains(f.Help, "\n") || !strings.HasSuffix(f.Help, ".") {
			t.Errorf("%s: help is not one sentence: %q", name, f.Help)
		}
		if strings.Contains(f.Want(), "0 to 0") {
			t.Errorf("%s: no range: %s", name, f.Want())
		}
		if _, err := f.parse(f.Default); f.Default != "" && err != nil {
			t.Errorf("%s: default: %v", name, err)
		}
	}
}

func TestWant(t *testing.T) {
	tests := []struct{ section, option, value, want string }{
		{"b4", "enabled", "2", `b4:2: main.enabled: "2": want 1 or 0`},
		{"b4", "engine", "x", `b4:2: main.engine: "x": want one of auto, nfqueue, tun`},
		{"b4", "queue_len", "1", `b4:2: main.queue_len: "1": want a number from 16 to 65535 (packets)`},
		{"b4", "mark", "0x3", `b4:2: main.mark: "0x3": want one bit in hex, 0x1 to 0x10000000`},
		{"b4", "tcp_port", "80 443", `b4:2: main.tcp_port: "80 443": want a number from 1 to 65535, each on a list line of its own`},
		{"rule", "mac", "tv", `b4:2: rule.main.mac: "tv": want the MAC of a device, such as 00:11:22:aa:bb:cc, each on a list line of its own`},
		{"rule", "source", "tv", `b4:2: rule.main.source: "tv" is neither an address nor a network: want an address or a network, such as 192.168.1.20 or fd00:1::/64, each on a list line of its own`},
		{"rule", "source", "::/0", `b4:2: rule.main.source: "::/0" is all addresses: want an address or a network, such as 192.168.1.20 or fd00:1::/64, each on a list line of its own`},
		{"b4", "wan", "wan wan6", `b4:2: main.wan: "wan wan6": want an interface of the network configuration, or a device, each on a list line of its own`},
		{"b4", "socket", "s", `b4:2: main.socket: "s": want an absolute path of at most 107 bytes`},
		{"rule", "strategy", "a\x01", `b4:2: rule.main.strategy: "a\x01": want printable text of at most 1024 bytes`},
	}
	for _, tt := range tests {
		in := "config " + tt.section + " main\n\toption " + tt.option + " '" + tt.value + "'\n"
		if _, _, err := decode(t, in); err == nil || err.Error() != tt.want {
			t.Errorf("got  %v\nwant %s", err, tt.want)
		}
	}
}
