// Package procd has no code: it holds what the package installs beside b4d. Its
// tests run the init script under busybox, with OpenWrt's functions replaced by
// those of testdata/rc.common.
package procd

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"b4/uci"
)

// A router is a directory with what the init script finds on a router.
type router struct {
	t   *testing.T
	dir string
	env []string
}

// newRouter makes a router with the given configuration, whose b4d is a script.
func newRouter(t *testing.T, config string) *router {
	t.Helper()
	r := &router{t: t, dir: t.TempDir()}
	r.env = []string{"PATH=" + os.Getenv("PATH"), "CALLS=" + r.path("calls"), "UCI_CONFIG_DIR=" + r.path("etc/config"), "REFUSES=0", "RUNNING=0"}
	script := r.read("b4.init")
	for _, path := range []string{"/usr/sbin/b4d", "/sbin/ujail"} {
		if strings.Count(script, path) != 1 {
			t.Fatalf("%s does not stand in b4.init once", path)
		}
		script = strings.Replace(script, path, r.path(path), 1)
	}
	r.write("etc/init.d/b4", script)
	r.write("etc/config/b4", config)
	// A file written just now may be open in a child of another test's, and such
	// a program cannot be run.
	r.link("usr/sbin/b4d", "testdata/b4d")
	return r
}

func (r *router) path(name string) string { return filepath.Join(r.dir, name) }

func (r *router) read(name string) string {
	r.t.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		r.t.Fatal(err)
	}
	return string(b)
}

func (r *router) write(name, text string) {
	r.t.Helper()
	if err := os.MkdirAll(filepath.Dir(r.path(name)), 0o755); err != nil {
		r.t.Fatal(err)
	}
	if err := os.WriteFile(r.path(name), []byte(text), 0o755); err != nil {
		r.t.Fatal(err)
	}
}

func (r *router) link(name, to string) {
	r.t.Helper()
	to, err := filepath.Abs(to)
	if err == nil {
		err = os.MkdirAll(filepath.Dir(r.path(name)), 0o755)
	}
	if err == nil {
		err = os.Symlink(to, r.path(name))
	}
	if err != nil {
		r.t.Fatal(err)
	}
}

// service runs `/etc/init.d/b4 args` and returns what it called, with the extra
// commands left out, what it printed and its exit code.
func (r *router) service(args ...string) (calls, stdout, stderr string, code int) {
	r.t.Helper()
	busybox, err := exec.LookPath("busybox")
	if err != nil {
		r.t.Skip("busybox is missing: apt-get install busybox")
	}
	os.Remove(r.path("calls"))
	c := exec.Command(busybox, append([]string{"ash", "-u", "testdata/rc.common", r.path("etc/init.d/b4")}, args...)...)
	c.Env = r.env
	var o, e bytes.Buffer
	c.Stdout, c.Stderr = &o, &e
	if err := c.Run(); err != nil && c.ProcessState == nil {
		r.t.Fatal(err)
	}
	var lines []string
	for _, l := range strings.SplitAfter(r.read(r.path("calls")), "\n") {
		if !strings.HasPrefix(l, "extra_command ") {
			lines = append(lines, strings.ReplaceAll(l, r.dir, ""))
		}
	}
	return strings.Join(lines, ""), o.String(), e.String(), c.ProcessState.ExitCode()
}

const triggers = `procd_add_reload_trigger b4 firewall network
procd_add_raw_trigger 'interface.*' 2000 /etc/init.d/b4 reload
procd_close_service
`

const closed = `procd_append_param file /etc/b4/never.txt
procd_add_jail_mount /etc/b4
procd_close_instance
` + triggers

// bare tells procd nothing that a reload would have to restart b4d for.
const bare = `procd_open_service b4
b4d check -offline
procd_open_instance
procd_set_param command /usr/sbin/b4d run
procd_set_param file /etc/config/b4 /etc/config/firewall /etc/config/network
procd_set_param reload_signal HUP
procd_set_param respawn 60 5 30
procd_set_param stderr 1
`

const off = `procd_open_service b4
b4d check -offline
` + triggers

const jail = `procd_set_param capabilities /etc/capabilities/b4.json
procd_set_param no_new_privs 1
procd_add_jail b4 procfs
procd_add_jail_mount /etc/config /etc/b4 /var/run/uci /var/run/ubus
`

const refused = `procd_open_service b4
b4d check -offline
`

