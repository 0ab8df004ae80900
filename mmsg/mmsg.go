// Package mmsg sends and receives several messages of a socket in one system call,
// which must not block, as Go's scheduler is not told of it.
//
// A burst takes the kernel longer than the 20 µs after which the scheduler's monitor
// thread takes the processor from whoever is in a system call and gives it to another
// thread (retake in runtime/proc.go): each time that is some naps of the monitor's,
// two futexes, and a search for work. No other goroutine waits longer than a burst
// takes, which is less than a millisecond.
package mmsg

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// A Header is the kernel's struct mmsghdr: a message, and how many bytes of it went
// or came. Go pads it as C does: to 64 bytes on 64-bit systems, to none on 32-bit ones.
type Header struct {
	Msg unix.Msghdr
	N   uint32
}

// Recv takes what is there, and returns how many messages that were. It does not wait:
// EAGAIN means that there is none. It allocates nothing.
func Recv(fd int, to []Header) (int, unix.Errno) {
	return call(unix.SYS_RECVMMSG, fd, to, unix.MSG_DONTWAIT)
}

// Send sends messages in their order, and returns how many have left. That is fewer
// where one is refused that is not the first: why, the next send of it tells. It
// does not wait: EAGAIN means that there is no room. It allocates nothing.
func Send(fd int, msgs []Header) (int, unix.Errno) {
	return call(unix.SYS_SENDMMSG, fd, msgs, unix.MSG_DONTWAIT)
}

// Write sends b, in which several netlink messages stand one behind the other, by a
// socket that does not block. It allocates nothing.
func Write(fd int, b []byte) error {
	_, _, errno := unix.RawSyscall(unix.SYS_WRITE, uintptr(fd), uintptr(unsafe.Pointer(&b[0])), uintptr(len(b)))
	if errno != 0 {
		return errno
	}
	return nil
}

// call gives the kernel pointers that it does not keep.
func call(number uintptr, fd int, msgs []Header, flags uintptr) (int, unix.Errno) {
	n, _, errno := unix.RawSyscall6(number, uintptr(fd), uintptr(unsafe.Pointer(&msgs[0])), uintptr(len(msgs)), flags, 0, 0)
	if errno != 0 {
		return 0, errno
	}
	return int(n), 0
}
