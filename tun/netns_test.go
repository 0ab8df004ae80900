package tun

import (
	"net"
	"net/netip"
	"os"
	"testing"
	"time"

	"b4/engine"
	"b4/nstest"
)

var (
	net4 = netip.MustParsePrefix("198.51.100.1/24")
	net6 = netip.MustParsePrefix("2001:db8::1/64")
	far4 = netip.MustParseAddr("198.51.100.2")
	far6 = netip.MustParseAddr("2001:db8::2")
)

// openIn makes a device in the namespace.
func openIn(t testing.TB, s *nstest.Space, c DeviceConfig) *Device {
	t.Helper()
	var d *Device
	var err error
	s.Do(func() { d, err = Open(c) })
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	})
	return d
}

// next reads the next packet that is for another host.
func next(t testing.TB, d *Device, h *Header, buf []byte) []byte {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); time.Now().Before(end); {
		n, err := d.Read(time.Second, h, buf)
		if err != nil {
			t.Fatal(err)
		}
		if n > 0 && !chatter(buf[:n]) {
			return buf[:n]
		}
	}
	t.Fatal("no packet")
	return nil
}

// udpTo makes a socket in the namespace that sends to addr, from an address of
// the device's: a new one of IPv6 takes a moment to be usable.
func udpTo(t testing.TB, s *nstest.Space, addr netip.Addr, port uint16) *net.UDPConn {
	t.Helper()
	var c *net.UDPConn
	var err error
	eventually(t, "there is an address to send from", func() bool {
		s.Do(func() { c, err = net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(netip.AddrPortFrom(addr, port))) })
		if err == nil && c.LocalAddr().(*net.UDPAddr).IP.IsLoopback() {
			c.Close()
			return false
		}
		return err == nil
	})
	t.Cleanup(func() { c.Close() })
	return c
}

// fds counts this process's descriptors.
func fds(t testing.TB) int {
	t.Helper()
	l, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(l)
}

// A judge is a Handler made of a function.
type judge func(p *engine.Packet, out *engine.Batch) engine.Verdict

func (j judge) Handle(_ time.Time, p *engine.Packet, out *engine.Batch) engine.Verdict {
	return j(p, out)
}
func (judge) Tick(time.Time, *engine.Batch) time.Duration { return time.Minute }
func (judge) Drain(*engine.Batch)                         {}

// A sender is an engine.Sender made of a function.
type sender func(o engine.Out) error

func (s sender) Send(outs []engine.Out) (int, error) {
	for i, o := range outs {
		if err := s(o); err != nil {
			return i, err
		}
	}
	return len(outs), nil
}
