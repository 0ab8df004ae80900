package fw

import (
	"encoding/binary"
	"fmt"
	"net/netip"

	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// bitsAre matches if the bits of mask in a mark are exactly want.
type bitsAre struct {
	of         markOf
	mask, want uint32
}

func (b bitsAre) String() string { return fmt.Sprintf("%v & 0x%08x == 0x%08x", b.of, b.mask, b.want) }
func (b bitsAre) code(c *coder) {
	b.of.code(c, false)
	c.put(bitwise(b.mask, 0), equal(binary.NativeEndian.AppendUint32(nil, b.want)...))
}

// isDevice matches packets of one device, watched or not.
type isDevice struct {
	key  expr.MetaKey
	name string
}

func (d isDevice) String() string {
	if d.key == iifname {
		return fmt.Sprintf("iifname %q", d.name)
	}
	return fmt.Sprintf("oifname %q", d.name)
}

func (d isDevice) code(c *coder) {
	c.put(&expr.Meta{Key: d.key, Register: reg}, equal(deviceKey(d.name)...))
}

// alive matches while a device is watched, whatever the packet's own is.
type alive string

func (a alive) String() string { return fmt.Sprintf("%q @%s", string(a), wanSet) }
func (a alive) code(c *coder) {
	c.put(
		&expr.Immediate{Register: reg, Data: deviceKey(string(a))},
		&expr.Lookup{SourceRegister: reg, SetName: wanSet})
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
	c.put(
		&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: reg}, equal(proto),
		&expr.Payload{DestRegister: reg, Base: expr.PayloadBaseTransportHeader, Offset: 0, Len: 1},
		equal(i.number))
}

// sourceKept matches connections whose source is not translated.
type sourceKept struct{}

func (sourceKept) String() string { return "ct status ! snat" }
func (sourceKept) code(c *coder) {
	const ipsSrcNAT = 1 << 4 // IPS_SRC_NAT of linux/netfilter/nf_conntrack_common.h
	c.put(
		&expr.Ct{Key: expr.CtKeySTATUS, Register: reg},
		bitwise(ipsSrcNAT, 0),
		&expr.Cmp{Op: expr.CmpOpEq, Register: reg, Data: make([]byte, 4)})
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
	c.put(
		&expr.Immediate{Register: reg, Data: s.addr().AsSlice()},
		&expr.NAT{Type: expr.NATTypeSourceNAT, Family: family, RegAddrMin: reg})
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
	key := expr.CtKey(unix.NFT_CT_DST_IP)
	if netip.Addr(b).Is6() {
		key = unix.NFT_CT_DST_IP6
	}
	c.ctSide(key, fromReply)
	c.put(&expr.Cmp{Op: expr.CmpOpNeq, Register: reg, Data: netip.Addr(b).AsSlice()})
}

// reset drops a TCP segment and tells its sender that the connection is over.
type reset struct{}

func (reset) String() string { return "reject with tcp reset" }
func (reset) code(c *coder) {
	c.tcp()
	c.put(&expr.Reject{Type: unix.NFT_REJECT_TCP_RST})
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
	c.put(
		&expr.Payload{DestRegister: reg, Base: expr.PayloadBaseNetworkHeader, Offset: offset, Len: uint32(len(source))},
		&expr.Cmp{Op: expr.CmpOpNeq, Register: reg, Data: source})
}

// overTCP matches TCP.
type overTCP struct{}

func (overTCP) String() string { return "meta l4proto tcp" }
func (overTCP) code(c *coder)  { c.tcp() }
