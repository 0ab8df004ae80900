package desync

import "strconv"

// A ttl is how far a decoy goes: n routers, or with auto n more than there are on
// the way to the server. A packet that leaves here with TTL n passes n-1 routers
// and ends at the next, so that with auto alone the last router ahead of the
// server discards it, and auto+1 is the least that reaches the server. The zero
// value is the client's own TTL.
type ttl struct {
	n    int
	auto bool
}

func (t ttl) String() string {
	switch {
	case !t.auto:
		return strconv.Itoa(t.n)
	case t.n == 0:
		return "auto"
	case t.n > 0:
		return "auto+" + strconv.Itoa(t.n)
	}
	return "auto" + strconv.Itoa(t.n)
}

// of is t in connection c, 0 where it is not known: then the packet has the
// client's. short reports that by what is known it ends ahead of the server.
func (t ttl) of(c *Conn) (n uint8, short bool) {
	if !t.auto {
		return uint8(t.n), false
	}
	hops, own := int(c.Hops), int(ttlOf(c.Header))
	if hops == 0 || hops >= own { // the client's packets get there: the distance is wrong
		return 0, false
	}
	return uint8(min(max(hops+t.n, 1), own)), t.n <= 0
}

// ttlOf is the TTL, in IPv6 the hop limit, of packet b.
func ttlOf(b []byte) uint8 {
	if b[0]>>4 == 4 {
		return b[8]
	}
	return b[7]
}
