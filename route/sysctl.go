package route

import (
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// An Advice is a sysctl that keeps packets from their way. b4 changes none by
// itself: they are the administrator's, and others' too.
type Advice struct {
	Line string // what is missing from /etc/sysctl.conf
	Why  string
	// WriteBack is set where it matters only to an engine that writes packets
	// back into the TUN, and does not to one that sends them by raw sockets.
	WriteBack bool
	// Breaks is set where steering would lose packets of clients that pass
	// without it. Where WriteBack is set too, only that engine would.
	Breaks bool
}

// Sysctls reads what matters to packets that go into dev, the TUN, and come from
// or leave by wan, in the namespace of the calling thread. It is to be asked
// while both are there. Nil is all well.
func Sysctls(dev, wan string) []Advice { return sysctls("/proc/sys/net").missing(dev, wan) }

// sysctls is the directory of a namespace's settings.
type sysctls string

func (s sysctls) missing(dev, wan string) (all []Advice) {
	want := func(value int, why string, writeBack bool, path ...string) {
		if have, ok := s.read(path...); ok && have != value {
			all = append(all, Advice{setting(value, path), why, writeBack, writeBack})
		}
	}
	want(1, "what comes from the uplink is not forwarded", false, "ipv4", "conf", wan, "forwarding")
	want(1, "IPv6 is not forwarded", false, "ipv6", "conf", "all", "forwarding")
	want(0, "the TUN has no IPv6", false, "ipv6", "conf", dev, "disable_ipv6")
	for _, lan := range s.devices() {
		// The way back to a client is asked for with the packet's mark then,
		// and leads into the TUN. The kernel takes the larger of the numbers
		// for all and for the device, and 2 asks for any way back.
		if lan != dev && lan != wan && s.most("rp_filter", lan) == 1 && s.most("src_valid_mark", lan) == 1 {
			all = append(all, Advice{Line: setting(2, []string{"ipv4", "conf", lan, "rp_filter"}), Why: "steered packets from there are dropped as spoofed", Breaks: true})
		}
	}
	want(1, "what b4 writes into the TUN is not forwarded", true, "ipv4", "conf", dev, "forwarding")
	if s.most("accept_local", dev) == 0 {
		want(1, "what b4 writes into the TUN has the router's own address", true, "ipv4", "conf", dev, "accept_local")
	}
	if s.most("rp_filter", dev) == 1 {
		want(2, "what b4 writes into the TUN came from elsewhere", true, "ipv4", "conf", dev, "rp_filter")
	}
	return all
}

// devices are those of the namespace that IPv4 knows, sorted.
func (s sysctls) devices() (names []string) {
	entries, _ := os.ReadDir(filepath.Join(string(s), "ipv4/conf")) // none without IPv4
	for _, e := range entries {
		if !slices.Contains([]string{"all", "default", "lo"}, e.Name()) {
			names = append(names, e.Name())
		}
	}
	return names
}

// most is the larger of a setting's numbers for all devices and for one.
func (s sysctls) most(name, dev string) int {
	all, _ := s.read("ipv4", "conf", "all", name)
	one, _ := s.read("ipv4", "conf", dev, name)
	return max(all, one)
}

// read returns no number for what is not there: the kernel has no such family,
// or no such device any more.
func (s sysctls) read(path ...string) (int, bool) {
	b, err := os.ReadFile(filepath.Join(string(s), filepath.Join(path...)))
	if err != nil {
		return 0, false
	}
	n, err := strconv.Atoi(strings.TrimSpace(string(b)))
	return n, err == nil
}

// setting is as sysctl.conf(5) has it: a device with dots in its name asks for
// slashes between the parts.
func setting(value int, path []string) string {
	sep := "."
	if slices.ContainsFunc(path, func(s string) bool { return strings.Contains(s, ".") }) {
		sep = "/"
	}
	return "net" + sep + strings.Join(path, sep) + "=" + strconv.Itoa(value)
}
