package daemon

import (
	"bytes"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"b4/fw"
	"b4/netif"
	"b4/route"

	"golang.org/x/sys/unix"
)

// tell changes the fake kernel, and has its watcher say so.
func (r *running) tell(f func()) {
	r.t.Helper()
	r.set(f)
	r.news <- struct{}{}
}

// health is what status says is wrong, in one text.
func (r *running) health() string {
	r.t.Helper()
	return strings.Join(sentences(r.status().Health), " ")
}

// complains waits until status says a thing.
func (r *running) complains(words string) {
	r.t.Helper()
	r.eventually("status says "+words, func() bool { return strings.Contains(r.health(), words) })
}

// well waits until nothing is wrong.
func (r *running) well() {
	r.t.Helper()
	r.eventually("nothing is wrong", func() bool { return len(r.status().Health) == 0 })
}

// What tun.out names follows its own ups and downs, and those of netifd.
func TestTunOut(t *testing.T) {
	t.Parallel()
	k := newFake(t)
	k.wan = netif.WAN{V4: []string{"wan0", "ppp0"}}
	up := &lookup{wan: netif.WAN{V4: []string{"ppp0"}}}
	k.outs = map[string]*lookup{"dsl": up, "lan": {wan: netif.WAN{V4: []string{"wan0"}}}}
	r := start(t, k, tunEnabled+"config tun 'tun'\n\toption out 'dsl'\n")
	r.sees("dsl", `"ppp0"`, "default")
	r.well()

	// netifd does not answer: what was known stays, and is told of.
	r.tell(func() { r.outs["dsl"] = &lookup{err: errBroken} })
	r.complains("b4:5): broken on purpose")
	if r.routes() == "" || len(get(k, func() []string { return r.watched })) == 0 {
		t.Error("nothing is steered, as netifd does not answer")
	}
	// The interface is down, and comes up.
	r.tell(func() { r.outs["dsl"] = &lookup{wan: netif.WAN{Down: []string{"dsl"}}} })
	if h := r.rests("dsl is down"); strings.Count(h, "leads to the internet") != 1 {
		t.Errorf("want it said once: %s", h)
	}
	r.tell(func() { r.outs["dsl"] = up })
	r.sees("dsl is up", `"ppp0"`, "default")
	r.well()
	// The name means nothing any more, as of a modem pulled out.
	r.tell(func() { r.outs["dsl"] = &lookup{err: fmt.Errorf("dsl: %w", netif.ErrUnknown)} })
	if h := r.rests("dsl is gone"); !strings.Contains(h, "tun.out (") {
		t.Error(h)
	}
	r.tell(func() { r.outs["dsl"] = up })
	r.well()

	// No interface holds a default route of main; tun.out is what counts.
	r.tell(func() { r.wan = netif.WAN{} })
	r.sees("still there", `"ppp0"`, "default")
	r.eventually("wan is none", func() bool { return r.status().WAN == "none" })
	r.well()

	// It may be none of the devices that are WAN: that is told.
	r.tell(func() { r.wan = netif.WAN{V4: []string{"wan0"}} })
	r.complains("ppp0 is none of the devices that lead to the internet (wan0)")

	// A name that means nothing is refused in a new configuration.
	r.write(tunEnabled + "config tun 'tun'\n\toption out 'nosuch'\n")
	r.set(func() { r.outs["nosuch"] = &lookup{err: fmt.Errorf("nosuch: %w", netif.ErrUnknown)} })
	r.hangup()
	r.complains("b4:5: tun.out: nosuch: neither")
	r.sees("the old one stays", `"ppp0"`, "default")
	// A queue does not ask.
	r.write(enabled + "\toption engine 'nfqueue'\nconfig tun 'tun'\n\toption out 'nosuch'\n")
	r.hangup()
	r.eventually("the queue is served", func() bool { return r.status().Engine.Name == "nfqueue" })
	r.well()
}

