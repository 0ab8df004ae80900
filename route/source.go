package route

import (
	"cmp"
	"net/netip"
	"slices"

	"golang.org/x/sys/unix"
)

// Source is the address that the kernel's masquerade takes for connections that
// leave by dev, as far as that does not depend on where they go; the zero Addr if
// there is none: the kernel drops them then, or lets them leave to no avail with a
// source that is not global. A device without an address
// borrows another's, as a PPP uplink without numbers and an IPv6 one whose
// provider delegates a prefix only do. What depends on the destination:
//
//   - IPv4 without a gateway: a destination on a network of dev's own gets the
//     address from there.
//   - IPv6: the destination is taken to be in the internet, so a global address
//     goes before one of fc00::/7, of a tunnel (2002::/16, 2001::/32) and the
//     like; one in these would get its like (RFC 6724, rule 6). Of several that
//     are equal in all else the kernel takes the one with the longest prefix in
//     common (rule 8), and Source the first.
//
// VRFs, and changes to the kernel's table of labels (`ip addrlabel`), are not
// looked at.
func (l Links) Source(dev string, v6 bool) netip.Addr {
	d, ok := l.Device(dev)
	switch {
	case !ok:
		return netip.Addr{}
	case v6:
		return l.source6(d)
	}
	return l.source4(d)
}

// source4 is inet_select_addr of net/ipv4/devinet.c, as nf_nat_masquerade_ipv4
// asks it: with the next hop, for scope global. The further addresses of a network,
// which it skips, are behind the first one and so never reached.
func (l Links) source4(dev Device) netip.Addr {
	hop := l.nextHop4(dev)
	var first netip.Addr
	for _, a := range l.Addrs {
		if a.Index != dev.Index || !a.global4() {
			continue
		}
		if a.reaches(hop) {
			return a.Prefix.Addr()
		}
		if !first.IsValid() {
			first = a.Prefix.Addr()
		}
	}
	if first.IsValid() {
		return first
	}
	for _, other := range l.Devices { // lo is the first
		for _, a := range l.Addrs {
			if a.Index == other.Index && a.global4() {
				return a.Prefix.Addr()
			}
		}
	}
	return netip.Addr{}
}

// global4 tells an IPv4 address that may be used everywhere.
func (a Addr) global4() bool {
	return a.Prefix.Addr().Is4() && a.Scope == unix.RT_SCOPE_UNIVERSE
}

// reaches tells whether hop is on a's network: the peer's, where there is one
// (inet_ifa_match).
func (a Addr) reaches(hop netip.Addr) bool {
	on := a.Prefix.Addr()
	if a.Peer.IsValid() {
		on = a.Peer
	}
	return netip.PrefixFrom(on, a.Prefix.Bits()).Contains(hop)
}

// nextHop4 is the gateway of dev's default route, of main's rather than
// another table's, and of the lowest metric; the zero Addr where that has none.
func (l Links) nextHop4(dev Device) netip.Addr {
	var ways []Route
	for _, r := range l.Routes {
		if !r.V6() && r.Dst.Bits() == 0 && r.Index == dev.Index && r.Type == unix.RTN_UNICAST && r.Protocol != Protocol {
			ways = append(ways, r)
		}
	}
	if len(ways) == 0 {
		return netip.Addr{}
	}
	elsewhere := func(r Route) int { return index(r.Table != unix.RT_TABLE_MAIN) }
	return slices.MinFunc(ways, func(a, b Route) int {
		return cmp.Or(cmp.Compare(elsewhere(a), elsewhere(b)), cmp.Compare(a.Metric, b.Metric))
	}).Gateway
}

// source6 is ipv6_dev_get_saddr of net/ipv6/addrconf.c for a destination in the
// internet. It asks all devices.
func (l Links) source6(dev Device) (best netip.Addr) {
	var top []bool
	for _, of := range l.Devices {
		if dev.ownAddrs && of.Index != dev.Index {
			continue
		}
		for _, a := range l.Addrs {
			if a.Index != of.Index || !a.usable6() {
				continue
			}
			if s := a.rank6(of, dev); top == nil || slices.CompareFunc(s, top, compareBools) > 0 {
				best, top = a.Prefix.Addr(), s
			}
		}
	}
	return best
}

func compareBools(a, b bool) int { return cmp.Compare(index(a), index(b)) }

// usable6 tells an IPv6 address that is assigned and global, be it a unique
// local one. With a lesser one the kernel masquerades only where there is no
// other, and to no avail.
func (a Addr) usable6() bool {
	ip := a.Prefix.Addr()
	return ip.Is6() && ip.IsGlobalUnicast() && !site.Contains(ip) &&
		(a.Flags&unix.IFA_F_TENTATIVE == 0 || a.Flags&unix.IFA_F_OPTIMISTIC != 0)
}

// rank6 holds what speaks for a, which is an address of the first device, to
// leave by the second: RFC 6724's rules 3, 5, 6 and 7 as the kernel has them, and
// its own about ORCHIDs and optimistic addresses. The first difference decides.
func (a Addr) rank6(of, by Device) []bool {
	ip := a.Prefix.Addr()
	return []bool{
		a.Flags&(unix.IFA_F_DEPRECATED|unix.IFA_F_OPTIMISTIC) == 0,
		of.Index == by.Index,
		!slices.ContainsFunc(labelled, func(p netip.Prefix) bool { return p.Contains(ip) }),
		(a.Flags&unix.IFA_F_TEMPORARY != 0) == of.temporary,
		!orchid.Contains(ip),
		a.Flags&unix.IFA_F_OPTIMISTIC == 0,
	}
}

var (
	orchid = netip.MustParsePrefix("2001:10::/28")
	site   = netip.MustParsePrefix("fec0::/10") // site-local, of lesser scope than global
	// labelled are the prefixes that have another label than the rest of the
	// internet (ip6addrlbl_init_table in net/ipv6/addrlabel.c).
	labelled = []netip.Prefix{
		netip.MustParsePrefix("fc00::/7"), netip.MustParsePrefix("2002::/16"), netip.MustParsePrefix("3ffe::/16"),
		netip.MustParsePrefix("2001::/32"), orchid, netip.MustParsePrefix("::/96"),
	}
)
