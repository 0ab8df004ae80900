//go:build mips64 || mips64le

package confine

import "golang.org/x/sys/unix"

const private = none

var here = []uint32{unix.SYS_FORK, unix.SYS_MKNOD, unix.SYS_CREATE_MODULE, unix.SYS_QUERY_MODULE, unix.SYS_GET_KERNEL_SYMS}
