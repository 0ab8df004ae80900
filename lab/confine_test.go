package lab

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"

	"b4/confine"
	"b4/uci"
)

// b4d does all it is for with what is left to it, and writes nowhere but beside
// its socket: neither where it could, nor where it needs to.
func TestConfined(t *testing.T) {
	t.Parallel()
	engines(t, func(t *testing.T, engine string) {
		for _, sealed := range []bool{false, true} {
			t.Run(map[bool]string{false: "watched", true: "sealed"}[sealed], func(t *testing.T) {
				t.Parallel()
				c := &confined{newcomer{t: t, lab: build(t, Options{}), root: t.TempDir()}}
				c.furnish()
				c.move()
				if sealed {
					must(t, c.host.Do(seal))
				}
				c.live(engine)
			})
		}
	})
}

// Who looks for a fault can have b4d without its bonds.
func TestUnconfined(t *testing.T) {
	t.Parallel()
	l := build(t, Options{})
	d := launchB4D(t, l, configure("nfqueue", "option confine '0'"))
	for _, s := range mustRights(t, d) {
		if s.Filtered || s.NoNewPrivs {
			t.Errorf("confined though main.confine is 0: %+v", s)
		}
	}
}

// Both engines go by the kernel's count of packets. Where another program turns
// that off, the status names the line that turns it on again.
func TestUncounted(t *testing.T) {
	t.Parallel()
	l := build(t, Options{})
	d := launchB4D(t, l, configure("nfqueue"))
	must(t, l.CheckOpen(profile(t), Request{Host: Blocked}))
	must(t, l.Router.Sysctl("net/netfilter/nf_conntrack_acct", "0"))
	if l.CheckOpen(profile(t), Request{Host: Blocked}) == nil {
		t.Error("it is open, though nothing is counted")
	}
	if h := strings.Join(Sentences(mustStatus(t, d).Health), "; "); !strings.Contains(h, "set net.netfilter.nf_conntrack_acct=1 in") {
		t.Errorf("health: %q", h)
	}
	must(t, l.Router.Sysctl("net/netfilter/nf_conntrack_acct", "1"))
	must(t, l.CheckOpen(profile(t), Request{Host: Blocked}))
	if h := mustStatus(t, d).Health; len(h) > 0 {
		t.Errorf("health: %q", h)
	}
}

// mustRights are those of all threads of b4d, which must be a few.
func mustRights(t *testing.T, d *B4D) (all []confine.State) {
	t.Helper()
	tasks, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*", d.PID()))
	must(t, err)
	if len(tasks) < 3 {
		t.Fatalf("b4d has %d threads", len(tasks))
	}
	for _, task := range tasks {
		b, err := os.ReadFile(filepath.Join(task, "status"))
		if err != nil {
			continue // it has ended
		}
		s := confine.State{}
		for _, line := range strings.Split(string(b), "\n") {
			name, value, _ := strings.Cut(line, ":\t")
			var bits uint64
			if strings.HasPrefix(name, "Cap") {
				if _, err := fmt.Sscanf(value, "%x", &bits); err != nil {
					t.Fatalf("%s: %v", line, err)
				}
			}
			s.Capabilities |= bits
			s.NoNewPrivs = s.NoNewPrivs || line == "NoNewPrivs:\t1"
			s.Filtered = s.Filtered || line == "Seccomp:\t2"
		}
		all = append(all, s)
	}
	return all
}

// A confined is a router with b4d and its files alone.
type confined struct{ newcomer }

// furnish puts them there.
func (c *confined) furnish() {
	c.t.Helper()
	path, err := program()
	must(c.t, err)
	files := map[string]string{"/usr/sbin/b4d": path}
	must(c.t, libraries(files, path))
	for to, from := range files {
		must(c.t, os.MkdirAll(filepath.Dir(c.path(to)), 0o755))
		// Children of other tests may hold open what is written just now, and such
		// a program cannot be run.
		if os.Link(from, c.path(to)) == nil {
			continue
		}
		b, err := os.ReadFile(from)
		must(c.t, err)
		must(c.t, os.WriteFile(c.path(to), b, 0o755))
	}
	for _, dir := range []string{"/etc/config", "/etc/b4", "/root", "/tmp", "/var/log", "/var/tmp", filepath.Dir(uci.DefaultSocket)} {
		must(c.t, os.MkdirAll(c.path(dir), 0o755))
	}
}

