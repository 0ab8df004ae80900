package confine

import "golang.org/x/sys/unix"

const (
	arch  = unix.AUDIT_ARCH_MIPS64
	flags = offArg0 + 4
)
