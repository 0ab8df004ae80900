package fw

import (
	"encoding/binary"
	"fmt"
	"strings"

	"github.com/google/nftables/expr"
	"github.com/google/nftables/xt"
	"golang.org/x/sys/unix"
)

// A term is one condition or act of a rule.
type term interface {
	String() string // as nft writes it
	code(*coder)    // as the kernel is told
}

// reg is the register that every term loads and tests: NFT_REG_1, 16 bytes,
// which is the longest thing compared here, a device name.
const reg = unix.NFT_REG_1

// nfproto matches IPv4 or IPv6.
type nfproto uint8

func (v nfproto) String() string { return fmt.Sprintf("meta nfproto ipv%d", uint8(v)) }
func (v nfproto) code(c *coder) {
	number := byte(unix.NFPROTO_IPV4)
	if v == 6 {
		number = unix.NFPROTO_IPV6
	}
	c.put(&expr.Meta{Key: expr.MetaKeyNFPROTO, Register: reg}, equal(number))
}

// A portSide is the offset of a port in the TCP header.
type portSide uint32

const (
	sport portSide = 0
	dport portSide = 2
)

// port matches TCP segments from or to one of some ports: one is compared,
// several stand in a set.
type port struct {
	side  portSide
	set   string // where several stand
	ports []uint16
}

func (p port) String() string {
	name := "sport"
	if p.side == dport {
		name = "dport"
	}
	if len(p.ports) > 1 {
		return "tcp " + name + " @" + p.set
	}
	return fmt.Sprintf("tcp %s %d", name, p.ports[0])
}

func (p port) code(c *coder) {
	c.tcp()
	c.put(&expr.Payload{DestRegister: reg, Base: expr.PayloadBaseTransportHeader, Offset: uint32(p.side), Len: 2})
	c.among(p.set, p.ports)
}

// among compares the port that is loaded.
func (c *coder) among(set string, ports []uint16) {
	if len(ports) > 1 {
		c.put(&expr.Lookup{SourceRegister: reg, SetName: set})
		return
	}
	c.put(equal(binary.BigEndian.AppendUint16(nil, ports[0])...))
}

// The TCP flags, RFC 9293 section 3.1.
const (
	fin = 1 << iota
	syn
	rst
	psh
	ack
	urg
)

// tcpFlags matches segments whose flags under mask are exactly want.
type tcpFlags struct{ mask, want uint8 }

func (f tcpFlags) String() string {
	switch {
	case f.want == 0:
		return "tcp flags ! " + flagNames(f.mask)
	case f.want == f.mask && f.mask&(f.mask-1) == 0:
		return "tcp flags & " + flagNames(f.mask) + " == " + flagNames(f.want)
	}
	return "tcp flags " + flagNames(f.want) + " / " + flagNames(f.mask)
}

func (f tcpFlags) code(c *coder) {
	c.tcp()
	c.put(
		&expr.Payload{DestRegister: reg, Base: expr.PayloadBaseTransportHeader, Offset: 13, Len: 1},
		&expr.Bitwise{SourceRegister: reg, DestRegister: reg, Len: 1, Mask: []byte{f.mask}, Xor: []byte{0}},
		equal(f.want))
}

func flagNames(bits uint8) string {
	var names []string
	for i, name := range []string{"fin", "syn", "rst", "psh", "ack", "urg"} {
		if bits>>i&1 != 0 {
			names = append(names, name)
		}
	}
	return strings.Join(names, ",")
}

// A markOf is whose mark is meant. Both are 32 bits in the host's byte order.
type markOf uint8

const (
	metaMark markOf = iota // the packet's
	ctMark                 // the connection's
)

func (m markOf) String() string {
	if m == ctMark {
		return "ct mark"
	}
	return "meta mark"
}

func (m markOf) code(c *coder, store bool) {
	if m == ctMark {
		c.put(&expr.Ct{Key: expr.CtKeyMARK, Register: reg, SourceRegister: store})
		return
	}
	c.put(&expr.Meta{Key: expr.MetaKeyMARK, Register: reg, SourceRegister: store})
}

// bits matches if any bit of mask is set in a mark, or, if set is false, none.
type bits struct {
	of   markOf
	mask uint32
	set  bool
}

