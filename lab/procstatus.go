package lab

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// StatusNumber is what /proc/PID/status says under a name, as VmHWM in KiB.
func StatusNumber(pid int, name string) (int64, error) {
	return readStatus(fmt.Sprintf("/proc/%d/status", pid), name)
}

// Switches is how often the threads of a process have gone to sleep, each of which
// a wake-up follows.
func Switches(pid int) (n int64, err error) {
	paths, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/status", pid))
	if err == nil && len(paths) == 0 {
		err = fmt.Errorf("there is no process %d", pid)
	}
	for _, path := range paths {
		m, err := readStatus(path, "voluntary_ctxt_switches")
		if err != nil {
			return 0, err
		}
		n += m
	}
	return n, err
}

func readStatus(path, name string) (int64, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return 0, err
	}
	n, err := statusNumber(string(b), name)
	if err != nil {
		return 0, fmt.Errorf("read %s: %w", path, err)
	}
	return n, nil
}

// statusNumber finds "name: number", perhaps with a unit behind it.
func statusNumber(text, name string) (int64, error) {
	for _, line := range strings.Split(text, "\n") {
		if rest, ok := strings.CutPrefix(line, name+":"); ok {
			return strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(rest), " kB"), 10, 64)
		}
	}
	return 0, fmt.Errorf("no %s in %q", name, text)
}
