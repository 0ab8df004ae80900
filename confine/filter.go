package confine

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"math"
	"runtime"
	"slices"
	"unsafe"

	"golang.org/x/sys/unix"
)

// A machine is what differs between architectures for a filter.
type machine struct {
	arch    uint32 // as struct seccomp_data has it (include/uapi/linux/audit.h)
	big     bool   // the high half of an argument comes first
	newest  uint32 // the highest number known here
	private uint32 // from here on are the architecture's own calls, which change nothing
	clone   uint32 // for threads, and nothing else
}

var native = machine{
	arch: arch, big: binary.NativeEndian.Uint16([]byte{0, 1}) == 1,
	newest: unix.SYS_OPEN_TREE_ATTR, private: private, clone: unix.SYS_CLONE,
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
	blocks := []block{{m.clone, m.threads()}}
	for _, c := range calls {
		blocks = append(blocks, block{c.nr, []unix.SockFilter{deny(c.err)}})
	}
	slices.SortFunc(blocks, func(a, b block) int { return cmp.Compare(a.nr, b.nr) })
	return append([]unix.SockFilter{
		load(offArch),
		jump(unix.BPF_JEQ, m.arch, 1, 0),
		deny(unix.EPERM),
		load(offNr),
		jump(unix.BPF_JGE, m.private, 0, 1),
		allow,
		jump(unix.BPF_JGT, m.newest, 0, 1),
		deny(unix.ENOSYS),
	}, tree(blocks)...)
}

// threads lets clone make threads of this process, as Go and libc do.
func (m *machine) threads() []unix.SockFilter {
	flags := uint32(offArg0)
	if m.big {
		flags += 4
	}
	return []unix.SockFilter{load(flags), jump(unix.BPF_JSET, unix.CLONE_THREAD, 0, 1), allow, deny(unix.EPERM)}
}

// A block is what to do about a number.
type block struct {
	nr   uint32
	code []unix.SockFilter // it returns
}

// tree finds the block of the number by halves, and allows any other.
func tree(blocks []block) []unix.SockFilter {
	if len(blocks) == 1 {
		b := blocks[0]
		return append(append([]unix.SockFilter{jump(unix.BPF_JEQ, b.nr, 0, len(b.code))}, b.code...), allow)
	}
	half := len(blocks) / 2
	low, high := tree(blocks[:half]), tree(blocks[half:])
	return append(append([]unix.SockFilter{jump(unix.BPF_JGE, blocks[half].nr, len(low), 0)}, low...), high...)
}

// install puts the filter over all threads, those to come included.
func install(filter []unix.SockFilter) error {
	runtime.LockOSThread() // no_new_privs, which it wants, is a thread's; the others get it with the filter
	defer runtime.UnlockOSThread()
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("set no_new_privs: %w", err)
	}
	prog := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
	// Without SPEC_ALLOW kernels before 5.16 make every branch dearer.
	const flags = unix.SECCOMP_FILTER_FLAG_TSYNC | unix.SECCOMP_FILTER_FLAG_SPEC_ALLOW
	thread, _, err := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, flags, uintptr(unsafe.Pointer(&prog)))
	switch {
	case err == unix.ENOSYS || err == unix.EINVAL:
		return fmt.Errorf("filter system calls: %w (the kernel wants CONFIG_SECCOMP_FILTER)", err)
	case err != 0:
		return fmt.Errorf("filter system calls: %w", err)
	case thread != 0:
		return fmt.Errorf("filter system calls: thread %d has a filter of its own", thread)
	}
	return nil
}
