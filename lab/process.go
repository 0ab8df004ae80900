package lab

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// Executed reports whether process pid has or had a child: an error that says
// what was seen, or nil. It holds for a zombie too, so that asking between a
// process's end and Wait covers its whole life.
//
// A child that is there shows by its parent's number. One that has been and was
// waited for shows in its parent's accounts: no program starts without page
// faults, and those of waited-for children are summed up (proc(5), cminflt and
// cmajflt). A process that ignores SIGCHLD would escape this, so that counts.
func Executed(pid int) error {
	f, err := procStat(pid)
	if err != nil {
		return err
	}
	if f.childFaults != 0 {
		return fmt.Errorf("process %d has run others: its dead children had %d page faults", pid, f.childFaults)
	}
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return err
	}
	const sigchld = 1 << (17 - 1)
	for _, line := range strings.Split(string(status), "\n") {
		if hex, ok := strings.CutPrefix(line, "SigIgn:\t"); ok {
			if set, err := strconv.ParseUint(hex, 16, 64); err != nil || set&sigchld != 0 {
				return fmt.Errorf("process %d ignores SIGCHLD (%s): its children cannot be counted", pid, hex)
			}
		}
	}
	return noChild(pid)
}

// noChild looks through all processes for children of pid.
func noChild(pid int) error {
	dirs, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		return err
	}
	for _, d := range dirs {
		other, err := strconv.Atoi(filepath.Base(d))
		if err != nil {
			continue
		}
		if f, err := procStat(other); err == nil && f.parent == pid {
			return fmt.Errorf("process %d runs another: %d %s", pid, other, f.name)
		}
	}
	return nil
}

type stat struct {
	name        string
	parent      int
	childFaults uint64
}

// procStat reads /proc/pid/stat. The name stands in parentheses and may hold
// anything.
func procStat(pid int) (stat, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return stat{}, err
	}
	open, end := bytes.IndexByte(b, '('), bytes.LastIndexByte(b, ')')
	if open < 0 || end < open {
		return stat{}, fmt.Errorf("read stat of process %d: no name in %q", pid, b)
	}
	f := strings.Fields(string(b[end+1:])) // begins with field 3
	if len(f) < 11 {
		return stat{}, fmt.Errorf("read stat of process %d: %d fields", pid, len(f))
	}
	parent, err := strconv.Atoi(f[4-3])
	if err != nil {
		return stat{}, err
	}
	minor, err1 := strconv.ParseUint(f[11-3], 10, 64)
	major, err2 := strconv.ParseUint(f[13-3], 10, 64)
	if err1 != nil || err2 != nil {
		return stat{}, fmt.Errorf("read stat of process %d: faults %s and %s", pid, f[11-3], f[13-3])
	}
	return stat{string(b[open+1 : end]), parent, minor + major}, nil
}
