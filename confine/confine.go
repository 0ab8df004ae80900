// Package confine gives up what b4d does not need, so that whoever takes it over
// has two capabilities, and no way to run programs, to reach into other processes
// or to change the machine.
//
// The kernel keeps all of this a thread at a time, and a Go program has several
// before its first line runs. So there are two ways that cover them all: what a
// thread gives up before it executes b4d anew (capabilities, no_new_privs), as
// execve leaves that thread alone; and seccomp's filters, which the kernel gives
// to all threads at once.
package confine

import (
	"errors"
	"fmt"
	"math"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Needed are the capabilities that b4d cannot do without: netlink, the TUN and
// its settings; raw sockets.
const Needed = 1<<unix.CAP_NET_ADMIN | 1<<unix.CAP_NET_RAW

// onceEnv marks a b4d that was executed anew, so that it is not once more where
// that has helped nothing.
const onceEnv = "B4D_CONFINED"

// Apply confines the process, and is to be called first thing: where it has to
// execute it anew, with the same arguments, it does not return. Call it on the
// first thread, whose signal at its parent's death (prctl(2)) is the process's.
// After an error the process goes on with more than it needs; [Notes] tells what.
func Apply() error {
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("set no_new_privs: %w", err)
	}
	s, err := Look()
	if err == nil && s.Capabilities&^Needed != 0 && os.Getenv(onceEnv) == "" {
		err = again()
	}
	return errors.Join(err, install(program(denied(), flags)))
}

// again executes the program with what is needed alone. Of root's capabilities it
// gets what this thread's bounding and inheritable sets have then (capabilities(7),
// P'(permitted)), in a jail too. What this thread has itself stays, for the case
// that it has to go on.
func again() error {
	name := make([]byte, unix.PathMax) // pidof and killall look for it
	n, err := unix.Readlink("/proc/self/exe", name)
	if err == nil {
		err = bound()
	}
	if err == nil {
		err = unix.Exec(string(name[:n]), os.Args, append(os.Environ(), onceEnv+"=1"))
	}
	return fmt.Errorf("execute b4d with fewer capabilities: %w", err)
}

// bound leaves what is needed in the calling thread's bounding set, and nothing
// in the inheritable one, nor by that in the ambient one.
func bound() error {
	for c := 0; c <= unix.CAP_LAST_CAP; c++ {
		if Needed>>c&1 == 1 {
			continue
		}
		err := unix.Prctl(unix.PR_CAPBSET_DROP, uintptr(c), 0, 0, 0)
		if err != nil && err != unix.EINVAL { // an older kernel has fewer
			return err
		}
	}
	head := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var sets [2]unix.CapUserData // of 32 each
	if err := unix.Capget(&head, &sets[0]); err != nil {
		return err
	}
	sets[0].Inheritable, sets[1].Inheritable = 0, 0
	return unix.Capset(&head, &sets[0])
}

// A State is what the process may do, all its threads together.
type State struct {
	Capabilities uint64 // a bit for each that some thread has or could get
	NoNewPrivs   bool   // of every thread
	Filtered     bool   // a seccomp filter is over every thread
}

// Look reads the state of this process from /proc, at the price of a file for
// each thread.
func Look() (State, error) { return look("/proc/self/task") }

func look(dir string) (State, error) {
	var threads []string
	d, err := os.Open(dir)
	if err == nil {
		threads, err = d.Readdirnames(-1)
		d.Close()
	}
	s := State{NoNewPrivs: true, Filtered: true}
	for _, t := range threads {
		text, err := os.ReadFile(dir + "/" + t + "/status")
		if err == nil { // else it has ended
			s.add(string(text))
		}
	}
	if err != nil {
		return State{}, fmt.Errorf("read what b4d may do: %w", err)
	}
	return s, nil
}

// add takes in a thread's status (proc_pid_status(5)). What cannot be read of it
// counts as all, or as none; a kernel without filters has no line of them.
func (s *State) add(status string) {
	for _, line := range strings.Split(status, "\n") {
		if !strings.HasPrefix(line, "Cap") {
			continue
		}
		_, value, _ := strings.Cut(line, ":\t")
		set, err := strconv.ParseUint(value, 16, 64)
		if err != nil {
			set = math.MaxUint64
		}
		s.Capabilities |= set
	}
	s.NoNewPrivs = s.NoNewPrivs && strings.Contains(status, "\nNoNewPrivs:\t1\n")
	s.Filtered = s.Filtered && strings.Contains(status, "\nSeccomp:\t2\n")
}

// A Note is a sentence. Who says it in other words goes by Code.
type Note struct {
	Code string
	Text string // in English, without its point
}

// Notes are those of this process's state, or why it cannot be read.
func Notes() []Note {
	s, err := Look()
	if err != nil {
		return []Note{{"note_unread", err.Error()}}
	}
	return s.Notes()
}

// Notes tells what of b4d's least privilege is missing, and how to get it: none
// if all is there.
func (s State) Notes() (list []Note) {
	if more := s.Capabilities &^ Needed; more != 0 {
		list = append(list, Note{"note_rights", fmt.Sprintf("b4d has capabilities besides NET_ADMIN and NET_RAW (%#x), and could not drop them: "+
			"install procd-ujail, which does, and restart b4", more)})
	}
	if !s.NoNewPrivs {
		list = append(list, Note{"note_rights", "b4d runs without no_new_privs, and could not set it: install procd-ujail, which does, and restart b4"})
	}
	if !s.Filtered {
		list = append(list, Note{"note_filter", "no filter keeps b4d from system calls that it does not need: " +
			"the kernel wants CONFIG_SECCOMP_FILTER, or set main.confine to 0 where that is known"})
	}
	return list
}
