package main

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// tick is the unit of times in /proc, USER_HZ.
const tick = time.Second / 100

// accounts tells where the CPU time of forwarding is written down. Most of it is
// spent in the process that sends, and counted there, or in ksoftirqd; a kernel
// with CONFIG_IRQ_TIME_ACCOUNTING counts soft interrupts apart from processes.
// Other programs on the machine do not count, but for such a kernel's share of
// their soft interrupts.
type accounts struct {
	softirqd []int // pids
	apart    bool
}

func (a accounts) String() string {
	s := "CPU is the time of client, server, b4d and ksoftirqd"
	if a.apart {
		s += ", and the machine's in soft interrupts"
	}
	return s
}

func newAccounts() (a accounts, err error) {
	names, err := filepath.Glob("/proc/[0-9]*/comm")
	if err != nil {
		return a, err
	}
	for _, name := range names {
		if b, err := os.ReadFile(name); err == nil && bytes.HasPrefix(b, []byte("ksoftirqd/")) {
			pid, err := strconv.Atoi(filepath.Base(filepath.Dir(name)))
			if err != nil {
				return a, err
			}
			a.softirqd = append(a.softirqd, pid)
		}
	}
	a.apart = bytes.Contains(kernelConfig(), []byte("\nCONFIG_IRQ_TIME_ACCOUNTING=y"))
	return a, nil
}

// kernelConfig is the text of the running kernel's configuration; none is empty.
func kernelConfig() []byte {
	if f, err := os.Open("/proc/config.gz"); err == nil {
		defer f.Close()
		if z, err := gzip.NewReader(f); err == nil {
			b, _ := io.ReadAll(z)
			return b
		}
	}
	b, _ := os.ReadFile("/boot/config-" + release())
	return b
}

// used is what the given processes and the kernel for itself have used so far.
func (a accounts) used(pids ...int) (time.Duration, error) {
	var sum time.Duration
	for _, pid := range append(pids, a.softirqd...) {
		t, err := processCPU(pid)
		if err != nil {
			return 0, err
		}
		sum += t
	}
	if !a.apart {
		return sum, nil
	}
	f, err := fields("/proc/stat")
	if err != nil {
		return 0, err
	}
	n, err := strconv.ParseInt(f[7], 10, 64) // cpu user nice system idle iowait irq softirq
	return sum + time.Duration(n)*tick, err
}

// processCPU is the time that all threads of a process have used. The clock's
// number is the kernel's MAKE_PROCESS_CPUCLOCK(pid, CPUCLOCK_SCHED).
func processCPU(pid int) (time.Duration, error) {
	var t unix.Timespec
	if err := unix.ClockGettime(int32(^pid<<3|2), &t); err != nil {
		return 0, fmt.Errorf("read the clock of process %d: %w", pid, err)
	}
	return time.Duration(t.Nano()), nil
}

// userCPU is the part of it outside the kernel, to a tick.
func userCPU(pid int) (time.Duration, error) {
	f, err := fields(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, err
	}
	n, err := strconv.ParseInt(f[13], 10, 64) // b4d's name has no blank
	return time.Duration(n) * tick, err
}

// fields splits the first line of a file of /proc's.
func fields(path string) ([]string, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	line, _, _ := strings.Cut(string(b), "\n")
	f := strings.Fields(line)
	if len(f) < 8 {
		return nil, fmt.Errorf("read %s: %d fields", path, len(f))
	}
	return f, nil
}

// number finds "name: number" in a file of /proc's.
func number(path, name string) (int64, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return 0, err
	}
	for _, line := range strings.Split(string(b), "\n") {
		if rest, ok := strings.CutPrefix(line, name+":"); ok {
			return strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(rest), " kB"), 10, 64)
		}
	}
	return 0, fmt.Errorf("read %s: no %s", path, name)
}

// switches is how often the threads of a process went to sleep, each of which a
// wake-up follows.
func switches(pid int) (n int64, err error) {
	names, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/status", pid))
	for _, name := range names {
		m, err := number(name, "voluntary_ctxt_switches")
		if err != nil {
			return 0, err
		}
		n += m
	}
	return n, err
}

// release is the running kernel's, and processor the CPU's name.
func release() string {
	var u unix.Utsname
	unix.Uname(&u) // cannot fail
	return unix.ByteSliceToString(u.Release[:])
}

func processor() string {
	b, _ := os.ReadFile("/proc/cpuinfo")
	for _, line := range strings.Split(string(b), "\n") {
		if name, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(name) == "model name" {
			return strings.TrimSpace(value)
		}
	}
	return "unknown"
}
