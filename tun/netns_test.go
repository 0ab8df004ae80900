package tun

import (
	"errors"
	"net"
	"net/netip"
	"os"
	"runtime"
	"testing"
	"time"

	"b4/engine"

	"golang.org/x/sys/unix"
)

// A space is a network namespace of its own, on a thread of its own.
type space chan func()

// newSpace makes a namespace with its loopback up. It ends with the test.
func newSpace(t testing.TB) space {
	t.Helper()
	if testing.Short() {
		t.Skip("kernel test")
	}
	s, made := make(space), make(chan error)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread and its namespace go
		err := unix.Unshare(unix.CLONE_NEWNET)
		made <- err
		for f := range s {
			f()
		}
	}()
	t.Cleanup(func() { close(s) })
	if err := <-made; errors.Is(err, unix.EPERM) {
		t.Skip("needs root")
	} else if err != nil {
		t.Fatal(err)
	}
	s.do(func() { device(t, "lo", unix.SIOCSIFFLAGS, func(r *unix.Ifreq) { r.SetUint16(unix.IFF_UP) }) })
	return s
}

// do runs f in the namespace.
func (s space) do(f func()) {
	done := make(chan bool)
	s <- func() {
		defer close(done) // also after t.Fatal, which ends the thread
		f()
	}
	<-done
}

// device changes or asks about a device of the calling thread's namespace.
func device(t testing.TB, name string, request uint, set func(*unix.Ifreq)) *unix.Ifreq {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Error(err)
		return nil
	}
	defer unix.Close(fd)
	r, err := unix.NewIfreq(name)
	if err == nil {
		set(r)
		err = unix.IoctlIfreq(fd, request, r)
	}
	if err != nil {
		t.Errorf("device %s, request %#x: %v", name, request, err)
	}
	return r
}

var (
	net4 = netip.MustParsePrefix("198.51.100.1/24")
	net6 = netip.MustParsePrefix("2001:db8::1/64")
	far4 = netip.MustParseAddr("198.51.100.2")
	far6 = netip.MustParseAddr("2001:db8::2")
)

// openIn makes a device in the namespace.
func openIn(t testing.TB, s space, c DeviceConfig) *Device {
	t.Helper()
	var d *Device
	var err error
	s.do(func() { d, err = Open(c) })
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
	for end := time.Now().Add(5 * time.Second); time.Now().Before(end); {
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
func udpTo(t testing.TB, s space, addr netip.Addr, port uint16) *net.UDPConn {
	t.Helper()
	var c *net.UDPConn
	var err error
	eventually(t, "there is an address to send from", func() bool {
		s.do(func() { c, err = net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(netip.AddrPortFrom(addr, port))) })
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

func (s sender) Send(o engine.Out) error { return s(o) }
