package main

import (
	"bytes"
	"compress/flate"
	"io"
	"math/rand"
	"os"
	"strings"
	"testing"
)

// short returns n for the whole run, and a tenth of it under -short.
func short(n int) int {
	if testing.Short() {
		return n / 10
	}
	return n
}

// program returns some of the test's own code.
func program(t testing.TB, size int) []byte {
	t.Helper()
	name, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	b, err := io.ReadAll(io.NewSectionReader(f, 1<<16, int64(size)))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func inflate(t testing.TB, b []byte) []byte {
	t.Helper()
	r := bytes.NewReader(b)
	out, err := io.ReadAll(flate.NewReader(r))
	if err != nil {
		t.Fatal(err)
	}
	if r.Len() > 0 {
		t.Fatalf("%d bytes stand behind the stream", r.Len())
	}
	return out
}

func TestSqueeze(t *testing.T) {
	noise := make([]byte, 100_000)
	rand.New(rand.NewSource(1)).Read(noise)
	for name, b := range map[string][]byte{
		"one byte":     {7},
		"two bytes":    {7, 7},
		"no repeats":   []byte("abcdefghij"),
		"zeros":        make([]byte, short(300_000)),
		"long repeats": bytes.Repeat(noise[:window], 3),
		"short ones":   bytes.Repeat([]byte("abc"), short(50_000)),
		"text":         []byte(strings.Repeat("the kernel carries everything else at line rate. ", short(3000))),
		"noise":        noise[:short(len(noise))],
		"code":         program(t, short(300_000)),
	} {
		t.Run(name, func(t *testing.T) {
			small := squeeze(b)
			if !bytes.Equal(inflate(t, small), b) {
				t.Error("it is not what went in")
			}
			if !bytes.Equal(squeeze(b), small) {
				t.Error("the second time is another")
			}
		})
	}
}

// A twentieth is what squeeze is there for.
func TestSqueezeGains(t *testing.T) {
	b := program(t, short(600_000))
	var plain bytes.Buffer
	w, err := flate.NewWriter(&plain, flate.BestCompression)
	if err != nil {
		t.Fatal(err)
	}
	w.Write(b)
	w.Close()
	if small := len(squeeze(b)); small*100 > plain.Len()*97 {
		t.Errorf("%d bytes, compress/flate makes %d", small, plain.Len())
	}
}

func FuzzSqueeze(f *testing.F) {
	f.Add([]byte("abcabcabcabcxabcabc"), uint8(3))
	f.Add([]byte{0}, uint8(255))
	f.Fuzz(func(t *testing.T, b []byte, times uint8) {
		if len(b) == 0 || len(b) > 1<<10 {
			return
		}
		b = bytes.Repeat(b, 1+int(times))
		if !bytes.Equal(inflate(t, squeeze(b)), b) {
			t.Error("it is not what went in")
		}
	})
}

func TestCodeLengths(t *testing.T) {
	// Counts like Fibonacci's numbers make the longest codes there are.
	counts := make([]uint32, 30)
	a, b := uint32(1), uint32(1)
	for i := range counts {
		counts[i] = a
		a, b = b, a+b
	}
	for _, limit := range []int{5, 7, 15} {
		var sum float64 // of 2^-length: 1 for a code that wastes nothing
		for sym, n := range codeLengths(counts, limit) {
			if n == 0 || int(n) > limit {
				t.Errorf("limit %d: symbol %d has %d bits", limit, sym, n)
			}
			sum += 1 / float64(int(1)<<n)
		}
		if sum != 1 {
			t.Errorf("limit %d: the code fills %v", limit, sum)
		}
	}
	if got := codeLengths([]uint32{0, 0, 5, 0}, 15); got[2] != 1 || got[0] != 1 {
		t.Errorf("a code of one symbol is %v, want a second one", got)
	}
}
