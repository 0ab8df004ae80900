package main

import (
	"bytes"
	"context"
	"os"
	"strings"
	"testing"
	"time"
)

func TestWatch(t *testing.T) {
	end := marker{"00ff"}
	tests := []struct {
		name, console, out, err string
		code                    int
	}{
		{name: "ends well", console: "kernel\r\nguest-00ff up 4000\r\nhello\r\n\r\nguest-00ff exit 0\r\n", out: "hello"},
		{name: "exit code", console: "guest-00ff up 4000\nguest-00ff exit 7\nreboot: power down\n", code: 7},
		{name: "a command's imitation is output", console: "guest-00ff up 4000\nguest-beef exit 0\nguest-00ff exit 1\n", out: "guest-beef exit 0", code: 1},
		{name: "a module did not load", console: "insmod: x\nguest-00ff up 4000\ninit: cannot load x\nguest-00ff exit 125\n", out: "init: cannot load x", code: 125},
		{name: "panic at boot", console: "kernel panic\n", out: "kernel panic", err: "before its command ran"},
		{name: "panic later", console: "kernel\nguest-00ff up 4000\nhalf a l", out: "half a l", err: "before its command did"},
		{name: "exit code cut short", console: "guest-00ff up 4000\nguest-00ff exit \n", err: "before its command did"},
		{name: "nothing", err: "before its command ran"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var out bytes.Buffer
			leaving := 0
			code, err := watch(strings.NewReader(tt.console), &out, end, func() { leaving++ })
			if tt.err != "" {
				if err == nil || !strings.Contains(err.Error(), tt.err) {
					t.Errorf("got error %v, want %q", err, tt.err)
				}
			} else if err != nil || code != tt.code || leaving != 1 {
				t.Errorf("got code %d, error %v, %d goodbyes; want code %d, none, 1", code, err, leaving, tt.code)
			}
			if got := withoutOwn(out.String()); got != tt.out {
				t.Errorf("shown: %q, want %q", got, tt.out)
			}
		})
	}
}

// withoutOwn drops the lines that watch itself says.
func withoutOwn(out string) string {
	var kept []string
	for _, line := range strings.Split(out, "\n") {
		if line != "" && !strings.HasPrefix(line, "guest: ") {
			kept = append(kept, line)
		}
	}
	return strings.Join(kept, "\n")
}

// The emulator is played by a shell: boot must end it in time.
func TestBootTimeout(t *testing.T) {
	if _, err := os.Stat("/bin/sh"); err != nil {
		t.Skip("no /bin/sh here")
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	start := time.Now()
	_, err := boot(ctx, marker{"00ff"}, "/bin/sh", "-c", "exec sleep 20")
	if err == nil || !strings.Contains(err.Error(), "-timeout") {
		t.Errorf("got %v, want the word -timeout", err)
	}
	if took := time.Since(start); took > 5*time.Second {
		t.Errorf("took %v", took)
	}
}
