package fw

import (
	"encoding/binary"
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/nftables/expr"
	"github.com/google/nftables/xt"
	"golang.org/x/sys/unix"
)

// terms of other programs' rules. Each is a list of expressions.
type exprs []expr.Any

func (exprs) String() string  { return "" }
func (e exprs) code(c *coder) { c.put(e...) }

// put appends expressions, whatever they are.
func (c *coder) put(exprs ...expr.Any) {
	for _, e := range exprs {
		c.list.Do(unix.NLA_F_NESTED|unix.NFTA_LIST_ELEM, func() ([]byte, error) { return expr.Marshal(unix.NFPROTO_INET, e) })
	}
}

func oif(name string) term { return isDevice{oifname, name} }

func load(key expr.MetaKey, want ...expr.Any) term {
	return exprs(append([]expr.Any{&expr.Meta{Key: key, Register: 1}}, want...))
}

func equal(b ...byte) *expr.Cmp   { return &expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: b} }
func unequal(b ...byte) *expr.Cmp { return &expr.Cmp{Op: expr.CmpOpNeq, Register: 1, Data: b} }

func bitwise(mask, xor uint32) *expr.Bitwise {
	return &expr.Bitwise{
		SourceRegister: 1, DestRegister: 1, Len: 4,
		Mask: binary.NativeEndian.AppendUint32(nil, mask), Xor: binary.NativeEndian.AppendUint32(nil, xor),
	}
}

// address loads a source (12) or destination (16) of IPv4.
func address(offset uint32, want ...expr.Any) term {
	return exprs(append([]expr.Any{&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseNetworkHeader, Offset: offset, Len: 4}}, want...))
}

var (
	saddr     = address(12, equal(10, 0, 0, 1))
	daddr     = address(16, unequal(10, 0, 0, 1))
	masq      = masquerade{}
	forClient = load(expr.MetaKeyIIF, unequal(0, 0, 0, 0))
	count     = exprs{&expr.Counter{}, &expr.Log{Key: 1 << unix.NFTA_LOG_PREFIX, Data: []byte("x")}}
)

func jump(chain string) term { return verdict{unix.NFT_JUMP, chain} }

var comeBack = verdict{kind: unix.NFT_RETURN}

func marked(op expr.CmpOp, mark uint32) term {
	return exprs{&expr.Meta{Key: expr.MetaKeyMARK, Register: 1}, bitwise(0xff0000, 0),
		&expr.Cmp{Op: op, Register: 1, Data: binary.NativeEndian.AppendUint32(nil, mark)}}
}

func inSet(name string, inverted bool) *expr.Lookup {
	return &expr.Lookup{SourceRegister: 1, SetName: name, Invert: inverted}
}

func target(name string) term {
	u := xt.Unknown{}
	return exprs{&expr.Target{Name: name, Info: &u}}
}

func matchMark(mark uint32, inverted byte) term {
	b := binary.NativeEndian.AppendUint32(nil, mark)
	u := xt.Unknown(append(binary.NativeEndian.AppendUint32(b, 0xff0000), inverted, 0, 0, 0))
	return exprs{&expr.Match{Name: "mark", Rev: 1, Info: &u}}
}

// srcnat is a base chain, and on a regular one.
func srcnat(priority int32, rules ...rule) chain {
	return chain{"srcnat", &hook{nat, postrouting, priority}, rules}
}
func on(name string, rules ...rule) chain { return chain{name, nil, rules} }

// A foreign is a table of another program.
type foreign struct {
	family uint8
	name   string
	chains []chain
}

// others makes a ruleset of tables, as if it had been read.
func others(t testing.TB, tables ...foreign) *ruleset {
	t.Helper()
	r := &ruleset{elements: func(_ foreignTable, set string) ([]element, error) {
		e, ok := testSets[set]
		if !ok {
			return nil, errors.New("no such set")
		}
		return e, nil
	}}
	for _, table := range tables {
		for _, c := range table.chains {
			f := &foreignChain{table: foreignTable{table.family, table.name}, name: c.name}
			if c.hook != nil {
				f.kind, f.point, f.priority = c.hook.kind, c.hook.point, c.hook.priority
			}
			for _, rule := range c.rules {
				b, err := rule.code()
				if err != nil {
					t.Fatal(err)
				}
				f.rules = append(f.rules, b)
			}
			r.chains = append(r.chains, f)
		}
	}
	return r
}

