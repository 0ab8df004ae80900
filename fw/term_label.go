package fw

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// The urgent pointer of TCP and the checksum that covers it, RFC 9293 section 3.1.
const (
	checksumAt = 16
	urgentAt   = 18
)

// urgentSet matches TCP segments with something in their urgent pointer.
type urgentSet struct{}

func (urgentSet) String() string { return "tcp urgptr != 0" }
func (urgentSet) code(c *coder) {
	c.tcp()
	c.payload(transportHeader, urgentAt, 2)
	c.unequal(0, 0)
}

// changeUrgent makes the urgent pointer of a TCP segment (pointer & mask) | set. The
// checksum follows, unless it is left to whoever sends the packet.
type changeUrgent struct{ mask, set uint8 }

func (u changeUrgent) String() string {
	if u.mask == 0 {
		return fmt.Sprintf("tcp urgptr set %d", u.set)
	}
	return fmt.Sprintf("tcp urgptr set tcp urgptr | %d", u.set)
}

func (u changeUrgent) code(c *coder) {
	c.tcp()
	c.payload(transportHeader, urgentAt, 2)
	c.bitwise([]byte{u.mask, u.mask &^ u.set}, []byte{0, u.set})
	c.setPayload(transportHeader, urgentAt, 2,
		number(unix.NFTA_PAYLOAD_CSUM_TYPE, unix.NFT_PAYLOAD_CSUM_INET), number(unix.NFTA_PAYLOAD_CSUM_OFFSET, checksumAt))
}
