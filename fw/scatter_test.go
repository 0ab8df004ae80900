package fw

import (
	"encoding/binary"
	"net/netip"
	"testing"

	"b4/nstest"

	"github.com/google/nftables/expr"
	"github.com/google/nftables/xt"
	"golang.org/x/sys/unix"
)

func TestScatters(t *testing.T) {
	info := func(words ...uint32) term { return xtTarget("MASQUERADE", words...) }
	udp := load(expr.MetaKeyL4PROTO, equal(unix.IPPROTO_UDP))
	overIP := exprs{&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseNetworkHeader, Offset: 9, Len: 1}, equal(unix.IPPROTO_UDP)}
	random, fully := exprs{&expr.Masq{Random: true}}, exprs{&expr.Masq{FullyRandom: true}}
	tests := []struct {
		name   string
		tables []foreign
		v4, v6 bool
	}{
		{"nothing", nil, false, false},
		{"firewall4", []foreign{masqueradeWAN}, false, false},
		{"fully-random", []foreign{fw4(srcnat(100, rule{oif("wan0"), fully}))}, true, true},
		{"random", []foreign{fw4(srcnat(100, rule{nfproto(6), random}))}, false, true},
		{"persistent", []foreign{fw4(srcnat(100, rule{exprs{&expr.Masq{Persistent: true}}}))}, false, false},
		{"another device", []foreign{fw4(srcnat(100, rule{oif("wan1"), fully}))}, false, false},
		{"for some", []foreign{fw4(srcnat(100, rule{nfproto(4), saddr, fully}, rule{masq}))}, true, false},
		{"behind what translates all", []foreign{fw4(srcnat(100, rule{masq}, rule{fully}))}, false, false},
		{"of UDP", []foreign{fw4(srcnat(100, rule{udp, fully}))}, true, true},
		{"of UDP by IPv4's header", []foreign{legacy(srcnat(100, rule{overIP, fully}))}, true, false},
		{"of TCP", []foreign{fw4(srcnat(100, rule{overTCP{}, fully}))}, false, false},
		{"to an address", []foreign{fw4(srcnat(100, rule{nfproto(4), exprs{
			&expr.Immediate{Register: 1, Data: netip.MustParseAddr("192.0.2.7").AsSlice()},
			&expr.NAT{Type: expr.NATTypeSourceNAT, Family: unix.NFPROTO_IPV4, RegAddrMin: 1, FullyRandom: true},
		}}))}, true, false},
		{"iptables-nft", []foreign{legacy(srcnat(100, rule{info(1, unix.NF_NAT_RANGE_PROTO_RANDOM_FULLY)}))}, true, false},
		{"iptables-nft, plain", []foreign{legacy(srcnat(100, rule{info(1, 0)}))}, false, false},
		{"ip6tables-nft", []foreign{{ip6Family, "nat", []chain{srcnat(100, rule{info(unix.NF_NAT_RANGE_PROTO_RANDOM)})}}}, false, true},
		{"a target cut short", []foreign{legacy(srcnat(100, rule{info(1)}))}, false, false},
	}
	for _, tt := range tests {
		r := others(t, tt.tables...)
		for v6, want := range map[bool]bool{false: tt.v4, true: tt.v6} {
			if got := r.scatters(leaving("wan0", 7, v6)); got != want {
				t.Errorf("%s: v6 %v: got %v", tt.name, v6, got)
			}
		}
	}
}

// xtTarget is a target that is told numbers in the host's byte order.
func xtTarget(name string, words ...uint32) term {
	var b []byte
	for _, w := range words {
		b = binary.NativeEndian.AppendUint32(b, w)
	}
	u := xt.Unknown(b)
	return exprs{&expr.Target{Name: name, Info: &u}}
}

func TestReadScatters(t *testing.T) {
	nstest.Enter(t)
	nstest.TUN(t, "wan0")
	firewall(t, true, true)
	if v4, v6, err := Scatters("wan0"); v4 || v6 || err != nil {
		t.Errorf("masquerade: %v, %v, %v", v4, v6, err)
	}
	scatter(t)
	if v4, v6, err := Scatters("wan0"); !v4 || !v6 || err != nil {
		t.Errorf("fully-random: %v, %v, %v", v4, v6, err)
	}
}

// scatter masquerades to ports drawn at random, ahead of the firewall.
func scatter(t testing.TB) {
	t.Helper()
	table(t, "random", chain{"srcnat", &hook{nat, postrouting, 90}, []rule{{exprs{&expr.Masq{FullyRandom: true}}}}})
}
