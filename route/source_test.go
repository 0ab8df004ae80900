package route

import (
	"encoding/binary"
	"errors"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"b4/nstest"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// An address is what a DHCP client, a router's announcement, or PPP adds.
type address struct {
	dev, prefix string
	peer        string
	scope       uint8
	flags       uint32
	deprecated  bool
}

func (n *netns) address(a address) {
	n.Helper()
	p := netip.MustParsePrefix(a.prefix)
	body := []byte{familyOf(p.Addr().Is6()), uint8(p.Bits()), 0, a.scope}
	body = append(body, u32(n.index(a.dev))...)
	body = append(body, attr(unix.IFA_LOCAL, p.Addr().AsSlice())...)
	if a.peer != "" {
		body = append(body, attr(unix.IFA_ADDRESS, addrs(a.peer))...)
	} else {
		body = append(body, attr(unix.IFA_ADDRESS, p.Addr().AsSlice())...)
	}
	if a.flags != 0 {
		body = append(body, attr(unix.IFA_FLAGS, u32(a.flags))...)
	}
	preferred := uint32(1000)
	if a.deprecated {
		preferred = 0
	}
	if p.Addr().Is6() {
		body = append(body, attr(unix.IFA_CACHEINFO, u32(preferred), u32(2000), u32(0), u32(0))...)
	}
	n.do(unix.RTM_NEWADDR, create, body)
	for end := time.Now().Add(soon); a.flags&unix.IFA_F_NODAD != 0 && n.tentative(p.Addr()); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			n.Fatalf("%v is still tentative", p)
		}
	}
}

// tentative reports whether an address cannot be used yet. A new one of IPv6 cannot
// for a moment, even where no duplicates are looked for.
func (n *netns) tentative(a netip.Addr) bool {
	n.Helper()
	for _, has := range n.links().Addrs {
		if has.Prefix.Addr() == a {
			return has.Flags&unix.IFA_F_TENTATIVE != 0
		}
	}
	return false
}

