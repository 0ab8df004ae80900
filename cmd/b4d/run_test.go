package main

import (
	"errors"
	"math"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime/debug"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// childEnv names the configuration that the test binary is b4d with.
const childEnv = "B4D_TEST_CONFIG"

func TestMain(m *testing.M) {
	if conf := os.Getenv(childEnv); conf != "" {
		os.Exit(command([]string{"run", "-config", conf}, os.Stdout, os.Stderr))
	}
	os.Exit(m.Run())
}

// Who is told to read the configuration anew before it has read it once does not
// end of that, but goes on to refuse this one.
func TestHangupAtStart(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	conf := filepath.Join(t.TempDir(), "b4")
	if err := os.WriteFile(conf, []byte("config b4 'main'\n\toption enabled 'maybe'\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(conf)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	opened := make(chan os.Signal, 1)
	signal.Notify(opened, unix.SIGIO)
	defer signal.Stop(opened)
	lease := func(kind int) error { // as long as there is one, who opens the file waits
		_, err := unix.FcntlInt(f.Fd(), unix.F_SETLEASE, kind)
		return err
	}
	if err := lease(unix.F_WRLCK); err != nil {
		t.Skipf("no leases on this file system: %v", err)
	}
	c := exec.Command("/proc/self/exe")
	c.Env = append(os.Environ(), childEnv+"="+conf)
	c.Stderr = os.Stderr
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	select {
	case <-opened:
	case <-time.After(20 * time.Second):
		t.Error("the configuration is not read")
	}
	err = errors.Join(c.Process.Signal(unix.SIGHUP), lease(unix.F_UNLCK))
	if c.Wait(); err != nil || c.ProcessState.ExitCode() != exitRefused {
		t.Errorf("b4d has ended by %v, %v", c.ProcessState, err)
	}
}

func TestLimitMemory(t *testing.T) {
	defer debug.SetMemoryLimit(debug.SetMemoryLimit(-1))
	for mib, want := range map[int]int64{24: 24 << 20, 4096: 4 << 30, 0: math.MaxInt64} {
		if limitMemory(mib); debug.SetMemoryLimit(-1) != want {
			t.Errorf("%d MiB: a limit of %d bytes, want %d", mib, debug.SetMemoryLimit(-1), want)
		}
	}
}
