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
		quic  = "config strategy 'q'\n\toption quic 'fake(ttl=3)'\nconfig rule 'a'\n\tlist domain 'a.example'\n\toption strategy 'q'\n"
		all   = "config rule 'all'\n\toption quic 'reject'\n"
		syn   = "config strategy 'default'\n\toption tls 'synfake(badsum)'\n"
	)
	none := func(*fake) {}
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

		{"QUIC", enabled + quic, none, nil, []string{"quic by strategy q: ", "@th,64,8"}, "warning"},
		{"QUIC, scattered", enabled + quic, func(k *fake) { k.scatter4 = true }, nil,
			[]string{"warning: QUIC over IPv4 is left alone", "meta nfproto ipv6"}, "warning: QUIC over IPv6"},
		{"QUIC, and the firewall cannot be read", enabled + quic, func(k *fake) { k.fail["scatters"] = true }, nil,
			[]string{"warning: QUIC is left alone, as the firewall's rules cannot be read: broken"}, "warning: QUIC over"},
		{"QUIC, TUN", tunEnabled + quic, none, []string{"b4:5: strategy.q.quic: a strategy for QUIC needs engine nfqueue, and this is tun (main.engine says so)"}, nil, "table"},
		{"QUIC by name, TUN", tunEnabled + "config rule\n\tlist domain 'a.example'\n\toption quic 'drop'\n", none,
			[]string{".quic: to drop QUIC by name needs engine nfqueue"}, nil, "table"},
		{"a name is dropped, TUN", tunEnabled + "config rule 'a'\n\tlist domain 'a.example'\n\toption action 'drop'\n", none,
			nil, []string{"warning: QUIC of rule a is let out, as engine tun is not shown it"}, ""},
		{"all QUIC is rejected, TUN", tunEnabled + all, none, nil, []string{`counter name "blocked" reject`}, "warning"},
		{"all QUIC is rejected", enabled + all, none, nil, []string{`counter name "blocked" reject`, "all: all names: desync, quic: reject"}, "warning"},
		{"all QUIC is rejected, which the kernel cannot", enabled + all, func(k *fake) { k.features.Reject = false }, nil,
			[]string{"warning: QUIC is dropped and not rejected", `counter name "blocked" drop`}, ""},
		{"SYN, TUN", tunEnabled + syn, none, []string{"b4:5: strategy.default.tls: a strategy that has b4 shown SYNs needs engine nfqueue"}, nil, "table"},
		{"SYN, TUN for want of a queue", enabled + syn, func(k *fake) { k.features.Queue = 0 },
			[]string{"b4:4: strategy.default.tls: a strategy that has b4 shown SYNs needs engine nfqueue, and this is tun (auto: "}, nil, "table"},
		{"SYN", enabled + syn, none, nil, []string{"synfake(badsum) (puts decoys on the wire; has b4 shown SYNs)", `counter name "opened" goto ask`}, "warning"},
		{"SYN, when it is too early", enabled + syn + "config rule 'a'\n\tlist domain 'a.example'\n", none, nil,
			[]string{"b4:4: strategy.default.tls: its steps for the handshake do nothing in rule a", `counter name "opened" accept`}, ""},
		{"observe, TUN", tunEnabled + "\toption observe '1'\n", none, []string{"b4:4: main.observe: to look at answers needs engine nfqueue"}, nil, "table"},
		{"observe", enabled + "\toption observe '1'\n", none, nil, []string{"chain replies", "ct reply packets 1-3", "tcp flags & fin == fin"}, "warning"},
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
