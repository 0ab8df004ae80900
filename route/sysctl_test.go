package route

import (
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

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
			[]string{"net.ipv4.conf.wan.forwarding=1", "net.ipv6.conf.all.forwarding=1", "net.ipv4.conf.b4tun0.forwarding=1 (write-back)"}},
		{"no IPv6 on the TUN", "ipv6/conf/b4tun0/disable_ipv6=1", []string{"net.ipv6.conf.b4tun0.disable_ipv6=0"}},
		{"no IPv6 at all", "ipv6/conf/b4tun0/disable_ipv6= ipv6/conf/all/forwarding=", nil},
		{"strict", "ipv4/conf/all/rp_filter=1", []string{"net.ipv4.conf.b4tun0.rp_filter=2 (write-back)"}},
		{"loose", "ipv4/conf/all/rp_filter=2 ipv4/conf/all/src_valid_mark=1", nil},
		{"strict by mark", "ipv4/conf/all/rp_filter=1 ipv4/conf/all/src_valid_mark=1",
			[]string{"net.ipv4.conf.br-lan.rp_filter=2", "net/ipv4/conf/eth0.2/rp_filter=2", "net.ipv4.conf.b4tun0.rp_filter=2 (write-back)"}},
		{"strict by mark, one device", "ipv4/conf/br-lan/rp_filter=1 ipv4/conf/br-lan/src_valid_mark=1 ipv4/conf/wan/rp_filter=1", []string{"net.ipv4.conf.br-lan.rp_filter=2"}},
		{"strict, another by mark", "ipv4/conf/br-lan/rp_filter=1 ipv4/conf/eth0.2/src_valid_mark=1", nil},
		{"own addresses refused", "ipv4/conf/b4tun0/accept_local=0", []string{"net.ipv4.conf.b4tun0.accept_local=1 (write-back)"}},
		{"own addresses accepted by all", "ipv4/conf/b4tun0/accept_local=0 ipv4/conf/all/accept_local=1", nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			root := t.TempDir()
			files := maps.Clone(well)
			for _, s := range strings.Fields(tt.set) {
				path, value, _ := strings.Cut(s, "=")
				files[path] = value
			}
			for path, value := range files {
				if value == "" {
					continue
				}
				path = filepath.Join(root, path)
				if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(path, []byte(value+"\n"), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			var got []string
			for _, a := range sysctls(root).missing("b4tun0", "wan") {
				if a.WriteBack {
					a.Line += " (write-back)"
				}
				got = append(got, a.Line)
			}
			if !slices.Equal(got, tt.want) {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

// Packets that come from the TUN with the uplink's own address, and from a
// client with a mark that is asked for too, pass once the advice is followed.
func TestSysctlsAdvice(t *testing.T) {
	n := enterNetNS(t)
	lan := n.openTUN("lan0")
	n.addr("lan0", "10.0.0.1/24")
	c := n.open()
	if err := c.Reconcile(n.plan(func(*Config) {})); err != nil {
		t.Fatal(err)
	}
	n.set("net.ipv4.conf.all.rp_filter=1")
	n.set("net.ipv4.conf.all.src_valid_mark=1")
	n.set("net.ipv4.conf.lan0.forwarding=1")
	n.markFrom("lan0", config(t).Marks.Steer)
	pass := func(from, to *os.File, src string) bool {
		t.Helper()
		if _, err := from.Write(udp(src, "203.0.113.9")); err != nil {
			t.Fatal(err)
		}
		return n.arrives(to, 300*time.Millisecond)
	}
	advice := Sysctls("b4tun0", "wan0")
	if pass(n.tun, n.wan0, "192.0.2.2") || pass(lan, n.tun, "10.0.0.2") || len(advice) == 0 {
		t.Error("packets pass as it is")
	}
	for _, a := range advice {
		n.set(a.Line)
	}
	if more := Sysctls("b4tun0", "wan0"); more != nil {
		t.Errorf("more advice: %v", more)
	}
	if !pass(n.tun, n.wan0, "192.0.2.2") {
		t.Errorf("not forwarded from the TUN, with %v", advice)
	}
	if !pass(lan, n.tun, "10.0.0.2") {
		t.Errorf("not steered into the TUN, with %v", advice)
	}
}
