package main

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
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

// accountsMean is what the whole path's CPU time is.
const accountsMean = "The CPU time of the whole path is that of client, server, daemon and ksoftirqd, and where the kernel counts that apart, the machine's in soft interrupts."

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

// A disturbance measures what other programs do.
type disturbance struct {
	pids  []int
	start time.Time
	busy  time.Duration // of the machine, as its ticks have it
	ours  time.Duration
}

func newDisturbance(pids []int) (d *disturbance, err error) {
	d = &disturbance{pids: pids, start: time.Now()}
	d.busy, d.ours, err = d.now()
	return d, err
}

// share is how much of the machine's time they have taken since.
func (d *disturbance) share() (float64, error) {
	busy, ours, err := d.now()
	all := time.Since(d.start) * time.Duration(runtime.NumCPU())
	return max(0, float64(busy-d.busy-(ours-d.ours))/float64(all)), err
}

func (d *disturbance) now() (busy, ours time.Duration, err error) {
	f, err := fields("/proc/stat") // cpu user nice system idle iowait irq softirq steal
	if err != nil {
		return 0, 0, err
	}
	for _, i := range []int{1, 2, 3, 6, 7, 8} {
		n, err := strconv.ParseInt(f[i], 10, 64)
		if err != nil {
			return 0, 0, err
		}
		busy += time.Duration(n) * tick
	}
	a, err := newAccounts()
	if err != nil {
		return 0, 0, err
	}
	ours, err = a.used(d.pids...)
	return busy, ours, err
}
