package route

import (
	"errors"
	"flag"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"b4/mark"

	"golang.org/x/sys/unix"
)

var update = flag.Bool("update", false, "write the golden files")

func config(t testing.TB) Config {
	t.Helper()
	marks, err := mark.New(mark.Base)
	if err != nil {
		t.Fatal(err)
	}
	return Config{
		Marks: marks, Table: DefaultTable, Device: "b4tun0", IPv4: true, IPv6: true,
		V4: netip.MustParsePrefix("10.255.0.1/30"), V6: netip.MustParsePrefix("fd62:34::1/64"),
	}
}

// router has two uplinks, mwan3's and pbr's rules, and what an older b4 left.
func router() Links {
	any4, any6 := netip.MustParsePrefix("0.0.0.0/0"), netip.MustParsePrefix("::/0")
	rule := func(pref, mark, mask, table uint32, proto uint8) Rule {
		return Rule{Pref: pref, Action: unix.FR_ACT_TO_TBL, Table: table, Mark: mark, Mask: mask, Protocol: proto, plain: true}
	}
	return Links{
		Devices: []Device{{Index: 1, Name: "lo", MTU: 65536, Up: true}, {Index: 2, Name: "wan", MTU: 1500, Up: true}, {Index: 7, Name: "b4tun0", MTU: 1500, Up: true}, {Index: 8, Name: "off", MTU: 1500, Up: false}},
		Routes: []Route{
			{Dst: any4, Table: unix.RT_TABLE_MAIN, Metric: 10, Type: unix.RTN_UNICAST, Protocol: unix.RTPROT_STATIC, Index: 2, Gateway: netip.MustParseAddr("192.0.2.1")},
			{Dst: any4, Table: 1, Type: unix.RTN_UNICAST, Protocol: unix.RTPROT_STATIC, Index: 2},
			{Dst: any6, Table: unix.RT_TABLE_MAIN, Metric: 512, Type: unix.RTN_UNICAST, Protocol: unix.RTPROT_STATIC, Index: 2},
			{Dst: any4, Table: DefaultTable, Type: unix.RTN_UNICAST, Protocol: Protocol, Index: 2},
		},
		Rules: []Rule{
			rule(0, 0, 0, unix.RT_TABLE_LOCAL, unix.RTPROT_KERNEL),
			rule(1001, 0, 0, 1, unix.RTPROT_BOOT),
			rule(2001, 0x100, 0x3f00, 1, unix.RTPROT_BOOT),
			rule(29998, 0x10000, 0xff0000, 256, unix.RTPROT_BOOT),
			rule(Pref, 1, 1, 99, Protocol),
		},
	}
}

func TestPlanGolden(t *testing.T) {
	tests := []struct {
		name string
		edit func(*Config, *Links)
	}{
		{"both", func(c *Config, l *Links) {}},
		{"v4", func(c *Config, l *Links) { c.IPv6, c.V6 = false, netip.Prefix{} }},
		{"v6", func(c *Config, l *Links) { c.IPv4, c.V4 = false, netip.Prefix{} }},
		{"none", func(c *Config, l *Links) { c.IPv4, c.IPv6, c.Device = false, false, "nothing" }},
		{"gateways", func(c *Config, l *Links) {
			c.Out, c.Gateway4, c.Gateway6 = "wan", netip.MustParseAddr("192.0.2.254"), netip.MustParseAddr("fe80::1")
		}},
		{"gateway of one family", func(c *Config, l *Links) {
			c.Out, c.Gateway4, c.Gateway6, c.IPv6 = "wan", netip.MustParseAddr("192.0.2.254"), netip.MustParseAddr("fe80::1"), false
		}},
		{"another table and mark", func(c *Config, l *Links) { c.Table, c.Marks.Steer = 300, 1<<31 }},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c, l := config(t), router()
			tt.edit(&c, &l)
			s, err := Plan(c, l)
			if err != nil {
				t.Fatal(err)
			}
			golden(t, filepath.Join("testdata", strings.ReplaceAll(tt.name, " ", "-")+".txt"), s.String())
		})
	}
}

func golden(t *testing.T, path, got string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s differs (-update writes it). Got:\n%s", path, got)
	}
}

