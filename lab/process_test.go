package lab

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// The test binary stands in for a daemon that does, or does not, run programs.
const helperEnv = "B4_LAB_HELPER"

func helper() {
	run := func() *exec.Cmd {
		cmd := exec.Command("/proc/self/exe")
		cmd.Env = []string{helperEnv + "=wait"}
		cmd.Stdin, cmd.Stdout = os.Stdin, os.Stdout
		return cmd
	}
	switch os.Getenv(helperEnv) {
	case "idle":
	case "child":
		run().Start()
	case "dead":
		cmd := exec.Command("/proc/self/exe")
		cmd.Env = []string{helperEnv + "=nothing"}
		cmd.Run()
	case "nothing":
		return
	}
	fmt.Println("ready")
	os.Stdin.Read(make([]byte, 1))
}

func TestExecuted(t *testing.T) {
	for _, tt := range []struct{ what, want string }{
		{"idle", ""},
		{"child", "runs another"},
		{"dead", "has run others"},
	} {
		t.Run(tt.what, func(t *testing.T) {
			cmd := exec.Command("/proc/self/exe")
			cmd.Env = []string{helperEnv + "=" + tt.what}
			in, err := cmd.StdinPipe()
			if err != nil {
				t.Fatal(err)
			}
			out, err := cmd.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			out.Read(make([]byte, 6))
			said := func(err error) {
				t.Helper()
				if got := fmt.Sprint(err); err == nil != (tt.want == "") || !strings.Contains(got, tt.want) {
					t.Errorf("Executed: %v, want %q", err, tt.want)
				}
			}
			said(Executed(cmd.Process.Pid))
			in.Close()
			if tt.what != "child" { // a child that lives on has another parent then
				unix.Waitid(unix.P_PID, cmd.Process.Pid, nil, unix.WEXITED|unix.WNOWAIT, nil)
				said(Executed(cmd.Process.Pid))
			}
			cmd.Wait()
		})
	}
}
