package daemon

import (
	"bytes"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"b4/control"
	"b4/engine"
	"b4/fw"
	"b4/netif"
	"b4/route"

	"golang.org/x/sys/unix"
)

const tunEnabled = enabled + "\toption engine 'tun'\n"

// routes and rules are what stands in the kernel now.
func (r *running) routes() string { return get(r.fake, func() string { return r.routed }) }
func (r *running) rules() string  { return get(r.fake, func() string { return r.applied }) }

// sees waits until the kernel has in force what each of want is a part of: the
// rules, the routes, and the state that status tells.
func (r *running) sees(what string, rules, routes string) {
	r.t.Helper()
	r.eventually(what, func() bool {
		return strings.Contains(r.rules(), rules) && strings.Contains(r.routes(), routes)
	})
}

// rests waits until nothing is steered, and returns what status says of it.
func (r *running) rests(what string) string {
	r.t.Helper()
	r.eventually(what, func() bool {
		return r.routes() == "" && get(r.fake, func() bool { return len(r.watched) == 0 })
	})
	return strings.Join(sentences(r.status().Health), " ")
}

// From a UCI file to packets on the wire, through the TUN's fake.
func TestTun(t *testing.T) {
	t.Parallel()
	r := start(t, newFake(t), tunEnabled)
	p := hello("www.blocked.example", 40000)
	o := r.tun.Push(p.Bytes)
	if len(o.Wire) != 2 || slices.ContainsFunc(o.Wire, func(b []byte) bool { return bytes.Contains(b, []byte("www.blocked.example")) }) {
		t.Errorf("%d packets, or the name is shown", len(o.Wire))
	}
	for _, m := range o.Meta {
		if m.Out != 7 {
			t.Errorf("left by device %d", m.Out)
		}
	}
	for part, in := range map[string]string{
		`snat ip to 203.0.113.5`: r.rules(), `oifname @wan`: r.rules(),
		"default dev b4tun0 table 25140": r.routes(), "10.255.0.1/32": r.routes(), "fd62:3400::1/128": r.routes(),
	} {
		if !strings.Contains(in, part) {
			t.Errorf("no %q in:\n%s", part, in)
		}
	}
	if strings.Contains(r.rules(), "snat ip6") || strings.Contains(r.rules(), "queue flags") {
		t.Error(r.rules())
	}
	s := r.status()
	if s.Engine.Name != "tun" || s.Engine.Why != "main.engine says so" || len(s.Health) > 0 ||
		s.Engine.Uplink != "wan0, MTU 1492; IPv4 masqueraded as 203.0.113.5; IPv6 routed as it is" || r.tun.MTU() != 1492 {
		t.Errorf("%+v, %v, MTU %d", s.Engine, s.Health, r.tun.MTU())
	}
	if err := r.stop(); err != nil || r.routes() != "" {
		t.Errorf("stop: %v; routes %q", err, r.routes())
	}
}

// Auto takes a queue where there is one, and says why it took what it took.
func TestAuto(t *testing.T) {
	t.Parallel()
	none := fw.Features{Missing: "kmod-nft-queue"}
	both := fw.Features{Queue: fw.Xt, Tun: true}
	tunOnly := fw.Features{Missing: "kmod-nft-queue", Tun: true}
	for _, tt := range []struct {
		engine      string
		features    fw.Features
		broken      string // with the error fails
		fails       error
		name, words string
	}{
		{"auto", both, "", nil, "nfqueue", "xt queue"},
		{"auto", tunOnly, "", nil, "tun", "install kmod-nft-queue"},
		{"auto", both, "nfqueue supported", engine.ErrNotSupported, "tun", "auto: this kernel has a TUN, and no NFQUEUE (not supported"},
		{"auto", both, "nfqueue supported", unix.ENOBUFS, "", "no buffer space"}, // passes
		{"auto", both, "nfqueue supported", unix.EPERM, "", "not permitted"},
		{"auto", none, "", nil, "", "b4: main.engine: engine tun: not supported by this kernel: install kmod-nft-nat"},
		{"auto", none, "", nil, "", "b4: main.engine: engine nfqueue: not supported by this kernel: install kmod-nft-queue"},
		{"nfqueue", both, "", nil, "nfqueue", "main.engine says so"},
		{"nfqueue", tunOnly, "", nil, "", "b4:3: main.engine: engine nfqueue: not supported by this kernel: install kmod-nft-queue"},
		{"tun", both, "", nil, "tun", "main.engine says so"},
		{"tun", none, "", nil, "", "b4:3: main.engine: engine tun: not supported by this kernel: install kmod-nft-nat"},
		{"tun", both, "tun supported", errBroken, "", "broken on purpose"},
	} {
		k := newFake(t)
		k.features = tt.features
		k.fail[tt.broken], k.why = true, tt.fails
		conf := enabled
		if tt.engine != "auto" {
			conf += "\toption engine '" + tt.engine + "'\n"
		}
		r := prepare(t, k, conf)
		s, _, err := load(r.conf, nil)
		if err != nil {
			t.Fatal(err)
		}
		c, err := choose(k, s)
		why := c.why.Text
		if err != nil {
			c.engine, why = "", err.Error()
		}
		if c.engine != tt.name || !strings.Contains(why, tt.words) {
			t.Errorf("%s on %+v: engine %q, %s", tt.engine, tt.features, c.engine, why)
		}
	}
}