func TestPlanRefuses(t *testing.T) {
	any4 := netip.MustParsePrefix("0.0.0.0/0")
	gateway := func(c *Config, a string) { c.Gateway4 = netip.MustParseAddr(a) }
	tests := []struct {
		name, want string
		is         error
		edit       func(*Config, *Links)
	}{
		{"no mark", "mark 0x0", nil, func(c *Config, l *Links) { c.Marks = mark.Set{} }},
		{"two bits", "mark 0x3", nil, func(c *Config, l *Links) { c.Marks.Steer = 3 }},
		{"table 0", "table 0 is the system's", nil, func(c *Config, l *Links) { c.Table = 0 }},
		{"main", "table 254 is the system's", nil, func(c *Config, l *Links) { c.Table = 254 }},
		{"compat", "table 252 is the system's", nil, func(c *Config, l *Links) { c.Table = 252 }},
		{"v6 for v4", "want an IPv4 one", nil, func(c *Config, l *Links) { c.V4 = c.V6 }},
		{"v4 for v6", "want an IPv6 one", nil, func(c *Config, l *Links) { c.V6 = c.V4 }},
		{"mapped for v6", "want an IPv6 one", nil, func(c *Config, l *Links) { c.V6 = netip.MustParsePrefix("::ffff:10.0.0.1/126") }},
		{"no v4", "address invalid Prefix: want an IPv4 one", nil, func(c *Config, l *Links) { c.V4 = netip.Prefix{} }},
		{"no v6", "address invalid Prefix: want an IPv6 one", nil, func(c *Config, l *Links) { c.V6 = netip.Prefix{} }},
		{"no device", "device b4tun9", ErrNoDevice, func(c *Config, l *Links) { c.Device = "b4tun9" }},
		{"gateway's device down", "device off", ErrNoDevice, func(c *Config, l *Links) { c.Out = "off"; gateway(c, "192.0.2.1") }},
		{"gateway without a device", "set option out", nil, func(c *Config, l *Links) { gateway(c, "192.0.2.1") }},
		{"gateway of the other family", "gateway 2001:db8::1: want an IPv4 address", nil, func(c *Config, l *Links) { c.Out, c.Gateway4 = "wan", netip.MustParseAddr("2001:db8::1") }},
		{"mapped gateway", "want an IPv6 address", nil, func(c *Config, l *Links) { c.Out, c.Gateway6 = "wan", netip.MustParseAddr("::ffff:192.0.2.1") }},
		{"no gateway", "want the address of a router", nil, func(c *Config, l *Links) { c.Out = "wan"; gateway(c, "0.0.0.0") }},
		{"gateway of all", "want the address of a router", nil, func(c *Config, l *Links) { c.Out, c.Gateway6 = "wan", netip.MustParseAddr("ff02::2") }},
		{"gateway with a zone", "want the address of a router", nil, func(c *Config, l *Links) { c.Out, c.Gateway6 = "wan", netip.MustParseAddr("fe80::1%wan") }},
		{"mark of the gateway", "mark 0x0: want one bit", nil, func(c *Config, l *Links) { c.Out, c.Marks.Injected = "wan", 0; gateway(c, "192.0.2.1") }},
		{"last table before the system's", "table 252 is the system's", nil, func(c *Config, l *Links) { c.Out, c.Table = "wan", 251; gateway(c, "192.0.2.1") }},
		{"last table", "table 0 is the system's", nil, func(c *Config, l *Links) { c.Out, c.Table = "wan", ^uint32(0); gateway(c, "192.0.2.1") }},
		{"route in the gateway's table", "(route default dev wan table 25141 proto 4)", ErrTaken, func(c *Config, l *Links) {
			c.Out = "wan"
			gateway(c, "192.0.2.1")
			l.Routes = append(l.Routes, Route{Dst: any4, Table: DefaultTable + 1, Type: unix.RTN_UNICAST, Protocol: 4, Index: 2})
		}},
		{"down", "device off", ErrNoDevice, func(c *Config, l *Links) { c.Device = "off" }},
		{"route in the table", "(route default dev wan table 25140 proto 4)", ErrTaken, func(c *Config, l *Links) {
			l.Routes = append(l.Routes, Route{Dst: any4, Table: DefaultTable, Type: unix.RTN_UNICAST, Protocol: 4, Index: 2})
		}},
		{"longer route in the table", "(route blackhole 10.0.0.0/8 table 25140 proto 3)", ErrTaken, func(c *Config, l *Links) {
			l.Routes = append(l.Routes, Route{Dst: netip.MustParsePrefix("10.0.0.0/8"), Table: DefaultTable, Type: unix.RTN_BLACKHOLE, Protocol: 3})
		}},
		{"rule for the table", "(rule 7:\tfrom all ... fwmark 0x1 lookup 25140 proto 3)", ErrTaken, func(c *Config, l *Links) {
			l.Rules = append(l.Rules, Rule{V6: true, Pref: 7, Action: unix.FR_ACT_TO_TBL, Table: DefaultTable, Mark: 1, Mask: ^uint32(0), Protocol: 3})
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c, l := config(t), router()
			tt.edit(&c, &l)
			_, err := Plan(c, l)
			if err == nil || !strings.Contains(err.Error(), tt.want) || tt.is != nil && !errors.Is(err, tt.is) {
				t.Errorf("got %v, want an error with %q", err, tt.want)
			}
		})
	}
}
