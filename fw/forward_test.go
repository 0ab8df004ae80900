package fw

import (
	"strings"
	"testing"

	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// zones is firewall4's forward chain as installed: packets from zones it knows
// are decided there, the rest is rejected.
func zones(first ...rule) foreign {
	state := vmap(&expr.Ct{Key: expr.CtKeySTATE, Register: 1}, "states")
	rules := append(first,
		rule{load(expr.MetaKeyL4PROTO, equal(unix.IPPROTO_TCP)), exprs{&expr.FlowOffload{Name: "ft"}}},
		rule{state}, rule{invalid{}, drop},
		rule{isDevice{iifname, "lan0"}, jump("forward_lan")}, rule{isDevice{iifname, "wan0"}, jump("forward_wan")},
		rule{jump("handle_reject")})
	return fw4(
		chain{"forward", &hook{filter, forward, 0}, rules},
		on("forward_lan", rule{oif("wan0"), accept}, rule{jump("reject_to_lan")}),
		on("forward_wan", rule{jump("reject_to_wan")}),
		on("reject_to_lan", rule{jump("handle_reject")}), on("reject_to_wan", rule{jump("handle_reject")}),
		on("handle_reject", rule{overTCP{}, exprs{&expr.Reject{Type: unix.NFT_REJECT_TCP_RST}}}, rule{exprs{&expr.Reject{}}}))
}

func TestForward(t *testing.T) {
	from := func(name string) term { return isDevice{iifname, name} }
	chainOf := func(name string, rules ...rule) foreign {
		return foreign{inetFamily, name, []chain{{"fwd", &hook{filter, forward, 0}, rules}}}
	}
	tests := []struct {
		name   string
		tables []foreign
		drops  bool // by policy
		why    string
	}{
		{"nothing", nil, false, ""},
		{"firewall4", []foreign{zones()}, false, "inet fw4 handle_reject: reject"},
		{"an include", []foreign{zones(rule{from("tun0"), accept})}, false, ""},
		{"a wildcard", []foreign{zones(rule{load(iifname, equal([]byte("tun")...)), accept})}, false, ""},
		{"another's include", []foreign{zones(rule{from("tun1"), accept})}, false, "inet fw4 handle_reject: reject"},
		{"an include by number", []foreign{zones(rule{load(expr.MetaKeyIIF, equal(hostOrder(7)...)), accept})}, false, ""},
		{"an include for one family", []foreign{zones(rule{nfproto(4), from("tun0"), accept})}, false, "inet fw4 handle_reject: reject"},
		{"an include for one way out", []foreign{zones(rule{from("tun0"), oif("wan0"), accept})}, false, "inet fw4 handle_reject: reject"},
		{"an include behind the rest", []foreign{chainOf("late", rule{drop}, rule{from("tun0"), accept})}, false, "inet late fwd: drop"},
		{"policy accept", []foreign{chainOf("open")}, false, ""},
		{"policy drop", []foreign{chainOf("closed", rule{established{}, accept})}, true, "inet closed fwd: policy drop"},
		{"policy drop, but", []foreign{chainOf("closed", rule{from("tun0"), accept})}, true, ""},
		{"policy drop behind a jump", []foreign{chainOf("closed", rule{from("tun0"), jump("gone")})}, true, "inet closed fwd: policy drop"},
		{"two tables", []foreign{zones(rule{from("tun0"), accept}), chainOf("other", rule{drop})}, false, "inet other fwd: drop"},
		{"a blocklist", []foreign{chainOf("ban", rule{address(12, inSet("long list", false)), drop})}, false, ""},
		{"what has no connection", []foreign{chainOf("odd", rule{exprs{&expr.Ct{Key: expr.CtKeySTATE, Register: 1}, bitwise(64, 0), unequal(0, 0, 0, 0)}, drop})}, false, "inet odd fwd: drop"},
		{"what has no connection's mark", []foreign{chainOf("odd", rule{bits{ctMark, 1, false}, drop})}, false, ""},
		{"a family's table", []foreign{{ip6Family, "filter", []chain{{"FORWARD", &hook{filter, forward, 0}, []rule{{drop}}}}}}, false, "ip6 filter FORWARD: drop"},
		{"another hook", []foreign{{inetFamily, "in", []chain{{"input", &hook{filter, 1, 0}, []rule{{drop}}}}}}, false, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := others(t, tt.tables...)
			for _, c := range r.chains {
				c.drops = tt.drops
			}
			why := r.blocks(writtenBack("tun0", 7, false))
			if why == "" {
				why = r.blocks(writtenBack("tun0", 7, true))
			}
			if (why == "") != (tt.why == "") || !strings.Contains(why, tt.why) {
				t.Errorf("got %q, want %q", why, tt.why)
			}
		})
	}
}

// Whatever a rule's bytes are, each packet meets an end, and nothing breaks.
func FuzzRule(f *testing.F) {
	for _, table := range []foreign{masqueradeWAN, zones()} {
		for _, c := range others(f, table).chains {
			for _, r := range c.rules {
				f.Add([]byte(r), false)
			}
		}
	}
	r := others(f, fw4(srcnat(100), on("srcnat_wan", rule{masq})))
	f.Fuzz(func(t *testing.T, b []byte, v6 bool) {
		c := &foreignChain{table: foreignTable{inetFamily, "fw4"}, name: "fuzzed", kind: nat, point: postrouting, rules: []attrs{b, b}}
		fuzzed := &ruleset{chains: append(r.chains, c), elements: r.elements}
		for _, k := range []*knowledge{leaving("wan0", 7, v6), writtenBack("wan0", 7, v6)} {
			e := newOracle(fuzzed, k).ask(c)
			all := false
			for _, x := range e {
				all = all || x.met && x.some == ""
			}
			if !all || e[returned].met {
				t.Fatalf("%x: %+v", b, e)
			}
		}
		c.kind, c.point = filter, forward
		o := fuzzed.offloading([]flowtable{{table: c.table, name: "ft"}}, []string{"wan0"}, []uint16{443})
		if o.Hide.UDP && o.By != "" {
			t.Fatalf("%x: %+v", b, o)
		}
		c.kind, c.point = nat, postrouting
		if n, why := fuzzed.nat(leaving("wan0", 7, v6)); (n == Custom) != (why != "") {
			t.Fatalf("%x: %v, %q", b, n, why)
		}
	})
}
