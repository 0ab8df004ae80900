package netif

import (
	"fmt"
	"slices"
	"strings"
)

// vpnKinds are the kinds of devices (IFLA_INFO_KIND) that VPNs make to carry
// everything. A provider's own tunnels are none of them: PPP, 6in4 (sit), DS-Lite
// and MAP-E (ip6tnl), GRE; nor are VLANs, and modems, which mostly have no kind.
var vpnKinds = []string{
	"tun", // OpenVPN, tailscale, sing-box; and TAYGA, whose packets leave by another device
	"wireguard", "amneziawg",
	"ovpn", "ovpn-dco", // OpenVPN in the kernel
	"xfrm", "vti", "vti6", // IPsec by routes
}

// bonds are the kinds of devices that take over what their members receive, and
// by whose name all leaves.
var bonds = []string{bridge, "bond", "team"}

const bridge = "bridge"

// noteBridges says what of w's traffic passes the router by: what a bridge
// carries from port to port is never routed.
func (w *WAN) noteBridges(k kernel) {
	for _, d := range w.Devices() {
		l, _ := k.byName(d)
		if master, ok := k.byIndex(l.master); ok && slices.Contains(bonds, master.kind) {
			w.note("note_port", "%s is a port of %s (%s), so nothing leaves by its name: name %s with list wan instead", d, master.name, master.kind, master.name)
		}
		if ports := k.ports(l); l.kind == bridge && len(ports) > 1 {
			w.note("note_bridge", "%s is a bridge of %s: what it carries between them never comes to b4, only what this router routes does", d, strings.Join(ports, ", "))
		}
	}
}

// ports are the names of l's members.
func (k kernel) ports(l link) (names []string) {
	for _, p := range k.links {
		if p.master == l.index {
			names = append(names, p.name)
		}
	}
	return names
}

func (w *WAN) note(code, format string, values ...any) {
	n := Note{Code: code, Text: fmt.Sprintf(format, values...)}
	for _, v := range values {
		n.Args = append(n.Args, fmt.Sprint(v))
	}
	w.Notes = append(w.Notes, n)
}
