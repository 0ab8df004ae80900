package procd

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"b4/nstest"
	"b4/route"
	"b4/uci"
)

// What b4d needs beside root's own files: netlink and the TUN, and raw sockets.
func TestCapabilities(t *testing.T) {
	var sets map[string][]string
	if err := json.Unmarshal(mustRead("b4.json"), &sets); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"bounding", "effective", "ambient", "permitted", "inheritable"} {
		if !slices.Equal(sets[name], []string{"CAP_NET_ADMIN", "CAP_NET_RAW"}) {
			t.Errorf("%s is %q", name, sets[name])
		}
		delete(sets, name)
	}
	if len(sets) > 0 {
		t.Errorf("unknown: %v", sets)
	}
}

// counting is what both engines rest on; the other settings are of b4's TUN.
const counting = "net.netfilter.nf_conntrack_acct=1"

// sysctls are the settings of b4.sysctl besides counting.
func sysctls() (lines []string) {
	for _, l := range strings.Split(string(mustRead("b4.sysctl")), "\n") {
		if l != "" && l[0] != '#' && l != counting {
			lines = append(lines, l)
		}
	}
	return lines
}

// device is the name of b4's TUN where the configuration says none.
func device() string {
	all := uci.Schema()
	return all[slices.IndexFunc(all, func(f uci.Field) bool { return f.Section == "tun" && f.Option == "device" })].Default
}

// No device but b4's own is touched.
func TestSysctls(t *testing.T) {
	if n := strings.Count("\n"+string(mustRead("b4.sysctl")), "\n"+counting+"\n"); n != 1 {
		t.Errorf("%s stands %d times", counting, n)
	}
	line := regexp.MustCompile(`^net\.ipv[46]\.conf\.` + device() + `\.[a-z0-9_]+=\d$`)
	for _, l := range sysctls() {
		if !line.MatchString(l) {
			t.Errorf("%q is not of %s", l, device())
		}
	}
}

// The file has what b4d sets itself where it can.
func TestSysctlsAreOwn(t *testing.T) {
	nstest.Enter(t)
	nstest.TUN(t, device())
	want := sysctls()
	for _, l := range want {
		name, value, _ := strings.Cut(l, "=")
		nstest.Sysctl(t, name+"="+map[bool]string{true: "1", false: "0"}[value == "0"])
	}
	before := settings(t)
	route.OwnSysctls(device(), true)
	var got []string
	for name, value := range settings(t) {
		if value != before[name] {
			got = append(got, name+"="+value)
		}
	}
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("b4d sets %q, the file %q", got, want)
	}
}

// settings are all of b4's TUN.
func settings(t *testing.T) map[string]string {
	t.Helper()
	m := map[string]string{}
	for _, family := range []string{"ipv4", "ipv6"} {
		dir := filepath.Join("/proc/sys/net", family, "conf", device())
		entries, err := os.ReadDir(dir)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			b, err := os.ReadFile(filepath.Join(dir, e.Name()))
			if err == nil { // stable_secret cannot be read before it is set
				m["net."+family+".conf."+device()+"."+e.Name()] = strings.TrimSpace(string(b))
			}
		}
	}
	return m
}

// The package manager and the boot read the script into a shell of their own, and
// remove it if that ends well: it must, with and without a firewall.
func TestDefaults(t *testing.T) {
	busybox, err := exec.LookPath("busybox")
	if err != nil {
		t.Skip("busybox is missing: apt-get install busybox")
	}
	for name, fw4 := range map[string]string{
		"running": "", "not yet": "echo not loaded >&2; exit 1\n", "none": "-",
	} {
		t.Run(name, func(t *testing.T) {
			r := &router{t: t, dir: t.TempDir()}
			want := ""
			if fw4 != "-" {
				r.write("fw4", "#!/bin/sh\necho \"fw4 $*\" >"+r.path("calls")+"\n"+fw4)
				want = "fw4 -q reload\n"
			}
			c := exec.Command(busybox, "ash", "-c", "( . ./b4.defaults ) && echo well")
			c.Env = []string{"PATH=" + r.dir}
			if out, err := c.CombinedOutput(); err != nil || string(out) != "well\n" {
				t.Errorf("%q %v", out, err)
			}
			calls, _ := os.ReadFile(r.path("calls"))
			if string(calls) != want {
				t.Errorf("calls %q, want %q", calls, want)
			}
		})
	}
}

// Lists of names have one place: it survives a sysupgrade, and the jail shows it.
func TestKeep(t *testing.T) {
	kept := strings.Fields(string(mustRead("b4.keep")))
	if !slices.Equal(kept, []string{"/etc/b4"}) {
		t.Errorf("kept: %q", kept)
	}
	if !regexp.MustCompile(`(?m)^\s*procd_add_jail_mount .*/etc/b4 `).Match(mustRead("b4.init")) {
		t.Error("the jail does not show /etc/b4")
	}
}
