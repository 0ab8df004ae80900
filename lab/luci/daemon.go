package luci

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"b4/lab"
)

// Where files are on the router.
const (
	configDir  = "/etc/config"
	neverFile  = "/etc/b4/never.txt"
	program    = "/usr/sbin/b4d"
	socketFile = "/var/run/b4/b4d.sock"
)

// A service is what procd and /etc/init.d/b4 do: b4d runs while it is enabled, and
// is told when its file has changed. Unlike procd it does not start again what was
// killed.
type service struct {
	host *lab.Host // the router, with the files below root
	root string
	turn sync.Mutex // held by a reload: procd runs one script of a service at a time

	mu     sync.Mutex
	cmd    *exec.Cmd // nil: not running
	ended  chan struct{}
	lines  []logLine
	count  int
	partly []byte // a line that is not whole yet
}

// A logLine is one of the system log.
type logLine struct {
	ID       int    `json:"id"`
	Time     int64  `json:"time"` // ms since 1970
	Priority int    `json:"priority"`
	Source   int    `json:"source"`
	Msg      string `json:"msg"`
}

// maxLog is how many lines logd would keep of b4d's.
const maxLog = 1000

// Write takes what b4d says on stderr.
func (s *service) Write(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.partly = append(s.partly, b...)
	for {
		line, rest, whole := bytes.Cut(s.partly, []byte("\n"))
		if !whole {
			return len(b), nil
		}
		tag := "b4d"
		if s.cmd != nil {
			tag = fmt.Sprintf("b4d[%d]", s.cmd.Process.Pid)
		}
		s.add(tag, string(line))
		s.partly = append([]byte(nil), rest...)
	}
}

func (s *service) add(tag, text string) {
	const daemonNotice = 3<<3 | 5
	s.count++
	s.lines = append(s.lines, logLine{
		ID: s.count, Time: time.Now().UnixMilli(), Priority: daemonNotice, Source: 1, Msg: tag + ": " + text,
	})
	if over := len(s.lines) - maxLog; over > 0 {
		s.lines = s.lines[over:]
	}
}

func (s *service) log() []logLine {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]logLine{}, s.lines...)
}

// checkLimit and stopLimit are how long b4d may take to look at its file, and to
// leave after SIGTERM.
const (
	checkLimit = time.Minute
	stopLimit  = time.Minute
)

// reload is `/etc/init.d/b4 reload`.
func (s *service) reload() error {
	s.turn.Lock()
	defer s.turn.Unlock()
	check := exec.Command(program, "check", "-offline")
	var said bytes.Buffer
	check.Stdout, check.Stderr = &said, &said
	if err := s.host.Start(check); err != nil {
		return fmt.Errorf("start b4d check: %w", err)
	}
	late := time.AfterFunc(checkLimit, func() { check.Process.Kill() })
	refused := check.Wait() != nil
	late.Stop()
	running := s.running()
	switch {
	case refused && running:
		return s.Signal(syscall.SIGHUP) // it says in its status why not
	case refused:
		return fmt.Errorf("b4d is not started:\n%s", said.String())
	case !s.enabled():
		return s.stop()
	case running:
		return s.Signal(syscall.SIGHUP)
	}
	return s.start()
}

// enabled is `config_get_bool main enabled`.
func (s *service) enabled() bool {
	f, err := readFile(filepath.Join(s.root, configDir, "b4"))
	if err != nil {
		return false
	}
	main := f.section("main")
	if main == nil || main.option("enabled") == nil {
		return false
	}
	switch main.option("enabled").values[0] {
	case "1", "on", "true", "yes", "enabled":
		return true
	}
	return false
}

func (s *service) start() error {
	cmd := exec.Command(program, "run")
	cmd.Env = []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin"}
	cmd.Stdout, cmd.Stderr = s, s
	if err := s.host.Start(cmd); err != nil {
		return fmt.Errorf("start b4d: %w", err)
	}
	ended := make(chan struct{})
	s.mu.Lock()
	s.cmd, s.ended = cmd, ended
	s.mu.Unlock()
	go func() {
		cmd.Wait() // however it ends, it is not there then
		s.mu.Lock()
		s.cmd = nil
		s.mu.Unlock()
		close(ended)
	}()
	return nil
}

func (s *service) running() bool { return s.PID() != 0 }

// PID is b4d's process, 0 where there is none.
func (s *service) PID() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.cmd == nil {
		return 0
	}
	return s.cmd.Process.Pid
}

// Signal sends b4d a signal.
func (s *service) Signal(sig syscall.Signal) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.cmd == nil {
		return errors.New("b4d is not running")
	}
	return s.cmd.Process.Signal(sig)
}

// stop ends b4d by SIGTERM, or by SIGKILL where that takes long.
func (s *service) stop() error {
	s.mu.Lock()
	cmd, ended := s.cmd, s.ended
	s.mu.Unlock()
	if cmd == nil {
		return nil
	}
	cmd.Process.Signal(syscall.SIGCONT)
	cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-ended:
		return nil
	case <-time.After(stopLimit):
	}
	cmd.Process.Kill()
	<-ended
	return errors.New("b4d did not leave after SIGTERM")
}

// Kill ends b4d by SIGKILL, and returns when it is gone.
func (s *service) Kill() error {
	s.mu.Lock()
	ended := s.ended
	s.mu.Unlock()
	if err := s.Signal(unix.SIGKILL); err != nil {
		return err
	}
	<-ended
	return nil
}

// install puts the router's files below root: b4d, what the package brings, and
// the configuration of a router of which b4 knows nothing.
func install(root, app, b4d, config string) error {
	procd := filepath.Join(app, "..", "procd")
	if config == "" {
		text, err := os.ReadFile(filepath.Join(procd, "b4.config"))
		if err != nil {
			return err
		}
		config = string(text)
	}
	never, err := os.ReadFile(filepath.Join(procd, "never.txt"))
	if err != nil {
		return err
	}
	binary, err := os.ReadFile(b4d)
	if err != nil {
		return err
	}
	for _, f := range []struct {
		name, text string
		mode       os.FileMode
	}{
		{program, string(binary), 0o755},
		{neverFile, string(never), 0o600},
		{configDir + "/b4", config, 0o600},
		{configDir + "/system", "\nconfig system\n\toption hostname 'OpenWrt'\n\n", 0o600},
		{configDir + "/firewall", "\nconfig defaults\n\toption flow_offloading '1'\n\toption flow_offloading_hw '1'\n\n", 0o600},
		{configDir + "/luci", "\nconfig core 'main'\n\toption lang 'auto'\n\n", 0o600},
		{"/tmp/.keep", "", 0o600},
		{filepath.Dir(socketFile) + "/.keep", "", 0o600},
	} {
		path := filepath.Join(root, f.name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(path, []byte(f.text), f.mode); err != nil {
			return err
		}
	}
	return nil
}

// Build makes the b4d of the module that the app belongs to, and returns its path
// in dir.
func Build(app, dir string) (string, error) {
	path := filepath.Join(dir, "b4d")
	cmd := exec.Command("go", "build", "-C", filepath.Join(app, ".."), "-buildvcs=false", "-o", path, "./cmd/b4d")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build b4d: %w\n%s", err, strings.TrimSpace(string(out)))
	}
	return path, nil
}
