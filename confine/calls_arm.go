package confine

import "golang.org/x/sys/unix"

const (
	flags   = offArg0
	arch    = unix.AUDIT_ARCH_ARM
	private = 0xf0000 // cacheflush, set_tls and the like (__ARM_NR_BASE)
)

var here = []uint32{
	unix.SYS_FORK, unix.SYS_VFORK, unix.SYS_USELIB, unix.SYS_MKNOD, unix.SYS_KEXEC_FILE_LOAD,
	unix.SYS_CLOCK_SETTIME64, unix.SYS_CLOCK_ADJTIME64,
}
