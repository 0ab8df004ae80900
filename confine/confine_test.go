package confine

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

// childEnv makes the test binary one of the children below: what it confines is
// itself, and for good.
const childEnv = "B4_CONFINE_CHILD"

func init() {
	if os.Getenv(childEnv) != "" {
		runtime.LockOSThread() // main's is the first thread
	}
}

func TestMain(m *testing.M) {
	switch os.Getenv(childEnv) {
	case "":
		os.Exit(m.Run())
	case "filter":
		filterChild()
	case "apply":
		applyChild()
	}
}

// child runs one, and returns what it printed.
func child(t *testing.T, name string, env ...string) string {
	t.Helper()
	if testing.Short() {
		t.Skip("runs itself anew")
	}
	c := exec.Command("/proc/self/exe")
	c.Env = append(append(os.Environ(), childEnv+"="+name), env...)
	c.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGUSR2}
	var out bytes.Buffer
	c.Stdout, c.Stderr = &out, &out
	if err := c.Run(); err != nil {
		t.Fatalf("%v\n%s", err, &out)
	}
	if strings.Contains(out.String(), "filter system calls: ") {
		t.Skip("no seccomp here, or emulation without it: ", out.String())
	}
	return out.String()
}

// threads starts n that wait, and then each do what they are told to.
func threads(n int) (do func(what func()), free func()) {
	jobs, done := make(chan func()), make(chan struct{})
	r, w, err := os.Pipe()
	if err != nil {
		panic(err)
	}
	var held sync.WaitGroup
	for range n {
		held.Add(1)
		go func() {
			runtime.LockOSThread()
			held.Done()
			unix.Read(int(r.Fd()), make([]byte, 1)) // as a thread is, that waits in the kernel
			for job := range jobs {
				job()
				done <- struct{}{}
			}
		}()
	}
	held.Wait()
	free = func() { w.Write(make([]byte, n)) }
	do = func(what func()) {
		for range n {
			jobs <- what
		}
		for range n {
			<-done
		}
	}
	return do, free
}

// callOfCalls is MIPS's syscall.
const callOfCalls = 4000

// refused asks for each call that is denied, with arguments that no kernel takes.
func refused() {
	const bad = ^uintptr(0)
	for _, nr := range append([]uint32{unix.SYS_MOUNT}, denied()...) { // mount does no harm if all is allowed
		want := unix.EPERM
		switch nr {
		case callOfCalls, unix.SYS_CLONE:
			continue // see below
		case unix.SYS_CLONE3:
			want = unix.ENOSYS
		}
		if _, _, err := unix.RawSyscall6(uintptr(nr), bad, bad, bad, bad, bad, bad); err != want {
			fmt.Printf("thread %d: call %d: %v, want %v\n", unix.Gettid(), nr, err, want)
			os.Exit(1)
		}
	}
	if _, _, err := unix.RawSyscall6(unix.SYS_CLONE, uintptr(unix.SIGCHLD), 0, 0, 0, 0, 0); err != unix.EPERM {
		fmt.Println("a process by clone:", err)
		os.Exit(1)
	}
	if _, _, err := unix.RawSyscall6(unix.SYS_OPEN_TREE_ATTR+1, bad, bad, bad, bad, bad, bad); err != unix.ENOSYS {
		fmt.Println("a newer call:", err)
		os.Exit(1)
	}
	if err := indirect(); err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
}

func filterChild() {
	before, free := threads(8)
	err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
	if err == nil {
		err = install(program(denied(), flags))
	}
	if err != nil {
		fmt.Println(err)
		os.Exit(0)
	}
	free()
	refused()
	before(refused)
	after, free := threads(30)
	free()
	after(refused)
	if err := exec.Command("/proc/self/exe").Run(); err == nil {
		fmt.Println("a program was run")
		os.Exit(1)
	}
	// And what b4d does still works.
	r, w, err := os.Pipe()
	if err == nil {
		go func() { w.WriteString("well"); w.Close() }()
		_, err = io.Copy(os.Stdout, r)
	}
	runtime.GC()
	if s, lookErr := Look(); err != nil || lookErr != nil || !s.Filtered || !s.NoNewPrivs {
		fmt.Println(s, err, lookErr)
		os.Exit(1)
	}
}

// Each call that is not to be fails as it should, in threads from before and
// after, and the rest goes on.
func TestFilter(t *testing.T) {
	if out := child(t, "filter"); out != "well" {
		t.Error(out)
	}
}

