package lab

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// threads is how many operating system threads each namespace has: how many
// calls of Do can be under way in it at once, such as slow connects.
const threads = 4

// A Host is a network namespace and the threads that live in it.
type Host struct {
	Name string
	ns   *os.File
	jobs chan job
	live sync.WaitGroup
	once sync.Once
}

type job struct {
	f    func() error
	done chan error
}

// NewHost makes an empty namespace. It wraps unix.EPERM where that is forbidden.
func NewHost(name string) (*Host, error) {
	h := &Host{Name: name, jobs: make(chan job)}
	err := h.thread(func() error {
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("make network namespace %s: %w", name, err)
		}
		var err error
		h.ns, err = os.Open(fmt.Sprintf("/proc/self/task/%d/ns/net", unix.Gettid()))
		return err
	})
	for i := 1; i < threads && err == nil; i++ {
		err = h.thread(func() error { return unix.Setns(int(h.ns.Fd()), unix.CLONE_NEWNET) })
	}
	if err != nil {
		h.Close()
		return nil, err
	}
	return h, nil
}

// thread starts a locked thread, lets it enter the namespace, and has it serve
// jobs until Close. It is never unlocked: the runtime discards it at the end.
// The process's first thread cannot be discarded, so it only waits meanwhile.
func (h *Host) thread(enter func() error) error {
	entered := make(chan error)
	var run func()
	run = func() {
		runtime.LockOSThread()
		if unix.Gettid() == unix.Getpid() {
			ended := make(chan struct{})
			go func() { defer close(ended); run() }()
			<-ended
			runtime.UnlockOSThread()
			return
		}
		err := enter()
		entered <- err
		if err != nil {
			return
		}
		for j := range h.jobs {
			j.done <- j.f()
		}
	}
	h.live.Add(1)
	go func() { defer h.live.Done(); run() }()
	return <-entered
}

// Do runs f on a thread inside the namespace and returns its error. Sockets,
// devices and processes that f itself makes belong there; what a goroutine
// started by f makes does not.
func (h *Host) Do(f func() error) error {
	if h.jobs == nil {
		return f() // this process lives there: see Here
	}
	j := job{f, make(chan error, 1)}
	h.jobs <- j
	return <-j.done
}

// Start starts cmd inside the namespace. The process is killed if the lab dies.
func (h *Host) Start(cmd *exec.Cmd) error {
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	cmd.SysProcAttr.Pdeathsig = syscall.SIGKILL
	return h.Do(cmd.Start)
}

// Run starts cmd inside the namespace and waits for its end.
func (h *Host) Run(cmd *exec.Cmd) error {
	if err := h.Start(cmd); err != nil {
		return err
	}
	return cmd.Wait()
}

// Sysctl writes a value below /proc/sys as seen from the namespace. A name the
// kernel does not have is an error.
func (h *Host) Sysctl(name, value string) error {
	return h.Do(func() error {
		return os.WriteFile("/proc/sys/"+name, []byte(value), 0)
	})
}

// Close ends the threads, and with them the namespace and all in it, once no
// process of Start's is left. It is idempotent.
func (h *Host) Close() error {
	var err error
	h.once.Do(func() {
		close(h.jobs)
		h.live.Wait()
		if h.ns != nil {
			err = h.ns.Close()
		}
	})
	return err
}

// ErrNoNamespaces says that this process may not make network namespaces.
var ErrNoNamespaces = errors.New("the lab needs root, or a kernel that lets users make user namespaces")

// Enter makes sure that this process may build a lab. Where it may not, it runs
// itself once more as root of a user namespace of its own, with the same
// arguments, and exits with that child's code. Call it first thing in main.
func Enter() error {
	err := probe()
	if err == nil || !errors.Is(err, unix.EPERM) || os.Getenv(insideEnv) != "" {
		return err
	}
	cmd := exec.Command("/proc/self/exe", os.Args[1:]...)
	cmd.Args[0] = os.Args[0]
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.Env = append(os.Environ(), insideEnv+"=1")
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  syscall.CLONE_NEWUSER | syscall.CLONE_NEWNET | syscall.CLONE_NEWNS,
		UidMappings: []syscall.SysProcIDMap{{HostID: os.Getuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{HostID: os.Getgid(), Size: 1}},
	}
	err = cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		return fmt.Errorf("%w (user namespace: %v)", ErrNoNamespaces, err)
	}
	os.Exit(cmd.ProcessState.ExitCode())
	return nil
}

// insideEnv marks the process that Enter started, so that it starts no other.
const insideEnv = "B4_LAB_INSIDE"

// probe makes a namespace and a TUN device in it, and gives both back.
func probe() error {
	h, err := NewHost("probe")
	if err != nil {
		return err
	}
	defer h.Close()
	return h.Do(func() error {
		t, err := openTUN("probe")
		if err != nil {
			return err
		}
		return t.Close()
	})
}
