package daemon

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"b4/desync"
)

const (
	net4 = "config rule 'n'\n\tlist prefix '192.0.2.0/24'\n"
	text = "\toption strategy 'split(1)'\n"
)

// Steps for the handshake are only done, and only asked for, where the address and
// the device say that it is their rule's connection.
func TestHandshakeShown(t *testing.T) {
	t.Parallel()
	dir := lists(t, map[string]string{"never": "bank.example\n", "networks": "192.0.2.0/24\n", "both": "192.0.2.0/24\na.example\n"})
	file := func(name string) string { return "config rule 'f'\n\tlist domain_file '" + dir + "/" + name + "'\n" }
	for _, tt := range []struct{ conf, want string }{
		{rest, "SYN SYN,ACK"},
		{console + pass + rest, "SYN SYN,ACK"},
		{console + text + rest, "SYN"},
		{console, "SYN"},
		{console + "\tlist domain 'a.example'\n" + text + rest, "SYN"},
		{"config rule 'p'\n\tlist port '8443'\n", "SYN SYN,ACK"},
		{"config rule 'p'\n\tlist port '8443'\n\tlist domain 'a.example'\n" + text + rest, "SYN SYN,ACK"},
		{"config rule 'p'\n\tlist domain 'a.example'\n" + text + rest, ""},
		{net4, "SYN SYN,ACK"},
		{net4 + text + rest, "SYN SYN,ACK"},
		{net4 + "\tlist not 'a.example'\n", ""},
		{"config rule 'p'\n\tlist domain 'a.example'\n" + text + net4, ""},
		{console + pass + "\tlist prefix '192.0.2.0/24'\n" + rest, "SYN SYN,ACK"},
		{file("networks"), "SYN SYN,ACK"},
		{file("networks") + text + rest, "SYN SYN,ACK"},
		{file("both"), "SYN SYN,ACK"},
		{file("both") + text + rest, ""},
		{"\toption never '" + dir + "/never'\n" + rest, ""},
	} {
		s := settingsOf(t, tt.conf+"config strategy 'default'\n\toption tls 'synfake(badsum) wsize(100)'\n")
		var shown []string
		if s.need.Phases&desync.SYN != 0 {
			shown = append(shown, "SYN")
		}
		if s.need.Phases&desync.SYNACK != 0 {
			shown = append(shown, "SYN,ACK")
		}
		if got, warned := strings.Join(shown, " "), len(s.early()) > 0; got != tt.want || warned != (len(shown) < 2) {
			t.Errorf("%s: %q, warned: %v, want %q", tt.conf, got, warned, tt.want)
		}
	}
}

// A file may hold networks, too, or these alone: a rule with names is for all that
// they stand for, one without any for the networks only.
func TestNetworksFile(t *testing.T) {
	t.Parallel()
	dir := lists(t, map[string]string{
		"networks": "# of a provider\n198.51.100.0/25\r\n198.51.100.128/25 # the rest\n192.0.2.80\n\n2001:DB8:77::9/48\n",
		"both":     "a.example\n192.0.2.0/24\n", "names": "a.example\n", "none": "# nothing\n", "star": "*\n192.0.2.1\n",
		"all": "a.example\n::/0\n", "length": "192.0.2.0/33\n", "mapped": "::ffff:192.0.2.1\n",
	})
	const rule = "config rule 'r'\n"
	file := func(name string) string { return "\tlist domain_file '" + dir + "/" + name + "'\n" }
	for _, tt := range []struct{ conf, want string }{
		{file("networks"), "names -, 4 [192.0.2.80 198.51.100.0 198.51.100.255 2001:db8:77:1::]"},
		{file("networks") + "\tlist prefix '192.0.2.81'\n", "names -, 5 [192.0.2.80 192.0.2.81 198.51.100.0 198.51.100.255 2001:db8:77:1::]"},
		{file("networks") + file("names"), "names 1, 4 [192.0.2.80 198.51.100.0 198.51.100.255 2001:db8:77:1::]"},
		{file("both"), "names 1, 1 [192.0.2.1 192.0.2.80 192.0.2.81]"},
		{file("both") + "\tlist domain 'b.example'\n", "names 2, 1 [192.0.2.1 192.0.2.80 192.0.2.81]"},
		{file("none"), "names 0, 0 []"},
		{file("none") + "\tlist prefix '192.0.2.81'\n", "names -, 1 [192.0.2.81]"},
		{file("star"), "names 1, 1 [192.0.2.1]"},
		{"\tlist domain '*'\n" + file("networks"), "names -, 0 []"},
		{file("all"), `b4:4: rule.r.domain_file: DIR/all:2: "::/0" is all addresses`},
		{file("names") + file("length"), `b4:4: rule.r.domain_file: DIR/length:1: "192.0.2.0/33" is neither an address nor a network`},
		{file("mapped"), `b4:4: rule.r.domain_file: DIR/mapped:1: "::ffff:192.0.2.1" is an IPv4 address in IPv6 form`},
	} {
		s, err := buildOf(t, rule+tt.conf)
		got := fmt.Sprint(err)
		if err == nil {
			r := &s.pipe.Rules[0]
			names := "-"
			if r.Domains != nil {
				names = fmt.Sprint(r.Domains.Len())
			}
			var in []string
			for _, a := range strings.Fields("192.0.2.1 192.0.2.80 192.0.2.81 198.51.99.255 198.51.100.0 198.51.100.255 198.51.101.0 2001:db8:77:1:: 2001:db8:78::") {
				if r.Prefixes.Contains(netip.MustParseAddr(a)) {
					in = append(in, a)
				}
			}
			got = fmt.Sprintf("names %s, %d %v", names, r.Prefixes.Len(), in)
		}
		if want := strings.ReplaceAll(tt.want, "DIR", dir); got != want {
			t.Errorf("%s:\n got %s\nwant %s", tt.conf, got, want)
		}
	}
}

// What is asked about a rule with thousands of networks is answered in a few words.
func TestManyNetworks(t *testing.T) {
	t.Parallel()
	var list strings.Builder
	for i := range 10000 {
		fmt.Fprintf(&list, "10.%d.%d.0/24\n2001:db8:%x::/48\n", i>>7, i<<1&0xff, i<<1)
	}
	dir := lists(t, map[string]string{"list": list.String()})
	conf := "config rule 'f'\n\tlist domain_file '" + dir + "/list'\n"
	for i := range 10 {
		conf += fmt.Sprintf("\tlist prefix '192.0.2.%d'\n", 2*i)
	}
	s := settingsOf(t, conf+rest)
	for host, want := range map[string]string{
		"10.78.30.7":      "[{f matches 10.78.30.7}]",
		"2001:db8:4e1e::": "[{f matches 2001:db8:4e1e::}]",
		"192.0.2.18":      "[{f matches 192.0.2.18}]",
		"10.78.31.7":      "[{f prefix 192.0.2.0, 192.0.2.2, 192.0.2.4, 192.0.2.6, 192.0.2.8, 192.0.2.10, 192.0.2.12, 192.0.2.14, DIR/list} {rest no_name }]",
	} {
		h, err := s.testHost(TestHostRequest{Host: host})
		if err != nil {
			t.Fatal(err)
		}
		if got := strings.ReplaceAll(fmt.Sprint(h.Steps), dir, "DIR"); got != want {
			t.Errorf("%s: %s, want %s", host, got, want)
		}
	}
	if st := ruleStatus(s)[0]; st.Names != 0 || st.Prefixes != 20010 {
		t.Errorf("%d names and %d networks", st.Names, st.Prefixes)
	}
}
