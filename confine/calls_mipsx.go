//go:build mips || mipsle

package confine

import "golang.org/x/sys/unix"

const private = none

// A call of another by number (SYS_SYSCALL) comes to the filter as that other
// one (arch/mips/kernel/scall32-o32.S); where it did not, it would fail.
var here = []uint32{
	unix.SYS_SYSCALL, unix.SYS_FORK, unix.SYS_USELIB, unix.SYS_UMOUNT, unix.SYS_MKNOD,
	unix.SYS_CREATE_MODULE, unix.SYS_QUERY_MODULE, unix.SYS_GET_KERNEL_SYMS,
	unix.SYS_STIME, unix.SYS_CLOCK_SETTIME64, unix.SYS_CLOCK_ADJTIME64,
	unix.SYS_IOPL, unix.SYS_IOPERM, unix.SYS_MODIFY_LDT, unix.SYS_VM86,
}
