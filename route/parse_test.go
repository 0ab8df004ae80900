package route

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"b4/rtnl"

	"golang.org/x/sys/unix"
)

func u32(v uint32) []byte { return binary.NativeEndian.AppendUint32(nil, v) }

func attr(typ uint16, value ...[]byte) []byte {
	return rtnl.AppendAttr(nil, typ, bytes.Join(value, nil))
}

func rthead(family, dst, table, proto, scope, typ uint8, flags uint32) []byte {
	return rtnl.Route{Family: family, DstLen: dst, Table: table, Protocol: proto, Scope: scope, Type: typ, Flags: flags}.Append(nil)
}

const (
	v4, v6  = unix.AF_INET, unix.AF_INET6
	unicast = unix.RTN_UNICAST
	static  = unix.RTPROT_STATIC
	link    = unix.RT_SCOPE_LINK
)

func addrs(s string) []byte { return netip.MustParseAddr(s).AsSlice() }

func TestParseRoute(t *testing.T) {
	any4, any6 := defaults[0], defaults[1]
	oif, metric := attr(unix.RTA_OIF, u32(3)), attr(unix.RTA_PRIORITY, u32(7))
	base := Route{Dst: any4, Table: 254, Type: unicast, Protocol: static, Index: 3, plain: true}
	with := func(edit func(*Route)) []Route { r := base; edit(&r); return []Route{r} }
	head := rthead(v4, 0, 254, static, 0, unicast, 0)
	tests := []struct {
		name   string
		family uint8
		typ    uint16
		body   [][]byte
		want   []Route
	}{
		{"v4", v4, unix.RTM_NEWROUTE, [][]byte{head, oif}, []Route{base}},
		{"v6", v6, unix.RTM_NEWROUTE, [][]byte{rthead(v6, 0, 254, static, 0, unicast, 0), oif, attr(unix.RTA_PREF, []byte{0}), attr(unix.RTA_CACHEINFO, make([]byte, 32))},
			with(func(r *Route) { r.Dst = any6 })},
		{"v6 for a source prefix", v6, unix.RTM_NEWROUTE, [][]byte{{v6, 0, 56, 0, 254, static, 0, unicast, 0, 0, 0, 0}, attr(unix.RTA_SRC, addrs("2001:db8::")), oif},
			with(func(r *Route) { r.Dst, r.Src = any6, netip.MustParsePrefix("2001:db8::/56") })},
		{"metric and gateway", v4, unix.RTM_NEWROUTE, [][]byte{head, attr(unix.RTA_GATEWAY, addrs("192.0.2.1")), oif, metric},
			with(func(r *Route) { r.Metric, r.Gateway = 7, netip.MustParseAddr("192.0.2.1") })},
		{"gateway off the link", v4, unix.RTM_NEWROUTE, [][]byte{rthead(v4, 0, 254, static, 0, unicast, unix.RTNH_F_ONLINK), attr(unix.RTA_GATEWAY, addrs("192.0.2.1")), oif},
			with(func(r *Route) { r.Onlink, r.Gateway = true, netip.MustParseAddr("192.0.2.1") })},
		{"table beyond 255", v4, unix.RTM_NEWROUTE, [][]byte{rthead(v4, 0, 252, static, 0, unicast, 0), attr(unix.RTA_TABLE, u32(1000)), oif}, with(func(r *Route) { r.Table = 1000 })},
		{"longer, in a table of somebody's", v4, unix.RTM_NEWROUTE, [][]byte{rthead(v4, 8, 7, static, 0, unicast, 0), attr(unix.RTA_DST, []byte{10, 0, 0, 0}), oif},
			with(func(r *Route) { r.Dst, r.Table = netip.MustParsePrefix("10.0.0.0/8"), 7 })},
		{"longer, in a table beyond 255", v4, unix.RTM_NEWROUTE, [][]byte{rthead(v4, 8, unix.RT_TABLE_COMPAT, static, 0, unicast, 0), attr(unix.RTA_TABLE, u32(1000)), attr(unix.RTA_DST, []byte{10, 0, 0, 0}), oif},
			with(func(r *Route) { r.Dst, r.Table = netip.MustParsePrefix("10.0.0.0/8"), 1000 })},
		{"longer, in main", v4, unix.RTM_NEWROUTE, [][]byte{rthead(v4, 8, 254, static, 0, unicast, 0), attr(unix.RTA_DST, []byte{10, 0, 0, 0}), oif}, nil},
		{"longer, ours", v4, unix.RTM_NEWROUTE, [][]byte{rthead(v4, 8, 254, Protocol, 0, unicast, 0), attr(unix.RTA_DST, []byte{10, 0, 0, 0}), oif},
			with(func(r *Route) { r.Dst, r.Protocol = netip.MustParsePrefix("10.0.0.0/8"), Protocol })},
		{"blackhole", v4, unix.RTM_NEWROUTE, [][]byte{rthead(v4, 0, 254, static, 0, unix.RTN_BLACKHOLE, 0)}, with(func(r *Route) { r.Type, r.Index = unix.RTN_BLACKHOLE, 0 })},
		{"multipath", v4, unix.RTM_NEWROUTE, [][]byte{head, attr(unix.RTA_MULTIPATH, make([]byte, 16))}, with(func(r *Route) { r.Index, r.plain = 0, false })},
		{"next hop object", v4, unix.RTM_NEWROUTE, [][]byte{head, attr(rtaNexthopID, u32(9)), oif}, with(func(r *Route) { r.plain = false })},
		{"MTU", v4, unix.RTM_NEWROUTE, [][]byte{head, oif, attr(unix.RTA_METRICS, attr(unix.RTAX_MTU, u32(1400)))}, with(func(r *Route) { r.plain = false })},
		{"TOS", v4, unix.RTM_NEWROUTE, [][]byte{{v4, 0, 0, 8, 254, static, 0, unicast, 0, 0, 0, 0}, oif}, with(func(r *Route) { r.plain = false })},
		{"cached", v6, unix.RTM_NEWROUTE, [][]byte{rthead(v6, 0, 254, static, 0, unicast, unix.RTM_F_CLONED), oif}, nil},
		{"another family than asked for", v6, unix.RTM_NEWROUTE, [][]byte{head, oif}, nil},
		{"deleted", v4, unix.RTM_DELROUTE, [][]byte{head, oif}, nil},
		{"destination of the other family", v4, unix.RTM_NEWROUTE, [][]byte{rthead(v4, 8, 7, static, 0, unicast, 0), attr(unix.RTA_DST, make([]byte, 16))}, nil},
		{"destination too long", v4, unix.RTM_NEWROUTE, [][]byte{rthead(v4, 33, 7, static, 0, unicast, 0)}, nil},
		{"attribute past the end", v4, unix.RTM_NEWROUTE, [][]byte{head, oif, {60, 60, 0, 0}}, nil},
		{"head cut", v4, unix.RTM_NEWROUTE, [][]byte{head[:11]}, nil},
	}
	for _, tt := range tests {
		got := parseRoute(nil, tt.family, rtnl.Message{Type: tt.typ, Body: bytes.Join(tt.body, nil)})
		if !slices.EqualFunc(got, tt.want, Route.same) {
			t.Errorf("%s: %+v, want %+v", tt.name, got, tt.want)
		}
		for _, r := range got {
			if (r.raw != "") != (r.Protocol == Protocol) {
				t.Errorf("%s: kept %q", tt.name, r.raw)
			}
		}
	}
}

