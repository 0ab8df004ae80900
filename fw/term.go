package fw

import (
	"encoding/binary"
	"fmt"
	"strings"

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
	c.meta(unix.NFT_META_NFPROTO)
	c.equal(number)
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
	c.payload(transportHeader, uint32(p.side), 2)
	c.among(p.set, p.ports)
}

// among compares the port that is loaded.
func (c *coder) among(set string, ports []uint16) {
	if len(ports) > 1 {
		c.lookup(set)
		return
	}
	c.equal(binary.BigEndian.AppendUint16(nil, ports[0])...)
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
	c.payload(transportHeader, 13, 1)
	c.bitwise([]byte{f.mask}, []byte{0})
	c.equal(f.want)
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

func (m markOf) load(c *coder) {
	if m == ctMark {
		c.ct(unix.NFT_CT_MARK)
		return
	}
	c.meta(unix.NFT_META_MARK)
}

func (m markOf) store(c *coder) {
	if m == ctMark {
		c.setCt(unix.NFT_CT_MARK)
		return
	}
	c.setMeta(unix.NFT_META_MARK)
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
	op := uint32(unix.NFT_CMP_EQ)
	if b.set {
		op = unix.NFT_CMP_NEQ
	}
	b.of.load(c)
	c.word(b.mask, 0)
	c.compare(op, make([]byte, 4))
}

// setBits sets mask in a mark.
type setBits struct {
	of   markOf
	mask uint32
}

func (s setBits) String() string { return fmt.Sprintf("%v set %v | 0x%08x", s.of, s.of, s.mask) }
func (s setBits) code(c *coder) {
	s.of.load(c)
	c.word(^s.mask, s.mask)
	s.of.store(c)
}

// clearBits clears mask in a mark.
type clearBits struct {
	of   markOf
	mask uint32
}

func (s clearBits) String() string { return fmt.Sprintf("%v set %v & 0x%08x", s.of, s.of, ^s.mask) }
func (s clearBits) code(c *coder) {
	s.of.load(c)
	c.word(^s.mask, 0)
	s.of.store(c)
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
	c.ct(unix.NFT_CT_DIRECTION)
	c.equal(number)
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
		c.ctSide(unix.NFT_CT_PKTS, fromReply)
	} else {
		c.ct(unix.NFT_CT_PKTS)
	}
	c.fromOne(uint64(p.upto))
}

// sent matches while the client of a connection has sent at most so many bytes,
// this packet and all headers included.
type sent uint64

func (s sent) String() string { return fmt.Sprintf("ct original bytes 1-%d", uint64(s)) }
func (s sent) code(c *coder) {
	c.ctSide(unix.NFT_CT_BYTES, fromOriginal)
	c.fromOne(uint64(s))
}

// fromOne compares the count that is loaded with 1 and upto.
func (c *coder) fromOne(upto uint64) {
	c.hton(8)
	c.compare(unix.NFT_CMP_GTE, binary.BigEndian.AppendUint64(nil, 1))
	c.compare(unix.NFT_CMP_LTE, binary.BigEndian.AppendUint64(nil, upto))
}

// invalid matches what conntrack ascribes to no connection.
type invalid struct{}

func (invalid) String() string { return "ct state invalid" }
func (invalid) code(c *coder) {
	c.ct(unix.NFT_CT_STATE)
	const stateInvalid = 1 // NF_CT_STATE_INVALID_BIT of linux/netfilter/nf_conntrack_common.h
	c.word(stateInvalid, 0)
	c.unequal(0, 0, 0, 0)
}

// maxLength matches packets of at most so many bytes, IP header included.
type maxLength uint32

func (m maxLength) String() string { return fmt.Sprintf("meta length <= %d", uint32(m)) }
func (m maxLength) code(c *coder) {
	c.meta(unix.NFT_META_LEN)
	c.hton(4)
	c.compare(unix.NFT_CMP_LTE, binary.BigEndian.AppendUint32(nil, uint32(m)))
}

// A device matches packets that come in or leave by a watched device.
type device struct{ key uint32 }

const (
	iifname = unix.NFT_META_IIFNAME
	oifname = unix.NFT_META_OIFNAME
)