// IPv4's filters do not matter where IPv6 alone is treated, nor the other way.
func TestAdviceByFamily(t *testing.T) {
	t.Parallel()
	spoofed := route.Advice{Line: "net.ipv4.conf.br-lan.rp_filter=2", Why: "dropped as spoofed", Breaks: true}
	forward6 := route.Advice{Line: "net.ipv6.conf.all.forwarding=1", Why: "IPv6 is not forwarded", V6: true}
	k := newFake(t)
	k.links.Addrs = slices.DeleteFunc(k.links.Addrs, func(a route.Addr) bool { return a.Prefix.Addr().Is4() })
	k.advice = []route.Advice{spoofed, forward6}
	r := start(t, k, tunEnabled)
	r.sees("IPv6 is steered", "", "IPv6")
	if h := r.status().Health; len(h) != 1 || h[0].Text != "Uplink wan0: IPv6 is not forwarded: set net.ipv6.conf.all.forwarding=1 in /etc/sysctl.conf." {
		t.Errorf("%q", h)
	}
	k = newFake(t)
	k.links.Addrs = slices.DeleteFunc(k.links.Addrs, func(a route.Addr) bool { return a.Prefix.Addr().Is6() })
	k.advice = []route.Advice{forward6}
	r = start(t, k, tunEnabled)
	r.sees("IPv4 is steered", "snat ip to", "IPv4")
	r.well()
}

// A healthy router of one family has nothing to complain about, whatever its
// firewall would do to the other.
func TestOneFamilyUplink(t *testing.T) {
	t.Parallel()
	for _, v6 := range []bool{false, true} {
		k := newFake(t)
		k.links.Addrs = slices.DeleteFunc(k.links.Addrs, func(a route.Addr) bool { return a.Prefix.Addr().Is6() != v6 })
		k.nat = fw.Translation{V4: fw.Masqueraded, V6: fw.Routed}
		if !v6 {
			k.nat.V6, k.nat.Why6 = fw.Custom, "by hand"
		}
		r := start(t, k, tunEnabled)
		r.sees("one family", "chain decisive", map[bool]string{false: "IPv4", true: "IPv6"}[v6])
		r.well()
	}
}

// The TUN's MTU is WAN's, but what a TUN takes and what the option allows.
func TestTunMTU(t *testing.T) {
	t.Parallel()
	r := start(t, newFake(t), tunEnabled)
	want := func(mtu int) {
		t.Helper()
		r.eventually(fmt.Sprint("an MTU of ", mtu), func() bool { return r.tun.MTU() == mtu })
	}
	wan := func(mtu int) { r.tell(func() { r.links.Devices[1].MTU = mtu }) }
	want(1492)
	wan(9000)
	want(9000)
	wan(1 << 20)
	want(65535)
	// Below 1280 the kernel takes IPv6 away; the settings of before are needed again.
	wan(1000)
	want(1000)
	r.set(func() { r.owned = "" })
	wan(1500)
	want(1500)
	r.eventually("the TUN's settings are there again", func() bool { return get(r.fake, func() string { return r.owned }) == "b4tun0 false" })
	// Another program changes it.
	r.tell(func() { r.links.Devices[0].MTU = 576 })
	r.eventually("1500 again", func() bool { return get(r.fake, func() int { return r.links.Devices[0].MTU }) == 1500 })
	// What is right is left alone.
	n := get(r.fake, func() int { return r.resized })
	r.tell(func() { r.links.Addrs[0].Prefix = netip.MustParsePrefix("203.0.113.77/24") })
	r.sees("another address", "203.0.113.77", "default")
	if m := get(r.fake, func() int { return r.resized }); m != n {
		t.Errorf("%d changes of the MTU for nothing", m-n)
	}
	// The option cannot exceed it.
	r.write(tunEnabled + "config tun 'tun'\n\toption mtu '9000'\n")
	r.hangup()
	wan(1480)
	want(1480)
	wan(1 << 20)
	want(9000)
	// It is refused, and tried again.
	r.tell(func() { r.fail["mtu"], r.links.Devices[1].MTU = true, 1400 })
	r.rests("no MTU")
	r.tell(func() { r.fail["mtu"] = false })
	want(1400)
	r.well()
}

// The WAN device is made anew, under its name and another number.
func TestUplinkMadeAnew(t *testing.T) {
	t.Parallel()
	r := start(t, newFake(t), tunEnabled)
	all := get(r.fake, func() []route.Device { return slices.Clone(r.links.Devices) })
	r.tell(func() { r.links.Devices, r.wan = all[:1], netif.WAN{} })
	r.rests("no WAN")
	// It is there, and not yet up; then up, and without an address.
	r.tell(func() {
		r.links.Devices = append(slices.Clone(all), route.Device{Index: 30, Name: "wan1", MTU: 1500})
		r.wan = netif.WAN{V4: []string{"wan1"}}
	})
	r.complains("Nothing is steered for now: no interface that is up leads to the internet: wan1 is down.")
	r.tell(func() { r.links.Devices[3].Up = true })
	r.complains("wan1 has neither a default route nor an address")
	r.tell(func() {
		r.links.Addrs = r.links.Addrs[1:2] // it would borrow others', as the kernel does
		r.links.Routes = []route.Route{{Dst: netip.MustParsePrefix("0.0.0.0/0"), Index: 30, Table: 254}}
	})
	r.complains("IPv4 is left alone, as wan1 has no address to masquerade it with")
	if h := r.status().Health; len(h) != 1 {
		t.Errorf("%q", h)
	}
	r.hangup() // it passes by itself: no reason to refuse
	r.tell(func() {
		r.links.Addrs = append(r.links.Addrs, route.Addr{Index: 30, Prefix: netip.MustParsePrefix("192.0.2.77/24")})
	})
	r.sees("steered", "snat ip to 192.0.2.77", "default")
	if o := r.tun.Push(hello("a.example", 1).Bytes); o.Meta[0].Out != 30 {
		t.Errorf("left by device %d", o.Meta[0].Out)
	}
	r.well()
}