// Of a table with 1000 routes one is enough.
func TestParseRouteKeepsFew(t *testing.T) {
	var rs []Route
	for table := range uint8(3) {
		for i := range uint8(100) {
			rs = parseRoute(rs, v4, rtnl.Message{Type: unix.RTM_NEWROUTE, Body: append(rthead(v4, 32, 10+table, static, 0, unicast, 0), attr(unix.RTA_DST, []byte{10, 0, 0, i})...)})
		}
	}
	if len(rs) != 3 {
		t.Errorf("%d routes kept", len(rs))
	}
}

func TestParseRule(t *testing.T) {
	head := func(family uint8) []byte { return rthead(family, 0, 1, 0, 0, unix.FR_ACT_TO_TBL, 0) }
	pref, none := attr(unix.FRA_PRIORITY, u32(2001)), attr(unix.FRA_SUPPRESS_PREFIXLEN, u32(^uint32(0)))
	marked := [][]byte{attr(unix.FRA_TABLE, u32(1)), none, pref, attr(unix.FRA_FWMARK, u32(0x100)), attr(unix.FRA_FWMASK, u32(0x3f00)), attr(unix.FRA_PROTOCOL, []byte{3})}
	base := Rule{Pref: 2001, Action: unix.FR_ACT_TO_TBL, Table: 1, Mark: 0x100, Mask: 0x3f00, Protocol: 3, plain: true}
	with := func(edit func(*Rule)) []Rule { r := base; edit(&r); return []Rule{r} }
	odd := with(func(r *Rule) { r.plain = false })
	more := func(b ...[]byte) [][]byte { return append(append([][]byte{head(v4)}, marked...), b...) }
	tests := []struct {
		name string
		typ  uint16
		body [][]byte
		want []Rule
	}{
		{"v4", unix.RTM_NEWRULE, more(), []Rule{base}},
		{"v6", unix.RTM_NEWRULE, append([][]byte{head(v6)}, marked...), with(func(r *Rule) { r.V6 = true })},
		{"table beyond 255", unix.RTM_NEWRULE, more(attr(unix.FRA_TABLE, u32(DefaultTable))), with(func(r *Rule) { r.Table = DefaultTable })},
		{"ours", unix.RTM_NEWRULE, more(attr(unix.FRA_PROTOCOL, []byte{Protocol})), with(func(r *Rule) { r.Protocol = Protocol })},
		{"suppressing", unix.RTM_NEWRULE, more(attr(unix.FRA_SUPPRESS_PREFIXLEN, u32(0))), odd},
		{"by device", unix.RTM_NEWRULE, more(attr(unix.FRA_IIFNAME, []byte("lan\x00"))), odd},
		{"by port", unix.RTM_NEWRULE, more(attr(unix.FRA_DPORT_RANGE, u32(0))), odd},
		{"goto", unix.RTM_NEWRULE, [][]byte{rthead(v4, 0, 0, 0, 0, unix.FR_ACT_GOTO, 0), pref, attr(unix.FRA_GOTO, u32(3000))}, []Rule{{Pref: 2001, Action: unix.FR_ACT_GOTO}}},
		{"inverted", unix.RTM_NEWRULE, append([][]byte{rthead(v4, 0, 1, 0, 0, unix.FR_ACT_TO_TBL, invert)}, marked...), odd},
		{"for a source", unix.RTM_NEWRULE, append([][]byte{{v4, 0, 8, 0, 1, 0, 0, unix.FR_ACT_TO_TBL, 0, 0, 0, 0}}, marked...), odd},
		{"multicast routing's", unix.RTM_NEWRULE, append([][]byte{head(128)}, marked...), nil},
		{"deleted", unix.RTM_DELRULE, more(), nil},
		{"short numbers", unix.RTM_NEWRULE, [][]byte{head(v4), attr(unix.FRA_PRIORITY, []byte{1, 1}), attr(unix.FRA_PROTOCOL)}, []Rule{{Action: unix.FR_ACT_TO_TBL, Table: 1, plain: true}}},
		{"attribute below its head", unix.RTM_NEWRULE, more([]byte{0, 0, 0, 0}), nil},
		{"head cut", unix.RTM_NEWRULE, [][]byte{head(v4)[:11]}, nil},
	}
	for _, tt := range tests {
		got := parseRule(nil, rtnl.Message{Type: tt.typ, Body: bytes.Join(tt.body, nil)})
		if !slices.EqualFunc(got, tt.want, Rule.same) {
			t.Errorf("%s: %+v, want %+v", tt.name, got, tt.want)
		}
	}
}

