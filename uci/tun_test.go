package uci

import (
	"fmt"
	"net/netip"
	"os"
	"strings"
	"testing"
)

func TestTun(t *testing.T) {
	c, warnings, err := decode(t, `
config tun 'tun'
	option device 'b4tun7'
	option ipaddr '10.9.8.7/24'
	option ip6addr 'FD00::7/64'
	option out 'wanb'
	option gateway '192.0.2.1'
	option ip6gw 'fe80::1'
	option route_table '300'
	option mtu '1400'
	option nat 'none'

config rule 'tunnel'
`, "tun.mtu=1492", "tun.gateway=", "main.steer=all")
	if err != nil || len(warnings) > 0 {
		t.Fatal(warnings, err)
	}
	want := Tun{Device: "b4tun7", V4: netip.MustParsePrefix("10.9.8.7/24"), V6: netip.MustParsePrefix("fd00::7/64"),
		Out: "wanb", Gateway6: netip.MustParseAddr("fe80::1"), Table: 300, MTU: 1492, NAT: "none"}
	if c.Tun != want || c.Main.Steer != "all" {
		t.Errorf("\n got %+v, steer %s\nwant %+v", c.Tun, c.Main.Steer, want)
	}
	for option, want := range map[string]string{
		"tun": "b4:2", "tun.device": "b4:3", "tun.ip6gw": "b4:8", "tun.mtu": "-set tun.mtu", "tun.gateway": "default", "tun.tun": "default",
	} {
		if got := c.Place(option).String(); got != want {
			t.Errorf("place of %s: got %s, want %s", option, got, want)
		}
	}
}

// A rule may have the name of the section that no file needs to have.
func TestTunBesideRule(t *testing.T) {
	c, warnings, err := decode(t, "config rule tun\n", "tun.mtu=1400", "tun.action=pass")
	if err != nil || len(warnings) > 0 || c.Tun.MTU != 1400 || c.Rules[0].Action != "pass" {
		t.Errorf("%+v %v %v", c, warnings, err)
	}
}

func TestTunRefuses(t *testing.T) {
	const v4, v6 = "want an IPv4 address and its prefix length, such as 10.255.0.1/32", "want an IPv6 address and its prefix length, such as fd62:3400::1/128"
	const table, device = "want a number from 1 to 4294967295 but not 252 to 255", "want a device name: 1 to 15 ASCII characters, no blank, /, : or %"
	tests := []struct{ option, value, want string }{
		{"device", "b4:0", `"b4:0": ` + device},
		{"device", "b4tun%d", `"b4tun%d": ` + device},
		{"ipaddr", "router", `"router" is no address: ` + v4},
		{"ipaddr", "fd00::1/64", `"fd00::1/64" is an IPv6 address: ` + v4},
		{"ipaddr", "10.0.0.1/255.255.255.0", `"10.0.0.1/255.255.255.0" has a prefix length other than 0 to 32: ` + v4},
		{"ip6addr", "fd00::1/129", `"fd00::1/129" has a prefix length other than 0 to 128: ` + v6},
		{"ip6addr", "10.0.0.1", `"10.0.0.1" is an IPv4 address: ` + v6},
		{"ip6addr", "::ffff:10.0.0.1", `"::ffff:10.0.0.1" is an IPv4 address in IPv6 form: ` + v6},
		{"ip6addr", "::", `"::" is the unspecified address: ` + v6},
		{"ip6addr", "::1", `"::1" is a loopback address: ` + v6},
		{"ip6addr", "ff02::1", `"ff02::1" is a multicast address: ` + v6},
		{"gateway", "255.255.255.255", `"255.255.255.255" is the broadcast address: want an IPv4 address such as 192.0.2.1`},
		{"gateway", "192.0.2.1/24", `"192.0.2.1/24" has a prefix length: want an IPv4 address such as 192.0.2.1`},
		{"ip6gw", "fe80::1%wan", `"fe80::1%wan" has a zone, leave out the %wan: want an IPv6 address such as fe80::1`},
		{"route_table", "0", `"0": ` + table},
		{"route_table", "252", `"252" is the table that the kernel shows for those above 255: ` + table},
		{"route_table", "253", `"253" is the table default, which the kernel asks after main: ` + table},
		{"route_table", "254", `"254" is the table main, which has the router's routes: ` + table},
		{"route_table", "255", `"255" is the table local, which has the router's addresses: ` + table},
		{"mtu", "1279", `"1279": want a number from 1280 to 65535 (bytes), or 0 for WAN's`},
		{"out", "b4tun0", `"b4tun0" is the TUN itself: want the device that packets leave by`},
	}
	for _, tt := range tests {
		want := "b4:2: tun." + tt.option + ": " + tt.want
		if _, _, err := decode(t, "config tun tun\n\toption "+tt.option+" '"+tt.value+"'\n"); err == nil || err.Error() != want {
			t.Errorf("got  %v\nwant %s", err, want)
		}
	}
	const want = `b4:2: main.wan: "x0" is the TUN itself: want the device that packets leave by`
	if _, _, err := decode(t, "config b4 main\n\tlist wan x0\n\tlist wan wan\n", "tun.device=x0"); err == nil || err.Error() != want {
		t.Errorf("got  %v\nwant %s", err, want)
	}
}

