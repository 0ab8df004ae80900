package fw

import (
	"testing"
)

func TestOffloadGolden(t *testing.T) {
	both := Offload{TCP: true, UDP: true}
	tests := []struct {
		name string
		edit func(*Config)
	}{
		{"tcp", func(c *Config) { c.UDP, c.Offload.TCP = []uint16{443}, true }},
		{"http", func(c *Config) {
			c.TCP, c.HTTP, c.SkipIPsec, c.Offload.TCP = []uint16{80, 443}, []uint16{80}, true, true
		}},
		{"udp", func(c *Config) { c.UDP, c.Offload.UDP = []uint16{443}, true }},
		{"both", func(c *Config) { c.UDP, c.Offload = []uint16{443, 784}, both }},
		{"v4", func(c *Config) { c.UDP, c.IPv6, c.Offload = []uint16{443}, false, both }},
		{"all", func(c *Config) { c.UDP, c.All, c.Scatter4, c.Offload = []uint16{443}, true, true, both }},
		{"tun", func(c *Config) {
			toTUN(c, "192.0.2.1", "")
			c.TCP, c.HTTP, c.Offload = []uint16{80, 443}, []uint16{80}, both
		}},
		{"all-tun", func(c *Config) { toTUN(c, "", ""); c.All, c.Offload = true, both }},
	}
	plansGolden(t, "offload-", tests)
}

// Where nothing is watched that is offloaded, there is nothing to hide.
func TestOffloadOfOthers(t *testing.T) {
	for name, edit := range map[string]func(*Config){
		"no UDP":     func(c *Config) { c.Offload.UDP = true },
		"no TCP":     func(c *Config) { c.TCP, c.UDP, c.Offload.TCP = nil, []uint16{443}, true },
		"scattered":  func(c *Config) { c.UDP, c.Scatter4, c.Scatter6, c.Offload.UDP = []uint16{443}, true, true, true },
		"no offload": func(c *Config) { c.UDP = []uint16{443} },
	} {
		c := config(t, Native)
		edit(&c)
		r, err := Plan(c)
		if err != nil {
			t.Fatal(err)
		}
		if r.hides() || r.shows() != "" {
			t.Errorf("%s: %v", name, r)
		}
	}
}
