package inject

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"b4/engine"
	"b4/nstest"

	"golang.org/x/sys/unix"
)

// A halver replaces each datagram by its first two bytes and itself, once it is let.
type halver struct {
	family
	let    chan bool
	most   atomic.Int32 // packets judged between two ticks
	burst  int32
	opened bool
}

func (h *halver) Handle(_ time.Time, p *engine.Packet, out *engine.Batch) engine.Verdict {
	if len(p.Bytes) < h.header+8 || binary.BigEndian.Uint16(p.Bytes[h.header+2:]) != failPort {
		return engine.Accept
	}
	if !h.opened {
		h.opened = <-h.let
	}
	h.burst++
	out.Add(h.shorten(p.Bytes, 2), p.Meta)
	out.Add(p.Bytes, p.Meta)
	return engine.Replace
}

func (h *halver) Tick(time.Time, *engine.Batch) time.Duration {
	h.most.Store(max(h.most.Load(), h.burst))
	h.burst = 0
	return time.Minute
}
func (*halver) Drain(*engine.Batch) {}

// dial is a socket to failPort.
func (f family) dial(t *testing.T) (fd int) {
	t.Helper()
	domain, sa := f.there()
	fd, err := unix.Socket(domain, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err == nil {
		t.Cleanup(func() { unix.Close(fd) })
		err = unix.Connect(fd, sa)
	}
	if err != nil {
		t.Fatal(err)
	}
	return fd
}

// Of a burst with several packets of each flow, all pieces of a flow leave in order.
func TestKernelOrder(t *testing.T) {
	const flows, each = 4, 10
	for _, f := range families {
		t.Run(f.name, func(t *testing.T) {
			nstest.Enter(t)
			wan := newLink(t, "wan", wanMTU)
			nstest.Addr(t, "wan", f.own[0])
			nstest.Route(t, "wan", f.all, unix.RT_TABLE_MAIN, 1)
			e := byQueue(t, f, sender(t), func(err error) { t.Error(err) })
			h, end := &halver{family: f, let: make(chan bool)}, make(chan error, 1)
			go func() { end <- e.Run(h) }()

			var fds [flows]int
			for i := range fds {
				fds[i] = f.dial(t)
			}
			var want [flows][]string
			for i := range each {
				for j, fd := range fds {
					msg := fmt.Sprintf("%c%c and more", 'A'+j, '0'+i)
					want[j] = append(want[j], msg[:2], msg)
					if _, err := unix.Write(fd, []byte(msg)); err != nil {
						t.Fatal(err)
					}
				}
			}
			h.let <- true
			var got [flows][]string
			for _, p := range wan.payloads(f, 2*flows*each) {
				j := p[0] - 'A'
				got[j] = append(got[j], p)
			}
			for j := range want {
				if !slices.Equal(got[j], want[j]) {
					t.Errorf("flow %d left as %q", j, got[j])
				}
			}
			if err := errors.Join(e.Close(), await(t, "end", end)); err != nil {
				t.Error(err)
			}
			if n := h.most.Load(); n < 2*flows {
				t.Errorf("of a flow no two packets were in one burst of %d", n)
			}
		})
	}
}
