package confine

import (
	"encoding/binary"
	"fmt"
	"math"
	"unsafe"

	"golang.org/x/sys/unix"
)

// A machine is what differs between architectures for a filter.
type machine struct {
	arch    uint32 // as struct seccomp_data has it (include/uapi/linux/audit.h)
	big     bool   // the high half of an argument comes first
	newest  uint32 // the highest number known here
	private uint32 // from here on are the architecture's own calls, which change nothing
}

var native = machine{
	arch: arch, big: binary.NativeEndian.Uint16([]byte{0, 1}) == 1,
	newest: unix.SYS_OPEN_TREE_ATTR, private: private,
}

// none is the private of an architecture that has no such calls.
const none = math.MaxUint32

// A call is a system call that is not to be, and what its caller is told.
type call struct {
	nr  uint32
	err unix.Errno
}

// Where struct seccomp_data has what is looked at (include/uapi/linux/seccomp.h).
const (
	offNr   = 0
	offArch = 4
	offArg0 = 16 // of 64 bits
)

func load(off uint32) unix.SockFilter {
	return unix.SockFilter{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: off}
}

// jump skips yes or no instructions.
func jump(op uint16, k uint32, yes, no int) unix.SockFilter {
	return unix.SockFilter{Code: unix.BPF_JMP | op | unix.BPF_K, Jt: uint8(yes), Jf: uint8(no), K: k}
}

func ret(k uint32) unix.SockFilter {
	return unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: k}
}

var allow = ret(unix.SECCOMP_RET_ALLOW)

// deny makes a call fail. It does not kill: no internet is worse than a bug.
func deny(err unix.Errno) unix.SockFilter { return ret(unix.SECCOMP_RET_ERRNO | uint32(err)) }

// program is the filter. The kernel runs it at each system call: what is allowed
// gets there by about as many comparisons as the number of calls has bits.
//
// A call made in another architecture's manner has other numbers, so there is
// none (32-bit calls of a 64-bit process); x32's are above the newest. What is
// newer than this table does not exist, so that nothing slips past it: callers
// know how to do without, for the sake of older kernels.
func program(m machine, calls []call) []unix.SockFilter {
	for i := range calls { // the sort of package slices is 11 KB of code
		for ; i > 0 && calls[i].nr < calls[i-1].nr; i-- {
			calls[i], calls[i-1] = calls[i-1], calls[i]
		}
	}
	return append([]unix.SockFilter{
		load(offArch),
		jump(unix.BPF_JEQ, m.arch, 1, 0),
		deny(unix.EPERM),
		load(offNr),
		jump(unix.BPF_JGE, m.private, 0, 1),
		allow,
		jump(unix.BPF_JGT, m.newest, 0, 1),
		deny(unix.ENOSYS),
	}, m.tree(calls)...)
}

// tree finds a number among sorted calls by halves, and allows any other.
func (m *machine) tree(calls []call) []unix.SockFilter {
	if len(calls) == 1 {
		code := m.refuse(calls[0])
		return append(append([]unix.SockFilter{jump(unix.BPF_JEQ, calls[0].nr, 0, len(code))}, code...), allow)
	}
	half := len(calls) / 2
	low, high := m.tree(calls[:half]), m.tree(calls[half:])
	return append(append([]unix.SockFilter{jump(unix.BPF_JGE, calls[half].nr, len(low), 0)}, low...), high...)
}

// refuse lets a call fail, unless it is a clone that makes a thread of this
// process, as Go and libc do.
func (m *machine) refuse(c call) []unix.SockFilter {
	if c.nr != unix.SYS_CLONE {
		return []unix.SockFilter{deny(c.err)}
	}
	flags := uint32(offArg0)
	if m.big {
		flags += 4
	}
	return []unix.SockFilter{load(flags), jump(unix.BPF_JSET, unix.CLONE_THREAD, 0, 1), allow, deny(c.err)}
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