func applyChild() {
	if os.Getenv(onceEnv) == "" {
		inherit()
	}
	_, free := threads(8)
	defer free()
	if err := Apply(); err != nil {
		fmt.Println(err)
	}
	_, free = threads(30)
	defer free()
	s, err := Look()
	signal := int32(0)
	if _, _, errno := unix.RawSyscall(unix.SYS_PRCTL, unix.PR_GET_PDEATHSIG, uintptr(unsafe.Pointer(&signal)), 0); errno != 0 {
		err = errno
	}
	fmt.Println(s.Capabilities&^Needed, s.Capabilities&Needed, s.NoNewPrivs, s.Filtered, len(s.Notes()), err, signal)
}

// inherit makes all that this thread has inheritable, as some that start services
// do.
func inherit() {
	head := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var sets [2]unix.CapUserData
	err := unix.Capget(&head, &sets[0])
	for i := range sets {
		sets[i].Inheritable = sets[i].Permitted
	}
	if err := errors.Join(err, unix.Capset(&head, &sets[0])); err != nil {
		fmt.Println(err)
	}
}

// All of it, in all threads; a process of root's is executed anew for that, and
// still ends with its parent.
func TestApply(t *testing.T) {
	before, err := Look()
	if err != nil {
		t.Fatal(err)
	}
	want := fmt.Sprintln(0, before.Capabilities&Needed, true, true, 0, nil, int(syscall.SIGUSR2))
	if out := child(t, "apply"); out != want {
		t.Errorf("%q, want %q", out, want)
	}
	if more := before.Capabilities &^ Needed; more != 0 { // one that has been executed anew is not again
		want := fmt.Sprintln(more, before.Capabilities&Needed, true, true, 1, nil, int(syscall.SIGUSR2))
		if out := child(t, "apply", onceEnv+"=1"); out != want {
			t.Errorf("%q, want %q", out, want)
		}
	}
}

func TestLook(t *testing.T) {
	const well = "Name:\tb4d\nCapInh:\t0000000000000000\nCapPrm:\t0000000000003000\nCapEff:\t0000000000003000\n" +
		"CapBnd:\t0000000000003000\nCapAmb:\t0000000000000000\nNoNewPrivs:\t1\nSeccomp:\t2\nSeccomp_filters:\t1\n"
	other := func(old, text string) string { return strings.Replace(well, old, text, 1) }
	tests := []struct {
		name    string
		threads []string
		want    State
		notes   string // the word that tells it from others
	}{
		{"well", []string{well, well}, State{Needed, true, true}, ""},
		{"a thread of root's", []string{well, other("CapEff:\t0000000000003000", "CapEff:\t000001ffffffffff"), well}, State{1<<41 - 1, true, true}, "(0x1ffffffcfff)"},
		{"to be had", []string{other("CapBnd:\t0000000000003000", "CapBnd:\t0000000000203000")}, State{1<<21 | Needed, true, true}, "(0x200000)"},
		{"a thread with new privileges", []string{well, other("Privs:\t1", "Privs:\t0")}, State{Needed, false, true}, "no_new_privs"},
		{"a thread without a filter", []string{other("Seccomp:\t2", "Seccomp:\t0"), well}, State{Needed, true, false}, "filter"},
		{"a kernel without filters", []string{other("Seccomp:\t2\n", "")}, State{Needed, true, false}, "CONFIG_SECCOMP_FILTER"},
		{"nonsense", []string{other("CapAmb:\t0", "CapAmb:\tx")}, State{math.MaxUint64, true, true}, "NET_ADMIN"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			for i, text := range append(tt.threads, "") {
				task := filepath.Join(dir, fmt.Sprint(100+i))
				if err := os.Mkdir(task, 0o755); err != nil {
					t.Fatal(err)
				}
				if text == "" {
					continue // it has ended
				}
				if err := os.WriteFile(filepath.Join(task, "status"), []byte(text), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			got, err := look(dir)
			if err != nil || got != tt.want {
				t.Fatalf("%+v, %v, want %+v", got, err, tt.want)
			}
			if notes := fmt.Sprint(got.Notes()); !strings.Contains(notes, tt.notes) || (notes == "[]") != (tt.notes == "") {
				t.Errorf("notes %q", notes)
			}
		})
	}
	if _, err := look(filepath.Join(t.TempDir(), "none")); err == nil {
		t.Error("no /proc, and no error")
	}
}
