package quic

import "encoding/binary"

// A cid is a connection id by value.
type cid struct {
	n uint8
	b [maxCID]byte
}

func newCID(b []byte) (c cid) {
	c.n = uint8(copy(c.b[:], b))
	return c
}

// An origin is what Initial keys follow from.
type origin struct {
	version Version // one that has a profile, or 0 for no keys
	cid     cid     // the Destination Connection ID of the client's first Initial, or of its first after a Retry
}

// keys protect the Initial packets of a client (RFC 9001 section 5).
type keys struct {
	of    origin
	suite suite
	iv    [12]byte
	nonce [12]byte // scratch, here so that a call through an interface does not allocate
	mask  [16]byte // the same
}

// derive sets the keys of a client (RFC 9001 section 5.2).
func (k *keys) derive(of origin) {
	p := of.version.profile()
	initial := hmac([]byte(p.salt), of.cid.b[:of.cid.n])
	client := expandLabel(&initial, "client in", 32)
	key := expandLabel(&client, p.key, 16)
	iv := expandLabel(&client, p.iv, 12)
	hp := expandLabel(&client, p.hp, 16)
	copy(k.iv[:], iv[:])
	k.suite.set(key[:16], hp[:16])
	k.of = of
}

// protect applies or removes header protection (RFC 9001 section 5.4): it
// changes the low bits of the first byte of pkt. number is where the packet
// number begins; unprotect tells on which side of the mask its length stands.
func (k *keys) protect(pkt []byte, number int, unprotect bool) (numberLen int) {
	k.suite.mask(&k.mask, pkt[number+maxNumber:][:sampleLen])
	if unprotect {
		pkt[0] ^= k.mask[0] & 0x0f
	}
	numberLen = int(pkt[0]&3) + 1
	if !unprotect {
		pkt[0] ^= k.mask[0] & 0x0f
	}
	for i := range numberLen {
		pkt[number+i] ^= k.mask[1+i]
	}
	return numberLen
}

// setNonce makes the nonce of packet n (RFC 9001 section 5.3).
func (k *keys) setNonce(n uint64) {
	k.nonce = k.iv
	low := k.nonce[4:]
	binary.BigEndian.PutUint64(low, binary.BigEndian.Uint64(low)^n)
}

// open removes both protections from pkt, in place, and returns its payload and
// packet number. largest is the largest number before this one, -1 for none.
// Where it reports false pkt is spoilt.
func (k *keys) open(pkt []byte, number int, largest int64) (payload []byte, n int64, ok bool) {
	size := k.protect(pkt, number, true)
	head := number + size
	var low int64
	for _, c := range pkt[number:head] {
		low = low<<8 | int64(c)
	}
	n = fullNumber(low, largest, size)
	k.setNonce(uint64(n))
	if !k.suite.open(pkt[head:], k.nonce[:], pkt[:head]) {
		return nil, 0, false
	}
	return pkt[head : len(pkt)-tagLen], n, true
}

// seal protects pkt, in place: its packet number n stands in size bytes at
// number, and room for the tag at its end.
func (k *keys) seal(pkt []byte, number, size int, n uint64) {
	head := number + size
	k.setNonce(n)
	k.suite.seal(pkt[head:], k.nonce[:], pkt[:head])
	k.protect(pkt, number, false)
}

// fullNumber returns the packet number of which size bytes, low, were sent: the
// one closest to the number after largest (RFC 9000 appendix A.3).
func fullNumber(low, largest int64, size int) int64 {
	win := int64(1) << (8 * size)
	want := largest + 1
	n := want&^(win-1) | low
	switch {
	case n <= want-win/2 && n < 1<<62-win:
		return n + win
	case n > want+win/2 && n >= win:
		return n - win
	}
	return n
}

// expandLabel is HKDF-Expand-Label (RFC 8446 section 7.1) without context, for
// size bytes, at most 32. What stands behind them in the result means nothing.
func expandLabel(secret *[32]byte, label string, size byte) [32]byte {
	var room [40]byte
	info := append(room[:0], 0, size, byte(len("tls13 ")+len(label)))
	info = append(info, "tls13 "...)
	info = append(info, label...)
	return hmac(secret[:], append(info, 0, 1))
}

// hmac is HMAC-SHA256 (RFC 2104) of up to 64 bytes of key and of message.
func hmac(key, msg []byte) [32]byte {
	var b [128]byte
	copy(b[:64], key)
	for i := range 64 {
		b[i] ^= 0x36
	}
	inner := sum256(b[:64+copy(b[64:], msg)])
	for i := range 64 {
		b[i] ^= 0x36 ^ 0x5c
	}
	return sum256(b[:64+copy(b[64:], inner[:])])
}
