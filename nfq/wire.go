package nfq

import (
	"encoding/binary"

	"b4/engine"

	"golang.org/x/sys/unix"
)

// The numbers of include/uapi/linux/netfilter/nfnetlink_queue.h. Netlink's own
// headers are in the host's byte order, everything inside an attribute of
// nfnetlink_queue is in network order.
const (
	msgPacket       = unix.NFNL_SUBSYS_QUEUE << 8 // + NFQNL_MSG_PACKET, which is 0
	msgVerdict      = unix.NFNL_SUBSYS_QUEUE<<8 | 1
	msgConfig       = unix.NFNL_SUBSYS_QUEUE<<8 | 2
	msgVerdictBatch = unix.NFNL_SUBSYS_QUEUE<<8 | 3

	attrPacketHdr  = 1 // struct nfqnl_msg_packet_hdr: id, hw_protocol, hook
	attrVerdictHdr = 2 // struct nfqnl_msg_verdict_hdr: verdict, id
	attrMark       = 3
	attrInDev      = 5
	attrOutDev     = 6
	attrPayload    = 10
	attrCapLen     = 13 // the packet's own length where the copy is shorter
	attrSkbInfo    = 14

	skbCsumNotReady = 1 // attrSkbInfo: the transport checksum is partial
	skbGSO          = 2 // attrSkbInfo: a superpacket

	attrCfgCmd    = 1 // struct nfqnl_msg_config_cmd: command, pad, family
	attrCfgParams = 2 // struct nfqnl_msg_config_params: copy range, copy mode
	attrCfgMaxLen = 3
	attrCfgMask   = 4
	attrCfgFlags  = 5

	cmdBind   = 1
	cmdPFBind = 3 // does nothing since Linux 3.8, but is still checked for permission

	flagFailOpen = 1 << 0
	flagGSO      = 1 << 2

	copyPacket = 2

	verdictDrop   = 0
	verdictAccept = 1
	verdictQueue  = 3 | 1<<15 // pass on to the queue in the upper half, or past it if nobody serves that
)

const (
	headerLen  = unix.NLMSG_HDRLEN + 4 // nlmsghdr and nfgenmsg
	attrLen    = 4                     // nlattr
	typeMask   = 0x3fff                // without NLA_F_NESTED and NLA_F_NET_BYTEORDER
	maxPayload = 0xffff - attrLen      // an attribute's length is 16 bits, its header included
)

// A kind is what a message from the kernel turned out to be.
type kind uint8

const (
	kindOther  kind = iota // not for us, or garbled
	kindPacket             // a packet that waits for its verdict
	kindError              // the answer to a message of ours
)

// parse reads one message. A packet has an id, and so can be settled, even
// where the rest of the message is garbled; its Bytes then are nil. p.Bytes
// borrows from m.
func parse(m []byte, p *engine.Packet) (kind, unix.Errno) {
	if len(m) < unix.NLMSG_HDRLEN {
		return kindOther, 0
	}
	n := binary.NativeEndian.Uint32(m)
	if n < unix.NLMSG_HDRLEN {
		return kindOther, 0
	}
	m = m[:min(uint64(n), uint64(len(m)))]
	switch binary.NativeEndian.Uint16(m[4:]) {
	case unix.NLMSG_ERROR:
		if len(m) < unix.NLMSG_HDRLEN+4 {
			return kindOther, 0
		}
		return kindError, unix.Errno(-int32(binary.NativeEndian.Uint32(m[unix.NLMSG_HDRLEN:])))
	case msgPacket:
		if len(m) >= headerLen && parseAttrs(m[headerLen:], p) {
			p.Queue = binary.BigEndian.Uint16(m[headerLen-2:])
			return kindPacket, 0
		}
	}
	return kindOther, 0
}

