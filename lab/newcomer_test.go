package lab

import (
	"bytes"
	"debug/elf"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"b4/uci"
)

// What a newcomer does: install the package, switch b4 on, start it, and a
// blocked site opens. The package is unpacked into a root that has nothing but
// a shell and what stands for OpenWrt's rc.common; the test stands for procd.
func TestNewcomer(t *testing.T) {
	t.Parallel()
	if _, err := exec.LookPath("busybox"); err != nil {
		t.Skip("busybox is missing: apt-get install busybox")
	}
	n := &newcomer{t: t, lab: build(t, Options{}), root: t.TempDir()}
	must(t, unpack(packed(t), n.root))
	asShipped(t, n.root)
	n.furnish()
	n.move()

	n.service("start")
	if n.param("command") != nil {
		t.Error("as it is installed, b4 starts")
	}
	n.allBlocked()

	n.set("enabled", "1")
	n.service("start")
	n.procdStarts()
	n.opens()
	n.status()

	n.set("engine", "warp")
	if said, code := n.service("reload"); code == 0 || !strings.Contains(said, "/etc/config/b4:") {
		t.Errorf("reload with a bad configuration: exit %d, %s", code, said)
	}
	n.healthy("refused")
	n.opens()

	n.set("engine", "auto")
	n.service("reload")
	n.procdReloads()
	n.healthy("")
	n.opens()

	n.service("stop")
	if err := n.d.leave(); err != nil {
		t.Error("stop:", err)
	}
	n.allBlocked()
}

// A newcomer is somebody with a new router.
type newcomer struct {
	t    *testing.T
	lab  *Lab
	root string // the router's files
	host *Host  // the router, with those files alone
	d    *B4D   // once it runs
}

func (n *newcomer) path(name string) string { return filepath.Join(n.root, name) }

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// furnish adds what the router had before: a shell, with the libraries that it
// needs here, directories, and rc.common.
func (n *newcomer) furnish() {
	n.t.Helper()
	busybox, err := exec.LookPath("busybox")
	must(n.t, err)
	files := map[string]string{"/bin/busybox": busybox, "/etc/rc.common": "../procd/testdata/rc.common"}
	must(n.t, libraries(files, busybox))
	for to, from := range files {
		b, err := os.ReadFile(from)
		must(n.t, err)
		must(n.t, os.MkdirAll(filepath.Dir(n.path(to)), 0o755))
		must(n.t, unforked(func() error { return os.WriteFile(n.path(to), b, 0o755) }))
	}
	must(n.t, os.Symlink("busybox", n.path("/bin/sh")))
	must(n.t, os.MkdirAll(n.path("/tmp/run"), 0o755))
	must(n.t, os.Symlink("tmp", n.path("/var")))
}

// libraries adds to files what the program at path is linked with; the loader
// looks for the libraries where it lies itself.
func libraries(files map[string]string, path string) error {
	f, err := elf.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	at := slices.IndexFunc(f.Progs, func(p *elf.Prog) bool { return p.Type == elf.PT_INTERP })
	if at < 0 {
		return nil
	}
	name, err := io.ReadAll(f.Progs[at].Open())
	if err != nil {
		return err
	}
	interp := strings.TrimRight(string(name), "\x00")
	loader, err := filepath.EvalSymlinks(interp)
	if err != nil {
		return err
	}
	files[interp] = loader
	libs, err := f.ImportedLibraries()
	for _, lib := range libs {
		lib = filepath.Join(filepath.Dir(loader), lib)
		files[lib] = lib
	}
	return err
}

// move makes the files the router's, until the test ends.
func (n *newcomer) move() {
	n.t.Helper()
	var err error
	n.host, err = n.lab.Router.Chroot(n.root)
	must(n.t, err)
	n.t.Cleanup(func() { n.host.Close() })
}

var comment = regexp.MustCompile(`(?m)^\s*#.*\n|[ \t]+#.*$`)

// set changes an option of the first section as `uci set` and `uci commit` do:
// into a new file, and without the comments.
func (n *newcomer) set(option, value string) {
	n.t.Helper()
	name := n.path("/etc/config/b4")
	b, err := os.ReadFile(name)
	must(n.t, err)
	line := regexp.MustCompile(`(?m)^\toption ` + option + ` .*$`)
	text := comment.ReplaceAllString(string(b), "")
	if found := line.FindAllString(text, -1); len(found) != 1 {
		n.t.Fatalf("option %s stands in the configuration as %q", option, found)
	}
	text = line.ReplaceAllString(text, "\toption "+option+" '"+value+"'")
	must(n.t, os.WriteFile(name+".new", []byte(text), 0o600))
	must(n.t, os.Rename(name+".new", name))
}

