package fw

import (
	"encoding/binary"
	"fmt"

	"golang.org/x/sys/unix"
)

// udpPort matches UDP datagrams to one of some ports, as port does of TCP.
type udpPort struct {
	set   string // where several stand
	ports []uint16
}

func (p udpPort) String() string {
	if len(p.ports) > 1 {
		return "udp dport @" + p.set
	}
	return fmt.Sprintf("udp dport %d", p.ports[0])
}

func (p udpPort) code(c *coder) {
	c.meta(unix.NFT_META_L4PROTO)
	c.equal(unix.IPPROTO_UDP)
	c.payload(transportHeader, uint32(dport), 2)
	c.among(p.set, p.ports)
}

// longHeader matches UDP datagrams whose payload begins with a set bit, as the
// packets of a QUIC handshake do, of any version (RFC 8999 section 5.1). What
// has no payload does not match. It goes behind udpPort.
type longHeader struct{}

func (longHeader) String() string { return "@th,64,8 & 0x80 == 0x80" }
func (longHeader) code(c *coder) {
	c.payload(transportHeader, 8, 1)
	c.bitwise([]byte{0x80}, []byte{0})
	c.equal(0x80)
}

// likeRTP matches, among datagrams that begin with a set bit, those of RTP and
// RTCP, which calls send to port 443 as well: the next bit is clear (RFC
// 9443). Clients of QUIC may clear it too (RFC 9287 section 3.1), so what has a
// version of QUIC's in its place does not match: hardly any packet of RTP has
// the same number there.
type likeRTP struct{}

// The versions of QUIC, RFC 9000 section 15 and RFC 9369 section 3.1.
const (
	quicV1 = 1
	quicV2 = 0x6b3343cf
)

func (likeRTP) String() string {
	return "@th,64,8 & 0x40 == 0x0 @th,72,32 != 0x1 @th,72,32 != 0x6b3343cf"
}

func (likeRTP) code(c *coder) {
	c.payload(transportHeader, 8, 1)
	c.bitwise([]byte{0x40}, []byte{0})
	c.equal(0)
	for _, version := range []uint32{quicV1, quicV2} {
		c.payload(transportHeader, 9, 4)
		c.unequal(binary.BigEndian.AppendUint32(nil, version)...)
	}
}

// unreachable drops a packet and tells its sender that nobody listens there, by
// the ICMP of its family.
type unreachable struct{}

func (unreachable) String() string { return "reject" } // which is nft's word for it
func (unreachable) code(c *coder) {
	c.reject(unix.NFT_REJECT_ICMPX_UNREACH, unix.NFT_REJECT_ICMPX_PORT_UNREACH)
}
