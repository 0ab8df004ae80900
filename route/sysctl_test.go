package route

import (
	"io/fs"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"b4/nstest"
)

func TestUncounted(t *testing.T) {
	for value, want := range map[string]string{"1\n": "", "0\n": "net.netfilter.nf_conntrack_acct=1", "": ""} {
		files := fstest.MapFS{}
		if value != "" {
			files["netfilter/nf_conntrack_acct"] = &fstest.MapFile{Data: []byte(value)}
		}
		got := ""
		for _, a := range (sysctls{files}).uncounted() {
			got += a.Line
		}
		if got != want {
			t.Errorf("%q: %q, want %q", value, got, want)
		}
	}
}

func TestSysctls(t *testing.T) {
	well := map[string]string{
		"ipv6/conf/all/forwarding": "1", "ipv6/conf/b4tun0/disable_ipv6": "0", "ipv6/conf/b4tun0/forwarding": "1",
	}
	for _, dev := range []string{"all", "default", "lo", "b4tun0", "wan", "br-lan", "eth0.2"} {
		for name, value := range map[string]string{"forwarding": "1", "rp_filter": "0", "src_valid_mark": "0", "accept_local": "0"} {
			well["ipv4/conf/"+dev+"/"+name] = value
		}
	}
	well["ipv4/conf/b4tun0/accept_local"] = "1"
	tests := []struct {
		name, set string // path=value …
		want      []string
	}{
		{"all well", "", nil},
		{"no forwarding", "ipv4/conf/b4tun0/forwarding=0 ipv4/conf/wan/forwarding=0 ipv6/conf/all/forwarding=0",
			[]string{"net.ipv4.conf.wan.forwarding=1", "net.ipv6.conf.all.forwarding=1", "net.ipv4.conf.b4tun0.forwarding=1 (write-back) (breaks)"}},
		{"no IPv6 on the TUN", "ipv6/conf/b4tun0/disable_ipv6=1", []string{"net.ipv6.conf.b4tun0.disable_ipv6=0"}},
		{"no IPv6 at all", "ipv6/conf/b4tun0/disable_ipv6= ipv6/conf/all/forwarding=", nil},
		{"strict", "ipv4/conf/all/rp_filter=1", []string{"net.ipv4.conf.b4tun0.rp_filter=2 (write-back) (breaks)"}},
		{"loose", "ipv4/conf/all/rp_filter=2 ipv4/conf/all/src_valid_mark=1", nil},
		{"strict by mark", "ipv4/conf/all/rp_filter=1 ipv4/conf/all/src_valid_mark=1",
			[]string{"net.ipv4.conf.br-lan.rp_filter=2 (breaks)", "net/ipv4/conf/eth0.2/rp_filter=2 (breaks)", "net.ipv4.conf.wan.rp_filter=2 (write-back) (breaks)",
				"net.ipv4.conf.b4tun0.rp_filter=2 (write-back) (breaks)"}},
		{"strict by mark, one device", "ipv4/conf/br-lan/rp_filter=1 ipv4/conf/br-lan/src_valid_mark=1 ipv4/conf/wan/rp_filter=1", []string{"net.ipv4.conf.br-lan.rp_filter=2 (breaks)"}},
		{"strict, another by mark", "ipv4/conf/br-lan/rp_filter=1 ipv4/conf/eth0.2/src_valid_mark=1", nil},
		{"own addresses refused", "ipv4/conf/b4tun0/accept_local=0", []string{"net.ipv4.conf.b4tun0.accept_local=1 (write-back) (breaks)"}},
		{"own addresses accepted by all", "ipv4/conf/b4tun0/accept_local=0 ipv4/conf/all/accept_local=1", nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			tree := tree{fstest.MapFS{}, 0}
			files := maps.Clone(well)
			for _, s := range strings.Fields(tt.set) {
				path, value, _ := strings.Cut(s, "=")
				files[path] = value
			}
			for path, value := range files {
				if value != "" {
					tree.MapFS[path] = &fstest.MapFile{Data: []byte(value + "\n")}
				}
			}
			var got []string
			for _, a := range (sysctls{&tree}).missing("b4tun0", "wan") {
				if a.WriteBack {
					a.Line += " (write-back)"
				}
				if a.Breaks {
					a.Line += " (breaks)"
				}
				got = append(got, a.Line)
			}
			const devices = 3 // besides the TUN
			if tree.read > 11+2*devices {
				t.Errorf("%d files read", tree.read)
			}
			if !slices.Equal(got, tt.want) {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

// A tree counts the files that are read.
type tree struct {
	fstest.MapFS
	read int
}

func (t *tree) Open(name string) (fs.File, error) {
	t.read++
	return t.MapFS.Open(name)
}

func (t *tree) ReadFile(name string) ([]byte, error) {
	t.read++
	return t.MapFS.ReadFile(name)
}

// Packets that come from the TUN with the uplink's own address, and from a
// client or the uplink with a mark that is asked for too, pass once the advice
// that says it breaks them is followed, and not before.
func TestSysctlsAdvice(t *testing.T) {
	n := enterNetNS(t)
	lan := n.openTUN("lan0")
	n.addr("lan0", "10.0.0.1/24")
	c := n.open()
	if err := c.Reconcile(n.plan(func(*Config) {})); err != nil {
		t.Fatal(err)
	}
	nstest.Sysctl(n, "net.ipv4.conf.all.rp_filter=1", "net.ipv4.conf.all.src_valid_mark=1",
		"net.ipv4.conf.lan0.forwarding=1", "net.ipv4.conf.wan0.forwarding=1")
	bit := config(t).Marks.Steer
	n.markFrom("lan0", bit)
	n.markFrom("wan0", bit)
	ways := []struct {
		name      string
		from, to  *os.File
		src, dst  string
		writeBack bool
	}{
		{"from a client", lan, n.tun, "10.0.0.2", "203.0.113.9", false},
		{"from the uplink", n.wan0, n.tun, "203.0.113.9", "10.0.0.2", true},
		{"back from the TUN", n.tun, n.wan0, "192.0.2.2", "203.0.113.9", true},
		{"back from the TUN to a client", n.tun, lan, "203.0.113.9", "10.0.0.2", true},
	}
	pass := func(i int, wait time.Duration) bool {
		t.Helper()
		if _, err := ways[i].from.Write(udp(ways[i].src, ways[i].dst)); err != nil {
			t.Fatal(err)
		}
		return n.arrives(ways[i].to, wait)
	}
	advice := Sysctls("b4tun0", "wan0")
	for i, w := range ways {
		if pass(i, 300*time.Millisecond) {
			t.Errorf("%s: passes as it is", w.name)
		}
	}
	for _, engine := range []bool{false, true} {
		for _, a := range advice {
			if a.Breaks && a.WriteBack == engine {
				nstest.Sysctl(n, a.Line)
			}
		}
		for i, w := range ways {
			if (!w.writeBack || engine) && !pass(i, soon) {
				t.Errorf("%s: does not pass, with %v", w.name, advice)
			}
		}
	}
	for _, a := range Sysctls("b4tun0", "wan0") {
		if a.Breaks {
			t.Errorf("more advice: %v", a)
		}
	}
}