func TestParseAddr(t *testing.T) {
	head := func(family, bits uint8) []byte { return append([]byte{family, bits, 0x80, 253}, u32(5)...) }
	tests := []struct {
		name string
		typ  uint16
		body [][]byte
		want string // and the peer
	}{
		{"v4", unix.RTM_NEWADDR, [][]byte{head(v4, 24), attr(unix.IFA_ADDRESS, addrs("192.0.2.2")), attr(unix.IFA_LOCAL, addrs("192.0.2.2"))}, "192.0.2.2/24"},
		{"v4 with a peer", unix.RTM_NEWADDR, [][]byte{head(v4, 32), attr(unix.IFA_ADDRESS, addrs("192.0.2.9")), attr(unix.IFA_LOCAL, addrs("192.0.2.2"))}, "192.0.2.2/32 192.0.2.9"},
		{"v6", unix.RTM_NEWADDR, [][]byte{head(v6, 64), attr(unix.IFA_ADDRESS, addrs("2001:db8::2"))}, "2001:db8::2/64"},
		{"v6 with a peer", unix.RTM_NEWADDR, [][]byte{head(v6, 128), attr(unix.IFA_LOCAL, addrs("2001:db8::2")), attr(unix.IFA_ADDRESS, addrs("2001:db8::9"))}, "2001:db8::2/128 2001:db8::9"},
		{"too long", unix.RTM_NEWADDR, [][]byte{head(v4, 33), attr(unix.IFA_LOCAL, addrs("192.0.2.2"))}, ""},
		{"wrong size", unix.RTM_NEWADDR, [][]byte{head(v4, 24), attr(unix.IFA_LOCAL, addrs("2001:db8::2"))}, ""},
		{"DECnet", unix.RTM_NEWADDR, [][]byte{head(12, 24), attr(unix.IFA_LOCAL, addrs("192.0.2.2"))}, ""},
		{"deleted", unix.RTM_DELADDR, [][]byte{head(v4, 24), attr(unix.IFA_LOCAL, addrs("192.0.2.2"))}, ""},
		{"head cut", unix.RTM_NEWADDR, [][]byte{head(v4, 24)[:7]}, ""},
	}
	for _, tt := range tests {
		got := parseAddr(nil, rtnl.Message{Type: tt.typ, Body: bytes.Join(tt.body, nil)})
		var want []Addr
		if tt.want != "" {
			address, with, _ := strings.Cut(tt.want, " ")
			peer, _ := netip.ParseAddr(with)
			want = []Addr{{5, netip.MustParsePrefix(address), peer, 253, 0x80}}
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s: %+v, want %s", tt.name, got, tt.want)
		}
	}
	long := attr(unix.IFA_FLAGS, u32(0x202))
	if got := parseAddr(nil, rtnl.Message{Type: unix.RTM_NEWADDR, Body: bytes.Join([][]byte{head(v4, 24), attr(unix.IFA_LOCAL, addrs("192.0.2.2")), long}, nil)}); len(got) != 1 || got[0].Flags != 0x202 {
		t.Errorf("long flags: %+v", got)
	}
}