// seal makes files and kernel's settings such that they can only be read. It is
// for the router's thread.
func seal() error {
	rw := filepath.Dir(uci.DefaultSocket)
	for _, dir := range []string{"/usr", "/etc", "/root", "/tmp", "/var", "/proc/sys"} {
		if err := unix.Mount(dir, dir, "", unix.MS_BIND, ""); err != nil {
			return fmt.Errorf("mount %s: %w", dir, err)
		}
		if err := unix.Mount("", dir, "", unix.MS_REMOUNT|unix.MS_BIND|unix.MS_RDONLY, ""); err != nil {
			return fmt.Errorf("seal %s: %w", dir, err)
		}
	}
	err := unix.Mount(rw, rw, "", unix.MS_BIND, "")
	if err == nil {
		err = unix.Mount("", rw, "", unix.MS_REMOUNT|unix.MS_BIND, "")
	}
	for _, name := range []string{"/var/x", "/etc/config/x", "/proc/sys/net/ipv4/ip_forward"} {
		if f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE, 0o600); !errors.Is(err, unix.EROFS) {
			f.Close()
			return fmt.Errorf("%s can be written: %v", name, err)
		}
	}
	return err
}

// live is b4d's whole life: it starts, treats, is asked, reloads and stops.
func (c *confined) live(engine string) {
	c.t.Helper()
	file := c.path("/etc/config/b4")
	must(c.t, os.WriteFile(file, []byte(configure(engine)), 0o600))
	seen := watchFiles(c.t, c.root, append([]string{filepath.Dir(uci.DefaultSocket)}, machineDirs...))
	d := &B4D{lab: c.lab, host: c.host, Socket: uci.DefaultSocket, file: file, cmd: exec.Command("/usr/sbin/b4d", "run")}
	d.cmd.Env = []string{"PATH=/usr/sbin"}
	must(c.t, d.start())
	c.d = d
	c.t.Cleanup(func() {
		if c.t.Failed() {
			c.t.Log("b4d's log:\n" + d.Log())
		}
		if err := d.Kill(); err != nil {
			c.t.Error(err)
		}
	})
	must(c.t, d.ready())
	c.opens()
	c.bound()
	if s := mustStatus(c.t, d); s.Engine.Name != engine || len(s.Health) > 0 {
		c.t.Errorf("engine %s, health %q", s.Engine.Name, s.Health)
	}
	must(c.t, d.Reload(configure(engine, "option max_flows '512'")))
	c.opens()
	if _, err := d.Ask("pause", "1"); err != nil {
		c.t.Error(err)
	}
	c.bound()
	if err := errors.Join(d.Signal(unix.SIGTERM), d.leave()); err != nil {
		c.t.Error(err)
	}
	if left, err := os.ReadDir(c.path(filepath.Dir(uci.DefaultSocket))); err != nil || len(left) > 0 {
		c.t.Errorf("left beside the socket: %v, %v", left, err)
	}
	for _, name := range seen() {
		if name != "/etc/config/b4" { // which the test writes
			c.t.Errorf("b4d has changed %s", name)
		}
	}
}

// bound asks that every thread has what it needs, and is still called b4d.
func (c *confined) bound() {
	c.t.Helper()
	want := confine.State{Capabilities: confine.Needed, NoNewPrivs: true, Filtered: true}
	for _, s := range mustRights(c.t, c.d) {
		if s != want {
			c.t.Errorf("a thread has %+v, want %+v", s, want)
		}
	}
	if name, err := os.ReadFile(fmt.Sprintf("/proc/%d/comm", c.d.PID())); string(name) != "b4d\n" {
		c.t.Errorf("it is called %q, %v", name, err)
	}
}

// watchFiles watches root, but for some directories, for what is made, changed or
// removed. What it returns tells the names of it.
func watchFiles(t *testing.T, root string, but []string) (seen func() []string) {
	t.Helper()
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	must(t, err)
	t.Cleanup(func() { unix.Close(fd) })
	dirs := map[int32]string{}
	must(t, filepath.WalkDir(root, func(path string, d os.DirEntry, err error) error {
		name := strings.TrimPrefix(path, root)
		switch {
		case err != nil || !d.IsDir():
			return err
		case slices.Contains(but, name):
			return filepath.SkipDir
		}
		wd, err := unix.InotifyAddWatch(fd, path, unix.IN_CREATE|unix.IN_DELETE|unix.IN_MODIFY|unix.IN_ATTRIB|unix.IN_MOVE)
		dirs[int32(wd)] = name
		return err
	}))
	return func() (names []string) {
		buf := make([]byte, 64<<10)
		n, err := unix.Read(fd, buf)
		if err == unix.EAGAIN {
			return nil
		}
		must(t, err)
		for b := buf[:n]; len(b) >= unix.SizeofInotifyEvent; {
			e := (*unix.InotifyEvent)(unsafe.Pointer(&b[0]))
			end := unix.SizeofInotifyEvent + int(e.Len)
			names = append(names, dirs[e.Wd]+"/"+strings.TrimRight(string(b[unix.SizeofInotifyEvent:end]), "\x00"))
			b = b[end:]
		}
		return names
	}
}