// A reload switches engines. What cannot be switched to leaves the old one.
func TestSwitch(t *testing.T) {
	t.Parallel()
	r := start(t, newFake(t), enabled)
	r.write(tunEnabled)
	r.hangup()
	r.sees("the TUN is steered to", "snat ip to 203.0.113.5", "default dev b4tun0")
	if l := r.left(); l["engine"] != 1 || l["table"] != 1 || l["sender"] != 1 || l["routes"] != 1 {
		t.Errorf("open: %v", l)
	}
	r.write(tunEnabled + "config tun 'tun'\n\toption device 'b4tun9'\n")
	r.set(func() { r.fail["device b4tun9"] = true })
	r.hangup()
	r.eventually("refused", func() bool { return strings.Contains(strings.Join(sentences(r.status().Health), " "), "refused") })
	r.sees("the old one is back", "snat ip to 203.0.113.5", "default dev b4tun0")
	r.write(enabled)
	r.hangup()
	r.eventually("the queue is back", func() bool { return strings.Contains(r.rules(), "queue flags") && r.routes() == "" })
	if s := r.status(); s.Engine.Name != "nfqueue" || len(s.Health) != 0 {
		t.Errorf("%+v", s)
	}
}

// What is behind the TUN changes, and rules, routes, MTU and way out follow.
func TestUplinkChanges(t *testing.T) {
	t.Parallel()
	r := start(t, newFake(t), tunEnabled)
	tell := func(f func()) { r.set(f); r.news <- struct{}{} }

	tell(func() { r.links.Addrs[0].Prefix = netip.MustParsePrefix("203.0.113.77/24") })
	r.sees("another address", "snat ip to 203.0.113.77", "default")

	tell(func() { r.wan = netif.WAN{V4: []string{"ppp0"}} })
	r.sees("another device", "snat ip to 198.51.100.9", "default")
	r.eventually("another MTU", func() bool { return r.tun.MTU() == 1480 })
	if o := r.tun.Push(hello("a.example", 1).Bytes); o.Meta[0].Out != 8 {
		t.Errorf("left by device %d", o.Meta[0].Out)
	}
	if s := r.status(); strings.Contains(r.routes(), "IPv6") || !strings.Contains(s.Engine.Uplink, "IPv6 left alone") || len(s.Health) > 0 {
		t.Errorf("%+v\n%s", s, r.routes())
	}
	r.set(func() { r.nat = fw.Translation{} })
	r.fwNews <- struct{}{}
	r.eventually("no NAT any more", func() bool { return !strings.Contains(r.rules(), "snat ip") })

	tell(func() { r.wan = netif.WAN{} })
	if h := r.rests("no WAN"); !strings.Contains(h, "leads to the internet") {
		t.Error(h)
	}
	tell(func() { r.wan = netif.WAN{V4: []string{"wan0"}}; r.links.Devices[1].Up = false })
	if h := r.rests("WAN is down"); !strings.Contains(h, "wan0 is down") {
		t.Error(h)
	}
	tell(func() { r.links.Devices[1].Up = true })
	r.sees("WAN is up", "wan0", "default")
	if h := r.status().Health; len(h) > 0 {
		t.Error(h)
	}
}

// WAN that is not there yet is waited for.
func TestTunBeforeWAN(t *testing.T) {
	t.Parallel()
	k := newFake(t)
	k.wan = netif.WAN{}
	r := start(t, k, tunEnabled)
	if h := r.rests("no WAN"); !strings.Contains(h, "leads to the internet") {
		t.Error(h)
	}
	r.set(func() { r.wan = netif.WAN{V6: []string{"wan0"}} })
	r.news <- struct{}{}
	r.sees("WAN is there", "snat", "default")
}

