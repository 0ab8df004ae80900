package lab

import (
	"errors"
	"flag"
	"fmt"
	"net/netip"
	"os"
	"sync"
	"testing"

	"b4/packet"
)

// atOnceTests is how many of the tests in parallel run at once. Those wait more than
// they work, so there may be more of them than the machine has processors; the
// others, which are about time or have much to do, come before them.
const atOnceTests = "5"

func TestMain(m *testing.M) {
	if os.Getenv(helperEnv) != "" {
		helper()
		return
	}
	flag.Parse()
	given := false
	flag.Visit(func(f *flag.Flag) { given = given || f.Name == "test.parallel" })
	if !given {
		flag.Set("test.parallel", atOnceTests)
	}
	if err := Enter(); err != nil && !errors.Is(err, os.ErrPermission) {
		fmt.Fprintln(os.Stderr, "lab:", err)
	}
	os.Exit(m.Run())
}

// build makes a lab for one test, or skips the test.
func build(t *testing.T, o Options) *Lab {
	t.Helper()
	if testing.Short() {
		t.Skip("builds network namespaces")
	}
	l, err := New(o)
	if errors.Is(err, os.ErrPermission) || errors.Is(err, ErrNoNamespaces) {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Error("close the lab:", err)
		}
	})
	return l
}

// families runs f once for each family.
func families(t *testing.T, f func(t *testing.T, v6 bool)) {
	t.Run("v4", func(t *testing.T) { f(t, false) })
	t.Run("v6", func(t *testing.T) { f(t, true) })
}

func TestOpen(t *testing.T) {
	l := build(t, Options{})
	families(t, func(t *testing.T, v6 bool) {
		for _, tt := range []struct {
			name  string
			site  Site
			hello Hello
		}{
			{"small", Modern, Small},
			{"post-quantum", Modern, PostQuantum},
			{"retry", Retry, Small},
			{"retry post-quantum", Retry, PostQuantum},
			{"TLS 1.2", Old, Small},
		} {
			t.Run(tt.name, func(t *testing.T) {
				if err := l.Open(Request{Host: Blocked, Site: tt.site, V6: v6, Hello: tt.hello}); err != nil {
					t.Error(err)
				}
			})
		}
	})
}

func TestTransfers(t *testing.T) {
	l := build(t, Options{Pcap: ""})
	const n = 16 << 20
	families(t, func(t *testing.T, v6 bool) {
		r := Request{Host: Allowed, V6: v6}
		if err := l.Download(r, n); err != nil {
			t.Error("download:", err)
		}
		r.Upload = n
		res, err := l.Get(r)
		if err != nil || res.Body != SumOf(n) {
			t.Errorf("upload: %+v %v", res, err)
		}
	})
	for d := ToServer; d <= ToClient; d++ {
		if c := l.Counters(d); c.Packets == 0 || c.Failed+c.Overflowed+c.Expired+c.TooBig != 0 {
			t.Errorf("direction %d: %+v", d, c)
		}
	}
}

// A kernel that hands the forwarder superpackets, or a client that puts a
// post-quantum hello into one segment, would fake every verdict.
func TestWireShape(t *testing.T) {
	l := build(t, Options{})
	families(t, func(t *testing.T, v6 bool) {
		for _, hello := range []Hello{Small, PostQuantum} {
			t.Run(hello.String(), func(t *testing.T) {
				s := watchHello(l)
				if err := l.Open(Request{Host: Allowed, V6: v6, Hello: hello}); err != nil {
					t.Fatal(err)
				}
				l.SetFilter(nil)
				s.mu.Lock()
				defer s.mu.Unlock()
				want := 1
				if hello == PostQuantum {
					want = 2
				}
				if len(s.segments) != want || (s.bytes > 1450) != (hello == PostQuantum) || s.largest > 1500 {
					t.Errorf("hello of %d bytes in segments %v, largest packet %d", s.bytes, s.segments, s.largest)
				}
				t.Logf("%d bytes in segments %v", s.bytes, s.segments)
			})
		}
	})
}

type helloShape struct {
	mu             sync.Mutex
	client         netip.AddrPort
	segments       []int
	next           uint32
	bytes, largest int
	answered       bool
}

// watchHello notes the client's data packets up to the server's first one.
func watchHello(l *Lab) *helloShape {
	s := &helloShape{}
	l.SetFilter(func(d Direction, pkt []byte) bool {
		var v packet.View
		if !v.Decode(pkt) || v.Proto != packet.TCP {
			return true
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		s.largest = max(s.largest, len(pkt))
		switch {
		case len(v.Payload) == 0 || v.Payload[0] != 22 && !s.client.IsValid():
		case d == ToServer && !s.client.IsValid():
			s.client = v.Src
			fallthrough
		case d == ToServer && v.Src == s.client && !s.answered && int32(v.Seq-s.next) >= 0: // no retransmission
			s.next = v.Seq + uint32(len(v.Payload))
			s.segments = append(s.segments, len(v.Payload))
			s.bytes += len(v.Payload)
		case d == ToClient && v.Dst == s.client:
			s.answered = true
		}
		return true
	})
	return s
}
