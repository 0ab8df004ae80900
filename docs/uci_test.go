// Package docs has no code: it holds what users read. UCI.md is made from the
// schema and STRATEGIES.md from the strategy language, by `go test ./docs -update`,
// and a test fails where one is stale.
package docs

import (
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"

	"b4/uci"
)

var update = flag.Bool("update", false, "write the pages anew")

const head = `# The configuration, option by option

<!-- Made from the schema in uci/schema.go: go test ./docs -update -->

b4 is configured by the file /etc/config/b4, in OpenWrt's format UCI. An editor
changes it, or ` + "`uci set b4.main.engine='tun' && uci commit b4`" + `. The file that the
package brings shows the options most routers need.

- What the file does not set has its default. An empty file is a good one: b4 is
  off then.
- ` + "`/etc/init.d/b4 check`" + ` says what is wrong, with the line, and which rules and
  routes would follow. It changes nothing.
- ` + "`/etc/init.d/b4 reload`" + ` puts a changed file in force; LuCI's Save & Apply does that
  too. Connections go on. A file that b4 refuses changes nothing: b4 goes on with
  what it had, and ` + "`/etc/init.d/b4 status`" + ` says why.
- An option has one value: ` + "`option engine 'tun'`" + `. A list has any number of them,
  each on a line of its own: ` + "`list tcp_port '443'`" + `. Two values on one line are an
  error. A list that is set replaces its default and does not add to it.
- An option or a section that b4 does not know is a warning, so that a file of a
  newer b4 still works. A value that is wrong is an error.
`

// sections says what the section types are for, in the order of the schema.
var sections = []struct{ typ, name, about string }{
	{"b4", "main", "There is one. It is named main.\n\n" +
		"In the file of hosts that are never touched, `#` begins a comment. What a name stands\n" +
		"for comes to b4 and goes on as it came; what an address or a network stands for the\n" +
		"kernel does not even show it. The default file may be missing. As long as it has names,\n" +
		"nothing is done before a name is known: no steps for the handshake, and no QUIC\n" +
		"blocked by engine tun."},
	{"tun", "tun", "There is one. It is named tun. Only engine tun reads it: it routes the packets\n" +
		"that b4 is to see into a device of b4's own."},
	{"rule", "video", "Any number, with any names or none. The first rule in the file that matches a\n" +
		"connection decides what is done about it. Without any there is one that treats all\n" +
		"names by the strategy default. What a rule says about devices, ports and sites must all be\n" +
		"so; of the entries of one list any one will do, and a site is one of its names or in one of\n" +
		"its networks (prefix). Four groups of devices can be told\n" +
		"apart; rules that name the same devices share one, and first rules that let all of\n" +
		"some devices pass need none.\n\n" +
		"What comes before a name is known (steps for the handshake, QUIC whose name is not\n" +
		"there yet) follows the first rule that every name would get: the server's address, the\n" +
		"port and the device are known by then. So rules for networks may stand ahead of it, but\n" +
		"none that asks for a name. A server's answer does not say for which device it is:\n" +
		"a step that changes it (wsize) wants a rule for all, and none for some devices ahead.\n\n" +
		"A list of names and networks in a file (domain_file) may be long: 10 000 networks of IPv4\n" +
		"take 80 KB, of IPv6 320. `#` begins a comment. Lists belong in /etc/b4, which a sysupgrade\n" +
		"keeps; for one in another directory b4 has to be restarted, not just reloaded,\n" +
		"where procd's jail (package procd-ujail) shows b4 its own directories only."},
	{"strategy", "default", "Any number; rules call them by their names. The strategy default is there\n" +
		"without being written: " + "`" + uci.DefaultTLS + "`" + ". A section of that name\n" +
		"replaces it. The name auto is taken: it stands for b4's own choice.\n" +
		"[STRATEGIES.md](STRATEGIES.md) has the steps that a strategy is made of."},
}

const kinds = `## Kinds

| kind | what it looks like |
|---|---|
| bool | 1 or 0; on, true, yes, enabled and off, false, no, disabled do as well |
| uint | a number, decimal |
| mark | a number in hex with one bit set, such as 0x01000000 |
| enum | one of the words under range |
| table | the number of a route table; 252 to 255 are the kernel's own |
| prefix | an address with the length of its network, such as 10.255.0.1/32; without a length it stands for itself alone |
| network | an address, or a network such as 192.168.1.0/24 or fd00:1::/64 |
| mac | the MAC of a device, such as 00:11:22:aa:bb:cc; dashes do as well |
| addr | an address |
| device | a name for a network device |
| interface | an interface as /etc/config/network names it, such as wan, or a device, such as pppoe-wan |
| path | an absolute path |
| domain | a host name, with all names below it; a leading ` + "`*.`" + ` changes nothing |
| text | printable text; a line's end counts as a blank |
`