// What would break connections is not done: it is told, and tried again.
func TestTunRefuses(t *testing.T) {
	t.Parallel()
	spoofed := route.Advice{Line: "net.ipv4.conf.br-lan.rp_filter=2", Why: "steered packets from there are dropped as spoofed", Breaks: true}
	tests := []struct {
		name    string
		spoil   func(*fake)
		mend    func(*fake)
		words   string
		several bool
	}{
		{"several", func(k *fake) { k.wan.V4 = []string{"wan0", "ppp0"} }, func(k *fake) { k.wan.V4 = k.wan.V4[:1] }, "there are wan0, ppp0: name one", true},
		{"spoofed", func(k *fake) { k.advice = []route.Advice{spoofed} }, func(k *fake) { k.advice = nil }, spoofed.Line, true},
		{"custom NAT", func(k *fake) { k.nat = fw.Translation{V4: fw.Custom, Why4: "by hand", V6: fw.Custom, Why6: "by hand"} },
			func(k *fake) { k.nat = fw.Translation{} }, "(by hand): set tun.nat", true},
		{"unreadable", func(k *fake) { k.fail["nat"] = true }, func(k *fake) { k.fail["nat"] = false }, "read the firewall's rules: broken", true},
		{"links", func(k *fake) { k.fail["links"] = true }, func(k *fake) { k.fail["links"] = false }, "broken", true},
		{"reconcile", func(k *fake) { k.fail["reconcile"] = true }, func(k *fake) { k.fail["reconcile"] = false }, "broken", true},
		{"no address", func(k *fake) { k.links.Addrs = nil }, func(k *fake) { k.links.Addrs = newFake(t).links.Addrs }, "neither a default route nor an address", false},
		{"taken", func(k *fake) { k.links.Rules = []route.Rule{{Table: route.DefaultTable, Action: 1, Protocol: 7}} },
			func(k *fake) { k.links.Rules = nil }, "another program's", true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			r := start(t, newFake(t), tunEnabled)
			r.sees("steered", "snat", "default")
			r.set(func() { tt.spoil(r.fake) })
			r.news <- struct{}{}
			if h := r.rests("nothing is steered"); !strings.Contains(h, tt.words) {
				t.Errorf("%q in %s", tt.words, h)
			}
			r.set(func() { tt.mend(r.fake) })
			r.news <- struct{}{}
			r.eventually("steered again", func() bool { return r.routes() != "" && len(r.status().Health) == 0 })

			// The same in a new configuration: the old one stays.
			q := start(t, newFake(t), enabled)
			q.set(func() { tt.spoil(q.fake) })
			q.write(tunEnabled)
			q.hangup()
			if !tt.several {
				q.rests("it is waited for")
				return
			}
			q.eventually("refused", func() bool { return strings.Contains(strings.Join(sentences(q.status().Health), " "), "refused") })
			if s := q.status(); s.Engine == nil || s.Engine.Name != "nfqueue" || !strings.Contains(s.Health[0].Text, tt.words) {
				t.Errorf("%+v, %v", s.Engine, s.Health)
			}
		})
	}
}

// One family can be left alone: the other is treated, and status says why.
func TestTunOneFamily(t *testing.T) {
	t.Parallel()
	r := start(t, newFake(t), tunEnabled)
	r.set(func() { r.nat = fw.Translation{V4: fw.Custom, Why4: "by hand"} })
	r.news <- struct{}{}
	r.eventually("IPv4 is left alone", func() bool { return !strings.Contains(r.routes(), "IPv4") })
	if h := strings.Join(sentences(r.status().Health), " "); !strings.Contains(h, "IPv4 is left alone") || !strings.Contains(r.routes(), "IPv6") {
		t.Errorf("%s\n%s", h, r.routes())
	}
	r.write(tunEnabled + "config tun 'tun'\n\toption nat 'masquerade'\n")
	r.hangup()
	r.sees("as it was told", "snat ip6 to 2001:db8::5", "IPv4")
}

