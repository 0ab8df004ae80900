package netif

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"b4/nstest"

	"golang.org/x/sys/unix"
)

// A VPN's default route is none of an uplink that nobody has named, whatever its
// metric; a provider's tunnel is an uplink like any other.
func TestVPN(t *testing.T) {
	for kind, vpn := range map[string]bool{
		"": false, "ppp": false, "sit": false, "ip6tnl": false, "gre": false, "vlan": false, "macvlan": false, "bridge": false,
		"wwan": false, "rmnet": false, "veth": false, "dsa": false,
		"wireguard": true, "amneziawg": true, "tun": true, "ovpn": true, "ovpn-dco": true, "xfrm": true, "vti": true, "vti6": true,
	} {
		k := kernel{
			links:  []link{{index: 2, name: "wan"}, {index: 3, name: "x", kind: kind}},
			routes: []route{{false, mainTable, 0, 3}, {false, mainTable, 10, 2}, {true, mainTable, 0, 3}},
		}
		want, note := "x (v4, v6), wan (v4)", ""
		if vpn {
			want, note = "wan (v4)", "x (v4, v6) holds a default route and is left alone, as what goes into a VPN's tunnel ("+kind+") is not what the provider sees: name it with list wan to have it treated"
		}
		if w := k.defaults(); w.String() != want || noted(w) != note {
			t.Errorf("%q: %s, notes %q; want %s, %q", kind, w, w.Notes, want, note)
		}
		if w, err := resolve([]string{"x"}, nil, k); w.String() != "x (v4, v6)" || w.Notes != nil || err != nil {
			t.Errorf("%q by name: %s, %q, %v", kind, w, w.Notes, err)
		}
	}
}

// noted are the sentences of w, and what is not among their values for that.
func noted(w WAN) string {
	var texts []string
	for _, n := range w.Notes {
		texts = append(texts, n.Text)
		for _, arg := range n.Args {
			if !strings.Contains(n.Text, arg) || arg == "" || !strings.HasPrefix(n.Code, "note_") {
				texts = append(texts, fmt.Sprintf("%+v", n))
			}
		}
	}
	return strings.Join(texts, "; ")
}

// What a bridge carries by itself is told, however its device was found.
func TestBridges(t *testing.T) {
	const several = "br is a bridge of eth0, eth1: what it carries between them never comes to b4, only what this router routes does"
	k := kernel{
		links: []link{
			{index: 2, name: "br", kind: "bridge"}, {index: 3, name: "eth0", master: 2}, {index: 4, name: "eth1", master: 2},
			{index: 5, name: "br-wan", kind: "bridge"}, {index: 6, name: "eth2", master: 5},
			{index: 7, name: "bond0", kind: "bond"}, {index: 8, name: "eth3", master: 7},
			{index: 9, name: "vrf", kind: "vrf"}, {index: 10, name: "eth4", master: 9}, {index: 11, name: "eth5", master: 99},
		},
		routes: []route{{false, mainTable, 0, 2}, {true, mainTable, 0, 2}},
	}
	for name, want := range map[string]string{
		"": several, "br": several, "br-wan": "", "bond0": "", "eth4": "", "eth5": "",
		"eth1": "eth1 is a port of br (bridge), so nothing leaves by its name: name br with list wan instead",
		"eth2": "eth2 is a port of br-wan (bridge), so nothing leaves by its name: name br-wan with list wan instead",
		"eth3": "eth3 is a port of bond0 (bond), so nothing leaves by its name: name bond0 with list wan instead",
	} {
		w := k.defaults()
		if name != "" {
			w, _ = resolve([]string{name}, nil, k)
		}
		if got := noted(w); got != want || len(w.Devices()) != 1 {
			t.Errorf("%q: %s, %q; want %q", name, w, got, want)
		}
	}
}

// The kernel tells the kinds, ports and masters as they are read.
func TestKernelKinds(t *testing.T) {
	n := enterNetNS(t)
	nstest.TUN(t, "tun0")
	nstest.Up(t, "tun0")
	nstest.Addr(t, "tun0", netip.MustParsePrefix("10.8.0.2/24"))
	n.route(v4, n.oif("tun0"))
	n.route(v4, n.oif("a1"), metric(10))
	n.do("add bridge", unix.RTM_NEWLINK, create, ifinfo(0, 0, 0, 0), name("br-lan"), attr(unix.IFLA_LINKINFO, attr(unix.IFLA_INFO_KIND, []byte("bridge"))))
	nstest.Up(t, "br-lan")
	n.route(v6, n.oif("br-lan"))
	n.want("a tunnel", devs("a1"), devs("br-lan"))
	notes := func(names ...string) string {
		w, err := Resolve(names)
		if err != nil {
			t.Fatal(err)
		}
		return noted(w)
	}
	const tunnel = "tun0 (v4) holds a default route and is left alone"
	if got := notes(); !strings.HasPrefix(got, tunnel) || strings.Contains(got, "br-lan") {
		t.Errorf("an empty bridge: %q", got)
	}
	for _, port := range []string{"a2", "a3"} {
		n.do("join", unix.RTM_NEWLINK, 0, ifinfo(0, n.index(port), 0, 0), attr(unix.IFLA_MASTER, u32(uint32(n.index("br-lan")))))
	}
	if got := notes(); !strings.HasPrefix(got, tunnel) || !strings.Contains(got, "br-lan is a bridge of ") {
		t.Errorf("two ports: %q", got)
	}
	if got := notes("a2", "tun0"); got != "a2 is a port of br-lan (bridge), so nothing leaves by its name: name br-lan with list wan instead" {
		t.Errorf("by name: %q", got)
	}
	if got := notes("a4"); got != "" {
		t.Errorf("a device like any other: %q", got)
	}
}