// parseAttrs fills p and reports whether it has an id.
func parseAttrs(b []byte, p *engine.Packet) bool {
	*p = engine.Packet{}
	known, full := false, 0
	for len(b) >= attrLen {
		n := int(binary.NativeEndian.Uint16(b))
		if n < attrLen || n > len(b) {
			break
		}
		v := b[attrLen:n]
		switch t := binary.NativeEndian.Uint16(b[2:]) & typeMask; {
		case t == attrPacketHdr && len(v) >= 7:
			p.ID, known = binary.BigEndian.Uint32(v), true
			p.Dir = direction(v[6])
		case t == attrPayload:
			p.Bytes = v[:len(v):len(v)]
		case len(v) >= 4:
			full = parseNumber(t, binary.BigEndian.Uint32(v), full, p)
		}
		b = b[min(align(n), len(b)):]
	}
	p.Full = max(full, len(p.Bytes))
	return known
}

// parseNumber stores attribute t, one of those that are 32 bits long, and
// returns the packet's full length as far as it is known.
func parseNumber(t uint16, v uint32, full int, p *engine.Packet) int {
	switch t {
	case attrMark:
		p.Mark = v
	case attrInDev:
		p.In = int32(v)
	case attrOutDev:
		p.Out = int32(v)
	case attrSkbInfo:
		p.Partial, p.Super = v&skbCsumNotReady != 0, v&skbGSO != 0
	case attrCapLen:
		full = int(min(v, maxSuperpacket))
	}
	return full
}

// maxSuperpacket bounds a packet's claimed length: the kernel's own bound for
// BIG TCP is 8 times 64 KiB (GSO_MAX_SIZE, include/linux/netdevice.h).
const maxSuperpacket = 8 << 16

// direction tells the sender by the hook: rules queue what the opener sends in
// postrouting, after source NAT, and replies in prerouting.
func direction(hook byte) engine.Direction {
	if hook == unix.NF_INET_PRE_ROUTING {
		return engine.Reply
	}
	return engine.Original
}

func align(n int) int { return (n + 3) &^ 3 }

// begin starts a message of ours to queue num in b, which is reused.
func begin(b []byte, typ, flags, num uint16) []byte {
	b = binary.NativeEndian.AppendUint32(b[:0], 0) // the length: see finish
	b = binary.NativeEndian.AppendUint16(b, typ)
	b = binary.NativeEndian.AppendUint16(b, unix.NLM_F_REQUEST|flags)
	b = append(b, 0, 0, 0, 0, 0, 0, 0, 0)            // sequence and port: one question at a time needs neither
	b = append(b, unix.AF_UNSPEC, unix.NFNETLINK_V0) // struct nfgenmsg
	return binary.BigEndian.AppendUint16(b, num)
}

func finish(b []byte) []byte {
	binary.NativeEndian.PutUint32(b, uint32(len(b)))
	return b
}

func appendAttr(b []byte, typ uint16, n int) []byte {
	b = binary.NativeEndian.AppendUint16(b, uint16(attrLen+n))
	return binary.NativeEndian.AppendUint16(b, typ)
}

func appendNumber(b []byte, typ uint16, v uint32) []byte {
	return binary.BigEndian.AppendUint32(appendAttr(b, typ, 4), v)
}

func appendVerdict(b []byte, verdict, id uint32) []byte {
	b = binary.BigEndian.AppendUint32(appendAttr(b, attrVerdictHdr, 8), verdict)
	return binary.BigEndian.AppendUint32(b, id)
}

func appendPayload(b, p []byte) []byte {
	b = append(appendAttr(b, attrPayload, len(p)), p...)
	for len(b)%4 != 0 {
		b = append(b, 0)
	}
	return b
}

func appendCmd(b []byte, cmd byte) []byte {
	return append(appendAttr(b, attrCfgCmd, 4), cmd, 0, 0, unix.AF_UNSPEC)
}

func appendParams(b []byte, copyRange uint32) []byte {
	b = binary.BigEndian.AppendUint32(appendAttr(b, attrCfgParams, 5), copyRange)
	return append(b, copyPacket, 0, 0, 0) // the mode and the padding
}

func appendFlag(b []byte, flag uint32) []byte {
	return appendNumber(appendNumber(b, attrCfgFlags, flag), attrCfgMask, flag)
}
