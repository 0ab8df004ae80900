package fw

import (
	"net/netip"
	"unsafe"

	"golang.org/x/sys/unix"
)

// addAddr6 adds an address with its /64 route: SIOCSIFADDR on an IPv6 socket
// takes struct in6_ifreq of linux/ipv6.h, for which x/sys has no words.
func addAddr6(fd int, a netip.Addr, index uint32) error {
	req := struct {
		addr  [16]byte
		plen  uint32
		index uint32
	}{a.As16(), 64, index}
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), unix.SIOCSIFADDR, uintptr(unsafe.Pointer(&req)))
	if errno != 0 {
		return errno
	}
	return nil
}
