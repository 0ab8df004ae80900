package engine

import "encoding/binary"

// Flow tells apart by a hash which packets must keep their order: two of a flow have
// the same, and others seldom. It is 0 where that cannot be told.
func Flow(b []byte) uint32 {
	const tcp, udp, fragment = 6, 17, 0x3fff // fragment: more to come, or an offset
	var proto byte
	var head int
	var addresses []byte
	switch {
	case len(b) >= 20 && b[0]>>4 == 4 && binary.BigEndian.Uint16(b[6:])&fragment == 0:
		proto, head, addresses = b[9], int(b[0]&15)*4, b[12:20]
	case len(b) >= 40 && b[0]>>4 == 6:
		proto, head, addresses = b[6], 40, b[8:40]
	}
	if proto != tcp && proto != udp || head < 20 || len(b) < head+4 {
		return 0
	}
	const prime = 16777619 // of FNV-1a in 32 bits
	h := binary.BigEndian.Uint32(b[head:])
	for ; len(addresses) > 0; addresses = addresses[4:] {
		h = (h ^ binary.BigEndian.Uint32(addresses)) * prime
		h ^= h >> 15
	}
	return h
}
