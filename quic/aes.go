package quic

import (
	"encoding/binary"
	"math/bits"
)

// An aesKey is an expanded AES-128 key (FIPS 197).
type aesKey [44]uint32

// aesTable holds, for each byte, a column of MixColumns times its S-box value:
// 2s, s, s, 3s. The other three columns are rotations of it.
var aesTable = makeAESTable()

// makeAESTable walks the field's non-zero elements p, as powers of the generator
// 3, and their inverses q.
func makeAESTable() (t [256]uint32) {
	column := func(s byte) uint32 {
		s2 := s<<1 ^ -(s>>7)&0x1b
		return uint32(s2)<<24 | uint32(s)<<16 | uint32(s)<<8 | uint32(s2^s)
	}
	p, q := byte(1), byte(1)
	for range 255 {
		p ^= p<<1 ^ -(p>>7)&0x1b
		q ^= q << 1
		q ^= q << 2
		q ^= q << 4
		q ^= -(q >> 7) & 0x09
		s := q ^ bits.RotateLeft8(q, 1) ^ bits.RotateLeft8(q, 2) ^ bits.RotateLeft8(q, 3) ^ bits.RotateLeft8(q, 4)
		t[p] = column(s ^ 0x63)
	}
	t[0] = column(0x63)
	return t
}

// sub is one column of the last round: SubBytes and ShiftRows.
func sub(w0, w1, w2, w3 uint32) uint32 {
	return aesTable[w0>>24]<<8&0xff000000 | aesTable[w1>>16&255]&0xff0000 |
		aesTable[w2>>8&255]&0xff00 | aesTable[w3&255]>>8&0xff
}

func (k *aesKey) set(key []byte) {
	for i := range 4 {
		k[i] = binary.BigEndian.Uint32(key[4*i:])
	}
	round := byte(1)
	for i := 4; i < len(k); i++ {
		w := k[i-1]
		if i%4 == 0 {
			w = bits.RotateLeft32(w, 8)
			w = sub(w, w, w, w) ^ uint32(round)<<24
			round = round<<1 ^ -(round>>7)&0x1b
		}
		k[i] = k[i-4] ^ w
	}
}

// mix is one column of a round: SubBytes, ShiftRows and MixColumns.
func mix(w0, w1, w2, w3 uint32) uint32 {
	return aesTable[w0>>24] ^ bits.RotateLeft32(aesTable[w1>>16&255], -8) ^
		bits.RotateLeft32(aesTable[w2>>8&255], -16) ^ bits.RotateLeft32(aesTable[w3&255], -24)
}

// encrypt encrypts the block src.
func (k *aesKey) encrypt(dst *[16]byte, src []byte) {
	a := binary.BigEndian.Uint32(src) ^ k[0]
	b := binary.BigEndian.Uint32(src[4:]) ^ k[1]
	c := binary.BigEndian.Uint32(src[8:]) ^ k[2]
	d := binary.BigEndian.Uint32(src[12:]) ^ k[3]
	r := k[4:]
	for ; len(r) > 4; r = r[4:] {
		a, b, c, d = mix(a, b, c, d)^r[0], mix(b, c, d, a)^r[1], mix(c, d, a, b)^r[2], mix(d, a, b, c)^r[3]
	}
	binary.BigEndian.PutUint32(dst[:], sub(a, b, c, d)^r[0])
	binary.BigEndian.PutUint32(dst[4:], sub(b, c, d, a)^r[1])
	binary.BigEndian.PutUint32(dst[8:], sub(c, d, a, b)^r[2])
	binary.BigEndian.PutUint32(dst[12:], sub(d, a, b, c)^r[3])
}