// testSets have the elements that nft gives sets of these kinds.
var testSets = map[string][]element{
	"wans": {{key: deviceKey("wan0")}, {key: deviceKey("wan1")}},
	"lans": {{key: deviceKey("lan0")}},
	"range": { // "wan*"
		{key: make([]byte, 16), flags: unix.NFT_SET_ELEM_INTERVAL_END},
		{key: deviceKey("wan")}, {key: deviceKey("wao"), flags: unix.NFT_SET_ELEM_INTERVAL_END},
	},
	"touching": { // [lan, wan) and [wan, wax)
		{key: deviceKey("wan"), flags: unix.NFT_SET_ELEM_INTERVAL_END}, {key: deviceKey("lan")},
		{key: deviceKey("wax"), flags: unix.NFT_SET_ELEM_INTERVAL_END}, {key: deviceKey("wan")},
	},
	"touching, from above": {
		{key: deviceKey("wax"), flags: unix.NFT_SET_ELEM_INTERVAL_END}, {key: deviceKey("wan")},
		{key: deviceKey("wan"), flags: unix.NFT_SET_ELEM_INTERVAL_END}, {key: deviceKey("lan")},
	},
	"below": {{key: deviceKey("lan")}, {key: deviceKey("wan0"), flags: unix.NFT_SET_ELEM_INTERVAL_END}}, // [lan, wan0)
	"empty": {},
	"by device": {
		{key: deviceKey("wan0"), verdict: verdictOf(unix.NFT_JUMP, "srcnat_wan")},
		{key: deviceKey("lan0"), verdict: verdictOf(unix.NFT_RETURN, "")},
	},
	"all devices": {
		{key: deviceKey("lan0"), verdict: verdictOf(unix.NFT_RETURN, "")},
		{flags: 2, verdict: verdictOf(unix.NFT_GOTO, "srcnat_wan")},
	},
	"by source": {
		{key: []byte{10, 0, 0, 1}, verdict: verdictOf(nfAccept, "")},
		{key: []byte{10, 0, 0, 2}, verdict: verdictOf(unix.NFT_CONTINUE, "")},
	},
	"states": {
		{key: hostOrder(2), verdict: verdictOf(nfAccept, "")},
		{key: hostOrder(4), verdict: verdictOf(nfAccept, "")},
	},
}

func verdictOf(code int32, chain string) attrs {
	ae := attributes()
	ae.Uint32(unix.NFTA_VERDICT_CODE, uint32(code))
	if chain != "" {
		ae.String(unix.NFTA_VERDICT_CHAIN, chain)
	}
	b, _ := ae.Encode()
	return b
}

func vmap(key expr.Any, set string) term {
	return exprs{key, &expr.Lookup{SourceRegister: 1, SetName: set, IsDestRegSet: true, DestRegister: 0}}
}

func byDevice(set string) term { return vmap(&expr.Meta{Key: oifname, Register: 1}, set) }

func fw4(chains ...chain) foreign    { return foreign{inetFamily, "fw4", chains} }
func legacy(chains ...chain) foreign { return foreign{ip4Family, "nat", chains} }

// masqueradeWAN is firewall4 as installed, with its rules for the LAN's own
// hairpins.
var masqueradeWAN = fw4(
	srcnat(100, rule{oif("lan0"), jump("srcnat_lan")}, rule{oif("wan0"), jump("srcnat_wan")}),
	on("srcnat_lan", rule{nfproto(4), saddr, snat(netip.MustParseAddr("10.0.0.1"))}),
	on("srcnat_wan", rule{forClient, nfproto(4), count, masq}))

