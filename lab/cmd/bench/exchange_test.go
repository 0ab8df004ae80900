package main

import (
	"bytes"
	"net"
	"os"
	"strings"
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
		if took, err := ask(ln.Addr().String(), h, n); err != nil || took <= 0 {
			t.Errorf("%d bytes: %v after %v", n, err, took)
		}
	}
}

func TestReport(t *testing.T) {
	r := &report{accounts: "CPU is counted"}
	for _, v := range []float64{3, 1, 2} {
		r.add(sample{bulk: v * 1e9, p50: v * 1e-6}, false)
		r.add(sample{bulk: v * 0.5e9, p50: v * 2e-6, packets: 1e6, user: v}, true)
	}
	for _, want := range [][5]string{
		{"bulk download, one connection, Gbit/s", "16.0", "8.00", "0.500", "≥ 0.98"},
		{"connect, hello, answer: p50, µs", "2.00", "4.00", "+2.0", "≤ +40"},
		{"b4d's user time per packet, mean, µs", "", "2.00", "", "≤ 1.0"},
	} {
		if line := "| " + strings.Join(want[:], " | ") + " |\n"; !strings.Contains(r.markdown(), line) {
			t.Errorf("no %q in\n%s", line, r.markdown())
		}
	}
	if a, b := strings.Count(r.text(), "\n"), strings.Count(r.markdown(), "\n"); a != b {
		t.Errorf("%d lines of text, %d of Markdown", a, b)
	}
}

// A process's clock as others read it is its own.
func TestProcessClock(t *testing.T) {
	before := ownCPU()
	seen, err := processCPU(os.Getpid())
	if after := ownCPU(); err != nil || seen < before || seen > after {
		t.Errorf("%v, not from %v to %v: %v", seen, before, after, err)
	}
}
