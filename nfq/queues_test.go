package nfq

import (
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"b4/engine"
	"b4/nstest"

	"golang.org/x/sys/unix"
)

// Queues and those for what is cut lie side by side, and each has its sender.
func TestNth(t *testing.T) {
	send := []engine.Sender{failing{}, failing{unix.EPERM}, failing{unix.EINVAL}}
	c := Config{Num: 537, Cut: 540, Send: send[0], More: send[1:]}
	for i := range send {
		if n := c.nth(i); n.Num != 537+uint16(i) || n.Cut != 540+uint16(i) || n.Send != send[i] {
			t.Errorf("queue %d: %+v", i, n)
		}
	}
}

// All queues are served, and closed together.
func TestRunQueues(t *testing.T) {
	var seen atomic.Int32 // packets that Handle has begun, and none ended
	got := make(chan uint32, 2)
	h := judge(func(p *engine.Packet, _ *engine.Batch) engine.Verdict {
		if seen.Add(1) != 1 {
			t.Error("two packets are judged at a time")
		}
		time.Sleep(time.Millisecond)
		seen.Add(-1)
		got <- p.ID
		return engine.Accept
	})
	var qs queues
	for id := range uint32(2) {
		q, f := pair(t)
		qs = append(qs, q)
		f.queue(7+id, 0)
	}
	end := make(chan error, 1)
	go func() { end <- qs.run(h, func(err error) { t.Error(err) }) }()
	if a, b := <-got, <-got; a+b != 7+8 {
		t.Errorf("packets %d and %d", a, b)
	}
	if err := errors.Join(qs.close(), <-end); err != nil {
		t.Error(err)
	}
}

// A queue that fails ends the others, and says why.
func TestRunQueuesFails(t *testing.T) {
	well, _ := pair(t)
	broken, _ := pair(t)
	broken.attempt = func(uintptr) bool { broken.err = unix.EIO; return true }
	qs := queues{well, broken}
	if err := qs.run(judge(accept), func(err error) { t.Error(err) }); !errors.Is(err, unix.EIO) {
		t.Error(err)
	}
}

// Queues are bound all or none.
func TestKernelQueues(t *testing.T) {
	nstest.Enter(t)
	two := Config{Num: testNum, Send: failing{}, More: []engine.Sender{failing{}},
		GSO: true, Whole: func([]byte) bool { return true }, Cut: testNum + 2}
	for taken := uint16(testNum); taken < testNum+4; taken++ {
		other, e := New(Config{Num: taken}), New(two)
		if err := other.Start(); err != nil {
			t.Fatal(err)
		}
		if err := e.Start(); !errors.Is(err, unix.EPERM) && !errors.Is(err, unix.EBUSY) || !strings.Contains(err.Error(), "another program") {
			t.Errorf("queue %d is taken: %v", taken, err)
		}
		if err := other.Close(); err != nil {
			t.Error(err)
		}
		end := make(chan error, 1)
		if err := e.Start(); err != nil { // what was bound is free again
			t.Fatalf("queue %d is free again: %v", taken, err)
		}
		go func() { end <- e.Run(judge(accept)) }()
		if err := errors.Join(e.Close(), <-end); err != nil {
			t.Error(err)
		}
	}
}
