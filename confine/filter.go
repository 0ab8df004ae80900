package confine

import (
	"fmt"
	"math"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Where struct seccomp_data has what is looked at (include/uapi/linux/seccomp.h).
// Of an argument that is the lower half, which is where an architecture has it.
const (
	offNr   = 0
	offArch = 4
	offArg0 = 16
)

const (
	load  = unix.BPF_LD | unix.BPF_W | unix.BPF_ABS
	jump  = unix.BPF_JMP | unix.BPF_K // with what is compared
	ret   = unix.BPF_RET | unix.BPF_K
	allow = unix.SECCOMP_RET_ALLOW
	deny  = unix.SECCOMP_RET_ERRNO // or'ed with the error; not kill: a bug is not to cost a house its internet
	eperm = deny | uint32(unix.EPERM)
	// enosys is for calls that callers know how to do without.
	enosys = deny | uint32(unix.ENOSYS)
)

const (
	newest = unix.SYS_OPEN_TREE_ATTR // the highest number known here
	none   = math.MaxUint32          // the first of an architecture's private calls where it has none
)

// head sorts out what is no call of ours. One made in another architecture's
// manner has other numbers, so there is none (32-bit calls of a 64-bit process);
// x32's are above the newest. What is newer than the tables does not exist, so that
// nothing slips past them: programs do without, for the sake of older kernels.
var head = []unix.SockFilter{
	{Code: load, K: offArch},
	{Code: jump | unix.BPF_JEQ, K: arch, Jt: 1},
	{Code: ret, K: eperm},
	{Code: load, K: offNr},
	{Code: jump | unix.BPF_JGE, K: private, Jf: 1},
	{Code: ret, K: allow},
	{Code: jump | unix.BPF_JGT, K: newest, Jf: 1},
	{Code: ret, K: enosys},
}

// program is the filter that denies calls; flags is where clone's are. The kernel
// runs it at each system call: what is allowed gets there by about as many
// comparisons as the number of calls has bits.
func program(calls []uint32, flags uint32) []unix.SockFilter {
	for i := range calls { // the sort of package slices is 11 KB of code
		for ; i > 0 && calls[i] < calls[i-1]; i-- {
			calls[i], calls[i-1] = calls[i-1], calls[i]
		}
	}
	return append(head, tree(calls, flags)...)
}

// tree finds a number among sorted ones by halves, and allows any other.
func tree(calls []uint32, flags uint32) []unix.SockFilter {
	half := len(calls) / 2
	nr := calls[half]
	switch {
	case half > 0:
		low := tree(calls[:half], flags)
		node := []unix.SockFilter{{Code: jump | unix.BPF_JGE, K: nr, Jt: uint8(len(low))}}
		return append(append(node, low...), tree(calls[half:], flags)...)
	case nr == unix.SYS_CLONE: // makes threads, for Go and libc
		return []unix.SockFilter{
			{Code: jump | unix.BPF_JEQ, K: nr, Jf: 3},
			{Code: load, K: flags},
			{Code: jump | unix.BPF_JSET, K: unix.CLONE_THREAD, Jt: 1},
			{Code: ret, K: eperm},
			{Code: ret, K: allow},
		}
	}
	answer := eperm
	if nr == unix.SYS_CLONE3 { // what it makes is told in memory, which a filter cannot see
		answer = enosys
	}
	return []unix.SockFilter{{Code: jump | unix.BPF_JEQ, K: nr, Jf: 1}, {Code: ret, K: answer}, {Code: ret, K: allow}}
}

// install puts the filter over all threads, those to come included. The calling
// one has no_new_privs, and the others get it too.
func install(filter []unix.SockFilter) error {
	prog := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
	// Without SPEC_ALLOW kernels before 5.16 make every branch dearer.
	const flags = unix.SECCOMP_FILTER_FLAG_TSYNC | unix.SECCOMP_FILTER_FLAG_SPEC_ALLOW
	thread, _, err := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, flags, uintptr(unsafe.Pointer(&prog)))
	switch {
	case err != 0:
		return fmt.Errorf("filter system calls: %w", err)
	case thread != 0:
		return fmt.Errorf("filter system calls: thread %d has a filter of its own", thread)
	}
	return nil
}