// examples are for options whose default is none or says little.
var examples = map[string]string{
	"b4.enabled": "1", "b4.wan": "wan", "b4.memory_limit": "24",
	"tun.out": "wan", "tun.gateway": "192.0.2.1", "tun.ip6gw": "fe80::1", "tun.mtu": "1492",
	"rule.domain": "example.org", "rule.not": "www.example.org", "rule.domain_file": "/etc/b4/names.txt",
	"rule.mac": "00:11:22:aa:bb:cc", "rule.source": "192.168.1.20", "rule.prefix": "203.0.113.0/24", "rule.interface": "guest", "rule.port": "8443",
	"rule.quic":    "reject",
	"strategy.tls": "fake(ttl=4) split(midsld) disorder", "strategy.quic": "fake(repeat=6)", "strategy.http": "split(method+2)",
}

// example is a line of a configuration.
func example(f *uci.Field) string {
	value, keyword := f.Default, "option"
	if e := examples[f.Section+"."+f.Option]; e != "" {
		value = e
	}
	if f.List {
		keyword = "list"
	}
	return keyword + " " + f.Option + " '" + value + "'"
}

// ranges says which values of its kind the option takes; "" is all.
func ranges(f *uci.Field) string {
	switch f.Kind {
	case uci.Uint, uci.Table:
		text := fmt.Sprintf("%d to %d", f.Min, f.Max)
		if f.Zero != "" {
			text += ", or 0: " + f.Zero
		}
		return text
	case uci.Mark:
		return fmt.Sprintf("%#x to %#x", f.Min, f.Max)
	case uci.Enum:
		return strings.Join(f.Values, ", ")
	case uci.Prefix, uci.Addr:
		return fmt.Sprintf("IPv%d", f.Family)
	case uci.Device, uci.Interface, uci.Path, uci.Text:
		return fmt.Sprintf("at most %d bytes", f.Max)
	}
	return ""
}

// manual is the whole of UCI.md.
func manual() string {
	var b strings.Builder
	b.WriteString(head)
	for _, s := range sections {
		fmt.Fprintf(&b, "\n## config %s '%s'\n\n%s\n\n", s.typ, s.name, s.about)
		b.WriteString("| option | kind | default | range | unit | what it does | example |\n|---|---|---|---|---|---|---|\n")
		for _, f := range uci.Schema() {
			if f.Section == s.typ {
				row(&b, &f)
			}
		}
	}
	b.WriteString("\n" + kinds)
	return b.String()
}

func row(b *strings.Builder, f *uci.Field) {
	kind := string(f.Kind)
	if f.List {
		kind = "list of " + kind
	}
	for _, cell := range []string{code(f.Option), kind, code(f.Default), plain(ranges(f)), f.Unit, plain(f.Help), code(example(f))} {
		b.WriteString(strings.TrimSuffix("| "+cell, " ") + " ")
	}
	b.WriteString("|\n")
}

func code(text string) string {
	if text == "" {
		return ""
	}
	return "`" + text + "`"
}

var plain = strings.NewReplacer("*", `\*`, "|", `\|`, "<", "&lt;").Replace

func TestManual(t *testing.T) { written(t, "UCI.md", manual()) }

// written compares a page with what it is to be, or writes it.
func written(t *testing.T, file, want string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(file, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != want {
		t.Errorf("docs/%s is stale: go test ./docs -update", file)
	}
}

// Every section and option is in the manual, and all examples together are a
// configuration that b4 takes.
func TestExamples(t *testing.T) {
	var config strings.Builder
	known := map[string]bool{}
	for _, s := range sections {
		fmt.Fprintf(&config, "config %s '%s'\n", s.typ, s.name)
		for _, f := range uci.Schema() {
			known[f.Section+"."+f.Option] = true
			if f.Section == s.typ {
				fmt.Fprintf(&config, "\t%s\n", example(&f))
			}
		}
	}
	for _, f := range uci.Schema() {
		if !strings.Contains(config.String(), "config "+f.Section+" ") {
			t.Errorf("the manual has no section %s", f.Section)
		}
	}
	for name := range examples {
		if !known[name] {
			t.Errorf("there is an example for %s, which is no option", name)
		}
	}
	tree, err := uci.Parse("examples", []byte(config.String()))
	if err != nil {
		t.Fatal(err)
	}
	if _, warnings, err := uci.Decode(tree); err != nil || len(warnings) > 0 {
		t.Errorf("%v %v in\n%s", warnings, err, &config)
	}
}
