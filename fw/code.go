package fw

import (
	"encoding/binary"
	"fmt"
	"time"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// A coder gathers the expressions of one rule.
type coder struct{ list *netlink.AttributeEncoder }

// code is the rule's expressions as the kernel reads them.
func (r rule) code() ([]byte, error) {
	c := coder{list: attributes()}
	for _, t := range r {
		t.code(&c)
	}
	return c.list.Encode()
}

// tcp matches TCP, on which every look at its header depends.
func (c *coder) tcp() {
	c.meta(unix.NFT_META_L4PROTO)
	c.equal(unix.IPPROTO_TCP)
}

// attributes begins a list of attributes. nf_tables reads numbers in network
// byte order.
func attributes() *netlink.AttributeEncoder {
	ae := netlink.NewAttributeEncoder()
	ae.ByteOrder = binary.BigEndian
	return ae
}

// A batch is one transaction in the making. The number of a message in it is
// the message's sequence number, by which the kernel's errors name it.
type batch struct {
	table string
	buf   []byte
	what  []string // what each message does, for errors
	last  int      // where the last message begins
	err   error
}

func newBatch(table string) *batch {
	b := &batch{table: table}
	b.append(unix.NFNL_MSG_BATCH_BEGIN, 0, unix.NFPROTO_UNSPEC, unix.NFNL_SUBSYS_NFTABLES, nil)
	b.what = append(b.what, "begin a transaction")
	return b
}

// add appends a message about the table. fill writes its attributes but the
// first, which is the table's name in all of them.
func (b *batch) add(typ, flags uint16, fill func(*netlink.AttributeEncoder), what string, args ...any) {
	const tableAttr = 1 // NFTA_TABLE_NAME, NFTA_CHAIN_TABLE, NFTA_RULE_TABLE, ...
	what = fmt.Sprintf(what, args...)
	ae := attributes()
	ae.String(tableAttr, b.table)
	if fill != nil {
		fill(ae)
	}
	attrs, err := ae.Encode()
	if err != nil && b.err == nil {
		b.err = fmt.Errorf("%s: %w", what, err)
	}
	b.append(unix.NFNL_SUBSYS_NFTABLES<<8|typ, flags, unix.NFPROTO_INET, 0, attrs)
	b.what = append(b.what, what)
}

// append writes struct nlmsghdr (host's byte order), struct nfgenmsg and the
// attributes, which are padded already.
func (b *batch) append(typ, flags uint16, family uint8, res uint16, attrs []byte) {
	b.last = len(b.buf)
	b.buf = binary.NativeEndian.AppendUint32(b.buf, uint32(headerLen+len(attrs)))
	b.buf = binary.NativeEndian.AppendUint16(b.buf, typ)
	b.buf = binary.NativeEndian.AppendUint16(b.buf, unix.NLM_F_REQUEST|flags)
	b.buf = binary.NativeEndian.AppendUint32(b.buf, uint32(len(b.what)))
	b.buf = append(b.buf, 0, 0, 0, 0, family, unix.NFNETLINK_V0, byte(res>>8), byte(res))
	b.buf = append(b.buf, attrs...)
}

// headerLen is the length of struct nlmsghdr and struct nfgenmsg.
const headerLen = unix.NLMSG_HDRLEN + 4

// bytes returns the batch as a transaction that the kernel confirms.
func (b *batch) bytes() ([]byte, error) {
	b.acknowledge()
	b.append(unix.NFNL_MSG_BATCH_END, 0, unix.NFPROTO_UNSPEC, unix.NFNL_SUBSYS_NFTABLES, nil)
	return b.buf, b.err
}

// trial returns the batch without its end: the kernel checks all of it, answers
// and rolls it back (nfnetlink_rcv_batch).
func (b *batch) trial() ([]byte, error) {
	b.acknowledge()
	return b.buf, b.err
}

// acknowledge asks for one answer to the last message. Errors come unasked.
func (b *batch) acknowledge() {
	flags := b.buf[b.last+6:]
	binary.NativeEndian.PutUint16(flags, binary.NativeEndian.Uint16(flags)|unix.NLM_F_ACK)
}

func (b *batch) addTable(flags uint32) {
	b.add(unix.NFT_MSG_NEWTABLE, unix.NLM_F_CREATE, func(ae *netlink.AttributeEncoder) {
		ae.Uint32(unix.NFTA_TABLE_FLAGS, flags)
	}, "add table inet %s", b.table)
}

func (b *batch) delTable() {
	b.add(unix.NFT_MSG_DELTABLE, 0, nil, "delete table inet %s", b.table)
}

func (b *batch) addCounter(name string) {
	b.add(unix.NFT_MSG_NEWOBJ, unix.NLM_F_CREATE, func(ae *netlink.AttributeEncoder) {
		ae.String(unix.NFTA_OBJ_NAME, name)
		ae.Uint32(unix.NFTA_OBJ_TYPE, unix.NFT_OBJECT_COUNTER)
		ae.Nested(unix.NFTA_OBJ_DATA, func(*netlink.AttributeEncoder) error { return nil })
	}, "add counter %s", name)
}

// A setType is a number that nft, not the kernel, gives a meaning
// (include/datatype.h of nftables).
type setType uint32

const (
	ipv4Addr    setType = 7
	ipv6Addr    setType = 8
	etherAddr   setType = 9
	inetService setType = 13
	ifname      setType = 41
)

func (t setType) String() string {
	return map[setType]string{ipv4Addr: "ipv4_addr", ipv6Addr: "ipv6_addr", etherAddr: "ether_addr", ifname: "ifname"}[t]
}

// keyLen is in bytes.
func (t setType) keyLen() uint32 {
	switch t {
	case ipv4Addr:
		return 4
	case etherAddr:
		return 6
	}
	return 16
}

// interval reports whether a set's elements are ranges: those of addresses are.
func (t setType) interval() bool { return t == ipv4Addr || t == ipv6Addr }

func addrType(family uint8) setType {
	if family == 4 {
		return ipv4Addr
	}
	return ipv6Addr
}

// hostOrderKeys has nft show device names as text: NFTNL_UDATA_SET_KEYBYTEORDER
// (type 0) of 4 bytes, BYTEORDER_HOST_ENDIAN. The kernel only stores it.
var hostOrderKeys = binary.NativeEndian.AppendUint32([]byte{0, 4}, 1)

// addSet adds a set with flags (NFT_SET_*) besides those of its type and timeout,
// which is 0 where elements stay.
func (b *batch) addSet(name string, id uint32, t setType, keyLen, flags uint32, timeout time.Duration) {
	if t.interval() {
		flags |= unix.NFT_SET_INTERVAL
	}
	if timeout > 0 {
		flags |= unix.NFT_SET_TIMEOUT
	}
	b.add(unix.NFT_MSG_NEWSET, unix.NLM_F_CREATE, func(ae *netlink.AttributeEncoder) {
		ae.String(unix.NFTA_SET_NAME, name)
		ae.Uint32(unix.NFTA_SET_ID, id)
		ae.Uint32(unix.NFTA_SET_KEY_TYPE, uint32(t))
		ae.Uint32(unix.NFTA_SET_KEY_LEN, keyLen)
		if t == ifname {
			ae.Bytes(unix.NFTA_SET_USERDATA, hostOrderKeys)
		}
		if flags != 0 {
			ae.Uint32(unix.NFTA_SET_FLAGS, flags)
		}
		if timeout > 0 {
			ae.Uint64(unix.NFTA_SET_TIMEOUT, uint64(timeout.Milliseconds()))
			ae.Uint32(unix.NFTA_SET_GC_INTERVAL, uint32(gcEvery.Milliseconds()))
		}
	}, "add set %s", name)
}

// fill replaces the elements of a set. Emptying it first is what renews their
// timeouts: adding an element again does nothing, and deleting one that has
// timed out is an error.
func (b *batch) fill(set string, keys [][]byte) {
	b.add(unix.NFT_MSG_DELSETELEM, 0, func(ae *netlink.AttributeEncoder) {
		ae.String(unix.NFTA_SET_ELEM_LIST_SET, set)
	}, "empty set %s", set)
	if len(keys) == 0 {
		return
	}
	b.add(unix.NFT_MSG_NEWSETELEM, unix.NLM_F_CREATE, func(ae *netlink.AttributeEncoder) {
		ae.String(unix.NFTA_SET_ELEM_LIST_SET, set)
		ae.Nested(unix.NFTA_SET_ELEM_LIST_ELEMENTS, func(list *netlink.AttributeEncoder) error {
			for _, key := range keys {
				list.Nested(unix.NFTA_LIST_ELEM, func(elem *netlink.AttributeEncoder) error {
					elem.Nested(unix.NFTA_SET_ELEM_KEY, func(k *netlink.AttributeEncoder) error {
						k.Bytes(unix.NFTA_DATA_VALUE, key)
						return nil
					})
					return nil
				})
			}
			return nil
		})
	}, "fill set %s", set)
}

func (b *batch) addChain(c chain) {
	b.add(unix.NFT_MSG_NEWCHAIN, unix.NLM_F_CREATE, func(ae *netlink.AttributeEncoder) {
		ae.String(unix.NFTA_CHAIN_NAME, c.name)
		if c.hook == nil {
			return
		}
		const policyAccept = 1 // NF_ACCEPT
		ae.Nested(unix.NFTA_CHAIN_HOOK, func(h *netlink.AttributeEncoder) error {
			h.Uint32(unix.NFTA_HOOK_HOOKNUM, uint32(c.hook.point))
			h.Int32(unix.NFTA_HOOK_PRIORITY, c.hook.priority)
			return nil
		})
		ae.Uint32(unix.NFTA_CHAIN_POLICY, policyAccept)
		ae.String(unix.NFTA_CHAIN_TYPE, string(c.hook.kind))
	}, "add chain %s", c.name)
}

func (b *batch) addRule(chain string, r rule) {
	b.add(unix.NFT_MSG_NEWRULE, unix.NLM_F_CREATE|unix.NLM_F_APPEND, func(ae *netlink.AttributeEncoder) {
		ae.String(unix.NFTA_RULE_CHAIN, chain)
		ae.Do(unix.NLA_F_NESTED|unix.NFTA_RULE_EXPRESSIONS, r.code)
		if s := r.comment(); s != "" {
			// What nft calls NFTNL_UDATA_RULE_COMMENT: type 0, length, text.
			ae.Bytes(unix.NFTA_RULE_USERDATA, append([]byte{0, byte(len(s) + 1)}, s+"\x00"...))
		}
	}, "add to chain %s the rule %q", chain, r)
}

func (b *batch) delSet(name string) {
	b.add(unix.NFT_MSG_DELSET, 0, func(ae *netlink.AttributeEncoder) {
		ae.String(unix.NFTA_SET_NAME, name)
	}, "delete set %s", name)
}

func (b *batch) delRulesOf(chain string) {
	b.add(unix.NFT_MSG_DELRULE, 0, func(ae *netlink.AttributeEncoder) {
		ae.String(unix.NFTA_RULE_CHAIN, chain)
	}, "delete the rules of chain %s", chain)
}

// delRules empties every chain of the table.
func (b *batch) delRules() { b.add(unix.NFT_MSG_DELRULE, 0, nil, "delete the old rules") }
