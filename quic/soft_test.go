package quic

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/sha256"
	"math/rand"
	"testing"
)

type cipherSuite interface {
	set(key, hp []byte)
	mask(dst *[16]byte, sample []byte)
	open(b, nonce, head []byte) bool
	seal(b, nonce, head []byte)
}

// suites are the suite of this processor and ours, which may be one.
func suites() map[string]cipherSuite {
	return map[string]cipherSuite{"suite": new(suite), "soft": new(softSuite)}
}

func random(r *rand.Rand, n int) []byte {
	b := make([]byte, n)
	r.Read(b)
	return b
}

func TestSum256(t *testing.T) {
	r := rand.New(rand.NewSource(1))
	for n := range 300 {
		b := random(r, n)
		if got, want := softSum256(b), sha256.Sum256(b); got != want {
			t.Fatalf("%d bytes: %x, want %x", n, got, want)
		}
	}
}

// Both suites do what the standard library does, for every length of text and
// of what is authenticated with it, and open nothing that was changed.
func TestSuites(t *testing.T) {
	r := rand.New(rand.NewSource(2))
	for n := range 130 {
		key, hp, nonce := random(r, 16), random(r, 16), random(r, 12)
		text, head, sample := random(r, n), random(r, r.Intn(70)), random(r, 16)
		block, _ := aes.NewCipher(key)
		gcm, _ := cipher.NewGCM(block)
		want := gcm.Seal(nil, nonce, text, head)
		block, _ = aes.NewCipher(hp)
		var wantMask, mask [16]byte
		block.Encrypt(wantMask[:], sample)
		for name, s := range suites() {
			s.set(key, hp)
			if s.mask(&mask, sample); mask != wantMask {
				t.Fatalf("%s: mask %x, want %x", name, mask, wantMask)
			}
			b := append(bytes.Clone(text), make([]byte, tagLen)...)
			if s.seal(b, nonce, head); !bytes.Equal(b, want) {
				t.Fatalf("%s, %d bytes: sealed %x, want %x", name, n, b, want)
			}
			if !s.open(b, nonce, head) || !bytes.Equal(b[:n], text) {
				t.Fatalf("%s, %d bytes: opened %x", name, n, b[:n])
			}
			spoilt := bytes.Clone(want)
			spoilt[r.Intn(len(spoilt))] ^= 1 << r.Intn(8)
			if s.open(spoilt, nonce, head) {
				t.Fatalf("%s, %d bytes: opened what was changed", name, n)
			}
		}
	}
}

func BenchmarkSuite(bm *testing.B) {
	for name, s := range suites() {
		bm.Run(name, func(bm *testing.B) {
			b, nonce, head := make([]byte, 1178), make([]byte, 12), make([]byte, 22)
			s.set(make([]byte, 16), make([]byte, 16))
			bm.SetBytes(int64(len(b)))
			bm.ReportAllocs()
			for range bm.N {
				s.seal(b, nonce, head)
			}
		})
	}
}
