package lab

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// A B4D is a b4d that runs in the lab's router.
type B4D struct {
	Socket string // of its control interface

	lab    *Lab
	host   *Host // where it runs: the router, as the process sees it
	cmd    *exec.Cmd
	dir    string // of file and Socket, to be removed
	file   string // its configuration
	log    transcript
	before []string      // the router's state without it
	moved  bool          // the uplink has changed since, and with it the usual routes
	ended  chan struct{} // closed when the process has ended
	died   time.Time     // when that was
	runs   error         // of Executed, when it had ended
}

// startLimit is how long b4d may take to answer on its socket.
const startLimit = 10 * time.Second

// StartB4D starts the program at path in the router, with config as its UCI
// file, and returns when it serves. Its PATH is an empty directory.
func (l *Lab) StartB4D(path, config string) (*B4D, error) {
	d, err := l.launch(path, config)
	if err != nil {
		return nil, err
	}
	if err := d.ready(); err != nil {
		return nil, errors.Join(err, d.Kill())
	}
	return d, nil
}

// launch is StartB4D that does not wait.
func (l *Lab) launch(path, config string) (_ *B4D, err error) {
	dir, err := os.MkdirTemp("", "b4lab")
	if err != nil {
		return nil, err
	}
	d := &B4D{
		lab: l, host: l.Router, dir: dir, file: filepath.Join(dir, "b4"), Socket: filepath.Join(dir, "b4.sock"),
	}
	bin := filepath.Join(dir, "bin")
	d.cmd = exec.Command(path, "run", "-config", d.file, "-set", "main.socket="+d.Socket)
	d.cmd.Env = []string{"PATH=" + bin}
	err = errors.Join(d.write(config), os.Mkdir(bin, 0o700))
	if err == nil {
		err = d.start()
	}
	if err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	return d, nil
}

// start starts the process, and looks at the router before.
func (d *B4D) start() (err error) {
	if d.before, err = d.lab.Router.State(); err != nil {
		return err
	}
	d.cmd.Stdout, d.cmd.Stderr = &d.log, &d.log
	if err := d.host.Start(d.cmd); err != nil {
		return fmt.Errorf("start b4d: %w", err)
	}
	d.ended = make(chan struct{})
	go d.reap()
	return nil
}

func (d *B4D) write(config string) error { return os.WriteFile(d.file, []byte(config), 0o600) }

// Reload puts another configuration in force, and returns when it is. It is an
// error if b4d refuses it.
func (d *B4D) Reload(config string) error {
	const refused, done = "reload refused", "msg=reloaded"
	count := func() (int, int) { return strings.Count(d.Log(), refused), strings.Count(d.Log(), done) }
	no, yes := count()
	if err := errors.Join(d.write(config), d.Signal(syscall.SIGHUP)); err != nil {
		return err
	}
	deadline := time.Now().Add(d.lab.patience(startLimit))
	for time.Now().Before(deadline) {
		switch n, y := count(); {
		case n > no:
			return fmt.Errorf("b4d refuses the configuration:\n%s", d.Log())
		case y > yes:
			return nil
		}
		time.Sleep(5 * time.Millisecond)
	}
	return fmt.Errorf("b4d does not reload:\n%s", d.Log())
}

// reap waits for the end, and looks at the process's accounts before they go.
func (d *B4D) reap() {
	for unix.Waitid(unix.P_PID, d.cmd.Process.Pid, nil, unix.WEXITED|unix.WNOWAIT, nil) == unix.EINTR {
	}
	d.died = time.Now() // what follows takes a while on a busy machine
	d.runs = Executed(d.cmd.Process.Pid)
	d.cmd.Wait() // how it ended is in ProcessState
	close(d.ended)
}

// ready waits until b4d answers.
func (d *B4D) ready() error {
	deadline := time.Now().Add(d.lab.patience(startLimit))
	for {
		_, err := d.Status()
		if err == nil {
			return nil
		}
		select {
		case <-d.ended:
			return fmt.Errorf("b4d ended with %v:\n%s", d.cmd.ProcessState, d.Log())
		case <-time.After(20 * time.Millisecond):
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("b4d does not answer: %w\n%s", err, d.Log())
		}
	}
}

// A Status is what `b4d status -json` says, as far as the lab reads it.
type Status struct {
	Engine struct {
		Name     string `json:"name"`
		Why      string `json:"why"`
		Uplink   string `json:"uplink"` // of engine tun
		Counters struct {
			Read       uint64 `json:"read"`
			Sent       uint64 `json:"sent"`
			SendFailed uint64 `json:"send_failed"`
			Lost       uint64 `json:"lost"`
		} `json:"counters"`
	} `json:"engine"`
	Kernel struct {
		Opened uint64 `json:"opened"` // connections
	} `json:"kernel"`
	Rules []struct {
		Name string `json:"name"`
		TLS  string `json:"tls"`
		HTTP string `json:"http"`
		QUIC string `json:"quic"`
	} `json:"rules"`
	Memory struct {
		Allocations uint64 `json:"allocations"` // since the start
		Collections uint32 `json:"collections"` // of garbage
	} `json:"memory"`
	Health []Finding `json:"health"`
}

// A Finding is what b4d says is not as it should be.
type Finding struct {
	Code string   `json:"code"`
	Text string   `json:"text"`
	Args []string `json:"args"`
}

// Sentences are the texts of findings.
func Sentences(list []Finding) (all []string) {
	for _, f := range list {
		all = append(all, f.Text)
	}
	return all
}