// What masquerade makes of a client's address is what Source says.
func TestSourceKernel(t *testing.T) {
	const nodad = unix.IFA_F_NODAD
	lan4, lan6 := address{dev: "lan0", prefix: "10.0.0.1/24"}, address{dev: "lan0", prefix: "fd00:a::1/64", flags: nodad}
	gua := address{dev: "wan0", prefix: "2a01:db8:1::2/64", flags: nodad}
	tests := []struct {
		name    string
		v6      bool
		addrs   []address
		gateway string // of main's default route; "" is none
		set     string // lines of sysctl.conf
		want    string // "" is none: the packet is dropped, or leaves from ::1
	}{
		{"one", false, []address{lan4, {dev: "wan0", prefix: "192.0.2.2/24"}}, "192.0.2.1", "", "192.0.2.2"},
		{"none but others'", false, []address{lan4}, "", "", "10.0.0.1"},
		{"none at all", false, nil, "", "", ""},
		{"a further one of the network", false, []address{{dev: "wan0", prefix: "192.0.2.9/24"}, {dev: "wan0", prefix: "192.0.2.2/24"}}, "192.0.2.1", "", "192.0.2.9"},
		{"two networks, the gateway's is the second", false, []address{{dev: "wan0", prefix: "192.168.100.2/24"}, {dev: "wan0", prefix: "192.0.2.2/24"}}, "192.0.2.1", "", "192.0.2.2"},
		{"two networks, the gateway's is neither", false, []address{{dev: "wan0", prefix: "192.168.100.2/24"}, {dev: "wan0", prefix: "192.0.2.2/24"}}, "203.0.113.1", "", "192.168.100.2"},
		{"two networks, no gateway", false, []address{{dev: "wan0", prefix: "192.168.100.2/24"}, {dev: "wan0", prefix: "192.0.2.2/24"}}, "", "", "192.168.100.2"},
		{"further one on the gateway's network", false, []address{{dev: "wan0", prefix: "192.168.100.2/24"}, {dev: "wan0", prefix: "192.0.2.2/25"}, {dev: "wan0", prefix: "192.0.2.3/25"}}, "192.0.2.1", "", "192.0.2.2"},
		{"PPP", false, []address{lan4, {dev: "wan0", prefix: "100.64.0.7/32", peer: "100.64.0.1"}}, "", "", "100.64.0.7"},
		{"PPP with a modem's network", false, []address{{dev: "wan0", prefix: "192.168.1.2/24"}, {dev: "wan0", prefix: "100.64.0.7/32", peer: "100.64.0.1"}}, "100.64.0.1", "", "100.64.0.7"},
		{"an address of the link only", false, []address{{dev: "wan0", prefix: "169.254.7.7/16", scope: link}, {dev: "wan0", prefix: "192.0.2.2/24"}}, "", "", "192.0.2.2"},
		{"nothing but the link's", false, []address{lan4, {dev: "wan0", prefix: "169.254.7.7/16", scope: link}}, "", "", "10.0.0.1"},

		{"one", true, []address{lan6, gua}, "", "", "2a01:db8:1::2"},
		{"none but the LAN's", true, []address{lan6, {dev: "lan0", prefix: "2a01:db8:9::1/64", flags: nodad}}, "", "", "2a01:db8:9::1"},
		{"none, and no other's allowed", true, []address{lan6}, "", "net.ipv6.conf.wan0.use_oif_addrs_only=1", ""},
		{"none at all", true, nil, "", "", ""},
		{"deprecated", true, []address{gua, {dev: "wan0", prefix: "2a01:db8:2::2/64", flags: nodad, deprecated: true}}, "", "", "2a01:db8:1::2"},
		{"deprecated, the other way round", true, []address{{dev: "wan0", prefix: "2a01:db8:2::2/64", flags: nodad, deprecated: true}, gua}, "", "", "2a01:db8:1::2"},
		{"deprecated alone", true, []address{{dev: "wan0", prefix: "2a01:db8:2::2/64", flags: nodad, deprecated: true}}, "", "", "2a01:db8:2::2"},
		{"deprecated, the LAN's is not", true, []address{{dev: "lan0", prefix: "2a01:db8:9::1/64", flags: nodad}, {dev: "wan0", prefix: "2a01:db8:2::2/64", flags: nodad, deprecated: true}}, "", "", "2a01:db8:9::1"},
		{"unique local first", true, []address{{dev: "wan0", prefix: "fd62::2/64", flags: nodad}, gua}, "", "", "2a01:db8:1::2"},
		{"unique local last", true, []address{gua, {dev: "wan0", prefix: "fd62::2/64", flags: nodad}}, "", "", "2a01:db8:1::2"},
		{"unique local alone", true, []address{{dev: "lan0", prefix: "2a01:db8:9::1/64", flags: nodad}, {dev: "wan0", prefix: "fd62::2/64", flags: nodad}}, "", "", "fd62::2"},
		{"6to4", true, []address{{dev: "wan0", prefix: "2002:c000:202::1/64", flags: nodad}, gua}, "", "", "2a01:db8:1::2"},
		{"site-local", true, []address{{dev: "wan0", prefix: "fec0::2/64", flags: nodad}, gua}, "", "", "2a01:db8:1::2"},
		{"site-local, the other way round", true, []address{gua, {dev: "wan0", prefix: "fec0::2/64", flags: nodad}}, "", "", "2a01:db8:1::2"},
		{"site-local, a deprecated one is not", true, []address{{dev: "wan0", prefix: "fec0::2/64", flags: nodad}, {dev: "wan0", prefix: "2a01:db8:2::2/64", flags: nodad, deprecated: true}}, "", "", "2a01:db8:2::2"},
		{"tentative", true, []address{gua, {dev: "wan0", prefix: "2a01:db8:2::2/64"}}, "fe80::b4", "net.ipv6.conf.wan0.dad_transmits=60", "2a01:db8:1::2"},
		{"tentative, the other way round", true, []address{{dev: "wan0", prefix: "2a01:db8:2::2/64"}, gua}, "fe80::b4", "net.ipv6.conf.wan0.dad_transmits=60", "2a01:db8:1::2"},
		{"PPP", true, []address{lan6, {dev: "wan0", prefix: "2a01:db8:3::7/128", peer: "2a01:db8:3::1", flags: nodad}}, "", "", "2a01:db8:3::7"},
		{"temporary not asked for", true, []address{{dev: "wan0", prefix: "2a01:db8:1::2/64", flags: nodad | unix.IFA_F_MANAGETEMPADDR}}, "", "net.ipv6.conf.wan0.use_tempaddr=1 net.ipv6.conf.wan0.dad_transmits=0", "2a01:db8:1::2"},
		{"temporary", true, []address{{dev: "wan0", prefix: "2a01:db8:1::2/64", flags: nodad | unix.IFA_F_MANAGETEMPADDR}}, "", "net.ipv6.conf.wan0.use_tempaddr=2 net.ipv6.conf.wan0.dad_transmits=0", "temporary"},
	}
	for _, tt := range tests {
		t.Run(line(tt.v6, tt.name), func(t *testing.T) {
			n := enterBareNetNS(t)
			lan, wan := n.openTUN("lan0"), n.openTAP("wan0")
			nstest.Sysctl(n, strings.Fields("net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1 "+tt.set)...)
			for _, a := range tt.addrs {
				n.address(a)
			}
			want, _ := netip.ParseAddr(tt.want)
			if tt.want == "temporary" {
				want = n.temporary()
			}
			n.uplink(tt.v6, tt.gateway)
			n.masquerade()
			if _, err := lan.Write(udp(client[index(tt.v6)], farAway[index(tt.v6)])); err != nil {
				t.Fatal(err)
			}
			wait := soon
			if !want.IsValid() {
				wait = 300 * time.Millisecond
			}
			got := n.sourceOf(wan, tt.v6, wait)
			if got.IsLoopback() {
				got = netip.Addr{}
			}
			l := n.links() // while a tentative address still is
			if source := l.Source("wan0", tt.v6); source != want || got != want {
				t.Errorf("source %v, masqueraded as %v, want %v", source, got, want)
			}
		})
	}
}