func TestNAT(t *testing.T) {
	all := srcnat(100, rule{oif("wan0"), masq})
	docker := legacy(srcnat(100, rule{saddr, exprs{&expr.Meta{Key: oifname, Register: 1}, unequal(deviceKey("docker0")...)}, masq}))
	tests := []struct {
		name       string
		tables     []foreign
		v4, v6     NAT
		why4, why6 string
	}{
		{"nothing", nil, Routed, Routed, "", ""},
		{"an empty chain", []foreign{fw4(srcnat(100))}, Routed, Routed, "", ""},
		{"firewall4", []foreign{masqueradeWAN}, Masqueraded, Routed, "", ""},
		{"another device", []foreign{fw4(srcnat(100, rule{oif("wan1"), masq}))}, Routed, Routed, "", ""},
		{"all devices", []foreign{fw4(srcnat(100, rule{masq}))}, Masqueraded, Masqueraded, "", ""},
		{"all but one", []foreign{fw4(srcnat(100, rule{load(oifname, unequal(deviceKey("wan0")...)), masq}))}, Routed, Routed, "", ""},
		{"all but another", []foreign{fw4(srcnat(100, rule{load(oifname, unequal(deviceKey("wan1")...)), masq}))}, Masqueraded, Masqueraded, "", ""},
		{"wildcard", []foreign{fw4(srcnat(100, rule{load(oifname, equal([]byte("wan")...)), masq}))}, Masqueraded, Masqueraded, "", ""},
		{"another wildcard", []foreign{fw4(srcnat(100, rule{load(oifname, equal([]byte("ppp")...)), masq}))}, Routed, Routed, "", ""},
		{"by number", []foreign{fw4(srcnat(100, rule{load(expr.MetaKeyOIF, equal(hostOrder(7)...)), masq}))}, Masqueraded, Masqueraded, "", ""},
		{"another number", []foreign{fw4(srcnat(100, rule{load(expr.MetaKeyOIF, equal(hostOrder(8)...)), masq}))}, Routed, Routed, "", ""},
		{"a set", []foreign{fw4(srcnat(100, rule{load(oifname, inSet("wans", false)), masq}))}, Masqueraded, Masqueraded, "", ""},
		{"another set", []foreign{fw4(srcnat(100, rule{load(oifname, inSet("lans", false)), masq}))}, Routed, Routed, "", ""},
		{"not in a set", []foreign{fw4(srcnat(100, rule{load(oifname, inSet("lans", true)), masq}))}, Masqueraded, Masqueraded, "", ""},
		{"an empty set", []foreign{fw4(srcnat(100, rule{load(oifname, inSet("empty", false)), masq}))}, Routed, Routed, "", ""},
		{"a set of ranges", []foreign{fw4(srcnat(100, rule{load(oifname, inSet("range", false)), masq}))}, Masqueraded, Masqueraded, "", ""},
		{"ranges that touch", []foreign{fw4(srcnat(100, rule{load(oifname, inSet("touching", false)), masq}))}, Masqueraded, Masqueraded, "", ""},
		{"ranges that touch, from above", []foreign{fw4(srcnat(100, rule{load(oifname, inSet("touching, from above", false)), masq}))}, Masqueraded, Masqueraded, "", ""},
		{"behind a range", []foreign{fw4(srcnat(100, rule{load(oifname, inSet("below", false)), masq}))}, Routed, Routed, "", ""},
		{"a set that is gone", []foreign{fw4(srcnat(100, rule{load(oifname, inSet("gone", false)), masq}))}, Custom, Custom, "masquerade for some", "masquerade for some"},
		{"a map of devices", []foreign{fw4(srcnat(100, rule{byDevice("by device")}), on("srcnat_wan", rule{masq}))}, Masqueraded, Masqueraded, "", ""},
		{"a map with a rest", []foreign{fw4(srcnat(100, rule{byDevice("all devices")}, rule{snat(netip.MustParseAddr("192.0.2.9"))}), on("srcnat_wan", rule{nfproto(4), masq}))}, Masqueraded, Routed, "", ""},
		{"a map of sources", []foreign{fw4(srcnat(100, rule{vmap(address(12).(exprs)[0], "by source")}, rule{masq}))}, Custom, Custom,
			"inet fw4 srcnat: accept for some sources only", "accept for some"},
		{"both families", []foreign{fw4(all)}, Masqueraded, Masqueraded, "", ""},
		{"IPv6 alone", []foreign{fw4(srcnat(100, rule{nfproto(6), masq}))}, Routed, Masqueraded, "", ""},
		{"a table of IPv4", []foreign{legacy(all)}, Masqueraded, Routed, "", ""},
		{"by EtherType", []foreign{fw4(srcnat(100, rule{load(expr.MetaKeyPROTOCOL, equal(0x86, 0xdd)), masq}))}, Routed, Masqueraded, "", ""},
		{"TCP", []foreign{fw4(srcnat(100, rule{load(expr.MetaKeyL4PROTO, equal(unix.IPPROTO_TCP)), masq}))}, Masqueraded, Masqueraded, "", ""},
		{"UDP", []foreign{fw4(srcnat(100, rule{load(expr.MetaKeyL4PROTO, equal(unix.IPPROTO_UDP)), masq}))}, Routed, Routed, "", ""},
		{"TCP by IPv4's header", []foreign{legacy(srcnat(100, rule{exprs{&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseNetworkHeader, Offset: 9, Len: 1}, equal(17)}, masq}))}, Routed, Routed, "", ""},
		{"new ones", []foreign{fw4(srcnat(100, rule{exprs{&expr.Ct{Key: expr.CtKeySTATE, Register: 1}, bitwise(8, 0), unequal(0, 0, 0, 0)}, masq}))}, Masqueraded, Masqueraded, "", ""},
		{"old ones", []foreign{fw4(srcnat(100, rule{established{}, accept}, rule{masq}))}, Masqueraded, Masqueraded, "", ""},

		{"masq_src", []foreign{fw4(srcnat(100, rule{oif("wan0"), jump("srcnat_wan")}), on("srcnat_wan", rule{nfproto(4), saddr, masq}))}, Custom, Routed,
			"inet fw4 srcnat_wan: masquerade for some sources only", ""},
		{"masq_dest", []foreign{fw4(srcnat(100, rule{nfproto(4), daddr, masq}))}, Custom, Routed, "inet fw4 srcnat: masquerade for some destinations only", ""},
		{"but some", []foreign{fw4(srcnat(100, rule{nfproto(4), saddr, accept}, rule{masq}))}, Custom, Masqueraded, "inet fw4 srcnat: accept for some sources only", ""},
		{"back for some", []foreign{fw4(srcnat(100, rule{jump("srcnat_wan")}), on("srcnat_wan", rule{nfproto(4), saddr, comeBack}, rule{masq}))}, Custom, Masqueraded,
			"inet fw4 srcnat_wan: return for some sources only", ""},
		{"a jump for some", []foreign{fw4(srcnat(100, rule{nfproto(4), daddr, jump("srcnat_wan")}), on("srcnat_wan", rule{masq}))}, Custom, Routed,
			"inet fw4 srcnat: jump srcnat_wan for some destinations only", ""},
		{"some, then all", []foreign{fw4(srcnat(100, rule{nfproto(4), saddr, masq}, rule{masq}))}, Masqueraded, Masqueraded, "", ""},
		{"dropped for some", []foreign{fw4(srcnat(100, rule{nfproto(4), saddr, drop}, rule{masq}))}, Masqueraded, Masqueraded, "", ""},
		{"ports", []foreign{fw4(srcnat(100, rule{port{side: dport, ports: []uint16{443}}, masq}))}, Custom, Custom, "for some ports only", "for some ports only"},
		{"a guest network", []foreign{fw4(srcnat(100, rule{isDevice{iifname, "guest0"}, accept}, rule{masq}))}, Custom, Custom, "accept for some incoming devices only", "accept"},
		{"now and then", []foreign{fw4(srcnat(100, rule{exprs{&expr.Limit{Rate: 1, Unit: expr.LimitTimeSecond}}, masq}))}, Custom, Custom, "for some packets only", "for some"},
		{"an address", []foreign{fw4(srcnat(100, rule{nfproto(4), snat(netip.MustParseAddr("192.0.2.7"))}))}, Custom, Routed, "inet fw4 srcnat: snat to 192.0.2.7", ""},
		{"an address in IPv6", []foreign{fw4(srcnat(100, rule{nfproto(6), snat(netip.MustParseAddr("fd00:b::7"))}))}, Routed, Custom, "", "inet fw4 srcnat: snat to fd00:b::7"},
		{"an address for some", []foreign{fw4(srcnat(100, rule{nfproto(4), saddr, snat(netip.MustParseAddr("192.0.2.7"))}, rule{nfproto(4), masq}))}, Custom, Routed,
			"inet fw4 srcnat: snat to 192.0.2.7 for some sources only", ""},
		{"an expression of the future", []foreign{fw4(srcnat(100, rule{exprs{&expr.Numgen{Register: 1, Modulus: 2}, equal(0, 0, 0, 0)}, masq}))}, Custom, Custom, "for some packets only", "for some"},

		{"docker", []foreign{docker, masqueradeWAN}, Masqueraded, Routed, "", ""},
		{"docker behind a routed line", []foreign{docker}, Custom, Routed, "ip nat srcnat: masquerade for some sources only", ""},
		{"tailscale", []foreign{legacy(srcnat(100, rule{jump("ts-postrouting")}), on("ts-postrouting", rule{marked(expr.CmpOpEq, 0x40000), masq}))}, Routed, Routed, "", ""},
		{"kubernetes", []foreign{legacy(srcnat(100, rule{jump("KUBE-POSTROUTING")}, rule{masq}),
			on("KUBE-POSTROUTING", rule{marked(expr.CmpOpNeq, 0x40000), comeBack}, rule{masq}))}, Masqueraded, Routed, "", ""},
		{"a mark of iptables", []foreign{legacy(srcnat(100, rule{matchMark(0x40000, 0), target("SNAT")}, rule{matchMark(0x40000, 1), target("MASQUERADE")}))}, Masqueraded, Routed, "", ""},
		{"iptables-nft", []foreign{legacy(srcnat(100, rule{load(oifname, equal([]byte("wan0\x00")...)), exprs{&expr.Counter{}}, target("MASQUERADE")}))}, Masqueraded, Routed, "", ""},
		{"SNAT of iptables-nft", []foreign{legacy(srcnat(100, rule{target("SNAT")}))}, Custom, Routed, "ip nat srcnat: SNAT", ""},
		{"a target that is known", []foreign{legacy(srcnat(100, rule{target("LOG")}, rule{target("MASQUERADE")}))}, Masqueraded, Routed, "", ""},
		{"IPsec leaves as it is", []foreign{fw4(srcnat(100, rule{ipsec{}, accept}, rule{masq}))}, Masqueraded, Masqueraded, "", ""},
		{"a user of the router", []foreign{fw4(srcnat(100, rule{load(expr.MetaKeySKUID, equal(0, 0, 0, 0)), accept}, rule{masq}))}, Masqueraded, Masqueraded, "", ""},

		{"accepted, then masqueraded", []foreign{{ip4Family, "first", []chain{srcnat(50, rule{accept})}}, fw4(all)}, Masqueraded, Masqueraded, "", ""},
		{"the first that translates", []foreign{{ip4Family, "late", []chain{srcnat(200, rule{snat(netip.MustParseAddr("192.0.2.7"))})}}, fw4(all)}, Masqueraded, Masqueraded, "", ""},
		{"some in an earlier table", []foreign{fw4(all), {ip4Family, "early", []chain{srcnat(50, rule{saddr, snat(netip.MustParseAddr("192.0.2.7"))})}}}, Custom, Masqueraded,
			"ip early srcnat: snat to 192.0.2.7 for some sources only", ""},
		{"goto comes not back", []foreign{fw4(srcnat(100, rule{gotoChain("empty")}, rule{masq}), on("empty"))}, Routed, Routed, "", ""},
		{"jump comes back", []foreign{fw4(srcnat(100, rule{jump("empty")}, rule{masq}), on("empty"))}, Masqueraded, Masqueraded, "", ""},
		{"goto behind a jump", []foreign{fw4(srcnat(100, rule{jump("a")}, rule{masq}), on("a", rule{gotoChain("b")}, rule{accept}), on("b"))}, Masqueraded, Masqueraded, "", ""},
		{"a chain that is gone", []foreign{fw4(srcnat(100, rule{jump("gone")}, rule{masq}))}, Masqueraded, Masqueraded, "", ""},
		{"a loop", []foreign{fw4(srcnat(100, rule{jump("a")}), on("a", rule{jump("a")}, rule{masq}))}, Masqueraded, Masqueraded, "", ""},
		{"our own", []foreign{{inetFamily, "filter", []chain{{"out", &hook{filter, postrouting, 0}, []rule{{masq}}}}}}, Routed, Routed, "", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := others(t, tt.tables...)
			for _, f := range []struct {
				v6   bool
				want NAT
				why  string
			}{{false, tt.v4, tt.why4}, {true, tt.v6, tt.why6}} {
				n, why := r.nat(leaving("wan0", 7, f.v6))
				if n != f.want || (why == "") != (f.why == "") || !strings.Contains(why, f.why) {
					t.Errorf("v6 %v: got %v, %q, want %v, %q", f.v6, n, why, f.want, f.why)
				}
			}
		})
	}
}

func TestListsNAT(t *testing.T) {
	dir := t.TempDir()
	for names, want := range map[string]bool{"": false, "filter\nmangle\n": false, "filter\nnat\n": true, "nat2\n": false} {
		file := filepath.Join(dir, "names")
		if err := os.WriteFile(file, []byte(names), 0o644); err != nil {
			t.Fatal(err)
		}
		if got, err := listsNAT(file); got != want || err != nil {
			t.Errorf("%q: got %v, %v", names, got, err)
		}
	}
	if got, err := listsNAT(filepath.Join(dir, "none")); got || err != nil {
		t.Errorf("no file: got %v, %v", got, err)
	}
	if _, err := listsNAT(dir); err == nil {
		t.Error("what cannot be read: want an error")
	}
}