// Every option of the section reaches what it is for.
func TestTunOptions(t *testing.T) {
	t.Parallel()
	k := newFake(t)
	k.wan.V4 = []string{"wan0", "ppp0"}
	k.links.Devices = append(k.links.Devices, route.Device{Index: 9, Name: "x0", Up: true})
	k.links.Addrs = append(k.links.Addrs, route.Addr{Index: 8, Prefix: netip.MustParsePrefix("2001:db8:8::1/64")})
	r := start(t, k, tunEnabled+`config tun 'tun'
	option device 'x0'
	option ipaddr '192.0.2.9/31'
	option ip6addr 'fd00::9/127'
	option out 'wan'
	option gateway '203.0.113.1'
	option ip6gw 'fe80::1'
	option route_table '777'
	option mtu '1400'
	option nat 'none'
`)
	k.set(func() { k.wan = netif.WAN{V4: []string{"ppp0"}, V6: []string{"ppp0"}} }) // what "wan" stands for
	k.news <- struct{}{}
	r.sees("ppp0", "ppp0", "IPv4")
	for _, part := range []string{"192.0.2.9/31", "fd00::9/127", "dev x0 table 777", "via 203.0.113.1 dev ppp0", "via fe80::1 dev ppp0"} {
		if !strings.Contains(r.routes(), part) {
			t.Errorf("no %q in:\n%s", part, r.routes())
		}
	}
	if strings.Contains(r.rules(), "snat ip") || !strings.Contains(r.rules(), `"x0"`) || r.tun.MTU() != 1400 || r.tunConf.Device.Name != "x0" {
		t.Errorf("MTU %d, device %s, rules:\n%s", r.tun.MTU(), r.tunConf.Device.Name, r.rules())
	}
}

// A pause takes away the rule that every forwarded packet is held against.
func TestTunPause(t *testing.T) {
	t.Parallel()
	r := start(t, newFake(t), tunEnabled)
	for _, minutes := range []int{5, 0} {
		if err := control.Call(r.socket, "pause", PauseRequest{minutes}, nil); err != nil {
			t.Fatal(err)
		}
		if minutes > 0 {
			r.rests("paused")
			continue
		}
		r.sees("steered again", "snat", "default")
	}
}

// The table is gone, and comes back with what leads to the TUN.
func TestTunHeal(t *testing.T) {
	t.Parallel()
	r := start(t, newFake(t), tunEnabled)
	r.set(func() { r.gone, r.applied, r.watched = true, "", nil })
	if w := r.healed(); !slices.Equal(w, []string{"wan0"}) || !strings.Contains(r.rules(), "snat ip to") {
		t.Errorf("watched %v, rules:\n%s", w, r.rules())
	}
}

// All traffic of the watched ports, with both engines.
func TestSteerAll(t *testing.T) {
	t.Parallel()
	r := start(t, newFake(t), tunEnabled+"\toption steer 'all'\n")
	p := hello("www.blocked.example", 1)
	if o := r.tun.Push(p.Bytes); len(o.Wire) != 2 {
		t.Errorf("%d packets", len(o.Wire))
	}
	data := hello("", 2)
	data.Bytes[40] = 0x17 // no handshake
	if o := r.tun.Push(data.Bytes); len(o.Wire) != 0 || len(o.Back) != 1 || o.Verdicts[0].Act() != engine.Accept {
		t.Errorf("%d packets by socket, %d back", len(o.Wire), len(o.Back))
	}
	if r.owned != "b4tun0 true" {
		t.Errorf("sysctls set for %s", r.owned)
	}
	if c := r.tunConf; !c.Back || c.Signal || c.Whole == nil || !strings.Contains(r.rules(), "notrack") || strings.Contains(r.rules(), "packets") {
		t.Errorf("%+v\n%s", c, r.rules())
	}
	r.set(func() { r.refused = "table inet fw4 chain forward" })
	r.news <- struct{}{}
	if h := r.rests("what comes back is not forwarded"); !strings.Contains(h, "table inet fw4 chain forward drops what comes back from b4tun0") {
		t.Error(h)
	}
	r.write(enabled + "\toption steer 'all'\n")
	r.hangup()
	r.eventually("the queue has it all", func() bool {
		return strings.Contains(r.rules(), "queue flags") && !strings.Contains(r.rules(), "packets")
	})
}

func TestCheckTun(t *testing.T) {
	t.Parallel()
	k := newFake(t)
	k.links.Devices = k.links.Devices[1:] // the TUN is not there yet
	r := prepare(t, k, tunEnabled)
	var out strings.Builder
	if err := check(k, r.d.opts, &out); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"engine: tun (main.engine says so)", "uplink: wan0, MTU 1492", "default dev b4tun0 table 25140", "snat ip to 203.0.113.5"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %q in:\n%s", want, &out)
		}
	}
	k.wan.V4 = []string{"wan0", "ppp0"}
	if err := check(k, r.d.opts, &out); err == nil || !strings.Contains(err.Error(), "engine tun serves one uplink, and there are wan0, ppp0") {
		t.Errorf("two uplinks: %v", err)
	}
	if l := k.left(); len(l) != 0 {
		t.Errorf("check opened %v", l)
	}
}
