package packet

import (
	"bytes"
	"math/rand"
	"testing"
)

// naiveSum is RFC 1071's as it is written.
func naiveSum(acc uint64, b []byte) uint64 {
	for i, c := range b {
		if i%2 == 0 {
			acc += uint64(c) << 8
		} else {
			acc += uint64(c)
		}
	}
	return acc
}

// sums are the ways to add up, of which each machine uses one.
var sums = map[string]func(uint64, []byte) uint64{"words": sumWords, "bytes": sumBytes, "either": Sum}

func TestSums(t *testing.T) {
	r := rand.New(rand.NewSource(1))
	whole := make([]byte, 200)
	r.Read(whole)
	most := bytes.Repeat([]byte{0xff}, 1<<16)
	for name, sum := range sums {
		for at := range 8 { // no alignment is asked for
			for n := range len(whole) - at {
				if got, want := Fold(sum(0xffff, whole[at:at+n])), Fold(naiveSum(0xffff, whole[at:at+n])); got != want {
					t.Errorf("%s: %d bytes from %d: %#x, want %#x", name, n, at, got, want)
				}
			}
		}
		if got := Fold(sum(naiveSum(0, most), most[1:])); got != Fold(naiveSum(naiveSum(0, most), most[1:])) {
			t.Errorf("%s: %#x of the highest bytes", name, got)
		}
	}
}

func FuzzSum(f *testing.F) {
	f.Add(uint32(1), []byte("an odd number"))
	f.Fuzz(func(t *testing.T, acc uint32, b []byte) {
		for name, sum := range sums {
			if got, want := Fold(sum(uint64(acc), b)), Fold(naiveSum(uint64(acc), b)); got != want {
				t.Errorf("%s: %#x, want %#x", name, got, want)
			}
		}
	})
}

func BenchmarkSums(b *testing.B) {
	data := make([]byte, 1400)
	for name, sum := range sums {
		b.Run(name, func(b *testing.B) {
			b.SetBytes(int64(len(data)))
			for range b.N {
				sum(0, data)
			}
		})
	}
}
