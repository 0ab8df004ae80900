package main

import (
	"bytes"
	"net"
	"os"
	"testing"

	"b4/lab"
	"b4/tlshello"
)

func TestHello(t *testing.T) {
	h, err := hello()
	if err != nil {
		t.Fatal(err)
	}
	parsed, status := tlshello.Parse(h)
	if status != tlshello.Complete || !bytes.Contains(h, []byte(lab.Allowed)) {
		t.Errorf("%+v %v of % x", parsed, status, h)
	}
}

func TestBody(t *testing.T) {
	for _, n := range []int64{0, 1, answerSize, blockSize - 1, blockSize, blockSize + 1, 3*blockSize + 5} {
		var b bytes.Buffer
		if err := writeBody(&b, n); err != nil || int64(b.Len()) != n {
			t.Fatalf("%d bytes: wrote %d, %v", n, b.Len(), err)
		}
		whole := b.Bytes()
		if err := readBody(bytes.NewReader(whole), n); err != nil {
			t.Errorf("%d bytes: %v", n, err)
		}
		if err := readBody(bytes.NewReader(append(bytes.Clone(whole), 0)), n); err == nil {
			t.Errorf("%d bytes: one too many passed", n)
		}
		if n == 0 {
			continue
		}
		if err := readBody(bytes.NewReader(whole[:n-1]), n); err == nil {
			t.Errorf("%d bytes: one too few passed", n)
		}
		wrong := bytes.Clone(whole)
		wrong[n-1] ^= 1
		if err := readBody(bytes.NewReader(wrong), n); err == nil {
			t.Errorf("%d bytes: a wrong one passed", n)
		}
	}
}

func TestExchange(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	go accept(ln, answer)
	h, err := hello()
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range []int64{answerSize, 2*blockSize + 1} {
		if took, err := ask(ln.Addr().String(), h, n, n/2); err != nil || took <= 0 {
			t.Errorf("%d bytes: %v after %v", n, err, took)
		}
	}
}

// A process's clock as others read it is its own.
func TestProcessClock(t *testing.T) {
	before, _ := processCPU(0)
	seen, err := processCPU(os.Getpid())
	if after, _ := processCPU(0); err != nil || seen < before || seen > after {
		t.Errorf("%v, not from %v to %v: %v", seen, before, after, err)
	}
}
