package nfq

import (
	"errors"
	"testing"
	"time"

	"b4/engine"
	"b4/nstest"

	"golang.org/x/sys/unix"
)

// A kernel that says once how it had no room, ENOBUFS, ends nothing: what it
// could not show has passed, and what comes next is shown.
func TestKernelNoBuffer(t *testing.T) {
	nstest.Enter(t)
	e := New(Config{Num: testNum, Len: 4096})
	if err := e.Start(); err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	rules(t)
	q := queueOf(e)
	if err := errors.Join(unix.SetsockoptInt(q.fd, unix.SOL_SOCKET, unix.SO_RCVBUF, 1<<14),
		unix.SetsockoptInt(q.fd, unix.SOL_NETLINK, unix.NETLINK_NO_ENOBUFS, 0)); err != nil {
		t.Fatal(err)
	}
	from, to := udpPair(t)
	if err := unix.SetsockoptInt(to, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 1<<20); err != nil {
		t.Fatal(err)
	}
	const total = 200
	for range total {
		unix.Write(from, make([]byte, 1000))
	}
	for quiet := 0; quiet < 2; { // the first time may be ENOBUFS
		p, err := q.Read(10 * time.Millisecond)
		if err != nil {
			t.Fatal(err)
		}
		if len(p) == 0 {
			quiet++
		}
		for i := range p {
			q.Settle(&p[i], engine.Accept, nil)
		}
		q.Flush()
	}
	unix.Write(from, []byte("next"))
	if p, err := q.Read(time.Second); len(p) != 1 || err != nil {
		t.Fatal(p, err)
	}
	if n := e.Counters(); n.Lost == 0 || n.Lost+n.Read != total+1 {
		t.Errorf("counters %+v", n)
	}
	var b [2000]byte
	for i := range total {
		if _, err := unix.Read(to, b[:]); err != nil {
			t.Fatalf("packet %d: %v", i, err)
		}
	}
}
