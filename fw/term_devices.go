package fw

import (
	"encoding/binary"
	"fmt"

	"golang.org/x/sys/unix"
)

// cameBy matches packets that came in by a device of a set.
type cameBy string

func (s cameBy) String() string { return "iifname @" + string(s) }
func (s cameBy) code(c *coder) {
	c.meta(unix.NFT_META_IIFNAME)
	c.lookup(string(s))
}

// sourceMAC matches packets that came by Ethernet from a MAC of a set.
type sourceMAC string

func (s sourceMAC) String() string { return "ether saddr @" + string(s) }
func (s sourceMAC) code(c *coder) {
	c.meta(unix.NFT_META_IIFTYPE)
	c.equal(binary.NativeEndian.AppendUint16(nil, unix.ARPHRD_ETHER)...)
	c.payload(linkHeader, 6, 6)
	c.lookup(string(s))
}

// An addrSide is which address of a packet is meant.
type addrSide bool

const (
	source      addrSide = false
	destination addrSide = true
)

// inPrefixes matches packets of a family with an address in a set.
type inPrefixes struct {
	family uint8
	side   addrSide
	set    string
}

func (p inPrefixes) String() string {
	name := "ip"
	if p.family == 6 {
		name = "ip6"
	}
	if p.side == destination {
		return fmt.Sprintf("%s daddr @%s", name, p.set)
	}
	return fmt.Sprintf("%s saddr @%s", name, p.set)
}

func (p inPrefixes) code(c *coder) {
	offset, length := uint32(12), addrType(p.family).keyLen()
	if p.family == 6 {
		offset = 8
	}
	if p.side == destination {
		offset += length
	}
	nfproto(p.family).code(c)
	c.payload(networkHeader, offset, length)
	c.lookup(p.set)
}
