package main

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"b4/lab"
)

// A usage is what the b4d of one engine took: of several processes the highest
// peak of memory, and the sum of their time.
type usage struct {
	peak int64 // bytes resident in memory, most of them the program's own
	cpu  time.Duration
}

// tick is the unit of times in /proc; it is the same on all of Linux's machines
// that Go knows.
const tick = time.Second / 100

// account adds what a b4d took that is about to end: of a process that has
// ended nobody can tell its peak, as its parent's counts as its own until exec.
func (d *demo) account(engine string, b *lab.B4D) error {
	u := d.used[engine]
	peak, err := b.Peak()
	if err != nil {
		return fmt.Errorf("read b4d's peak of memory: %w", err)
	}
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", b.PID()))
	if err != nil {
		return err
	}
	cpu, err := cpuTime(string(stat))
	if err != nil {
		return fmt.Errorf("read b4d's processor time: %w", err)
	}
	d.used[engine] = usage{max(u.peak, peak<<10), u.cpu + cpu}
	return nil
}

// cpuTime is the sum of user and system time in /proc/PID/stat (fields 14 and
// 15; the name before them stands in parentheses and may hold anything).
func cpuTime(stat string) (time.Duration, error) {
	f := strings.Fields(stat[strings.LastIndexByte(stat, ')')+1:]) // begins with field 3
	if len(f) < 16-3 {
		return 0, fmt.Errorf("%d fields in %q", len(f), stat)
	}
	user, err := strconv.ParseInt(f[14-3], 10, 64)
	if err != nil {
		return 0, err
	}
	system, err := strconv.ParseInt(f[15-3], 10, 64)
	return time.Duration(user+system) * tick, err
}

// tell prints what b4d took.
func (d *demo) tell() {
	for _, engine := range d.engines {
		u := d.used[engine]
		fmt.Printf("b4d with engine %-7s peak RSS %.1f MiB, CPU %.2f s\n", engine+":", float64(u.peak)/(1<<20), u.cpu.Seconds())
	}
}