// servicePath is the PATH of procd and of what it starts.
const servicePath = "/usr/sbin:/usr/bin:/sbin:/bin"

// service runs /etc/init.d/b4, and returns what it prints and its exit code. What
// it asks procd for is in calls.
func (n *newcomer) service(args ...string) (said string, code int) {
	n.t.Helper()
	running, instance := "0", ""
	if n.d != nil {
		running, instance = "1", strconv.Itoa(n.d.PID())
	}
	cmd := exec.Command("/etc/init.d/b4", args...)
	cmd.Env = []string{"PATH=" + servicePath, "CALLS=/tmp/calls", "UCI_CONFIG_DIR=/etc/config", "RUNNING=" + running, "INSTANCE=" + instance}
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	must(n.t, os.WriteFile(n.path("/tmp/calls"), nil, 0o600))
	if err := n.host.Run(cmd); err != nil && cmd.ProcessState == nil {
		n.t.Fatal(err)
	}
	return out.String(), cmd.ProcessState.ExitCode()
}

// calls are what the script called last, a line each.
func (n *newcomer) calls() []string {
	n.t.Helper()
	b, err := os.ReadFile(n.path("/tmp/calls"))
	must(n.t, err)
	return strings.Split(strings.TrimSpace(string(b)), "\n")
}

// param is what the script set a parameter of its instance to, nil if it did not.
func (n *newcomer) param(name string) []string {
	n.t.Helper()
	for _, call := range n.calls() {
		if words := strings.Fields(call); len(words) > 2 && words[0] == "procd_set_param" && words[1] == name {
			return words[2:]
		}
	}
	return nil
}

// procdStarts starts what procd was told to, and waits until it serves.
func (n *newcomer) procdStarts() {
	n.t.Helper()
	command := n.param("command")
	if command == nil {
		n.t.Fatalf("procd is told to run nothing: %q", n.calls())
	}
	d := &B4D{lab: n.lab, host: n.host, Socket: uci.DefaultSocket, cmd: exec.Command(command[0], command[1:]...)}
	d.cmd.Env = []string{"PATH=" + servicePath}
	must(n.t, d.start())
	n.d = d
	n.t.Cleanup(func() {
		if n.t.Failed() {
			n.t.Log("b4d's log:\n" + d.Log())
		}
		if err := d.Kill(); err != nil {
			n.t.Error(err)
		}
	})
	must(n.t, d.ready())
}

// procdReloads does what procd does when it is told of an instance anew, and one
// of the instance's files is another one.
func (n *newcomer) procdReloads() {
	n.t.Helper()
	signal := n.param("reload_signal")
	if !slices.Equal(signal, []string{"HUP"}) || !slices.Contains(n.param("file"), "/etc/config/b4") {
		n.t.Errorf("procd is told to send %v when a file changes", signal)
	}
	must(n.t, n.d.Signal(syscall.SIGHUP))
}

// requests are those of the client for a name.
func requests(host string) []Request { return []Request{{Host: host}, {Host: host, V6: true}} }

func (n *newcomer) allBlocked() {
	n.t.Helper()
	if err := errors.Join(n.lab.CheckAllBlocked(profile(n.t), requests(Blocked))...); err != nil {
		n.t.Error(err)
	}
}

// opens asks for a blocked site and for another one.
func (n *newcomer) opens() {
	n.t.Helper()
	for _, r := range append(requests(Blocked), requests(Allowed)...) {
		if err := n.lab.CheckOpen(profile(n.t), r); err != nil {
			n.t.Errorf("%s, v6 %t: %v", r.Host, r.V6, err)
		}
	}
}

// status asks the script, as people do and as programs do.
func (n *newcomer) status() {
	n.t.Helper()
	if said, code := n.service("status"); code != 0 || !strings.Contains(said, "engine:  nfqueue") {
		n.t.Errorf("status: exit %d, %s", code, said)
	}
	if !slices.Contains(n.calls(), "extra_command status") {
		n.t.Errorf("the script does not offer its status: %q", n.calls())
	}
	n.healthy("")
}

// healthy waits until the status says nothing but what is wrong by the given
// word; nothing at all if that is empty.
func (n *newcomer) healthy(but string) {
	n.t.Helper()
	eventually(n.t, "status", func() error {
		said, code := n.service("status", "-json")
		var s Status
		if err := json.Unmarshal([]byte(said), &s); err != nil || code != 0 {
			return fmt.Errorf("exit %d, %v: %s", code, err, said)
		}
		switch {
		case but == "" && len(s.Health) == 0:
			return nil
		case but != "" && len(s.Health) == 1 && strings.Contains(s.Health[0].Text, but):
			return nil
		}
		return fmt.Errorf("it says %q", s.Health)
	})
}