func TestParseDevice(t *testing.T) {
	body := func(index int32, flags uint32, attrs ...[]byte) []byte {
		return bytes.Join(append([][]byte{make([]byte, 4), u32(uint32(index)), u32(flags), u32(0)}, attrs...), nil)
	}
	name, mtu := attr(unix.IFLA_IFNAME, []byte("eth1\x00")), attr(unix.IFLA_MTU, u32(1492))
	tests := []struct {
		name string
		typ  uint16
		body []byte
		want []Device
	}{
		{"up", unix.RTM_NEWLINK, body(2, unix.IFF_UP, name, mtu), []Device{{Index: 2, Name: "eth1", MTU: 1492, Up: true}}},
		{"down", unix.RTM_NEWLINK, body(2, 0, name, mtu), []Device{{Index: 2, Name: "eth1", MTU: 1492, Up: false}}},
		{"no name", unix.RTM_NEWLINK, body(2, 0, mtu), nil},
		{"no index", unix.RTM_NEWLINK, body(0, 0, name), nil},
		{"deleted", unix.RTM_DELLINK, body(2, 0, name), nil},
		{"attribute past the end", unix.RTM_NEWLINK, body(2, 0, name[:8]), nil},
		{"head cut", unix.RTM_NEWLINK, body(2, 0)[:15], nil},
	}
	for _, tt := range tests {
		if got := parseDevice(nil, rtnl.Message{Type: tt.typ, Body: tt.body}); !slices.Equal(got, tt.want) {
			t.Errorf("%s: %+v, want %+v", tt.name, got, tt.want)
		}
	}
}

