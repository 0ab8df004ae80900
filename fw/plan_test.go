package fw

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"flag"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"b4/mark"
)

var update = flag.Bool("update", false, "write the golden files")

// config is what the daemon asks for by default, with this kernel's queue form.
func config(t testing.TB, form QueueForm) Config {
	t.Helper()
	marks, err := mark.New(mark.Base)
	if err != nil {
		t.Fatal(err)
	}
	return Config{
		Marks: marks, Queue: 537, Form: form, TCP: []uint16{443},
		IPv4: true, IPv6: true, Bound: 12,
	}
}

func TestPlanGolden(t *testing.T) {
	tests := []struct {
		name string
		edit func(*Config)
	}{
		{"default", func(c *Config) {}},
		{"xt", func(c *Config) { c.Form = Xt }},
		{"queues", func(c *Config) { c.Queues, c.UDP, c.Replies = 4, []uint16{443}, Replies{SYNACK: true} }},
		{"quic", func(c *Config) { c.UDP = []uint16{443} }},
		{"quic-alone", func(c *Config) {
			c.TCP, c.UDP, c.Router, c.SkipIPsec, c.Replies = nil, []uint16{443, 8443, 443}, true, true, Replies{SYNACK: true}
		}},
		{"quic-all", func(c *Config) {
			c.TCP, c.HTTP, c.UDP, c.All, c.IPv6 = []uint16{80, 443}, []uint16{80, 443}, []uint16{443, 784}, true, false
		}},
		{"quic-v6", func(c *Config) { c.UDP, c.Scatter4 = []uint16{443}, true }},
		{"quic-scattered", func(c *Config) { c.UDP, c.Scatter4, c.IPv6 = []uint16{443}, true, false }},
		{"block", func(c *Config) { c.UDP, c.Block = []uint16{443, 784}, QUICBlock{Ports: []uint16{443}, Reject: true} }},
		{"block-alone", func(c *Config) {
			c.TCP, c.Block, c.Router, c.SkipIPsec, c.IPv4 = nil, QUICBlock{Ports: []uint16{8443, 443}}, true, true, false
		}},
		{"block-tun", func(c *Config) {
			toTUN(c, "192.0.2.1", "")
			c.Block, c.Router, c.Scatter4 = QUICBlock{Ports: []uint16{443}, Reject: true}, true, true
		}},
		{"block-all-tun", func(c *Config) {
			toTUN(c, "", "")
			c.TCP, c.All, c.Bound, c.Block = nil, true, 0, QUICBlock{Ports: []uint16{443}, Reject: true}
		}},
		{"v4", func(c *Config) { c.IPv6 = false }},
		{"v6", func(c *Config) { c.IPv4 = false }},
		{"router", func(c *Config) { c.Router = true }},
		{"ports", func(c *Config) { c.TCP = []uint16{8443, 443, 80, 443} }},
		{"http", func(c *Config) { c.TCP, c.HTTP = []uint16{80, 443}, []uint16{80} }},
		{"http-ports", func(c *Config) {
			c.TCP, c.HTTP, c.UDP, c.Router, c.IPv4 = []uint16{80, 443, 8080}, []uint16{8080, 80}, []uint16{443}, true, false
		}},
		{"http-tun", func(c *Config) {
			toTUN(c, "192.0.2.1", "")
			c.TCP, c.HTTP, c.Router = []uint16{80, 443}, []uint16{80}, true
		}},
		{"syn", func(c *Config) { c.SYN, c.SkipIPsec = true, true }},
		{"replies", func(c *Config) { c.IPv6, c.Replies = false, Replies{SYNACK: true, First: 3, End: true} }},
		{"synack", func(c *Config) { c.Replies = Replies{SYNACK: true} }},
		{"tun", func(c *Config) { toTUN(c, "192.0.2.1", "fd00:b::1") }},
		{"tun-v4", func(c *Config) { c.IPv6 = false; toTUN(c, "192.0.2.1", "") }},
		{"tun-nat4", func(c *Config) { c.Router = true; toTUN(c, "192.0.2.1", "") }},
		{"all", func(c *Config) { c.All, c.Bound, c.Replies = true, 0, Replies{SYNACK: true, First: 3, End: true} }},
		{"all-v4", func(c *Config) { c.All, c.SYN, c.IPv6, c.SkipIPsec, c.Router = true, true, false, true, true }},
		{"all-tun", func(c *Config) { c.All, c.Bound, c.Router = true, 0, true; toTUN(c, "192.0.2.1", "fd00:b::1") }},
		{"all-tun-routed", func(c *Config) { c.All, c.HTTP = true, []uint16{443}; toTUN(c, "", "") }},
		{"tun-routed", func(c *Config) { c.TCP, c.SkipIPsec = []uint16{80, 443}, true; toTUN(c, "", "") }},
	}
	plansGolden(t, "", tests)
}

