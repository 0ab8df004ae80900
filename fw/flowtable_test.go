package fw

import (
	"encoding/hex"
	"strings"
	"testing"

	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

var ft = flowtable{table: foreignTable{inetFamily, "fw4"}, name: "ft"}

// offloads is a rule that puts connections into the flowtable ft.
func offloads(match ...term) rule { return append(match, exprs{&expr.FlowOffload{Name: "ft"}}) }

func overProtocol(number byte) term { return load(expr.MetaKeyL4PROTO, equal(number)) }

// tcpUDP is what firewall4 offloads.
var tcpUDP = load(expr.MetaKeyL4PROTO, inSet("tcp and udp", false))

// withProtocols gives r the set of the two.
func withProtocols(r *ruleset) *ruleset {
	elements := r.elements
	r.elements = func(t foreignTable, set string) ([]element, error) {
		if set == "tcp and udp" {
			return []element{{key: []byte{unix.IPPROTO_TCP}}, {key: []byte{unix.IPPROTO_UDP}}}, nil
		}
		return elements(t, set)
	}
	return r
}

// lanToWAN is firewall4's forward chain, with what comes first, and rules for what
// goes from lan to wan.
func lanToWAN(first rule, fromLAN ...rule) foreign {
	state := vmap(&expr.Ct{Key: expr.CtKeySTATE, Register: 1}, "states")
	return fw4(
		chain{"forward", &hook{filter, forward, 0}, []rule{first, {state}, {isDevice{iifname, "lan0"}, jump("forward_lan")}, {isDevice{iifname, "wan0"}, jump("forward_wan")}, {drop}}},
		on("forward_lan", append(fromLAN, rule{jump("accept_to_wan")})...),
		on("forward_wan", rule{overProtocol(unix.IPPROTO_ESP), accept}, rule{udpPort{"", []uint16{500}}, accept}),
		on("accept_to_wan", rule{oif("wan0"), accept}))
}

func TestOffloading(t *testing.T) {
	both := Offload{TCP: true, UDP: true}
	at := func(priority int32) foreign {
		return fw4(chain{"forward", &hook{filter, forward, priority}, []rule{offloads(tcpUDP)}})
	}
	tests := []struct {
		name   string
		rules  foreign
		want   Offload
		missed string // part of it
	}{
		{"firewall4", lanToWAN(offloads(tcpUDP)), both, ""},
		{"TCP only", lanToWAN(offloads(overProtocol(unix.IPPROTO_TCP))), Offload{TCP: true}, ""},
		{"UDP only", lanToWAN(offloads(overProtocol(unix.IPPROTO_UDP))), Offload{UDP: true}, ""},
		{"one family", lanToWAN(offloads(nfproto(6), tcpUDP)), both, ""},
		{"nothing", lanToWAN(rule{tcpUDP}), Offload{}, ""},
		{"another flowtable", lanToWAN(rule{exprs{&expr.FlowOffload{Name: "gone"}}}), Offload{}, ""},
		{"every protocol", lanToWAN(offloads()), Offload{TCP: true}, "inet fw4 forward offloads every protocol"},
		{"what is established", lanToWAN(offloads(established{}, tcpUDP)), both, ""},
		{"another priority", at(-1), Offload{}, "inet fw4 forward offloads at priority -1"},
		{"in a chain", fw4(chain{"forward", &hook{filter, forward, 0}, []rule{{jump("offload")}}}, on("offload", offloads(tcpUDP))), both, ""},
		{"UDP has a rule", lanToWAN(offloads(tcpUDP), rule{udpPort{"", []uint16{443}}, accept}), Offload{TCP: true}, "inet fw4 forward_lan: accept for UDP only"},
		{"UDP has a jump", lanToWAN(offloads(tcpUDP), rule{overProtocol(unix.IPPROTO_UDP), jump("accept_to_wan")}), Offload{TCP: true}, "inet fw4 forward_lan: jump accept_to_wan"},
		{"UDP has a rule elsewhere", lanToWAN(offloads(tcpUDP), rule{udpPort{"", []uint16{443}}, oif("wan1"), accept}), both, ""},
		{"UDP is forbidden", lanToWAN(offloads(tcpUDP), rule{udpPort{"", []uint16{443}}, drop}), both, ""},
		{"a device is free", lanToWAN(offloads(tcpUDP), rule{saddr, accept}), both, ""},
		{"another hook", fw4(chain{"postrouting", &hook{filter, postrouting, 0}, []rule{offloads(tcpUDP)}}), Offload{}, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := withProtocols(others(t, tt.rules)).offloading([]flowtable{ft}, []string{"wan0"}, []uint16{443})
			if got.Hide != tt.want || got.Hardware != "" || (got.By == "") != (tt.missed == "") || !strings.HasPrefix(got.By+" "+got.Missed, tt.missed) {
				t.Errorf("got %+v, want %+v and %q", got, tt.want, tt.missed)
			}
		})
	}
}

func TestOffloadingByHardware(t *testing.T) {
	hard := ft
	hard.hardware = true
	r := withProtocols(others(t, lanToWAN(offloads(tcpUDP))))
	if got := r.offloading([]flowtable{hard}, nil, nil); got.Hardware != "inet fw4 ft" || got.Hide != (Offload{TCP: true}) {
		t.Errorf("got %+v", got)
	}
	if got := withProtocols(others(t, lanToWAN(rule{}))).offloading([]flowtable{hard}, nil, nil); got.Hardware != "" {
		t.Errorf("a flowtable that nothing is put into: got %+v", got)
	}
}

// A flowtable as Linux 6.1 tells of it, but for the flag of hardware.
var recordedFlowtable, _ = hex.DecodeString("08000100667734000700020066740000" +
	"08000400000000010c0005000000000000000001" + "0800070000000001" +
	"3000030008000100000000000800020000000000" +
	"1c000300090001006c616e30000000000900010077616e3000000000")

func TestReadFlowtable(t *testing.T) {
	if hostOrder(1)[0] != 1 {
		t.Skip("recorded on a little-endian machine")
	}
	want := flowtable{table: foreignTable{inetFamily, "fw4"}, name: "ft", hardware: true}
	if got := readFlowtable(inetFamily, recordedFlowtable); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

func FuzzFlowtable(f *testing.F) {
	f.Add(recordedFlowtable)
	rules := lanToWAN(offloads(tcpUDP))
	r := withProtocols(others(f, rules))
	f.Fuzz(func(t *testing.T, b []byte) {
		table := readFlowtable(inetFamily, b)
		got := r.offloading([]flowtable{table}, []string{"wan0"}, []uint16{443})
		if got.Hide.TCP != (table.table.name == "fw4" && table.name == "ft") {
			t.Fatalf("%x: %+v of %+v", b, got, table)
		}
	})
}
