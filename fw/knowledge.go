package fw

import (
	"encoding/binary"
	"slices"

	"golang.org/x/sys/unix"
)

// knowledge is what is known of the packets that are asked about.
type knowledge struct {
	v6   bool
	meta map[uint32][]byte // by NFT_META_*
	ct   map[uint32][]byte // by NFT_CT_*

	dport uint16 // 0 if it is not known

	// What a packet does not have no rule finds: an expression that loads
	// it breaks the rule off.
	noMeta []uint32 // NFT_META_*
}

// Numbers of linux/netfilter/nf_tables.h that x/sys does not have.
const (
	metaSecPath  = 25 // NFT_META_SECPATH
	metaIIFKind  = 26 // NFT_META_IIFKIND
	metaTimeNS   = 30 // NFT_META_TIME_NS
	metaTimeHour = 32 // NFT_META_TIME_HOUR
	rtXfrm       = 4  // NFT_RT_XFRM
)

// about is what is known of every TCP packet of a family that b4 cares for:
// neither marked, nor of IPsec, nor a local process's.
func about(v6 bool) *knowledge {
	family, protocol := byte(unix.NFPROTO_IPV4), uint16(unix.ETH_P_IP)
	if v6 {
		family, protocol = unix.NFPROTO_IPV6, unix.ETH_P_IPV6
	}
	return &knowledge{v6: v6,
		meta: map[uint32][]byte{
			unix.NFT_META_NFPROTO:  {family},
			unix.NFT_META_PROTOCOL: binary.BigEndian.AppendUint16(nil, protocol),
			unix.NFT_META_L4PROTO:  {unix.IPPROTO_TCP},
			unix.NFT_META_MARK:     make([]byte, 4),
			metaSecPath:            {0},
		},
		noMeta: []uint32{unix.NFT_META_SKUID, unix.NFT_META_SKGID, unix.NFT_META_CGROUP},
	}
}

// leaving is a client's SYN that leaves by a device. The number of the device
// is 0 if it has none now.
func leaving(dev string, index uint32, v6 bool) *knowledge {
	const dstNATDone = 1 << 8 // IPS_DST_NAT_DONE of linux/netfilter/nf_conntrack_common.h
	k := about(v6)
	k.name(unix.NFT_META_OIFNAME, unix.NFT_META_OIF, dev, index)
	k.ct = map[uint32][]byte{
		unix.NFT_CT_STATE:     hostOrder(8), // new
		unix.NFT_CT_DIRECTION: {0},
		unix.NFT_CT_STATUS:    hostOrder(dstNATDone),
		unix.NFT_CT_MARK:      hostOrder(0),
	}
	return k
}

// writtenBack is a packet that b4d has written into a TUN.
func writtenBack(dev string, index uint32, v6 bool) *knowledge {
	const untracked = 1 << 6 // NF_CT_STATE_UNTRACKED_BIT
	k := about(v6)
	k.name(unix.NFT_META_IIFNAME, unix.NFT_META_IIF, dev, index)
	k.ct = map[uint32][]byte{unix.NFT_CT_STATE: hostOrder(untracked)}
	return k
}

func (k *knowledge) name(nameKey, indexKey uint32, dev string, index uint32) {
	k.meta[nameKey] = deviceKey(dev)
	if index != 0 {
		k.meta[indexKey] = hostOrder(index)
	}
}

func hostOrder(n uint32) []byte { return binary.NativeEndian.AppendUint32(nil, n) }

// load stores that a register's contents are not known, for as long as can be.
func (q *query) load(reg uint32, w word) { q.guess(reg, 16, w) }

func (q *query) meta(a attrs) {
	reg, key := a.num(unix.NFTA_META_DREG), a.num(unix.NFTA_META_KEY)
	if !a.has(unix.NFTA_META_DREG) {
		return // it writes
	}
	if slices.Contains(q.know.noMeta, key) {
		q.no = true
		return
	}
	if v := q.know.meta[key]; v != nil {
		q.set(reg, v)
		return
	}
	w := word{what: "packets"}
	switch {
	case key == unix.NFT_META_IIF:
		w = word{what: "incoming devices", notZero: true}
	case key == unix.NFT_META_IIFNAME || key == unix.NFT_META_IIFTYPE || key == unix.NFT_META_IIFGROUP || key == metaIIFKind:
		w.what = "incoming devices"
	case key == unix.NFT_META_OIF || key == unix.NFT_META_OIFNAME || key == unix.NFT_META_OIFTYPE || key == unix.NFT_META_OIFGROUP:
		w.what = "outgoing devices"
	case key >= metaTimeNS && key <= metaTimeHour:
		w.what = "times"
	}
	q.load(reg, w)
}

func (q *query) ct(a attrs) {
	reg, key := a.num(unix.NFTA_CT_DREG), a.num(unix.NFTA_CT_KEY)
	v := q.know.ct[key]
	switch {
	case !a.has(unix.NFTA_CT_DREG): // it writes
	case v != nil:
		q.set(reg, v)
	default:
		q.load(reg, word{what: "connections"})
	}
}

func (q *query) rt(a attrs) {
	if a.num(unix.NFTA_RT_KEY) == rtXfrm {
		q.set(a.num(unix.NFTA_RT_DREG), []byte{0})
		return
	}
	q.load(a.num(unix.NFTA_RT_DREG), word{what: "routes"})
}

func (q *query) payload(a attrs) {
	if !a.has(unix.NFTA_PAYLOAD_DREG) {
		return // it writes
	}
	reg, base := a.num(unix.NFTA_PAYLOAD_DREG), a.num(unix.NFTA_PAYLOAD_BASE)
	off, n := a.num(unix.NFTA_PAYLOAD_OFFSET), a.num(unix.NFTA_PAYLOAD_LEN)
	protocol, saddr, daddr, end := uint32(9), uint32(12), uint32(16), uint32(20)
	if q.know.v6 {
		protocol, saddr, daddr, end = 6, 8, 24, 40
	}
	w := word{what: "packets"}
	switch {
	case base == unix.NFT_PAYLOAD_NETWORK_HEADER && off == protocol && n == 1:
		q.set(reg, q.know.meta[unix.NFT_META_L4PROTO])
		return
	case base == unix.NFT_PAYLOAD_TRANSPORT_HEADER && off == uint32(dport) && n == 2 && q.know.dport != 0:
		q.set(reg, binary.BigEndian.AppendUint16(nil, q.know.dport))
		return
	case base == unix.NFT_PAYLOAD_NETWORK_HEADER && off >= saddr && off < daddr:
		w.what = "sources"
	case base == unix.NFT_PAYLOAD_NETWORK_HEADER && off >= daddr && off < end:
		w.what = "destinations"
	case base == unix.NFT_PAYLOAD_TRANSPORT_HEADER && off < 4:
		w.what = "ports"
	}
	q.guess(reg, int(min(n, 64)), w)
}