// A refusal names the option that is to be changed, by file and line.
func TestPlaces(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name, conf string
		spoil      func(*fake)
		want       string
	}{
		{"device", "config tun 'tun'\n\toption device 'b4tun9'\n", func(k *fake) { k.fail["device b4tun9"], k.why = true, unix.EBUSY },
			"b4:5: tun.device: start engine tun: device or resource busy"},
		{"not a TUN", "config tun 'tun'\n\toption device 'b4tun9'\n", func(k *fake) { k.fail["device b4tun9"], k.why = true, unix.EINVAL },
			"b4:5: tun.device: start engine tun: invalid argument"},
		{"table", "config tun 'tun'\n\toption route_table '100'\n", func(k *fake) {
			k.links.Rules = []route.Rule{{Table: 100, Action: 1, Protocol: 7}}
		}, "b4:5: tun.route_table: plan routes: route table 100 is another program's"},
		{"several", "config tun 'tun'\n\toption out 'both'\n", func(k *fake) {
			k.outs = map[string]*lookup{"both": {wan: netif.WAN{V4: []string{"wan0"}, V6: []string{"ppp0"}}}}
		}, "b4:5: tun.out: engine tun serves one uplink, and there are wan0, ppp0"},
		{"NAT", "config tun 'tun'\n\toption nat 'auto'\n", func(k *fake) {
			k.nat = fw.Translation{V4: fw.Custom, Why4: "a", V6: fw.Custom, Why6: "b"}
		}, "b4:5: tun.nat: IPv4 is left alone"},
		{"firewall", "\toption steer 'all'\n", func(k *fake) { k.refused = "chain x" }, "b4:4: main.steer: chain x drops what comes back"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			r := start(t, newFake(t), enabled)
			r.set(func() { tt.spoil(r.fake) })
			r.write(tunEnabled + tt.conf)
			r.hangup()
			r.complains("refused")
			if h := r.health(); !strings.Contains(h, tt.want) {
				t.Errorf("status: %s", h)
			}
			r.eventually("the queue is served", func() bool { e := r.status().Engine; return e != nil && e.Name == "nfqueue" })
			if tt.name == "device" || tt.name == "not a TUN" {
				return // which check does not make
			}
			if err := check(r.fake, r.d.opts, &bytes.Buffer{}); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("check: %v", err)
			}
		})
	}
	r := start(t, newFake(t), enabled)
	r.set(func() { r.fail["queue 600"], r.why = true, unix.EPERM })
	r.write(enabled + "\toption queue_num '600'\n")
	r.hangup()
	r.complains("b4:3: main.queue_num: start engine nfqueue: ")
}

// A TUN that somebody takes down is told of, and no packet goes there.
func TestTunDown(t *testing.T) {
	t.Parallel()
	r := start(t, newFake(t), tunEnabled)
	r.tell(func() { r.links.Devices[0].Up = false })
	if h := r.rests("the TUN is down"); !strings.Contains(h, "device b4tun0: no such device, or it is down") || strings.Contains(h, "option") || strings.Contains(h, "tun.") {
		t.Error(h)
	}
	r.tell(func() { r.links.Devices[0].Up = true })
	r.sees("it is up", "snat", "default")
	r.well()
}

// An engine that ends while nothing is steered ends b4d all the same.
func TestIdleEngineDies(t *testing.T) {
	t.Parallel()
	k := newFake(t)
	k.wan = netif.WAN{}
	r := start(t, k, tunEnabled)
	r.rests("no WAN")
	r.tun.Close()
	if err := r.wait(); err == nil || !strings.Contains(err.Error(), "engine tun has ended") {
		t.Errorf("error %v", err)
	}
}

