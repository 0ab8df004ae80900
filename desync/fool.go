package desync

import (
	"encoding/binary"

	"b4/packet"
)

// A Fool is how a decoy makes sure that the server does not read it.
type Fool uint8

const (
	BadSum   Fool = 1 << iota // wrong TCP checksum
	MD5                       // TCP MD5 option (RFC 2385) that nobody has a key for; Linux discards it, others may not
	BadSeq                    // below the receive window (RFC 9293 section 3.10.7.4)
	BadAck                    // acknowledges what was never sent (the same section)
	TS                        // older timestamp than the last (PAWS, RFC 7323 section 5)
	NoAck                     // without ACK (RFC 9293 section 3.10.7.4)
	HopByHop                  // IPv6 hop-by-hop option to be discarded for (RFC 8200 section 4.2)
	DestOpt                   // the same among the destination options

	anyFool Fool = 1<<8 - 1
)

// foolNames are the words for the bits of a Fool, lowest first.
var foolNames = [...]string{"badsum", "md5", "badseq", "badack", "ts", "noack", "hopbyhop", "destopt"}

const (
	// seqBack is more than any message has bytes, so that nothing of a decoy
	// reaches the window. Below it is sure; above, a server may have grown it.
	seqBack = 1 << 16
	// ackAhead is beyond any window. An old acknowledgment would not do: Linux
	// takes the data of those within the largest window (tcp_ack in
	// net/ipv4/tcp_input.c), and RFC 9293 asks it to.
	ackAhead = 1 << 30
	// tsBack is ten minutes of a clock of one millisecond.
	tsBack = 600_000
)

// can reports whether packets of the connection can fool by the one in bit.
func (e *Env) can(bit Fool) bool {
	c := &e.Conn
	switch bit {
	case MD5: // a TCP header is 60 bytes at most (RFC 9293 section 3.1)
		return len(c.Header)-c.IPLen+len(md5Option) <= 60
	case TS:
		return timestamp(c.Header, c.IPLen, len(c.Header)) != nil
	case HopByHop, DestOpt: // and not behind headers whose order they would break
		return c.Header[0]>>4 == 6 && c.IPLen == 40
	}
	return true
}

// headerLen is the length of the IP and TCP header of a packet fooling by f.
func (e *Env) headerLen(f Fool) int {
	n := len(e.Conn.Header)
	if f&MD5 != 0 {
		n += len(md5Option)
	}
	return n + extLen(f)
}

// md5Option is the TCP MD5 signature option (RFC 2385 section 3.0) behind two
// no-operations, with a digest that fits nothing.
var md5Option = [20]byte{0: 1, 1: 1, 2: 19, 3: 18, 4: 0xb4}

// timestamp is the timestamp value (RFC 7323 section 3.2) in packet b with the
// TCP header at b[ipLen:hdr], nil where it has none.
func timestamp(b []byte, ipLen, hdr int) []byte {
	v := packet.View{Proto: packet.TCP, IPLen: ipLen, Hdr: hdr}
	if opt, ok := v.TCPOption(b, 8); ok && len(opt) == 8 {
		return opt[:4]
	}
	return nil
}

// extLen is the length of the IPv6 extension headers that f adds.
func extLen(f Fool) (n int) {
	if f&HopByHop != 0 {
		n += 8
	}
	if f&DestOpt != 0 {
		n += 8
	}
	return n
}

// addExts writes the extension headers that f adds behind the 40 bytes of b's
// IPv6 header. Each holds one option: type 0x5e, an experiment (RFC 4727 section
// 3.4) that who does not know it discards the packet for, without a word.
func (f Fool) addExts(b []byte) {
	next, at := &b[6], 40
	for _, x := range [...]struct {
		bit   Fool
		proto uint8
	}{{HopByHop, 0}, {DestOpt, 60}} {
		if f&x.bit == 0 {
			continue
		}
		copy(b[at:at+8], []byte{*next, 0, 0x5e, 4, 0, 0, 0, 0})
		*next, next = x.proto, &b[at]
		at += 8
	}
}

// spoil does to the TCP header in b[ipLen:hdr] what f is, but for options it adds
// and the checksum.
func (f Fool) spoil(b []byte, ipLen, hdr int) {
	if f == 0 {
		return
	}
	t := b[ipLen:]
	if f&BadSeq != 0 {
		binary.BigEndian.PutUint32(t[4:], binary.BigEndian.Uint32(t[4:])-seqBack)
	}
	if f&BadAck != 0 {
		binary.BigEndian.PutUint32(t[8:], binary.BigEndian.Uint32(t[8:])+ackAhead)
	}
	if f&NoAck != 0 {
		t[13] &^= packet.ACK
	}
	if f&TS == 0 {
		return
	}
	if ts := timestamp(b, ipLen, hdr); ts != nil {
		binary.BigEndian.PutUint32(ts, binary.BigEndian.Uint32(ts)-tsBack)
	}
}