// Since tells what came after an earlier status: packets to user space, and
// connections.
func (s *Status) Since(earlier Status) (packets, connections uint64) {
	return s.Engine.Counters.Read - earlier.Engine.Counters.Read, s.Kernel.Opened - earlier.Kernel.Opened
}

// AtRest is the status once b4d has read what there was of earlier connections,
// which may have been sent again and again while it was slow.
func (d *B4D) AtRest() (Status, error) {
	last, err := d.Status()
	for range 20 {
		if err != nil {
			break
		}
		time.Sleep(20 * time.Millisecond)
		before := last
		last, err = d.Status()
		if packets, _ := last.Since(before); packets == 0 {
			break
		}
	}
	return last, err
}

// Strategy is the text of what a rule does to a protocol; empty if there is no
// such rule.
func (s *Status) Strategy(rule string, p Proto) string {
	for _, r := range s.Rules {
		if r.Name == rule {
			return [...]string{TLS: r.TLS, HTTP: r.HTTP, QUIC: r.QUIC}[p]
		}
	}
	return ""
}

// Status asks the running b4d.
func (d *B4D) Status() (Status, error) {
	var s Status
	out, err := d.Ask("status", "-json")
	if err != nil {
		return s, err
	}
	if err := json.Unmarshal(out, &s); err != nil {
		return s, fmt.Errorf("read status: %w", err)
	}
	if s.Engine.Name == "" {
		return s, errors.New("status names no engine")
	}
	return s, nil
}

// Ask runs one of the binary's other verbs against this b4d and returns what it
// prints.
func (d *B4D) Ask(verb string, flags ...string) ([]byte, error) {
	cmd := exec.Command(d.cmd.Path, append([]string{verb, "-socket", d.Socket}, flags...)...)
	cmd.Env = d.cmd.Env
	var out, msg transcript
	cmd.Stdout, cmd.Stderr = &out, &msg
	if err := d.host.Run(cmd); err != nil {
		return nil, fmt.Errorf("b4d %s: %w: %s", verb, err, strings.TrimSpace(msg.String()))
	}
	return []byte(out.String()), nil
}

// PID is the process's number.
func (d *B4D) PID() int { return d.cmd.Process.Pid }

// Log is what b4d has written so far.
func (d *B4D) Log() string { return d.log.String() }

// Signal sends a signal and does not wait.
func (d *B4D) Signal(s syscall.Signal) error { return d.cmd.Process.Signal(s) }

// stopLimit is how long b4d may take to leave after SIGTERM.
const stopLimit = 5 * time.Second

// Stop ends b4d by SIGTERM. It is an error if that takes long, if b4d exits with
// a code, if it has executed a program, or if anything of it is left.
func (d *B4D) Stop() error {
	if err := d.Signal(syscall.SIGTERM); err != nil {
		return errors.Join(fmt.Errorf("stop b4d: %w\n%s", err, d.Log()), d.Kill())
	}
	return d.leave()
}

// leave is Stop after the signal.
func (d *B4D) leave() error {
	select {
	case <-d.ended:
	case <-time.After(d.lab.patience(stopLimit)):
		return errors.Join(fmt.Errorf("b4d is still there after SIGTERM\n%s", d.Log()), d.Kill())
	}
	var errs []error
	if code := d.cmd.ProcessState.ExitCode(); code != 0 {
		errs = append(errs, fmt.Errorf("b4d ended with %v\n%s", d.cmd.ProcessState, d.Log()))
	}
	left := func() error { _, err := os.Lstat(d.Socket); return err }
	if err := d.host.Do(left); !errors.Is(err, os.ErrNotExist) {
		errs = append(errs, fmt.Errorf("b4d left its socket %s", d.Socket))
	}
	return errors.Join(append(errs, d.runs, d.gone(false), os.RemoveAll(d.dir))...)
}

// Kill ends b4d by SIGKILL. It is an error if it has executed a program, or if
// more is left than its socket file and rules that lead nowhere. A B4D that has
// ended is killed already.
func (d *B4D) Kill() error {
	d.Signal(syscall.SIGKILL) // fails only where it has ended
	<-d.ended
	return errors.Join(d.runs, d.gone(true), os.RemoveAll(d.dir))
}

// goneLimit is how long the kernel may take to free what a process owned.
const goneLimit = 3 * time.Second

// gone waits until the router is as it was before b4d: the kernel frees what a
// dead process owned a moment after its end. A killed one may leave an inert
// rule; what an earlier one left need not be there any more.
func (d *B4D) gone(killed bool) error {
	deadline := time.Now().Add(d.lab.patience(goneLimit))
	for {
		now, err := d.lab.Router.State()
		if err != nil {
			return err
		}
		if killed {
			now = withoutInert(now)
		}
		diff := Changes(withoutInert(d.before), now)
		if d.moved {
			diff = slices.DeleteFunc(diff, usual)
		}
		if len(diff) == 0 {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("b4d left in the router: %s", strings.Join(diff, ", "))
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// usual tells of a changed line of a state whether it is a route of the table
// main.
func usual(line string) bool {
	return strings.HasPrefix(line[1:], "route ") && strings.Contains(line, fmt.Sprintf(" table %d: ", unix.RT_TABLE_MAIN))
}

// transcript is a buffer for several goroutines that keeps the newest output.
type transcript struct {
	mu sync.Mutex
	b  []byte
}

const transcriptCap = 256 << 10

func (t *transcript) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.b = append(t.b, p...)
	if over := len(t.b) - transcriptCap; over > 0 {
		t.b = append(t.b[:0], t.b[over:]...)
	}
	return len(p), nil
}

func (t *transcript) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return string(t.b)
}
