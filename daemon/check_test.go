package daemon

import (
	"fmt"
	"strings"
	"testing"

	"b4/netif"

	"golang.org/x/sys/unix"
)

// What check says of each way to be wrong: a line each, and no line twice.
func TestCheckRefusals(t *testing.T) {
	t.Parallel()
	const (
		noWAN = "main.wan: no interface holds a default route: bring the uplink up, or name it with list wan"
		queue = "engine: nfqueue (auto: "
	)
	tests := []struct {
		name, conf string
		spoil      func(*fake)
		errs       []string // a line each: what must be in it
		out        []string
		not        string // what must not be written
	}{
		{"no WAN", enabled, func(k *fake) { k.wan = netif.WAN{} }, []string{"b4: " + noWAN}, []string{queue, "table inet b4 {"}, "wan:"},
		{"no WAN, TUN", tunEnabled, func(k *fake) { k.wan = netif.WAN{} }, []string{"b4: " + noWAN}, []string{"engine: tun"}, "table inet b4"},
		{"WAN is down", enabled + "\tlist wan 'dsl'\n", func(k *fake) { k.wan = netif.WAN{Down: []string{"dsl"}} },
			[]string{"b4:3: main.wan: dsl (down): bring it up"}, []string{"table inet b4 {"}, ""},
		{"tun.out and no WAN", tunEnabled + "config tun 'tun'\n\toption out 'dsl'\n", func(k *fake) {
			k.wan = netif.WAN{}
			k.outs = map[string]*lookup{"dsl": {wan: netif.WAN{V4: []string{"ppp0"}}}}
		}, nil, []string{"out: ppp0 (v4)", "uplink: ppp0, MTU 1480"}, "wan:"},
		{"tun.out is unknown", tunEnabled + "config tun 'tun'\n\toption out 'dsl'\n", func(k *fake) {
			k.outs = map[string]*lookup{"dsl": {err: fmt.Errorf("dsl: %w", netif.ErrUnknown)}}
		}, []string{"b4:5: tun.out: dsl: neither"}, []string{"wan: wan0"}, "uplink"},
		{"tun.out is not WAN", tunEnabled + "config tun 'tun'\n\toption out 'dsl'\n", func(k *fake) {
			k.outs = map[string]*lookup{"dsl": {wan: netif.WAN{V4: []string{"ppp0"}}}}
		}, nil, []string{"warning: tun.out: ppp0 is none of the devices"}, ""},
		{"neither engine", enabled, func(k *fake) { k.features.Queue, k.features.Tun, k.features.Missing = 0, false, "kmod-nft-queue" },
			[]string{"b4: main.engine: engine nfqueue: ", "b4: main.engine: engine tun: "}, []string{"wan: wan0"}, "engine:"},
		{"WAN and engine", enabled, func(k *fake) { k.wan, k.features.Queue, k.features.Tun = netif.WAN{}, 0, false },
			[]string{noWAN, "engine nfqueue: ", "engine tun: "}, nil, "wan:"},
		{"not root", enabled, func(k *fake) { k.fail["probe"], k.why = true, unix.EPERM }, nil, []string{"only root may ask", "table inet b4 {"}, "engine: tun"},
		{"not root, TUN", tunEnabled, func(k *fake) { k.fail["probe"], k.why = true, unix.EPERM }, nil, []string{"engine: tun; whether this kernel has it"}, "nfqueue"},
		{"not root, and no WAN", tunEnabled, func(k *fake) { k.fail["probe"], k.why, k.wan = true, unix.EPERM, netif.WAN{} },
			[]string{noWAN}, []string{"engine: tun; "}, ""},
		{"off", "config b4 'main'\n", func(*fake) {}, nil, []string{"b4 is off", queue}, ""},
	}
	for _, tt := range tests {
		k := newFake(t)
		tt.spoil(k)
		r := prepare(t, k, tt.conf)
		var out strings.Builder
		err := check(k, r.d.opts, &out)
		var lines []string
		if err != nil {
			lines = strings.Split(err.Error(), "\n")
		}
		if len(lines) != len(tt.errs) {
			t.Errorf("%s: error %v", tt.name, err)
			continue
		}
		for i, want := range tt.errs {
			if !strings.Contains(lines[i], want) {
				t.Errorf("%s: error %q, want %q", tt.name, lines[i], want)
			}
		}
		for _, want := range tt.out {
			if !strings.Contains(out.String(), want) {
				t.Errorf("%s: no %q in:\n%s", tt.name, want, &out)
			}
		}
		if tt.not != "" && strings.Contains("\n"+out.String(), "\n"+tt.not) {
			t.Errorf("%s: %q in:\n%s", tt.name, tt.not, &out)
		}
	}
}
