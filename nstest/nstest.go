// Package nstest gives kernel tests a network namespace of their own, and
// devices in it.
package nstest

import (
	"encoding/binary"
	"errors"
	"net"
	"net/netip"
	"runtime"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Enter moves the test into a fresh network namespace. The thread is never
// unlocked, so the runtime discards it, and the namespace with it, when the test
// returns. Subtests, and goroutines that open something, would do so outside.
// Without root, and in a short run, the test is skipped.
func Enter(t testing.TB) {
	t.Helper()
	if testing.Short() {
		t.Skip("asks the kernel")
	}
	runtime.LockOSThread()
	if err := unix.Unshare(unix.CLONE_NEWNET); errors.Is(err, unix.EPERM) {
		t.Skip("needs root")
	} else if err != nil {
		t.Fatal(err)
	}
}

// TUN makes a TUN device, down, and returns its other end: what is read there has
// left by it, and what is written comes in. It blocks no read, and is closed with
// the test.
func TUN(t testing.TB, name string) int {
	t.Helper()
	fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		t.Skipf("no TUN: %v", err)
	}
	t.Cleanup(func() { unix.Close(fd) })
	ifr, err := unix.NewIfreq(name)
	if err != nil {
		t.Fatal(err)
	}
	ifr.SetUint16(unix.IFF_TUN | unix.IFF_NO_PI)
	if err := unix.IoctlIfreq(fd, unix.TUNSETIFF, ifr); err != nil {
		t.Fatal(err)
	}
	return fd
}

// Device changes or asks about a device, by an ioctl of netdevice(7).
func Device(t testing.TB, name string, request uint, set func(*unix.Ifreq)) *unix.Ifreq {
	t.Helper()
	ifr, err := unix.NewIfreq(name)
	if err != nil {
		t.Fatal(err)
	}
	set(ifr)
	fd := socket(t, unix.AF_INET)
	defer unix.Close(fd)
	if err := unix.IoctlIfreq(fd, request, ifr); err != nil {
		t.Fatalf("device %s, request %#x: %v", name, request, err)
	}
	return ifr
}

func socket(t testing.TB, family int) int {
	t.Helper()
	fd, err := unix.Socket(family, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	return fd
}

// Up brings a device up.
func Up(t testing.TB, name string) {
	t.Helper()
	Device(t, name, unix.SIOCSIFFLAGS, func(i *unix.Ifreq) { i.SetUint16(unix.IFF_UP | unix.IFF_RUNNING) })
}

// Down takes a device down.
func Down(t testing.TB, name string) {
	t.Helper()
	Device(t, name, unix.SIOCSIFFLAGS, func(*unix.Ifreq) {})
}

// Index is the kernel's number for a device.
func Index(t testing.TB, name string) int32 {
	t.Helper()
	return int32(Device(t, name, unix.SIOCGIFINDEX, func(*unix.Ifreq) {}).Uint32())
}

// Addr gives a device an address with its network: the only one of IPv4, one
// more of IPv6, which is not asked for on the link first.
func Addr(t testing.TB, name string, p netip.Prefix) {
	t.Helper()
	if p.Addr().Is4() {
		mask := net.CIDRMask(p.Bits(), 32)
		Device(t, name, unix.SIOCSIFADDR, func(i *unix.Ifreq) { i.SetInet4Addr(p.Addr().AsSlice()) })
		Device(t, name, unix.SIOCSIFNETMASK, func(i *unix.Ifreq) { i.SetInet4Addr(mask) })
		return
	}
	// struct in6_ifreq of linux/ipv6.h
	b := append(p.Addr().AsSlice(), make([]byte, 8)...)
	binary.NativeEndian.PutUint32(b[16:], uint32(p.Bits()))
	binary.NativeEndian.PutUint32(b[20:], uint32(Index(t, name)))
	fd := socket(t, unix.AF_INET6)
	defer unix.Close(fd)
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), unix.SIOCSIFADDR, uintptr(unsafe.Pointer(&b[0]))); errno != 0 {
		t.Fatalf("address %v of %s: %v", p, name, errno)
	}
}
