package fw

import (
	"fmt"

	"github.com/google/nftables/expr"
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
	c.put(
		&expr.Payload{DestRegister: reg, Base: expr.PayloadBaseTransportHeader, Offset: urgentAt, Len: 2},
		&expr.Cmp{Op: expr.CmpOpNeq, Register: reg, Data: make([]byte, 2)})
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
	c.put(
		&expr.Payload{DestRegister: reg, Base: expr.PayloadBaseTransportHeader, Offset: urgentAt, Len: 2},
		&expr.Bitwise{SourceRegister: reg, DestRegister: reg, Len: 2, Mask: []byte{u.mask, u.mask &^ u.set}, Xor: []byte{0, u.set}},
		&expr.Payload{
			OperationType: expr.PayloadWrite, SourceRegister: reg, Base: expr.PayloadBaseTransportHeader, Offset: urgentAt, Len: 2,
			CsumType: expr.CsumTypeInet, CsumOffset: checksumAt,
		})
}
