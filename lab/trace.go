package lab

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"
)

// ErrNoTracing says that the kernel has no trace points of system calls, or that
// this process may not use them.
var ErrNoTracing = errors.New("cannot count system calls")

// An Event is something that threads do.
type Event struct {
	Name string
	kind uint32 // PERF_TYPE_*
	call int    // of PERF_TYPE_TRACEPOINT: a system call's number, or anyCall
}

const anyCall = -1

// What can be counted besides single system calls.
var (
	SystemCalls     = Event{"system calls", unix.PERF_TYPE_TRACEPOINT, anyCall}
	ContextSwitches = Event{"context switches", unix.PERF_TYPE_SOFTWARE, 0}
)

// SystemCall is the call with a number of unix.SYS_*.
func SystemCall(name string, number int) Event {
	return Event{name, unix.PERF_TYPE_TRACEPOINT, number}
}

// A Trace counts what the threads of a process do, those too that it starts later:
// each time, where strace would slow it down and sampling would miss some.
type Trace struct {
	events []Event
	fds    [][]int // of each event: one a thread
}

// NewTrace begins to count. A thread that starts right now may be counted twice. The
// error wraps ErrNoTracing where that is forbidden or the kernel cannot.
func NewTrace(pid int, events ...Event) (_ *Trace, err error) {
	id, err := tracePoint("raw_syscalls/sys_enter")
	if err != nil {
		return nil, err
	}
	t := &Trace{events, make([][]int, len(events))}
	defer func() {
		if err != nil {
			t.Close()
		}
	}()
	for seen := map[int]bool{}; ; {
		fresh, err := newThreads(pid, seen)
		if err != nil {
			return nil, err
		}
		if len(fresh) == 0 { // what they start from now on is counted with them
			return t, nil
		}
		for _, tid := range fresh {
			if err := t.add(tid, id); err != nil {
				return nil, err
			}
		}
	}
}

// newThreads lists the threads of a process that are not in seen, and adds them.
func newThreads(pid int, seen map[int]bool) (fresh []int, err error) {
	names, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/[0-9]*", pid))
	if err != nil || len(names) == 0 {
		return nil, errors.Join(fmt.Errorf("list the threads of process %d: %d", pid, len(names)), err)
	}
	for _, name := range names {
		tid, err := strconv.Atoi(filepath.Base(name))
		if err != nil {
			return nil, err
		}
		if !seen[tid] {
			seen[tid] = true
			fresh = append(fresh, tid)
		}
	}
	return fresh, nil
}

// add counts all events of one more thread. id is the trace point's.
func (t *Trace) add(tid int, id uint64) error {
	for i, e := range t.events {
		attr := unix.PerfEventAttr{Type: e.kind, Config: unix.PERF_COUNT_SW_CONTEXT_SWITCHES, Bits: unix.PerfBitInherit}
		if e.kind == unix.PERF_TYPE_TRACEPOINT {
			attr.Config = id
		}
		attr.Size = uint32(unsafe.Sizeof(attr))
		fd, err := unix.PerfEventOpen(&attr, tid, -1, -1, unix.PERF_FLAG_FD_CLOEXEC)
		if err == unix.ESRCH { // it has ended since
			return nil
		}
		if err != nil {
			return fmt.Errorf("%w: count %s of thread %d: %w", ErrNoTracing, e.Name, tid, err)
		}
		t.fds[i] = append(t.fds[i], fd)
		if e.kind != unix.PERF_TYPE_TRACEPOINT || e.call == anyCall {
			continue
		}
		if err := only(fd, e.call); err != nil {
			return fmt.Errorf("%w: count %s: %w", ErrNoTracing, e.Name, err)
		}
	}
	return nil
}

// only has an event count a single system call. Its threads' threads follow it.
func only(fd, call int) error {
	filter, err := unix.BytePtrFromString(fmt.Sprintf("id == %d", call))
	if err != nil {
		return err
	}
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), unix.PERF_EVENT_IOC_SET_FILTER, uintptr(unsafe.Pointer(filter)))
	if errno != 0 {
		return errno
	}
	return nil
}

// tracePoint is the number of a trace point. It is read from a tracefs of our own
// that is mounted nowhere.
func tracePoint(name string) (uint64, error) {
	fail := func(err error) (uint64, error) {
		return 0, fmt.Errorf("%w: trace point %s: %w", ErrNoTracing, name, err)
	}
	conf, err := unix.Fsopen("tracefs", unix.FSOPEN_CLOEXEC)
	if err != nil {
		return fail(err)
	}
	defer unix.Close(conf)
	if err := unix.FsconfigCreate(conf); err != nil {
		return fail(err)
	}
	root, err := unix.Fsmount(conf, unix.FSMOUNT_CLOEXEC, 0)
	if err != nil {
		return fail(err)
	}
	defer unix.Close(root)
	path := "events/" + name + "/id"
	fd, err := unix.Openat(root, path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return fail(&fs.PathError{Op: "open", Path: path, Err: err})
	}
	f := os.NewFile(uintptr(fd), path)
	defer f.Close()
	var text [32]byte
	n, err := f.Read(text[:])
	if err != nil {
		return fail(err)
	}
	id, err := strconv.ParseUint(strings.TrimSpace(string(text[:n])), 10, 64)
	if err != nil {
		return fail(err)
	}
	return id, nil
}

// Counts tells how often each event has been so far, in the order of NewTrace's.
func (t *Trace) Counts() ([]uint64, error) {
	counts := make([]uint64, len(t.events))
	for i, fds := range t.fds {
		for _, fd := range fds {
			var n uint64
			if _, err := unix.Read(fd, unsafe.Slice((*byte)(unsafe.Pointer(&n)), unsafe.Sizeof(n))); err != nil {
				return nil, fmt.Errorf("read the count of %s: %w", t.events[i].Name, err)
			}
			counts[i] += n
		}
	}
	return counts, nil
}

// Close ends it.
func (t *Trace) Close() error {
	var errs []error
	for _, fds := range t.fds {
		for _, fd := range fds {
			errs = append(errs, unix.Close(fd))
		}
	}
	t.fds = make([][]int, len(t.events))
	return errors.Join(errs...)
}
