package fw

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// hiddenUDP stands for UDP where the firewall's flow offload is not to see it:
// 253 is for experiments (RFC 3692), so nobody's rule is about it.
const (
	udp       = unix.IPPROTO_UDP
	hiddenUDP = 253
)

// flagsAt is where the flags stand in the TCP header. Their neighbour, which the
// checksum covers as well, does not change, and neither does the checksum: all is
// as it was before the packet leaves.
const flagsAt = 13

// setFIN makes a TCP segment a connection's last, to look at.
type setFIN struct{}

func (setFIN) String() string { return "@th,104,8 set @th,104,8 | 0x1" }
func (setFIN) code(c *coder)  { c.changeFlags(^byte(fin), fin) }

// clearFIN undoes it.
type clearFIN struct{}

func (clearFIN) String() string { return "@th,104,8 set @th,104,8 & 0xfe" }
func (clearFIN) code(c *coder)  { c.changeFlags(^byte(fin), 0) }

// changeFlags makes TCP's flags (flags & mask) ^ xor.
func (c *coder) changeFlags(mask, xor byte) {
	c.payload(transportHeader, flagsAt, 1)
	c.bitwise([]byte{mask}, []byte{xor})
	c.setPayload(transportHeader, flagsAt, 1)
}

// protocolAt is where a family's header names the next one.
func protocolAt(family uint8) uint32 {
	if family == 6 {
		return 6
	}
	return 9
}

// isProtocol matches packets of a family, which must be known, whose header is
// followed by that of a protocol at once: of IPv6 it may be an extension.
type isProtocol struct{ family, number uint8 }

func (p isProtocol) String() string {
	return fmt.Sprintf("@nh,%d,8 == %d", 8*protocolAt(p.family), p.number)
}

func (p isProtocol) code(c *coder) {
	c.payload(networkHeader, protocolAt(p.family), 1)
	c.equal(p.number)
}

// setProtocol has the header name another protocol. The checksum of IPv4's stays
// that of the packet which leaves.
type setProtocol struct{ family, number uint8 }

func (p setProtocol) String() string {
	return fmt.Sprintf("@nh,%d,8 set %d", 8*protocolAt(p.family), p.number)
}

func (p setProtocol) code(c *coder) { c.writeByte(p.number, protocolAt(p.family)) }

// writeByte writes to the IP header.
func (c *coder) writeByte(b byte, at uint32) {
	c.immediate([]byte{b})
	c.setPayload(networkHeader, at, 1)
}

// udpFrom is udpPort for the port that datagrams come from.
type udpFrom udpPort

func (p udpFrom) String() string {
	if len(p.ports) > 1 {
		return "udp sport @" + p.set
	}
	return fmt.Sprintf("udp sport %d", p.ports[0])
}

func (p udpFrom) code(c *coder) {
	c.meta(unix.NFT_META_L4PROTO)
	c.equal(udp)
	c.payload(transportHeader, uint32(sport), 2)
	c.among(p.set, p.ports)
}

// confirmed matches what belongs to a connection that a packet has left for: only
// these are offloaded.
type confirmed struct{}

func (confirmed) String() string { return "ct status confirmed" }
func (confirmed) code(c *coder) {
	const ipsConfirmed = 1 << 3 // IPS_CONFIRMED of linux/netfilter/nf_conntrack_common.h
	c.ct(unix.NFT_CT_STATUS)
	c.word(ipsConfirmed, 0)
	c.unequal(0, 0, 0, 0)
}