// The firewall lets one kind of name through: what the package ships says which,
// the default is such a name, and another is warned of where it matters.
func TestFirewallInclude(t *testing.T) {
	text, err := os.ReadFile("../procd/b4.nft")
	if err != nil {
		t.Fatal(err)
	}
	var rules []string
	for _, line := range strings.Split(string(text), "\n") {
		if line != "" && !strings.HasPrefix(line, "#") {
			rules = append(rules, line)
		}
	}
	if len(rules) != 1 || !strings.HasPrefix(rules[0], `iifname "`+firewallPrefix+`*" accept `) {
		t.Errorf("the include's rules: %q", rules)
	}
	if d := field("tun", "device").Default; !strings.HasPrefix(d, firewallPrefix) {
		t.Errorf("the default device %s is none that the firewall lets through", d)
	}
	const other = "config tun tun\n\toption device 'x0'\n"
	const want = `[b4:2: tun.device: "x0": the firewall forwards what comes in by b4tun* only, and with main.steer all everything does]`
	tests := []struct {
		set  []string
		want string
	}{
		{nil, "[]"},
		{[]string{"main.steer=all"}, want},
		{[]string{"main.steer=all", "main.engine=tun"}, want},
		{[]string{"main.steer=all", "main.engine=nfqueue"}, "[]"},
		{[]string{"main.steer=all", "tun.device=b4tun9"}, "[]"},
	}
	for _, tt := range tests {
		if _, warnings, err := decode(t, other, tt.set...); err != nil || fmt.Sprint(warnings) != tt.want {
			t.Errorf("%q: got %v %v, want %s", tt.set, warnings, err, tt.want)
		}
	}
}

// FuzzAddress asks that what an option of the kind takes is what its text says,
// is a host's, and is taken again as it is printed.
func FuzzAddress(f *testing.F) {
	for _, s := range []string{"10.255.0.1/32", "fd62:3400::1/128", "::ffff:1.2.3.4/96", "fe80::1%a/64", "1.2.3.4/", "0/0", "255.255.255.255"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		for _, name := range []string{"ipaddr", "ip6addr", "gateway", "ip6gw"} {
			row := field("tun", name)
			p, err := row.address(text)
			if err != nil {
				if p.IsValid() {
					t.Errorf("%s %q: %v came with %v", name, text, p, err)
				}
				continue
			}
			a := p.Addr()
			if !p.IsValid() || a.Is4() != (row.Family == 4) || a.Is4In6() || a.Zone() != "" ||
				a.IsUnspecified() || a.IsMulticast() || a.IsLoopback() || row.Kind == Addr && !p.IsSingleIP() {
				t.Errorf("%s %q: %v", name, text, p)
			}
			plain := p.String()
			if row.Kind == Addr {
				plain = a.String()
			}
			if again, err := row.address(plain); err != nil || again != p {
				t.Errorf("%s %q: printed as %q it is %v, error %v", name, text, plain, again, err)
			}
		}
	})
}
