package lab

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

// freezeLimit is how long a process may run on after SIGSTOP.
const freezeLimit = 4 * time.Second

// Freeze stops b4d by SIGSTOP, and returns when all its threads stand still: on a
// busy machine that takes a while. SIGCONT lets it go on.
func (d *B4D) Freeze() error {
	if err := d.Signal(syscall.SIGSTOP); err != nil {
		return err
	}
	for start := time.Now(); time.Since(start) < d.lab.patience(freezeLimit); time.Sleep(time.Millisecond) {
		threads, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/stat", d.PID()))
		if err != nil {
			return err
		}
		running := slices.ContainsFunc(threads, func(file string) bool {
			stat, err := os.ReadFile(file) // fails where the thread has ended
			return err == nil && !strings.Contains(string(stat), ") T ")
		})
		if !running {
			return nil
		}
	}
	return errors.New("b4d does not stop at SIGSTOP")
}