// plansGolden compares plans with the files that bear their names after prefix.
func plansGolden(t *testing.T, prefix string, tests []struct {
	name string
	edit func(*Config)
}) {
	t.Helper()
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := config(t, Native)
			tt.edit(&c)
			r, err := Plan(c)
			if err != nil {
				t.Fatal(err)
			}
			golden(t, filepath.Join("testdata", prefix+tt.name+".nft"), r.String())
		})
	}
}

// toTUN has c steer to a TUN, with source NAT to the addresses that are not "".
func toTUN(c *Config, snat4, snat6 string) {
	c.Form = Tun
	c.Tun = TunConfig{Device: "b4tun0", WAN: "wan0"}
	if snat4 != "" {
		c.Tun.SNAT4 = netip.MustParseAddr(snat4)
	}
	if snat6 != "" {
		c.Tun.SNAT6 = netip.MustParseAddr(snat6)
	}
}

func golden(t *testing.T, path, got string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s differs (-update writes it). Got:\n%s", path, got)
	}
}

func TestPlanRefuses(t *testing.T) {
	tests := []struct {
		name, want string
		edit       func(*Config)
	}{
		{"no marks", "mark", func(c *Config) { c.Marks = mark.Set{} }},
		{"no queue", "queue form none", func(c *Config) { c.Form = None }},
		{"queues beyond the last", "4 queues from 65533 on", func(c *Config) { c.Queue, c.Queues = 65533, 4 }},
		{"negative queues", "-1 queues", func(c *Config) { c.Queues = -1 }},
		{"no ports", "ports []", func(c *Config) { c.TCP = nil }},
		{"UDP port 0", "[0] of UDP", func(c *Config) { c.UDP = []uint16{0} }},
		{"port 0", "ports [443 0]", func(c *Config) { c.TCP = []uint16{443, 0} }},
		{"HTTP elsewhere", "ports [443 80] of HTTP", func(c *Config) { c.HTTP = []uint16{443, 80} }},
		{"blocked port 0", "[0] that are blocked", func(c *Config) { c.Block.Ports = []uint16{0} }},
		{"blocked UDP to a TUN", "no QUIC", func(c *Config) { toTUN(c, "", ""); c.UDP, c.Block.Ports = []uint16{443}, []uint16{443} }},
		{"no family", "neither", func(c *Config) { c.IPv4, c.IPv6 = false, false }},
		{"no bound", "bound 0", func(c *Config) { c.Bound = 0 }},
		{"negative replies", "first -1", func(c *Config) { c.Replies.First = -1 }},
		{"no TUN", `device name ""`, func(c *Config) { toTUN(c, "", ""); c.Tun.Device = "" }},
		{"no WAN", `device name ""`, func(c *Config) { toTUN(c, "", ""); c.Tun.WAN = "" }},
		{"TUN as WAN", "not the WAN", func(c *Config) { toTUN(c, "", ""); c.Tun.WAN = c.Tun.Device }},
		{"IPv4 for IPv6", "want an IPv6 address", func(c *Config) { toTUN(c, "", "192.0.2.1") }},
		{"IPv4 within IPv6", "want an IPv6 address", func(c *Config) { toTUN(c, "", "::ffff:192.0.2.1") }},
		{"IPv6 for IPv4", "want an IPv4 address", func(c *Config) { toTUN(c, "fd00:b::1", "") }},
		{"SYNs to a TUN", "engine nfqueue", func(c *Config) { toTUN(c, "", ""); c.SYN = true }},
		{"replies to a TUN", "no replies", func(c *Config) { toTUN(c, "", ""); c.Replies.End = true }},
		{"SYNs to a TUN, with all", "no SYNs", func(c *Config) { toTUN(c, "", ""); c.All, c.SYN = true, true }},
		{"invalid RSTs to a TUN", "no replies", func(c *Config) { toTUN(c, "", ""); c.All, c.Replies.End = true, true }},
		{"UDP to a TUN", "no QUIC", func(c *Config) { toTUN(c, "", ""); c.UDP = []uint16{443} }},
		{"no mark for a TUN", "steer", func(c *Config) { toTUN(c, "", ""); c.Marks.Steer = 0 }},
	}
	plansRefused(t, tests)
}

