package fw

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"b4/mark"
)

// prefixes are those of a text.
func prefixes(s string) (list []netip.Prefix) {
	for _, p := range strings.Fields(s) {
		list = append(list, netip.MustParsePrefix(p))
	}
	return list
}

// groups has c tell so many groups of devices apart.
func groups(c *Config, list ...Group) {
	c.Marks, c.Devices.Groups = c.Marks.WithGroups(), list
}

func TestPlanDevicesGolden(t *testing.T) {
	macs := [][6]byte{{2, 0, 0, 0, 0, 2}, {2, 0, 0, 0, 0, 1}, {2, 0, 0, 0, 0, 2}}
	tests := []struct {
		name string
		edit func(*Config)
	}{
		{"groups", func(c *Config) {
			c.TCP, c.HTTP, c.UDP = []uint16{80, 443}, []uint16{80}, []uint16{443}
			groups(c,
				Group{MACs: macs},
				Group{Sources: prefixes("10.0.1.0/24 10.0.0.0/24 10.0.0.7/32 fd00:a::/64"), Interfaces: []string{"br-lan", "br-guest"}},
				Group{MACs: macs[:1], Sources: prefixes("fd00:a::/64"), Interfaces: []string{"br-lan"}})
		}},
		{"groups-all", func(c *Config) {
			c.All, c.SYN, c.IPv6, c.Router, c.Replies = true, true, false, true, Replies{End: true}
			groups(c, Group{Sources: prefixes("0.0.0.0/0 fd00:a::/64")}, Group{Sources: prefixes("fd00:a::/64")})
			c.Devices.Never = prefixes("192.0.2.0/24")
		}},
		{"groups-tun", func(c *Config) {
			toTUN(c, "192.0.2.1", "")
			groups(c, Group{Interfaces: []string{"br-lan"}}, Group{MACs: macs})
		}},
		{"groups-all-tun", func(c *Config) {
			toTUN(c, "", "")
			c.All, c.IPv6 = true, false
			groups(c, Group{Interfaces: []string{"br-lan"}})
		}},
		{"spared", func(c *Config) {
			c.UDP, c.Block = []uint16{784}, QUICBlock{Ports: []uint16{443}}
			c.Devices.Spared = []Group{{Interfaces: []string{"br-guest"}}, {Sources: prefixes("10.0.0.0/24")}}
		}},
		{"spared-all", func(c *Config) {
			c.All, c.Bound = true, 0
			c.Devices.Spared = []Group{{MACs: macs}}
		}},
		{"spared-tun", func(c *Config) {
			toTUN(c, "192.0.2.1", "")
			c.Devices.Spared, c.Devices.Never = []Group{{MACs: macs}}, prefixes("198.51.100.0/24 2001:db8::/32")
		}},
		{"spared-all-tun", func(c *Config) {
			toTUN(c, "", "")
			c.All, c.Devices.Spared = true, []Group{{MACs: macs}}
		}},
		{"never", func(c *Config) {
			c.UDP, c.Block, c.Replies = []uint16{784}, QUICBlock{Ports: []uint16{443}}, Replies{SYNACK: true, End: true}
			c.Devices.Never = prefixes("198.51.100.0/25 198.51.100.128/25 192.0.2.7/32 192.0.2.8/32 240.0.0.0/4 8000::/1")
		}},
		{"never-v6", func(c *Config) {
			c.TCP, c.Block, c.IPv4 = nil, QUICBlock{Ports: []uint16{443}}, false
			c.Devices.Never = prefixes("198.51.100.0/25")
		}},
	}
	plansGolden(t, "", tests)
}

func TestPlanRefusesDevices(t *testing.T) {
	one := Group{Interfaces: []string{"br-lan"}}
	tests := []struct {
		name, want string
		edit       func(*Config)
	}{
		{"too many", "5 groups of devices: want at most 4", func(c *Config) { groups(c, one, one, one, one, one) }},
		{"no bits", "no mark bits", func(c *Config) { c.Devices.Groups = []Group{one} }},
		{"empty", "group 1 of devices: want MACs", func(c *Config) { groups(c, one, Group{}) }},
		{"empty, spared", "group 0 of spared devices: want MACs", func(c *Config) { c.Devices.Spared = []Group{{}} }},
		{"not masked", "10.0.0.1/24", func(c *Config) { groups(c, Group{Sources: prefixes("10.0.0.1/24")}) }},
		{"no prefix", "invalid Prefix", func(c *Config) { groups(c, Group{Sources: make([]netip.Prefix, 1)}) }},
		{"IPv4 within IPv6", "::ffff:10.0.0.0/120", func(c *Config) { c.Devices.Never = prefixes("::ffff:10.0.0.0/120") }},
		{"never, not masked", "never looked at: prefix fd00::1/64", func(c *Config) { c.Devices.Never = prefixes("fd00::1/64") }},
		{"no interface", `device name ""`, func(c *Config) { c.Devices.Spared = []Group{{Interfaces: []string{""}}} }},
	}
	plansRefused(t, tests)
}

func TestIntervals(t *testing.T) {
	tests := []struct {
		name, list string
		family     uint8
		want       string // pairs: first, behind
	}{
		{"none", "fd00::/64", 4, ""},
		{"one", "10.0.0.0/24", 4, "0a000000 0a000100"},
		{"of two families", "fd00::/64 10.0.0.0/24", 4, "0a000000 0a000100"},
		{"apart", "10.0.2.0/24 10.0.0.0/24", 4, "0a000000 0a000100 0a000200 0a000300"},
		{"that touch", "10.0.1.0/24 10.0.0.0/24 10.0.2.0/24", 4, "0a000000 0a000300"},
		{"that nest", "10.0.0.7/32 10.0.0.0/24 10.0.0.0/16 10.0.255.255/32 10.0.0.0/24", 4, "0a000000 0a010000"},
		{"a host", "10.0.0.255/32", 4, "0a0000ff 0a000100"},
		{"the top", "255.255.255.255/32 255.255.255.254/32", 4, "fffffffe 00000000"},
		{"all", "10.0.0.0/8 0.0.0.0/0 255.0.0.0/8", 4, "00000000 00000000"},
		{"IPv6", "fd00::/64 fd00:0:0:1::/64", 6, "fd000000000000000000000000000000 fd000000000000020000000000000000"},
		{"the top of IPv6", "8000::/1 ffff::/16", 6, "80000000000000000000000000000000 00000000000000000000000000000000"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			want, _ := hex.DecodeString(strings.ReplaceAll(tt.want, " ", ""))
			if got := intervals(prefixes(tt.list), tt.family); !bytes.Equal(got, want) {
				t.Errorf("got %x, want %x", got, want)
			}
		})
	}
}

// The bits of mark.Set are those that the rules carry, wherever they lie.
func TestGroupBits(t *testing.T) {
	for _, base := range []uint32{1, mark.Base, 1 << 28} {
		m, err := mark.New(base)
		if err != nil {
			t.Fatal(err)
		}
		c := config(t, Native)
		c.Marks = m
		groups(&c, Group{Interfaces: []string{"br-lan"}})
		r, err := Plan(c)
		if err != nil {
			t.Fatal(err)
		}
		if want := fmt.Sprintf("meta mark set meta mark | 0x%08x", c.Marks.Group(0)); !strings.Contains(r.String(), want) {
			t.Errorf("base %#x: no %q in\n%v", base, want, r)
		}
	}
}
