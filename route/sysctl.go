package route

import (
	"io/fs"
	"os"
	"path"
	"slices"
	"sort"
	"strconv"
	"strings"
)

// An Advice is a sysctl that keeps packets from their way. b4 changes none but its
// own device's (see [OwnSysctls]): they are the administrator's, and others' too.
type Advice struct {
	Line string // what is missing from /etc/sysctl.conf
	Why  string
	// WriteBack is set where it matters only to an engine that writes packets
	// back into the TUN, and does not to one that sends them by raw sockets.
	WriteBack bool
	// Breaks is set where steering would lose packets that pass without it.
	// Where WriteBack is set too, only that engine would.
	Breaks bool
	V6     bool // it matters to IPv6 alone
}

// Sysctls reads what matters to packets that go into dev, the TUN, and come from
// or leave by wan, in the namespace of the calling thread. It is to be asked
// while both are there. Nil is all well. It costs one or two files for each
// device that is there, and ten more.
//
// The filters that Breaks is about are IPv4's alone. What IPv6 has instead are
// rules of the firewall: where one asks for the way back with the packet's mark
// (nft's `fib saddr . mark`, ip6tables' rpfilter with --validmark), that leads
// into the TUN, and steered packets are dropped there. firewall4 and OpenWrt's
// own rules ask without the mark.
//
// One more rule, which looks for any but the default route in main first, would
// let clients pass the strict filter, at no price to be measured. But what main
// leads to an uplink by other routes, as the two halves of the internet that some
// providers and VPNs give, would go past the TUN unseen; and what comes from the
// uplink would be dropped still. OpenWrt ships with neither of the two settings.
func Sysctls(dev, wan string) []Advice { return sysctls{os.DirFS(sysctlDir)}.missing(dev, wan) }

// OwnSysctls sets those of dev, a TUN of ours, that Sysctls would tell of: only we
// made it, so nobody else could have. writeBack is for an engine that writes
// packets back into it. It returns the settings that it has changed. What cannot be
// set is left to Sysctls to tell.
func OwnSysctls(dev string, writeBack bool) (changed []string) {
	set := func(value int, family, name string) {
		at := []string{family, "conf", dev, name}
		if now, ok := (sysctls{os.DirFS(sysctlDir)}).read(at...); !ok || now == value {
			return // also where there is no such family
		}
		if os.WriteFile(path.Join(sysctlDir, path.Join(at...)), []byte(strconv.Itoa(value)), 0) == nil { // else /proc is for reading only
			changed = append(changed, setting(value, at))
		}
	}
	set(0, "ipv6", "disable_ipv6")
	if writeBack {
		set(1, "ipv4", "forwarding")
		set(1, "ipv4", "accept_local")
		set(2, "ipv4", "rp_filter") // it came from elsewhere; 0 would not do where all devices have 1
	}
	return changed
}

// Uncounted tells of the setting that every engine rests on, in the namespace of
// the calling thread, while b4's rules are there: they go by how many packets a
// connection has had. The first such rule turns counting on (nft_ct_get_init in
// net/netfilter/nft_ct.c). Where another program turns it off later, new
// connections look as if they had none, and no engine is shown any. Nil is well.
func Uncounted() []Advice { return sysctls{os.DirFS(sysctlDir)}.uncounted() }

func (s sysctls) uncounted() []Advice {
	acct := []string{"netfilter", "nf_conntrack_acct"}
	if on, ok := s.read(acct...); on == 1 || !ok {
		return nil
	}
	return []Advice{{Line: setting(1, acct), Why: "the kernel does not count the packets of connections"}}
}

const sysctlDir = "/proc/sys/net"

// sysctls is the directory of a namespace's settings.
type sysctls struct{ fs.FS }

func (s sysctls) missing(dev, wan string) (all []Advice) {
	want := func(value int, breaks bool, why string, path ...string) {
		if have, ok := s.read(path...); ok && have != value {
			all = append(all, Advice{setting(value, path), why, breaks, breaks, path[0] == "ipv6"})
		}
	}
	// Without these packets are lost as well where nothing is steered, or
	// there is no way into the TUN at all.
	want(1, false, "what comes from the uplink is not forwarded", "ipv4", "conf", wan, "forwarding")
	want(1, false, "IPv6 is not forwarded", "ipv6", "conf", "all", "forwarding")
	want(0, false, "the TUN has no IPv6", "ipv6", "conf", dev, "disable_ipv6")
	all = append(all, s.spoofed(dev, wan)...)
	want(1, true, "what b4 writes into the TUN is not forwarded", "ipv4", "conf", dev, "forwarding")
	if s.most("accept_local", dev) == 0 {
		want(1, true, "what b4 writes into the TUN has the router's own address", "ipv4", "conf", dev, "accept_local")
	}
	if s.most("rp_filter", dev) == 1 {
		want(2, true, "what b4 writes into the TUN came from elsewhere", "ipv4", "conf", dev, "rp_filter")
	}
	return all
}

// spoofed tells of devices that packets with a mark cannot come from: the way
// back is asked for with the mark, and leads into the TUN (fib_validate_source in
// net/ipv4/fib_frontend.c). The kernel takes the larger of the numbers for all
// devices and for the one, and 2 asks for any way back. Packets from the uplink
// are steered only by an engine that writes them back.
func (s sysctls) spoofed(dev, wan string) (all []Advice) {
	strict, _ := s.read("ipv4", "conf", "all", "rp_filter")
	marked, _ := s.read("ipv4", "conf", "all", "src_valid_mark")
	one := func(dev, name string) int {
		n, _ := s.read("ipv4", "conf", dev, name)
		return n
	}
	for _, from := range s.devices() {
		if from != dev && (marked == 1 || one(from, "src_valid_mark") == 1) && max(strict, one(from, "rp_filter")) == 1 {
			all = append(all, Advice{setting(2, []string{"ipv4", "conf", from, "rp_filter"}), "steered packets from there are dropped as spoofed", from == wan, true, false})
		}
	}
	return all
}

// devices are those of the namespace that IPv4 knows, sorted.
func (s sysctls) devices() (names []string) {
	dir, err := s.Open("ipv4/conf")
	if err != nil {
		return nil // without IPv4
	}
	defer dir.Close()
	entries, _ := dir.(fs.ReadDirFile).ReadDir(-1) // fs.ReadDir sorts, by 5 kB of the package
	for _, e := range entries {
		if !slices.Contains([]string{"all", "default", "lo"}, e.Name()) {
			names = append(names, e.Name())
		}
	}
	sort.Stable(sort.StringSlice(names))
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
func (s sysctls) read(name ...string) (int, bool) {
	b, err := fs.ReadFile(s, path.Join(name...))
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