// plansRefused wants errors that have the words.
func plansRefused(t *testing.T, tests []struct {
	name, want string
	edit       func(*Config)
}) {
	t.Helper()
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := config(t, Native)
			tt.edit(&c)
			if _, err := Plan(c); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want an error with %q", err, tt.want)
			}
		})
	}
}

func TestPlanKeepsItsInput(t *testing.T) {
	c := config(t, Native)
	c.TCP = []uint16{8443, 443}
	if _, err := Plan(c); err != nil {
		t.Fatal(err)
	}
	if c.TCP[0] != 8443 {
		t.Errorf("ports became %v", c.TCP)
	}
}

// The kernel's structures, byte by byte. Both forms must be right on routers
// that this test does not run on.
func TestQueueBytes(t *testing.T) {
	info := "" + // host's byte order: number 537 (0x0219), total 1, bypass
		"1902" + "0100" + "0100" + "0000"
	many := "1902" + "0400" + "0100" + "0000"
	if binary.NativeEndian.Uint16([]byte{0, 1}) == 1 {
		info = "0219" + "0001" + "0001" + "0000"
		many = "0219" + "0004" + "0001" + "0000"
	}
	tests := []struct {
		form  QueueForm
		total uint16
		want  string
	}{
		// NFTA_QUEUE_NUM, NFTA_QUEUE_TOTAL, NFTA_QUEUE_FLAGS, each 2 bytes
		// in network byte order and 2 of padding.
		{Native, 1, "02190000" + "00010000" + "00010000"},
		{Native, 4, "02190000" + "00040000" + "00010000"},
		{Xt, 1, info},
		{Xt, 4, many},
	}
	for _, tt := range tests {
		b, err := rule{queue{537, tt.total, tt.form}}.code()
		if err != nil {
			t.Fatal(err)
		}
		t.Logf("%v: %x", tt.form, b)
		var got []byte
		switch tt.form {
		case Native:
			for attrs := b[len(b)-24:]; len(attrs) > 0; attrs = attrs[8:] {
				got = append(got, attrs[4:8]...)
			}
		case Xt:
			got = b[len(b)-8:]
		}
		want, _ := hex.DecodeString(tt.want)
		if !bytes.Equal(got, want) {
			t.Errorf("%v: got %x, want %x", tt.form, got, want)
		}
	}
}

func TestDeviceNames(t *testing.T) {
	for _, name := range []string{"", "0123456789abcdef", "a/b", "a\x00"} {
		if _, err := deviceKeys([]string{name}); err == nil {
			t.Errorf("%q: want an error", name)
		}
	}
	keys, err := deviceKeys([]string{"wan", "eth0.2", "wan"})
	if err != nil || len(keys) != 2 || len(keys[1]) != 16 || string(keys[1][:4]) != "wan\x00" {
		t.Errorf("got %q, %v", keys, err)
	}
}