// IPv6 that main.ipv6 leaves out, and routes that lead elsewhere than to the
// internet, or by another device, make no uplink.
func TestUplinkCarries(t *testing.T) {
	t.Parallel()
	r := start(t, newFake(t), tunEnabled+"\toption ipv6 '0'\n")
	r.sees("IPv4", "snat ip to", "IPv4")
	if r.well(); strings.Contains(r.routes(), "IPv6") {
		t.Error(r.routes())
	}
	everywhere, half := netip.MustParsePrefix("0.0.0.0/0"), netip.MustParsePrefix("128.0.0.0/1")
	for _, l := range []route.Links{
		{Routes: []route.Route{{Dst: half, Index: 7}}},
		{Routes: []route.Route{{Dst: everywhere, Index: 8}}},
		{Addrs: []route.Addr{{Index: 8, Prefix: netip.MustParsePrefix("192.0.2.1/24")}}},
		{Addrs: []route.Addr{{Index: 7, Prefix: netip.MustParsePrefix("169.254.1.1/16"), Scope: unix.RT_SCOPE_LINK}}},
	} {
		if u := (&uplink{index: 7}); u.carries(l, false) || u.carries(l, true) {
			t.Errorf("%+v is an uplink", l)
		}
	}
}

// Another device is another engine.
func TestTunRenamed(t *testing.T) {
	t.Parallel()
	k := newFake(t)
	k.links.Devices = append(k.links.Devices, route.Device{Index: 9, Name: "b4tun9", Up: true})
	r := start(t, k, tunEnabled)
	r.write(tunEnabled + "config tun 'tun'\n\toption device 'b4tun9'\n")
	r.hangup()
	r.sees("the other device", `"b4tun9"`, "default dev b4tun9")
	if name := get(k, func() string { return k.tunConf.Device.Name }); name != "b4tun9" {
		t.Errorf("the engine has %s", name)
	}
}

// What the kernel offers, and which families the uplink has, reach the rules.
func TestRules(t *testing.T) {
	t.Parallel()
	s := configured(t, tunEnabled)
	u := &uplink{device: "wan0", v6: way{open: true, snat: netip.MustParseAddr("2001:db8::5")}}
	c := s.rules(fw.Features{IPsec: true}, u, house{}, nil)
	if c.IPv4 || !c.IPv6 || !c.SkipIPsec || c.Form != fw.Tun || c.Tun != (fw.TunConfig{Device: "b4tun0", WAN: "wan0", SNAT6: u.v6.snat}) {
		t.Errorf("%+v", c)
	}
	if c := s.rules(fw.Features{Queue: fw.Xt}, nil, house{}, nil); !c.IPv4 || !c.IPv6 || c.SkipIPsec || c.Form != fw.Xt {
		t.Errorf("%+v", c)
	}
}

// What netif leaves alone, or cannot see, is said by status and by check; not
// where b4 is off.
func TestNotesOfWAN(t *testing.T) {
	t.Parallel()
	k := newFake(t)
	k.wan.Notes = []netif.Note{{Text: "wan0 is a bridge"}}
	k.outs = map[string]*lookup{"dsl": {wan: netif.WAN{V4: []string{"wan0"}, Notes: []netif.Note{{Text: "wan0 is a port"}}}}}
	r := start(t, k, tunEnabled+"config tun 'tun'\n\toption out 'dsl'\n")
	if h := r.status().Health; !slices.Equal(sentences(h), []string{"wan0 is a bridge.", "wan0 is a port."}) {
		t.Errorf("%q", h)
	}
	r.tell(func() { r.wan.Notes, r.outs["dsl"].wan.Notes = nil, nil })
	r.well()
	r.tell(func() { r.wan = netif.WAN{Notes: []netif.Note{{Text: "wg0 holds a default route and is left alone"}}} })
	r.complains("wg0 holds a default route and is left alone.")
	var out bytes.Buffer
	if err := check(k, r.d.opts, &out); err != nil || !strings.Contains(out.String(), "warning: wg0 holds a default route") {
		t.Errorf("check: %v\n%s", err, &out)
	}
	r.write("config b4 'main'\n\toption enabled '0'\n")
	r.ask("reload", "")
	if h := r.health(); strings.Contains(h, "wg0") {
		t.Errorf("off, and yet %q", h)
	}
}

// sentences are those of findings.
func sentences(list []Finding) (all []string) {
	for _, f := range list {
		all = append(all, f.Text)
	}
	return all
}