func TestInit(t *testing.T) {
	const on = "config b4 'main'\n\toption enabled '1'\n"
	tests := []struct {
		name, config string
		env          []string // REFUSES, RUNNING
		ujail        bool
		args         string
		calls        string
		stdout       string
		stderr       string
		code         int
	}{
		{name: "start", config: on, args: "start", calls: bare + closed},
		{name: "start, as it is installed", config: string(mustRead("b4.config")), args: "start", calls: off},
		{name: "start, switched off", config: "config b4 'main'\n\toption enabled 'off'\n", args: "start", calls: off},
		{name: "start without a section", args: "start", calls: off},
		{name: "start with a word for 1", config: "config b4 'main'\n\toption enabled 'yes'\n", args: "start",
			calls: bare + closed},
		{name: "start in the jail", config: on, ujail: true, args: "start",
			calls: bare + "mkdir -p /etc/b4 /var/run/b4\n" + jail + "procd_add_jail_mount_rw /dev/net/tun /var/run/b4\n" + closed},
		{name: "start with a socket elsewhere", config: on + "\toption socket '/tmp/elsewhere/s'\n", ujail: true, args: "start",
			calls: bare + "mkdir -p /etc/b4 /tmp/elsewhere\n" + jail + "procd_add_jail_mount_rw /dev/net/tun /tmp/elsewhere\n" + closed},
		{name: "start with lists", args: "start",
			config: on + "config rule 'a'\n\tlist domain_file '/etc/b4/a'\n\tlist domain_file '/mnt/my lists/b'\nconfig rule\n\tlist domain_file '/c'\n",
			calls: bare + `procd_append_param file /etc/b4/a
procd_add_jail_mount /etc/b4
procd_append_param file '/mnt/my lists/b'
procd_add_jail_mount '/mnt/my lists'
procd_append_param file /c
procd_add_jail_mount ''
` + closed},
		{name: "start with hosts elsewhere", config: on + "\toption never '/mnt/never'\n", args: "start",
			calls: bare + "procd_append_param file /mnt/never\nprocd_add_jail_mount /mnt\nprocd_close_instance\n" + triggers},

		// procd looks itself whether the file is another one, and then sends HUP.
		{name: "reload", config: on, env: []string{"RUNNING=1"}, args: "reload", calls: bare + closed},
		{name: "reload, switched off", config: "config b4 'main'\n", env: []string{"RUNNING=1"}, args: "reload", calls: off},
		{name: "reload with a bad file", config: on, env: []string{"RUNNING=1", "REFUSES=2"}, args: "reload",
			calls: refused + "procd_send_signal b4 '*' HUP\n", stderr: "b4d: wrong\n", code: 1},
		{name: "start with a bad file while it runs", config: "config b4 'ma", env: []string{"RUNNING=1", "REFUSES=2"}, args: "start",
			calls: refused + "procd_send_signal b4 '*' HUP\n", stderr: "b4d: wrong\n", code: 1},
		{name: "start with a bad file", config: on, env: []string{"REFUSES=2"}, args: "start",
			calls: refused + "logger -t b4 -p daemon.err\nlogged b4d: wrong\n" + triggers, stderr: "b4d: wrong\n"},

		{name: "stop", config: on, args: "stop", calls: "procd_kill b4\nb4d cleanup -socket /var/run/b4/b4d.sock\n"},
		{name: "check", config: on, args: "check -set main.engine=tun", calls: "b4d check -set main.engine=tun\n", stdout: "plan\n"},
		{name: "check of a bad file", config: on, env: []string{"REFUSES=2"}, args: "check",
			calls: "b4d check\n", stdout: "plan\n", stderr: "b4d: wrong\n", code: 2},
		{name: "status", config: on, args: "status", calls: "b4d status -socket /var/run/b4/b4d.sock\n"},
		{name: "status for programs", config: on + "\toption socket '/tmp/s'\n", args: "status -json", calls: "b4d status -socket /tmp/s -json\n"},
		{name: "trace", config: on, args: "trace example.org", calls: "b4d trace -socket /var/run/b4/b4d.sock example.org\n"},
		{name: "pause", config: on, args: "pause 10", calls: "b4d pause -socket /var/run/b4/b4d.sock 10\n"},
	}
	for i, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			if testing.Short() && i%4 > 0 {
				t.Skip("each fourth row is enough for -short")
			}
			r := newRouter(t, tt.config)
			r.env = append(r.env, tt.env...)
			if tt.ujail {
				r.write("sbin/ujail", "")
			}
			calls, stdout, stderr, code := r.service(strings.Fields(tt.args)...)
			if calls != tt.calls {
				t.Errorf("calls:\n%swant:\n%s", calls, tt.calls)
			}
			if stdout != tt.stdout || stderr != tt.stderr || code != tt.code {
				t.Errorf("exit %d, stdout %q, stderr %q", code, stdout, stderr)
			}
		})
	}
}

func mustRead(name string) []byte {
	b, err := os.ReadFile(name)
	if err != nil {
		panic(err)
	}
	return b
}

// The script is for reading options, not for deciding.
func TestInitIsSmall(t *testing.T) {
	script := string(mustRead("b4.init"))
	if n := strings.Count(script, "\n"); n >= 80 {
		t.Errorf("b4.init has %d lines", n)
	}
	if !strings.HasPrefix(script, "#!/bin/sh /etc/rc.common\n") {
		t.Error("b4.init is not run by rc.common")
	}
	if loop := regexp.MustCompile(`(?m)^\s*(for|while|until)\b`).FindString(script); loop != "" {
		t.Errorf("b4.init has a loop: %s", loop)
	}
}

// What the script reads of section main is what b4d reads, with the same default.
func TestInitKnowsTheSchema(t *testing.T) {
	reads := regexp.MustCompile(`(?m)^\s*config_get(?:_bool)? \w+ main (\w+) (\S+)$`).FindAllStringSubmatch(string(mustRead("b4.init")), -1)
	var options []string
	for _, m := range reads {
		options = append(options, m[1])
		i := slices.IndexFunc(uci.Schema(), func(f uci.Field) bool { return f.Section == "b4" && f.Option == m[1] })
		if i < 0 {
			t.Errorf("the schema has no main.%s", m[1])
		} else if f := uci.Schema()[i]; f.Default != m[2] {
			t.Errorf("main.%s is %s by default, in b4.init %s", m[1], f.Default, m[2])
		}
	}
	slices.Sort(options)
	if want := []string{"enabled", "never", "socket"}; !slices.Equal(slices.Compact(options), want) {
		t.Errorf("b4.init reads %q, not %q", options, want)
	}
}
