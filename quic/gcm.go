package quic

import (
	"bytes"
	"encoding/binary"
)

// A softSuite is a suite without help from the processor.
type softSuite struct {
	key, hp aesKey
	table   ghashTable
}

func (s *softSuite) set(key, hp []byte) {
	s.key.set(key)
	s.hp.set(hp)
	var h [16]byte
	s.key.encrypt(&h, h[:])
	s.table.set(&h)
}

func (s *softSuite) mask(dst *[16]byte, sample []byte) { s.hp.encrypt(dst, sample) }

// open decrypts b, which ends with the tag, in place, if the tag is right.
func (s *softSuite) open(b, nonce, head []byte) bool {
	text, tag := b[:len(b)-tagLen], b[len(b)-tagLen:]
	want := s.tag(text, nonce, head)
	if !bytes.Equal(want[:], tag) {
		return false
	}
	s.ctr(text, nonce)
	return true
}

// seal encrypts b, which ends with room for the tag, in place.
func (s *softSuite) seal(b, nonce, head []byte) {
	text := b[:len(b)-tagLen]
	s.ctr(text, nonce)
	tag := s.tag(text, nonce, head)
	copy(b[len(text):], tag[:])
}

// counter makes the block that is encrypted for block n of the key stream
// (NIST SP 800-38D section 7.1).
func counter(nonce []byte, n uint32) (b [16]byte) {
	copy(b[:12], nonce)
	binary.BigEndian.PutUint32(b[12:], n)
	return b
}

// ctr encrypts or decrypts b in place. Block 1 is the tag's.
func (s *softSuite) ctr(b, nonce []byte) {
	var stream [16]byte
	block := counter(nonce, 1)
	for n := uint32(2); len(b) > 0; n++ {
		binary.BigEndian.PutUint32(block[12:], n)
		s.key.encrypt(&stream, block[:])
		k := min(len(b), len(stream))
		for i := range k {
			b[i] ^= stream[i]
		}
		b = b[k:]
	}
}

// tag authenticates the encrypted text and head, which is sent in clear.
func (s *softSuite) tag(text, nonce, head []byte) (tag [16]byte) {
	var y field
	y = s.table.hash(y, head)
	y = s.table.hash(y, text)
	y = s.table.mul(field{y.hi ^ uint64(len(head))*8, y.lo ^ uint64(len(text))*8})
	block := counter(nonce, 1)
	s.key.encrypt(&tag, block[:])
	binary.BigEndian.PutUint64(tag[:], binary.BigEndian.Uint64(tag[:])^y.hi)
	binary.BigEndian.PutUint64(tag[8:], binary.BigEndian.Uint64(tag[8:])^y.lo)
	return tag
}

// A field is an element of GCM's field of 2^128 elements: the first byte is the
// high one, and its high bit the coefficient of x^0.
type field struct{ hi, lo uint64 }

// timesX multiplies by x.
func (f field) timesX() field {
	return field{f.hi>>1 ^ -(f.lo&1)&(0xe1<<56), f.lo>>1 | f.hi<<63}
}

// A ghashTable holds the multiples of a key by the sixteen polynomials of degree
// below 4, which multiplies four bits at a time (Shoup's method; SP 800-38D
// leaves the choice open).
type ghashTable [16]field

func (t *ghashTable) set(h *[16]byte) {
	f := field{binary.BigEndian.Uint64(h[:]), binary.BigEndian.Uint64(h[8:])}
	for bit := 8; bit > 0; bit >>= 1 {
		t[bit] = f
		f = f.timesX()
	}
	for i := range t {
		low := i & -i
		t[i] = field{t[i^low].hi ^ t[low].hi, t[i^low].lo ^ t[low].lo}
	}
}

// carry is what the four bits that leave a field at its low end come back as at
// its high end.
var carry = [16]uint16{
	0x0000, 0x1c20, 0x3840, 0x2460, 0x7080, 0x6ca0, 0x48c0, 0x54e0,
	0xe100, 0xfd20, 0xd940, 0xc560, 0x9180, 0x8da0, 0xa9c0, 0xb5e0,
}

// mul multiplies y by the key.
func (t *ghashTable) mul(y field) (z field) {
	for _, word := range [2]uint64{y.lo, y.hi} {
		for range 16 {
			z = field{z.hi>>4 ^ uint64(carry[z.lo&15])<<48, z.lo>>4 | z.hi<<60}
			m := &t[word&15]
			z.hi ^= m.hi
			z.lo ^= m.lo
			word >>= 4
		}
	}
	return z
}

// hash adds b, filled up with zeros to whole blocks, to y.
func (t *ghashTable) hash(y field, b []byte) field {
	for len(b) > 0 {
		var last [16]byte
		block := b
		if len(b) < len(last) {
			copy(last[:], b)
			block = last[:]
		}
		y.hi ^= binary.BigEndian.Uint64(block)
		y.lo ^= binary.BigEndian.Uint64(block[8:])
		y = t.mul(y)
		b = b[min(len(b), len(last)):]
	}
	return y
}
