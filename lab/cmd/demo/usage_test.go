package main

import (
	"testing"
	"time"
)

func TestPeakRSS(t *testing.T) {
	const status = "Name:\tb4d\nVmPeak:\t  712000 kB\nVmHWM:\t    9244 kB\nVmRSS:\t    8000 kB\n"
	if got, err := peakRSS(status); err != nil || got != 9244<<10 {
		t.Errorf("got %d, error %v; want %d", got, err, 9244<<10)
	}
	for _, bad := range []string{"", "Name:\tb4d\nState:\tZ (zombie)\n", "Name:\tb4d\nVmHWM:\tmuch kB\n"} {
		if got, err := peakRSS(bad); err == nil {
			t.Errorf("peakRSS(%q) = %d, want an error", bad, got)
		}
	}
}

func TestCPUTime(t *testing.T) {
	const stat = "7 (a) b (c) S 1 7 7 0 -1 4194560 500 0 3 0 120 45 0 0 20 0 6 0 99 1 2"
	if got, err := cpuTime(stat); err != nil || got != 1650*time.Millisecond {
		t.Errorf("got %v, error %v; want 1.65s", got, err)
	}
	for _, bad := range []string{"", "7 (b4d) S 1 7 7 0 -1 4194560 500 0 3 0 120", "7 (b4d) S 1 7 7 0 -1 4194560 500 0 3 0 x 45 0"} {
		if got, err := cpuTime(bad); err == nil {
			t.Errorf("cpuTime(%q) = %v, want an error", bad, got)
		}
	}
}
