package confine

import "golang.org/x/sys/unix"

const (
	flags   = offArg0
	arch    = unix.AUDIT_ARCH_X86_64
	private = none
)

var here = []uint32{
	unix.SYS_FORK, unix.SYS_VFORK, unix.SYS_USELIB, unix.SYS_MKNOD,
	unix.SYS_CREATE_MODULE, unix.SYS_QUERY_MODULE, unix.SYS_GET_KERNEL_SYMS, unix.SYS_KEXEC_FILE_LOAD,
	unix.SYS_IOPL, unix.SYS_IOPERM, unix.SYS_MODIFY_LDT,
}