// What is sent, byte by byte, as a little-endian kernel reads it.
func TestBodies(t *testing.T) {
	if binary.NativeEndian.Uint16([]byte{1, 0}) != 1 {
		t.Skip("the bytes are written down for little-endian machines")
	}
	s := gateways(t)
	tests := []struct {
		name string
		got  []byte
		want string
	}{
		{"v4 address", s.families[0].addr.body(), "021e0000 07000000 08000200 0aff0001 08000100 0aff0001 08000800 02020000"},
		{"v4 route", s.families[0].routes[0].body(), "02000000 0062fd01 00000000 08000f00 34620000 08000400 07000000"},
		{"v4 rule", s.families[0].rules[0].body(), "02000000 00000001 00000000 08000600 84030000 08000a00 00000001 08001000 00000001 08000f00 34620000 05001500 62000000"},
		{"v4 route to the gateway", s.families[0].routes[1].body(), "02000000 00620001 04000000 08000f00 35620000 08000400 02000000 08000500 c0000201"},
		{"v4 rule to the gateway", s.families[0].rules[1].body(), "02000000 00000001 00000000 08000600 85030000 08000a00 00000008 08001000 00000008 08000f00 35620000 05001500 62000000"},
		{"v6 route to the gateway", s.families[1].routes[1].body(), "0a000000 00620001 04000000 08000f00 35620000 08000400 02000000 14000500 fe800000 00000000 00000000 00000001 08000600 00040000"},
		{"v6 route", s.families[1].routes[0].body(), "0a000000 00620001 00000000 08000f00 34620000 08000400 07000000 08000600 00040000"},
		{"v6 rule", s.families[1].rules[0].body(), "0a000000 00000001 00000000 08000600 84030000 08000a00 00000001 08001000 00000001 08000f00 34620000 05001500 62000000"},
	}
	for _, tt := range tests {
		want, _ := hex.DecodeString(string(bytes.ReplaceAll([]byte(tt.want), []byte(" "), nil)))
		if !bytes.Equal(tt.got, want) {
			t.Errorf("%s: %x, want %s", tt.name, tt.got, tt.want)
		}
	}
}

// What Plan wants, told back by the kernel, is what Plan wants.
func TestBodiesParse(t *testing.T) {
	for _, f := range gateways(t).families {
		if got := parseAddr(nil, rtnl.Message{Type: unix.RTM_NEWADDR, Body: f.addr.body()}); len(got) != 1 || got[0] != f.addr {
			t.Errorf("address %+v, want %+v", got, f.addr)
		}
		for _, r := range f.routes {
			if got := parseRoute(nil, familyOf(f.v6()), rtnl.Message{Type: unix.RTM_NEWROUTE, Body: r.body()}); len(got) != 1 || !got[0].same(r) {
				t.Errorf("route %+v, want %+v", got, r)
			}
		}
		for _, r := range f.rules {
			if got := parseRule(nil, rtnl.Message{Type: unix.RTM_NEWRULE, Body: r.body()}); len(got) != 1 || !got[0].same(r) {
				t.Errorf("rule %+v, want %+v", got, r)
			}
		}
	}
}

// gateways is all that Plan may want.
func gateways(t *testing.T) *State {
	t.Helper()
	c := config(t)
	c.Out, c.Gateway4, c.Gateway6 = "wan", netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("fe80::1")
	s, err := Plan(c, router())
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// FuzzParse gives the parsers any message: they end, stay inside it, and find
// nothing that cannot be.
func FuzzParse(f *testing.F) {
	f.Add(uint16(unix.RTM_NEWROUTE), append(rthead(v6, 0, 254, static, 0, unicast, 0), attr(unix.RTA_OIF, u32(3))...))
	f.Add(uint16(unix.RTM_NEWRULE), append(rthead(v4, 0, 1, 0, 0, unix.FR_ACT_TO_TBL, 0), attr(unix.FRA_FWMARK, u32(3))...))
	f.Add(uint16(unix.RTM_NEWADDR), append([]byte{v4, 24, 0, 0, 5, 0, 0, 0}, attr(unix.IFA_LOCAL, []byte{10, 0, 0, 1})...))
	f.Add(uint16(unix.RTM_NEWLINK), append(make([]byte, 16), attr(unix.IFLA_IFNAME, []byte("eth1\x00"))...))
	f.Fuzz(func(t *testing.T, typ uint16, body []byte) {
		m := rtnl.Message{Type: typ, Body: body[:len(body):len(body)]}
		for _, family := range []uint8{v4, v6} {
			for _, r := range parseRoute(nil, family, m) {
				if !r.Dst.IsValid() || r.V6() != (family == v6) || r.text(Links{}) == "" {
					t.Errorf("route %+v", r)
				}
			}
		}
		for _, a := range parseAddr(nil, m) {
			if !a.Prefix.IsValid() || a.Index <= 0 {
				t.Errorf("address %+v", a)
			}
		}
		for _, d := range parseDevice(nil, m) {
			if d.Name == "" || d.Index <= 0 {
				t.Errorf("device %+v", d)
			}
		}
		parseRule(nil, m)
	})
}
