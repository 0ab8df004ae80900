package nstest

import (
	"net"
	"net/netip"
	"os"
	"runtime"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// soon is when what is to come has come, on a machine that stalls too.
const soon = 10 * time.Second

func namespace(t *testing.T) string {
	t.Helper()
	s, err := os.Readlink("/proc/thread-self/ns/net")
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// The test's namespace, and each Space, is another than this process's.
func TestSpaces(t *testing.T) {
	seen := map[string]bool{namespace(t): true}
	Enter(t)
	seen[namespace(t)] = true
	for range 2 {
		s := NewSpace(t)
		for range 3 {
			s.Do(func() { seen[namespace(t)] = true })
		}
	}
	if len(seen) != 4 {
		t.Errorf("namespaces %v", seen)
	}
}

// What ends within Do ends who waits for it, and so does every later Do.
func TestDoEnds(t *testing.T) {
	s := NewSpace(t)
	for _, f := range []func(){runtime.Goexit, func() { t.Error("done in a namespace that is gone") }} {
		ended := make(chan bool)
		go func() {
			defer close(ended)
			s.Do(f)
			t.Error("Do returned")
		}()
		<-ended
	}
}

// dialFrom connects to addr, and asks that the kernel sends from an address. One
// of IPv6 takes a moment to be usable, if no second of being asked for.
func dialFrom(t *testing.T, from netip.Addr, addr string) net.Conn {
	t.Helper()
	for end := time.Now().Add(soon); ; time.Sleep(time.Millisecond) {
		c, err := net.Dial("udp", addr)
		if err == nil && c.LocalAddr().(*net.UDPAddr).AddrPort().Addr() == from {
			return c
		}
		if time.Now().After(end) {
			t.Fatalf("%s: never from %v: %v", addr, from, err)
		}
		if err == nil {
			c.Close()
		}
	}
}

// A packet for a network leaves by the device that leads there, from its
// address.
func TestDevice(t *testing.T) {
	Enter(t)
	dev := TUN(t, "wan0")
	Sysctl(t, "net.ipv6.conf.wan0.addr_gen_mode=1")
	SetMTU(t, "wan0", 1400)
	Up(t, "wan0")
	for _, tt := range []struct{ own, net, far string }{
		{"192.0.2.1/24", "198.51.100.0/24", "198.51.100.9:9"},
		{"2001:db8::1/64", "2001:db8:1::/48", "[2001:db8:1::9]:9"},
	} {
		own := netip.MustParsePrefix(tt.own)
		Addr(t, "wan0", own)
		Route(t, "wan0", netip.MustParsePrefix(tt.net), unix.RT_TABLE_MAIN, 5)
		c := dialFrom(t, own.Addr(), tt.far)
		defer c.Close()
		if _, err := c.Write(make([]byte, 1000)); err != nil {
			t.Fatal(err)
		}
		dev.SetReadDeadline(time.Now().Add(soon))
		for b, n := make([]byte, 2048), 0; n < 1000; { // the kernel reports multicast groups too
			var err error
			if n, err = dev.Read(b); err != nil {
				t.Fatalf("%s: %v", tt.far, err)
			}
		}
	}
	if i, err := net.InterfaceByName("wan0"); err != nil || i.MTU != 1400 || int32(i.Index) != Index(t, "wan0") || i.Flags&net.FlagUp == 0 {
		t.Errorf("%+v, %v", i, err)
	}
	Down(t, "wan0")
	if i, err := net.InterfaceByName("wan0"); err != nil || i.Flags&net.FlagUp != 0 {
		t.Errorf("%+v, %v", i, err)
	}
}
