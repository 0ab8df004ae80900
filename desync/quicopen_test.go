package desync

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"testing"

	"b4/quic"
)

// What follows opens Initial packets by the standard library alone, and knows
// nothing of package quic's insides.

func expand(secret []byte, label string, n int) []byte {
	label = "tls13 " + label
	info := append([]byte{0, byte(n), byte(len(label))}, label...)
	m := hmac.New(sha256.New, secret)
	m.Write(append(info, 0, 1))
	return m.Sum(nil)[:n]
}

// varint reads a number at the beginning of b and returns what follows it.
func varint(b []byte) (int, []byte) {
	n := 1 << (b[0] >> 6)
	v := int(b[0] & 0x3f)
	for _, c := range b[1:n] {
		v = v<<8 | int(c)
	}
	return v, b[n:]
}

// openInitial opens the version 1 Initial packet that b begins with, whose keys
// follow from id, and returns its packet number, its frames and what stands
// behind it.
func openInitial(t testing.TB, b, id []byte) (number int, payload, behind []byte) {
	t.Helper()
	b = bytes.Clone(b)
	salt, _ := hex.DecodeString("38762cf7f55934b34d179ae6a4c80cadccbb7f0a")
	m := hmac.New(sha256.New, salt)
	m.Write(id)
	secret := expand(m.Sum(nil), "client in", 32)
	block, _ := aes.NewCipher(expand(secret, "quic key", 16))
	gcm, _ := cipher.NewGCM(block)
	hp, _ := aes.NewCipher(expand(secret, "quic hp", 16))
	nonce := expand(secret, "quic iv", 12)

	rest := b[5:]
	rest = rest[1+int(rest[0]):]
	rest = rest[1+int(rest[0]):]
	token, rest := varint(rest)
	length, rest := varint(rest[token:])
	var mask [16]byte
	hp.Encrypt(mask[:], rest[4:20])
	b[0] ^= mask[0] & 15
	size := int(b[0]&3) + 1
	for i := range size {
		rest[i] ^= mask[1+i]
		number = number<<8 | int(rest[i])
	}
	binary.BigEndian.PutUint64(nonce[4:], binary.BigEndian.Uint64(nonce[4:])^uint64(number))
	head := len(b) - len(rest) + size
	payload, err := gcm.Open(nil, nonce, rest[size:length], b[:head])
	if err != nil {
		t.Fatalf("an Initial packet does not open: %v", err)
	}
	return number, payload, rest[length:]
}

// framesOf writes the frames of payload down and puts their CRYPTO into stream.
func framesOf(t testing.TB, b []byte, stream map[int]byte) (s string) {
	t.Helper()
	for len(b) > 0 {
		typ := b[0]
		b = b[1:]
		switch typ {
		case 0:
			n := 1
			for ; len(b) > 0 && b[0] == 0; n++ {
				b = b[1:]
			}
			s += fmt.Sprintf(" padding %d", n)
		case 1:
			s += " ping"
		case 2:
			var largest int
			largest, b = varint(b)
			_, b = varint(b)
			ranges, _ := varint(b)
			if ranges != 0 {
				t.Fatal("the test's packets acknowledge one range")
			}
			_, b = varint(b[1:])
			s += fmt.Sprintf(" ack %d", largest)
		case 6:
			var off, n int
			off, b = varint(b)
			n, b = varint(b)
			for i, c := range b[:n] {
				stream[off+i] = c
			}
			b = b[n:]
			s += fmt.Sprintf(" %d+%d", off, n)
		default:
			t.Fatalf("frame %#x", typ)
		}
	}
	return s
}

// opened says what Initial packets of a client with the given first id datagram b
// has, and returns their CRYPTO as far as it is there from the first byte.
func opened(t testing.TB, b, id []byte) (text string, crypto []byte) {
	stream := make(map[int]byte)
	for len(b) > 0 && quic.Parse(b).Kind == quic.Initial {
		n, payload, behind := openInitial(t, b, id)
		text += fmt.Sprintf(" #%d:", n) + framesOf(t, payload, stream)
		b = behind
	}
	if len(b) > 0 {
		text += fmt.Sprintf(" and %d bytes", len(b))
	}
	for i := 0; ; i++ {
		c, ok := stream[i]
		if !ok {
			return text, crypto
		}
		crypto = append(crypto, c)
	}
}
