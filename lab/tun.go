package lab

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// openTUN makes a TUN device of the given name in the calling thread's
// namespace. One Read is one IP packet, and one Write too. The device vanishes
// with the file.
func openTUN(name string) (*os.File, error) {
	const path = "/dev/net/tun"
	fd, err := unix.Open(path, unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("open %s, which must exist and be open to this user: %w", path, err)
	}
	ifr, err := unix.NewIfreq(name)
	if err == nil {
		ifr.SetUint16(unix.IFF_TUN | unix.IFF_NO_PI)
		err = unix.IoctlIfreq(fd, unix.TUNSETIFF, ifr)
	}
	if err == nil {
		err = unix.SetNonblock(fd, true) // before NewFile: else Close does not wake Read
	}
	if err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("make TUN %s: %w", name, err)
	}
	return os.NewFile(uintptr(fd), path), nil
}
