package censor

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
)

// version1 is the only QUIC version that the modelled censors know, and
// saltV1 what its Initial secrets begin with (RFC 9001 section 5.2).
const (
	version1 = 1
	saltV1   = "\x38\x76\x2c\xf7\xf5\x59\x34\xb3\x4d\x17\x9a\xe6\xa4\xc8\x0c\xad\xcc\xbb\x7f\x0a"
)

// isVersion1 reports whether b begins as a long header of version 1 does.
func isVersion1(b []byte) bool {
	return len(b) >= 5 && b[0]&0x80 != 0 && binary.BigEndian.Uint32(b[1:]) == version1
}

// openInitial decrypts the Initial packet that datagram b begins with, by the
// keys that follow from its own connection id, and returns its frames and what
// of b is behind it. It reports false for everything else.
func openInitial(b []byte) (frames, rest []byte, ok bool) {
	if !isVersion1(b) || b[0]>>4&3 != 0 {
		return nil, nil, false
	}
	c := cursor{b: b[5:]}
	dcid := c.take(c.u8())
	c.take(c.u8()) // source connection id
	c.take(c.varint())
	n := c.varint()
	number := len(b) - len(c.b)
	if c.take(n); c.short || n < 4+16 {
		return nil, nil, false
	}
	key, iv, hp := initialKeys(dcid)
	pkt := append([]byte(nil), b[:number+n]...)
	var mask [16]byte
	block(hp).Encrypt(mask[:], pkt[number+4:][:16])
	pkt[0] ^= mask[0] & 15
	size := int(pkt[0]&3) + 1
	var count uint64
	for i := range size {
		pkt[number+i] ^= mask[1+i]
		count = count<<8 | uint64(pkt[number+i])
	}
	binary.BigEndian.PutUint64(iv[4:], binary.BigEndian.Uint64(iv[4:])^count)
	aead, _ := cipher.NewGCM(block(key)) // an AES block has the size it wants
	head := number + size
	frames, err := aead.Open(nil, iv, pkt[head:], pkt[:head])
	return frames, b[number+n:], err == nil
}

// block is AES with a key of 16 bytes.
func block(key []byte) cipher.Block {
	b, _ := aes.NewCipher(key) // the only error is about the key's size
	return b
}

// initialKeys are those of a client whose first packet goes to dcid.
func initialKeys(dcid []byte) (key, iv, hp []byte) {
	client := expand(mac([]byte(saltV1), dcid), "client in", 32)
	return expand(client, "quic key", 16), expand(client, "quic iv", 12), expand(client, "quic hp", 16)
}

// expand is HKDF-Expand-Label (RFC 8446 section 7.1) for at most 32 bytes.
func expand(secret []byte, label string, n int) []byte {
	label = "tls13 " + label
	info := append([]byte{0, byte(n), byte(len(label))}, label...)
	return mac(secret, append(info, 0, 1))[:n]
}

func mac(key, msg []byte) []byte {
	h := hmac.New(sha256.New, key)
	h.Write(msg)
	return h.Sum(nil)
}

// varint reads a variable-length integer (RFC 9000 section 16). One that no
// datagram can hold is as good as short.
func (c *cursor) varint() int {
	first := c.u8()
	v := uint64(first & 0x3f)
	for range 1<<(first>>6) - 1 {
		v = v<<8 | uint64(c.u8())
	}
	if v > 1<<16 {
		c.short = true
		return 0
	}
	return int(v)
}
