//go:build ppc64 || ppc64le

package confine

import "golang.org/x/sys/unix"

const private = none

var here = []uint32{
	unix.SYS_FORK, unix.SYS_VFORK, unix.SYS_USELIB, unix.SYS_UMOUNT, unix.SYS_MKNOD,
	unix.SYS_CREATE_MODULE, unix.SYS_QUERY_MODULE, unix.SYS_GET_KERNEL_SYMS, unix.SYS_KEXEC_FILE_LOAD,
	unix.SYS_STIME, unix.SYS_IOPL, unix.SYS_IOPERM, unix.SYS_MODIFY_LDT, unix.SYS_VM86,
}
