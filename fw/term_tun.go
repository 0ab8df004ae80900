package fw

import (
	"encoding/binary"
	"fmt"
	"net/netip"

	"golang.org/x/sys/unix"
)

// bitsAre matches if the bits of mask in a mark are exactly want.
type bitsAre struct {
	of         markOf
	mask, want uint32
}

func (b bitsAre) String() string { return fmt.Sprintf("%v & 0x%08x == 0x%08x", b.of, b.mask, b.want) }
func (b bitsAre) code(c *coder) {
	b.of.load(c)
	c.word(b.mask, 0)
	c.equal(binary.NativeEndian.AppendUint32(nil, b.want)...)
}

// isDevice matches packets of one device, watched or not.
type isDevice struct {
	key  uint32
	name string
}

func (d isDevice) String() string {
	if d.key == iifname {
		return fmt.Sprintf("iifname %q", d.name)
	}
	return fmt.Sprintf("oifname %q", d.name)
}

func (d isDevice) code(c *coder) {
	c.meta(d.key)
	c.equal(deviceKey(d.name)...)
}

// alive matches while a device is watched, whatever the packet's own is.
type alive string

func (a alive) String() string { return fmt.Sprintf("%q @%s", string(a), wanSet) }
func (a alive) code(c *coder) {
	c.immediate(deviceKey(string(a)))
	c.lookup(wanSet)
}

// The types of the ICMP errors that package tun signals by.
const (
	sourceQuench = 4 // ICMP
	packetTooBig = 2 // ICMPv6
)

// icmpType matches ICMP (family 4) or ICMPv6 (6) of one of the types above.
type icmpType struct{ family, number uint8 }

func (i icmpType) String() string {
	if i.family == 6 {
		return "icmpv6 type packet-too-big"
	}
	return "icmp type source-quench"
}

func (i icmpType) code(c *coder) {
	proto := byte(unix.IPPROTO_ICMP)
	if i.family == 6 {
		proto = unix.IPPROTO_ICMPV6
	}
	nfproto(i.family).code(c)
	c.meta(unix.NFT_META_L4PROTO)
	c.equal(proto)
	c.payload(transportHeader, 0, 1)
	c.equal(i.number)
}

// sourceKept matches connections whose source is not translated.
type sourceKept struct{}

func (sourceKept) String() string { return "ct status ! snat" }
func (sourceKept) code(c *coder) {
	const ipsSrcNAT = 1 << 4 // IPS_SRC_NAT of linux/netfilter/nf_conntrack_common.h
	c.ct(unix.NFT_CT_STATUS)
	c.word(ipsSrcNAT, 0)
	c.equal(0, 0, 0, 0)
}

// snat binds a connection to a source address.
type snat netip.Addr

func (s snat) addr() netip.Addr { return netip.Addr(s) }

func (s snat) String() string {
	if s.addr().Is6() {
		return "snat ip6 to " + s.addr().String()
	}
	return "snat ip to " + s.addr().String()
}

func (s snat) code(c *coder) {
	family := uint32(unix.NFPROTO_IPV4)
	if s.addr().Is6() {
		family = unix.NFPROTO_IPV6
	}
	c.immediate(s.addr().AsSlice())
	c.expr("nat", number(unix.NFTA_NAT_TYPE, unix.NFT_NAT_SNAT), number(unix.NFTA_NAT_FAMILY, family), number(unix.NFTA_NAT_REG_ADDR_MIN, reg))
}

// boundElsewhere matches connections that are translated to another source.
type boundElsewhere netip.Addr

func (b boundElsewhere) String() string {
	if a := netip.Addr(b); a.Is6() {
		return "ct reply ip6 daddr != " + a.String()
	}
	return "ct reply ip daddr != " + netip.Addr(b).String()
}

func (b boundElsewhere) code(c *coder) {
	key := uint32(unix.NFT_CT_DST_IP)
	if netip.Addr(b).Is6() {
		key = unix.NFT_CT_DST_IP6
	}
	c.ctSide(key, fromReply)
	c.unequal(netip.Addr(b).AsSlice()...)
}

// reset drops a TCP segment and tells its sender that the connection is over.
type reset struct{}

func (reset) String() string { return "reject with tcp reset" }
func (reset) code(c *coder) {
	c.tcp()
	c.reject(unix.NFT_REJECT_TCP_RST, 0)
}

// sourceIsNot matches packets of an address's family from another source.
type sourceIsNot netip.Addr

func (s sourceIsNot) String() string {
	if a := netip.Addr(s); a.Is6() {
		return "ip6 saddr != " + a.String()
	}
	return "ip saddr != " + netip.Addr(s).String()
}

func (s sourceIsNot) code(c *coder) {
	family, offset := nfproto(4), uint32(12)
	if netip.Addr(s).Is6() {
		family, offset = 6, 8
	}
	source := netip.Addr(s).AsSlice()
	family.code(c)
	c.payload(networkHeader, offset, uint32(len(source)))
	c.unequal(source...)
}

// overTCP matches TCP.
type overTCP struct{}

func (overTCP) String() string { return "meta l4proto tcp" }
func (overTCP) code(c *coder)  { c.tcp() }