func (b bits) String() string {
	op := "=="
	if b.set {
		op = "!="
	}
	return fmt.Sprintf("%v & 0x%08x %s 0x00000000", b.of, b.mask, op)
}

func (b bits) code(c *coder) {
	op := expr.CmpOpEq
	if b.set {
		op = expr.CmpOpNeq
	}
	b.of.code(c, false)
	c.put(bitwise(b.mask, 0), &expr.Cmp{Op: op, Register: reg, Data: make([]byte, 4)})
}

// setBits sets mask in a mark.
type setBits struct {
	of   markOf
	mask uint32
}

func (s setBits) String() string { return fmt.Sprintf("%v set %v | 0x%08x", s.of, s.of, s.mask) }
func (s setBits) code(c *coder) {
	s.of.code(c, false)
	c.put(bitwise(^s.mask, s.mask))
	s.of.code(c, true)
}

// clearBits clears mask in a mark.
type clearBits struct {
	of   markOf
	mask uint32
}

func (s clearBits) String() string { return fmt.Sprintf("%v set %v & 0x%08x", s.of, s.of, ^s.mask) }
func (s clearBits) code(c *coder) {
	s.of.code(c, false)
	c.put(bitwise(^s.mask, 0))
	s.of.code(c, true)
}

// direction matches packets of one side of a tracked connection.
type direction struct{ reply bool }

func (d direction) String() string {
	if d.reply {
		return "ct direction reply"
	}
	return "ct direction original"
}

func (d direction) code(c *coder) {
	number := byte(0) // IP_CT_DIR_ORIGINAL
	if d.reply {
		number = 1
	}
	c.put(&expr.Ct{Key: expr.CtKeyDIRECTION, Register: reg}, equal(number))
}

// packets matches while a connection has seen 1..upto packets, this one
// included: both directions summed, or the replies alone. The kernel counts in
// the host's byte order and compares in the network's.
type packets struct {
	upto  int
	reply bool
}

func (p packets) String() string {
	if p.reply {
		return fmt.Sprintf("ct reply packets 1-%d", p.upto)
	}
	return fmt.Sprintf("ct packets 1-%d", p.upto)
}

func (p packets) code(c *coder) {
	if p.reply {
		c.ctSide(expr.CtKeyPKTS, fromReply)
	} else {
		c.put(&expr.Ct{Key: expr.CtKeyPKTS, Register: reg})
	}
	c.fromOne(uint64(p.upto))
}

// sent matches while the client of a connection has sent at most so many bytes,
// this packet and all headers included.
type sent uint64

func (s sent) String() string { return fmt.Sprintf("ct original bytes 1-%d", uint64(s)) }
func (s sent) code(c *coder) {
	c.ctSide(expr.CtKeyBYTES, fromOriginal)
	c.fromOne(uint64(s))
}

// fromOne compares the count that is loaded with 1 and upto.
func (c *coder) fromOne(upto uint64) {
	c.put(
		&expr.Byteorder{SourceRegister: reg, DestRegister: reg, Op: expr.ByteorderHton, Len: 8, Size: 8},
		&expr.Cmp{Op: expr.CmpOpGte, Register: reg, Data: binary.BigEndian.AppendUint64(nil, 1)},
		&expr.Cmp{Op: expr.CmpOpLte, Register: reg, Data: binary.BigEndian.AppendUint64(nil, upto)})
}

// invalid matches what conntrack ascribes to no connection.
type invalid struct{}

func (invalid) String() string { return "ct state invalid" }
func (invalid) code(c *coder) {
	c.put(
		&expr.Ct{Key: expr.CtKeySTATE, Register: reg},
		bitwise(expr.CtStateBitINVALID, 0),
		&expr.Cmp{Op: expr.CmpOpNeq, Register: reg, Data: make([]byte, 4)})
}

// maxLength matches packets of at most so many bytes, IP header included.
type maxLength uint32

func (m maxLength) String() string { return fmt.Sprintf("meta length <= %d", uint32(m)) }
func (m maxLength) code(c *coder) {
	c.put(
		&expr.Meta{Key: expr.MetaKeyLEN, Register: reg},
		&expr.Byteorder{SourceRegister: reg, DestRegister: reg, Op: expr.ByteorderHton, Len: 4, Size: 4},
		&expr.Cmp{Op: expr.CmpOpLte, Register: reg, Data: binary.BigEndian.AppendUint32(nil, uint32(m))})
}

