package fw

import (
	"encoding/binary"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// The expressions that the terms are made of, as the kernel reads them
// (linux/netfilter/nf_tables.h). github.com/google/nftables, with which the tests
// compare them, knows all that there are, also how to read them: with it packages are
// 43 kB larger.

// A field is an attribute of an expression: bytes, or fields of its own.
type field struct {
	typ    uint16
	data   []byte
	fields []field
}

// raw is a field of bytes.
func raw(typ uint16, data []byte) field { return field{typ: typ, data: data} }

// number is a field of 32 bits in network byte order.
func number(typ uint16, n uint32) field { return raw(typ, binary.BigEndian.AppendUint32(nil, n)) }

// half is one of 16 bits.
func half(typ uint16, n uint16) field { return raw(typ, binary.BigEndian.AppendUint16(nil, n)) }

// str is a text with the zero that ends it.
func str(typ uint16, s string) field { return raw(typ, append([]byte(s), 0)) }

// value is what a register holds or is compared with.
func value(typ uint16, data []byte) field {
	return field{typ: typ, fields: []field{raw(unix.NFTA_DATA_VALUE, data)}}
}

func encode(ae *netlink.AttributeEncoder, fields []field) {
	for _, f := range fields {
		if f.fields == nil {
			ae.Bytes(f.typ, f.data)
			continue
		}
		ae.Nested(f.typ, func(in *netlink.AttributeEncoder) error {
			encode(in, f.fields)
			return nil
		})
	}
}

// expr appends an expression.
func (c *coder) expr(name string, fields ...field) {
	e := []field{str(unix.NFTA_EXPR_NAME, name)}
	if len(fields) > 0 {
		e = append(e, field{typ: unix.NFTA_EXPR_DATA, fields: fields})
	}
	encode(c.list, []field{{typ: unix.NFTA_LIST_ELEM, fields: e}})
}

// meta loads a property of the packet, by its NFT_META_* number.
func (c *coder) meta(key uint32) {
	c.expr("meta", number(unix.NFTA_META_KEY, key), number(unix.NFTA_META_DREG, reg))
}

// setMeta stores one.
func (c *coder) setMeta(key uint32) {
	c.expr("meta", number(unix.NFTA_META_KEY, key), number(unix.NFTA_META_SREG, reg))
}

// ct loads a property of the packet's connection, by its NFT_CT_* number.
func (c *coder) ct(key uint32) {
	c.expr("ct", number(unix.NFTA_CT_KEY, key), number(unix.NFTA_CT_DREG, reg))
}

// setCt stores one.
func (c *coder) setCt(key uint32) {
	c.expr("ct", number(unix.NFTA_CT_KEY, key), number(unix.NFTA_CT_SREG, reg))
}

// A ctDirection is an IP_CT_DIR_* number of linux/netfilter/nf_conntrack_tuple_common.h.
type ctDirection uint8

const (
	fromOriginal ctDirection = 0
	fromReply    ctDirection = 1
)

// ctSide loads a number of one direction of a connection. The direction is a byte.
func (c *coder) ctSide(key uint32, dir ctDirection) {
	c.expr("ct", number(unix.NFTA_CT_KEY, key), number(unix.NFTA_CT_DREG, reg),
		raw(unix.NFTA_CT_DIRECTION, []byte{byte(dir)}))
}

// A header is what offsets in a packet count from.
type header uint32

const (
	linkHeader      header = unix.NFT_PAYLOAD_LL_HEADER
	networkHeader   header = unix.NFT_PAYLOAD_NETWORK_HEADER
	transportHeader header = unix.NFT_PAYLOAD_TRANSPORT_HEADER
)

// payload loads length bytes of the packet.
func (c *coder) payload(from header, offset, length uint32) {
	c.expr("payload", number(unix.NFTA_PAYLOAD_DREG, reg),
		number(unix.NFTA_PAYLOAD_BASE, uint32(from)), number(unix.NFTA_PAYLOAD_OFFSET, offset), number(unix.NFTA_PAYLOAD_LEN, length))
}

// setPayload writes them, and leaves all checksums as they are.
func (c *coder) setPayload(from header, offset, length uint32, more ...field) {
	c.expr("payload", append([]field{number(unix.NFTA_PAYLOAD_SREG, reg),
		number(unix.NFTA_PAYLOAD_BASE, uint32(from)), number(unix.NFTA_PAYLOAD_OFFSET, offset), number(unix.NFTA_PAYLOAD_LEN, length)}, more...)...)
}

// immediate loads data itself.
func (c *coder) immediate(data []byte) {
	c.expr("immediate", number(unix.NFTA_IMMEDIATE_DREG, reg), value(unix.NFTA_IMMEDIATE_DATA, data))
}

// bitwise makes the register (register & mask) ^ xor, which are of one length.
func (c *coder) bitwise(mask, xor []byte) {
	c.expr("bitwise", number(unix.NFTA_BITWISE_SREG, reg), number(unix.NFTA_BITWISE_DREG, reg),
		number(unix.NFTA_BITWISE_LEN, uint32(len(mask))), value(unix.NFTA_BITWISE_MASK, mask), value(unix.NFTA_BITWISE_XOR, xor))
}

// word is bitwise for a number in the host's byte order.
func (c *coder) word(mask, xor uint32) {
	c.bitwise(binary.NativeEndian.AppendUint32(nil, mask), binary.NativeEndian.AppendUint32(nil, xor))
}

// hton turns a number of size bytes from the host's byte order to the network's.
func (c *coder) hton(size uint32) {
	c.expr("byteorder", number(unix.NFTA_BYTEORDER_SREG, reg), number(unix.NFTA_BYTEORDER_DREG, reg),
		number(unix.NFTA_BYTEORDER_OP, unix.NFT_BYTEORDER_HTON), number(unix.NFTA_BYTEORDER_LEN, size), number(unix.NFTA_BYTEORDER_SIZE, size))
}

// compare ends the rule unless the register compares so (NFT_CMP_*) with data.
func (c *coder) compare(op uint32, data []byte) {
	c.expr("cmp", number(unix.NFTA_CMP_SREG, reg), number(unix.NFTA_CMP_OP, op), value(unix.NFTA_CMP_DATA, data))
}

func (c *coder) equal(data ...byte)   { c.compare(unix.NFT_CMP_EQ, data) }
func (c *coder) unequal(data ...byte) { c.compare(unix.NFT_CMP_NEQ, data) }

// lookup ends the rule unless the register is in a set.
func (c *coder) lookup(set string) { c.find(set) }

// lookupNot ends it unless the register is not.
func (c *coder) lookupNot(set string) {
	c.find(set, number(unix.NFTA_LOOKUP_FLAGS, unix.NFT_LOOKUP_F_INV))
}

func (c *coder) find(set string, flags ...field) {
	fields := append([]field{number(unix.NFTA_LOOKUP_SREG, reg)}, flags...)
	c.expr("lookup", append(fields, str(unix.NFTA_LOOKUP_SET, set), number(unix.NFTA_LOOKUP_SET_ID, 0))...)
}

// dynset puts the register into a set (NFT_DYNSET_OP_*), and ends the rule where the
// kernel has no memory for it.
func (c *coder) dynset(op uint32, set string) {
	c.expr("dynset", number(unix.NFTA_DYNSET_SREG_KEY, reg), number(unix.NFTA_DYNSET_OP, op),
		str(unix.NFTA_DYNSET_SET_NAME, set), number(unix.NFTA_DYNSET_SET_ID, 0), number(unix.NFTA_DYNSET_FLAGS, 0))
}

// reject drops the packet, and tells its sender by a kind of NFT_REJECT_*.
func (c *coder) reject(kind uint32, icmp uint8) {
	c.expr("reject", number(unix.NFTA_REJECT_TYPE, kind), raw(unix.NFTA_REJECT_ICMP_CODE, []byte{icmp}))
}
