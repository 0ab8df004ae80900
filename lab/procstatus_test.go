package lab

import (
	"os"
	"testing"
)

func TestStatusNumber(t *testing.T) {
	const status = "Name:\tb4d\nVmPeak:\t  712000 kB\nVmHWM:\t    9244 kB\nThreads:\t7\n"
	for name, want := range map[string]int64{"VmHWM": 9244, "Threads": 7} {
		if got, err := statusNumber(status, name); err != nil || got != want {
			t.Errorf("%s is %d, error %v; want %d", name, got, err, want)
		}
	}
	for _, bad := range []string{"", "Name:\tb4d\nState:\tZ (zombie)\n", "Name:\tb4d\nVmHWM:\tmuch kB\n"} {
		if got, err := statusNumber(bad, "VmHWM"); err == nil {
			t.Errorf("%d in %q, want an error", got, bad)
		}
	}
	if n, err := Switches(os.Getpid()); err != nil || n < 1 {
		t.Errorf("%d switches of our own, error %v", n, err)
	}
	if _, err := Switches(1 << 30); err == nil {
		t.Error("no error for a process that is not there")
	}
}
