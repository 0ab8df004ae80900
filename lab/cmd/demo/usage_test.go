package main

import (
	"testing"
	"time"
)

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
