package confine

import "golang.org/x/sys/unix"

const (
	arch  = unix.AUDIT_ARCH_PPC64
	flags = offArg0 + 4
)
