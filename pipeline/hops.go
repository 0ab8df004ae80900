package pipeline

import "net/netip"

const (
	// keptHops is how many servers' distances are remembered: as many as a house
	// talks to in minutes. They take 18 KB.
	keptHops = 1024
	// maxHops is more routers than any path has. What seems farther has another
	// initial TTL than those guessed.
	maxHops = 64
)

// A hops remembers how many routers away servers are, each in the place the hash
// of its address gives it, where a newer one takes the place of an older.
type hops [keptHops]struct {
	server [16]byte
	n      uint8 // 0 is unknown
	ttl    uint8 // of the packet; 0 before there is one
}

// learn takes the TTL of a packet the server at a has sent.
func (h *hops) learn(a netip.Addr, ttl uint8) {
	n := initialTTL(ttl) - ttl
	if n > maxHops {
		n = 0
	}
	key := a.As16()
	e := &h[hash(key[:])%keptHops]
	e.server, e.n, e.ttl = key, n, ttl
}

// like reports whether a packet with this TTL may come from the server at a: it
// must not be where nothing is known of it.
func (h *hops) like(a netip.Addr, ttl uint8) bool {
	key := a.As16()
	e := &h[hash(key[:])%keptHops]
	return e.server != key || max(e.ttl, ttl)-min(e.ttl, ttl) <= ttlSlack
}

// to is how many routers are ahead of the server at a, 0 if that is unknown.
func (h *hops) to(a netip.Addr) uint8 {
	key := a.As16()
	if e := &h[hash(key[:])%keptHops]; e.server == key {
		return e.n
	}
	return 0
}

// initialTTL guesses what a packet's TTL was when it left. Systems begin with 64
// (Linux, BSD, macOS), 128 (Windows) or 255 (network devices).
func initialTTL(ttl uint8) uint8 {
	switch {
	case ttl <= 64:
		return 64
	case ttl <= 128:
		return 128
	}
	return 255
}