func (d device) String() string {
	if d.key == iifname {
		return "iifname @" + wanSet
	}
	return "oifname @" + wanSet
}

func (d device) code(c *coder) {
	c.meta(d.key)
	c.lookup(wanSet)
}

// forwarded matches packets that came in by some device. At postrouting the
// router's own have none (ip_output and ip6_output pass skb->dev as the in
// device since Linux 5.7).
type forwarded struct{}

func (forwarded) String() string { return "iif != 0" }
func (forwarded) code(c *coder) {
	c.meta(unix.NFT_META_IIF)
	c.unequal(0, 0, 0, 0)
}

// ipsec matches packets that a policy will wrap.
type ipsec struct{}

func (ipsec) String() string { return "rt ipsec exists" }
func (ipsec) code(c *coder) {
	const nftRtXfrm = 4 // NFT_RT_XFRM of linux/netfilter/nf_tables.h
	c.expr("rt", number(unix.NFTA_RT_KEY, nftRtXfrm), number(unix.NFTA_RT_DREG, reg))
	c.equal(1)
}

// notrack keeps a packet from conntrack.
type notrack struct{}

func (notrack) String() string { return "notrack" }
func (notrack) code(c *coder)  { c.expr("notrack") }

// A counter counts packets under a name.
type counter struct{ name string }

func (k counter) String() string { return fmt.Sprintf("counter name %q", k.name) }
func (k counter) code(c *coder) {
	c.expr("objref", number(unix.NFTA_OBJREF_IMM_TYPE, unix.NFT_OBJECT_COUNTER), raw(unix.NFTA_OBJREF_IMM_NAME, []byte(k.name)))
}

// queue hands a packet to user space, or lets it pass if nobody listens.
type queue struct {
	number uint16 // the first
	total  uint16 // of several, each connection's addresses choose one
	form   QueueForm
}

func (q queue) String() string {
	s := fmt.Sprintf("queue flags bypass to %d", q.number)
	if q.total > 1 {
		s += fmt.Sprintf("-%d", q.number+q.total-1)
	}
	return s
}

// Both forms choose by nfqueue_hash (include/net/netfilter/nf_queue.h): it takes the
// two addresses in order, and the protocol, so that answers come where questions do.
func (q queue) code(c *coder) {
	if q.form == Native {
		c.expr("queue", half(unix.NFTA_QUEUE_NUM, q.number), half(unix.NFTA_QUEUE_TOTAL, q.total), half(unix.NFTA_QUEUE_FLAGS, unix.NFT_QUEUE_FLAG_BYPASS))
		return
	}
	// struct xt_NFQ_info_v3 of linux/netfilter/xt_NFQUEUE.h: number, total
	// and flags in the host's byte order, and padding to 8 bytes.
	const nfqFlagBypass = 1
	info := binary.NativeEndian.AppendUint16(nil, q.number)
	info = binary.NativeEndian.AppendUint16(info, q.total)
	info = binary.NativeEndian.AppendUint16(info, nfqFlagBypass)
	c.expr("target", str(unix.NFTA_TARGET_NAME, "NFQUEUE"), number(unix.NFTA_TARGET_REV, 3),
		raw(unix.NFTA_TARGET_INFO, append(info, 0, 0)))
}

// A verdict ends the chain.
type verdict struct {
	kind  int32  // NF_* or NFT_*
	chain string // where a goto leads
}

var (
	accept = verdict{kind: nfAccept}
	drop   = verdict{kind: nfDrop}
)

func (v verdict) String() string {
	switch v.kind {
	case nfAccept:
		return "accept"
	case nfDrop:
		return "drop"
	}
	return "goto " + v.chain
}

func gotoChain(name string) verdict { return verdict{unix.NFT_GOTO, name} }

func (v verdict) code(c *coder) {
	fields := []field{number(unix.NFTA_VERDICT_CODE, uint32(v.kind))}
	if v.chain != "" {
		fields = append(fields, str(unix.NFTA_VERDICT_CHAIN, v.chain))
	}
	c.expr("immediate", number(unix.NFTA_IMMEDIATE_DREG, unix.NFT_REG_VERDICT),
		field{typ: unix.NFTA_IMMEDIATE_DATA, fields: []field{{typ: unix.NFTA_DATA_VERDICT, fields: fields}}})
}