// temporary waits for the address that the kernel makes of another.
func (n *netns) temporary() netip.Addr {
	n.Helper()
	for end := time.Now().Add(soon); time.Now().Before(end); time.Sleep(time.Millisecond) {
		for _, a := range n.links().Addrs {
			if ip := a.Prefix.Addr(); ip.Is6() && a.Flags&unix.IFA_F_TEMPORARY != 0 && a.Flags&unix.IFA_F_TENTATIVE == 0 {
				return ip
			}
		}
	}
	n.Fatal("no temporary address")
	return netip.Addr{}
}

// farAway is in the internet, and has nothing in common with any source here.
var farAway = [2]string{"198.51.100.9", "2600::9"}

// uplink makes the default route, whose neighbours are all known.
func (n *netns) uplink(v6 bool, gateway string) {
	n.Helper()
	wan, hop := u32(n.index("wan0")), farAway[index(v6)]
	route := [][]byte{rthead(familyOf(v6), 0, unix.RT_TABLE_MAIN, static, 0, unicast, unix.RTNH_F_ONLINK), attr(unix.RTA_OIF, wan)}
	if gateway != "" {
		hop = gateway
		route = append(route, attr(unix.RTA_GATEWAY, addrs(gateway)))
	} else {
		route[0] = rthead(familyOf(v6), 0, unix.RT_TABLE_MAIN, static, link*uint8(1-index(v6)), unicast, 0)
	}
	n.do(unix.RTM_NEWROUTE, create, route...)
	n.do(unix.RTM_NEWNEIGH, create, []byte{familyOf(v6), 0, 0, 0}, wan, []byte{unix.NUD_PERMANENT, 0, 0, 0}, attr(unix.NDA_DST, addrs(hop)), attr(unix.NDA_LLADDR, mac(0)))
}

func (n *netns) masquerade() {
	n.Helper()
	c, err := nftables.New()
	if err != nil {
		n.Fatal(err)
	}
	name := make([]byte, unix.IFNAMSIZ)
	copy(name, "wan0")
	table := c.AddTable(&nftables.Table{Family: nftables.TableFamilyINet, Name: "test"})
	chain := c.AddChain(&nftables.Chain{Table: table, Name: "nat", Type: nftables.ChainTypeNAT,
		Hooknum: nftables.ChainHookPostrouting, Priority: nftables.ChainPriorityNATSource})
	c.AddRule(&nftables.Rule{Table: table, Chain: chain, Exprs: []expr.Any{
		&expr.Meta{Key: expr.MetaKeyOIFNAME, Register: 1},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: name},
		&expr.Masq{},
	}})
	if err := c.Flush(); err != nil {
		n.Fatal(err)
	}
}

// sourceOf is the source of the test datagram that leaves by a TAP, or the zero
// Addr if none does in time.
func (n *netns) sourceOf(f *os.File, v6 bool, wait time.Duration) netip.Addr {
	n.Helper()
	typ, at, size := uint16(unix.ETH_P_IP), 12, 4
	if v6 {
		typ, at, size = unix.ETH_P_IPV6, 8, 16
	}
	f.SetReadDeadline(time.Now().Add(wait))
	for b := make([]byte, 2048); ; {
		k, err := f.Read(b)
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return netip.Addr{}
		}
		if err != nil {
			n.Fatal(err)
		}
		// The router's own solicitations and reports go to multicast groups.
		if p := b[14:k]; b[0]&1 == 0 && binary.BigEndian.Uint16(b[12:]) == typ {
			a, _ := netip.AddrFromSlice(p[at : at+size])
			return a
		}
	}
}
