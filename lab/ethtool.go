package lab

import (
	"fmt"
	"unsafe"

	"golang.org/x/sys/unix"
)

// offloads are the ethtool commands that switch a device's offloads, from
// linux/ethtool.h. With any of them on, a veth carries superpackets and
// unfinished checksums, and a censor that looks at single segments sees nothing
// real.
var offloads = []struct {
	cmd  uint32
	name string
}{
	{0x1f, "tso"}, // ETHTOOL_STSO
	{0x24, "gso"}, // ETHTOOL_SGSO
	{0x2c, "gro"}, // ETHTOOL_SGRO
	{0x17, "tx"},  // ETHTOOL_STXCSUM
}

// offloadsOff switches off what would change the wire shape of packets on a
// device in the calling thread's namespace.
func offloadsOff(device string) error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	for _, o := range offloads {
		value := struct{ cmd, data uint32 }{o.cmd, 0}
		req := struct { // struct ifreq, at its larger, 64-bit size
			name [unix.IFNAMSIZ]byte
			data unsafe.Pointer
			_    [16]byte
		}{data: unsafe.Pointer(&value)}
		copy(req.name[:unix.IFNAMSIZ-1], device)
		_, _, e := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), unix.SIOCETHTOOL, uintptr(unsafe.Pointer(&req)))
		if e != 0 {
			return fmt.Errorf("switch %s off on %s: %w", o.name, device, e)
		}
	}
	return nil
}