// A device matches packets that come in or leave by a watched device.
type device struct{ key expr.MetaKey }

const (
	iifname = expr.MetaKeyIIFNAME
	oifname = expr.MetaKeyOIFNAME
)

func (d device) String() string {
	if d.key == iifname {
		return "iifname @" + wanSet
	}
	return "oifname @" + wanSet
}

func (d device) code(c *coder) {
	c.put(&expr.Meta{Key: d.key, Register: reg}, &expr.Lookup{SourceRegister: reg, SetName: wanSet})
}

// forwarded matches packets that came in by some device. At postrouting the
// router's own have none (ip_output and ip6_output pass skb->dev as the in
// device since Linux 5.7).
type forwarded struct{}

func (forwarded) String() string { return "iif != 0" }
func (forwarded) code(c *coder) {
	c.put(
		&expr.Meta{Key: expr.MetaKeyIIF, Register: reg},
		&expr.Cmp{Op: expr.CmpOpNeq, Register: reg, Data: make([]byte, 4)})
}

// ipsec matches packets that a policy will wrap.
type ipsec struct{}

func (ipsec) String() string { return "rt ipsec exists" }
func (ipsec) code(c *coder) {
	const nftRtXfrm = 4 // NFT_RT_XFRM of linux/netfilter/nf_tables.h
	c.put(&expr.Rt{Key: nftRtXfrm, Register: reg}, equal(1))
}

// notrack keeps a packet from conntrack.
type notrack struct{}

func (notrack) String() string { return "notrack" }
func (notrack) code(c *coder)  { c.put(&expr.Notrack{}) }

// A counter counts packets under a name.
type counter struct{ name string }

func (k counter) String() string { return fmt.Sprintf("counter name %q", k.name) }
func (k counter) code(c *coder) {
	c.put(&expr.Objref{Type: unix.NFT_OBJECT_COUNTER, Name: k.name})
}

// queue hands a packet to user space, or lets it pass if nobody listens.
type queue struct {
	number uint16
	form   QueueForm
}

func (q queue) String() string { return fmt.Sprintf("queue flags bypass to %d", q.number) }
func (q queue) code(c *coder) {
	if q.form == Native {
		c.put(&expr.Queue{Num: q.number, Total: 1, Flag: expr.QueueFlagBypass})
		return
	}
	// struct xt_NFQ_info_v3 of linux/netfilter/xt_NFQUEUE.h: number, total
	// and flags in the host's byte order, and padding to 8 bytes.
	const nfqFlagBypass = 1
	info := binary.NativeEndian.AppendUint16(nil, q.number)
	info = binary.NativeEndian.AppendUint16(info, 1)
	info = binary.NativeEndian.AppendUint16(info, nfqFlagBypass)
	u := xt.Unknown(append(info, 0, 0))
	c.put(&expr.Target{Name: "NFQUEUE", Rev: 3, Info: &u})
}

// A verdict ends the chain.
type verdict struct {
	kind  expr.VerdictKind
	chain string // where a goto leads
}

var (
	accept = verdict{kind: expr.VerdictAccept}
	drop   = verdict{kind: expr.VerdictDrop}
)

func (v verdict) String() string {
	switch v.kind {
	case expr.VerdictAccept:
		return "accept"
	case expr.VerdictDrop:
		return "drop"
	}
	return "goto " + v.chain
}

func gotoChain(name string) verdict { return verdict{expr.VerdictGoto, name} }

func (v verdict) code(c *coder) { c.put(&expr.Verdict{Kind: v.kind, Chain: v.chain}) }

func equal(data ...byte) *expr.Cmp {
	return &expr.Cmp{Op: expr.CmpOpEq, Register: reg, Data: data}
}

// bitwise makes the register (register & mask) ^ xor, as the host's words.
func bitwise(mask, xor uint32) *expr.Bitwise {
	return &expr.Bitwise{
		SourceRegister: reg, DestRegister: reg, Len: 4,
		Mask: binary.NativeEndian.AppendUint32(nil, mask),
		Xor:  binary.NativeEndian.AppendUint32(nil, xor),
	}
}
