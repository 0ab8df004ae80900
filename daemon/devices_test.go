package daemon

import (
	"fmt"
	"io"
	"log/slog"
	"regexp"
	"strings"
	"testing"

	"b4/mark"
	"b4/netif"
	"b4/nfq/nfqtest"
)

// Rules for devices.
const (
	console = "config rule 'console'\n\tlist mac '00:11:22:aa:bb:cc'\n"
	guests  = "config rule 'guests'\n\tlist interface 'guest'\n"
	phone   = "config rule 'phone'\n\tlist source '192.168.1.20'\n\tlist source 'fd00::20'\n"
	pass    = "\toption action 'pass'\n"
	rest    = "config rule 'rest'\n"
)

func TestGroups(t *testing.T) {
	t.Parallel()
	four := console + guests + phone + "config rule 'd'\n\tlist interface 'd'\n"
	for _, tt := range []struct{ name, conf, want string }{
		{"none", rest, "; 0 groups, 0 spared"},
		{"one", console + rest, "console 1; 1 groups, 0 spared"},
		{"of names", console + "\tlist domain 'a.example'\n" + pass, "console 1; 1 groups, 0 spared"},
		{"two", console + guests + rest, "console 1 guests 2; 2 groups, 0 spared"},
		{"the same, in another order", phone + "config rule 'again'\n\tlist source 'fd00::20'\n\tlist source '192.168.1.20/32'\n" + rest, "phone 1 again 1; 1 groups, 0 spared"},
		{"not the same", phone + "config rule 'again'\n\tlist source '192.168.1.20'\n", "phone 1 again 2; 2 groups, 0 spared"},
		{"the same and more", guests + "config rule 'more'\n\tlist interface 'guest'\n\tlist mac '00:11:22:aa:bb:cc'\n", "guests 1 more 2; 2 groups, 0 spared"},
		{"four", four, "console 1 guests 2 phone 4 d 8; 4 groups, 0 spared"},
		{"five", four + "config rule 'e'\n\tlist source '10.0.0.0/8'\n", "b4:13: rule.e.source: one group of devices too many: 4 can be told apart: join devices in one rule, or name the same ones in several"},
		{"four and again", four + "config rule 'e'\n\tlist interface 'guest'\n", "console 1 guests 2 phone 4 d 8 e 2; 4 groups, 0 spared"},

		{"spared", console + pass + rest, "console unseen; 0 groups, 1 spared"},
		{"two spared", console + pass + guests + pass + phone + rest, "console unseen guests unseen phone 1; 1 groups, 2 spared"},
		{"five spared", strings.Repeat(console+pass, 5) + four, "console unseen console unseen console unseen console unseen console unseen console 1 guests 2 phone 4 d 8; 4 groups, 5 spared"},
		{"behind all", rest + console + pass, "console 1; 1 groups, 0 spared"},
		{"behind a device", guests + console + pass, "guests 1 console 2; 2 groups, 0 spared"},
		{"of a port", console + pass + "\tlist port '443'\n", "console 1; 1 groups, 0 spared"},
		{"of networks", console + pass + "\tlist prefix '192.0.2.0/24'\n", "console 1; 1 groups, 0 spared"},
		{"but names", console + pass + "\tlist not 'a.example'\n", "console 1; 1 groups, 0 spared"},
		{"but QUIC", console + pass + "\toption quic 'reject'\n", "console 1; 1 groups, 0 spared"},
		{"QUIC alone", console + "\toption quic 'pass'\n", "console 1; 1 groups, 0 spared"},
	} {
		// A section that has a name for the second time continues the first: these
		// have names of their own.
		conf := tt.conf
		for n := 2; strings.Count(conf, "config rule 'console'") > 1; n++ {
			i := strings.LastIndex(conf, "config rule 'console'")
			conf = conf[:i] + fmt.Sprintf("config rule 'console%d'", n) + conf[i+len("config rule 'console'"):]
		}
		s, err := buildOf(t, conf)
		got := fmt.Sprint(err)
		if err == nil {
			var rules []string
			for _, r := range s.pipe.Rules {
				name := strings.TrimRight(r.Name, "23456789")
				switch {
				case r.Unseen:
					rules = append(rules, name+" unseen")
				case r.Groups != 0:
					rules = append(rules, fmt.Sprint(name, " ", r.Groups>>28))
				}
			}
			got = fmt.Sprintf("%s; %d groups, %d spared", strings.Join(rules, " "), len(s.who.groups), len(s.who.spared))
			if want := len(s.who.groups) > 0; (s.marks.Groups != 0) != want {
				t.Errorf("%s: marks %+v", tt.name, s.marks)
			}
		}
		if got != tt.want {
			t.Errorf("%s:\n got %s\nwant %s", tt.name, got, tt.want)
		}
	}
}

// Where the usual bits have no room above them, groups have those below.
func TestGroupBits(t *testing.T) {
	t.Parallel()
	s := settingsOf(t, "\toption mark '0x10000000'\n"+console)
	if m, _ := mark.New(1 << 28); s.marks != m.WithGroups() || s.pipe.Rules[0].Groups != 1<<24 {
		t.Errorf("%+v, rule %#x", s.marks, s.pipe.Rules[0].Groups)
	}
}

// An interface is followed: its rule is for what it is now, for nobody while it is
// down, and never for everybody.
func TestInterfaceIsFollowed(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ conf, engine string }{
		{enabled + guests + pass + rest, "nfqueue"},
		{enabled + guests + "\toption strategy 'split(1)'\n" + rest, "nfqueue"},
		{tunEnabled + guests + pass + rest, "tun"},
	} {
		k := newFake(t)
		up := netif.WAN{V4: []string{"br-guest"}, V6: []string{"br-guest"}, Notes: []netif.Note{{Text: "br-guest is a bridge"}}}
		k.outs = map[string]*lookup{"guest": {wan: up}}
		log := &logbook{}
		r := startLogged(t, k, tt.conf, slog.New(slog.NewTextHandler(log, nil)))
		has := func(devices ...string) func() bool {
			return func() bool {
				return len(r.devices()) == len(devices) && fmt.Sprint(r.devices()) == fmt.Sprint(devices)
			}
		}
		r.eventually("the guests' bridge is known", has("br-guest"))
		r.set(func() { r.outs["guest"] = &lookup{wan: netif.WAN{Down: []string{"guest"}}} })
		r.news <- struct{}{}
		r.eventually("it is down, and nobody's", has(noDevice))
		if h := r.status().Health; len(h) > 0 {
			t.Errorf("health: %q", h)
		}
		r.set(func() { r.outs["guest"] = &lookup{err: fmt.Errorf("guest: %w", netif.ErrUnknown)} })
		r.news <- struct{}{}
		r.eventually("status tells", func() bool { return len(r.status().Health) == 1 })
		if h := r.status().Health[0].Text; !strings.Contains(h, "rule.guests.interface (") || !strings.Contains(h, "guest: "+netif.ErrUnknown.Error()) || !has(noDevice)() {
			t.Errorf("health %q, devices %q", h, r.devices())
		}
		r.set(func() { r.outs["guest"] = &lookup{wan: netif.WAN{V4: []string{"wlan1"}}} })
		r.news <- struct{}{}
		r.eventually("it is another device", has("wlan1"))
		r.eventually("status is well", func() bool { return len(r.status().Health) == 0 })
		if n := log.count("is a bridge"); n > 0 {
			t.Errorf("logged %d times what keeps an uplink from being a good one", n)
		}
		if e := r.status().Engine.Name; e != tt.engine {
			t.Errorf("engine %s", e)
		}
	}
}

// devices are those of interfaces in the groups of the rules in force.
func (r *running) devices() (list []string) {
	for _, set := range deviceSet.FindAllStringSubmatch(r.rules(), -1) {
		list = append(list, strings.Split(strings.ReplaceAll(set[1], `"`, ""), ", ")...)
	}
	return list
}

// What the marks of packets say reaches their rules, and what is never touched is
// not.
func TestDevices(t *testing.T) {
	t.Parallel()
	dir := lists(t, map[string]string{"never": "bank.example\n192.0.2.80 # its other name\n2001:db8:77::/48\n"})
	r := start(t, newFake(t), enabled+"\toption never '"+dir+"/never'\n"+console+guests+"\tlist domain 'a.example'\n\tlist port '8443'\n")
	if n := get(r.fake, func() uint16 { return r.queueNum }); n != 537 {
		t.Fatal(n)
	}
	const tv, guest = 1 << 28, 1 << 29
	for i, tt := range []struct {
		mark uint32
		host string
		port uint16
		wire int
	}{
		{0, "a.example", 443, 1},
		{0, "a.example", 8443, 1},
		{tv, "a.example", 443, 2},
		{tv, "bank.example", 443, 1},
		{tv | 1<<4, "b.example", 443, 2},
		{guest, "a.example", 443, 1},
		{guest, "a.example", 8443, 2},
		{guest, "b.example", 8443, 1},
		{guest | tv, "b.example", 8443, 2},
	} {
		pkt := hello(tt.host, uint16(40000+i))
		pkt.Mark = tt.mark
		pkt.Bytes[22], pkt.Bytes[23] = byte(tt.port>>8), byte(tt.port) // of IPv4; nobody looks at the sum
		if o := get(r.fake, func() *nfqtest.Queue { return r.queue }).Push(pkt); len(o.Wire) != tt.wire {
			t.Errorf("mark %#x, %s:%d: %d packets", tt.mark, tt.host, tt.port, len(o.Wire))
		}
	}
	for _, want := range []string{"00:11:22:aa:bb:cc", "192.0.2.80", "2001:db8:77::/48", "8443"} {
		if !strings.Contains(r.rules(), want) {
			t.Errorf("no %s in the rules:\n%s", want, r.rules())
		}
	}
	s := r.status()
	if got := fmt.Sprintf("%q %q", s.Rules[0].Devices+s.Rules[0].Ports, s.Rules[1].Devices+" to "+s.Rules[1].Ports); got != `"MAC 00:11:22:aa:bb:cc" "interface guest to 8443"` {
		t.Error(got)
	}
}

// Rules come and go by reloads, and what the packet marks say with them.
func TestDevicesReload(t *testing.T) {
	t.Parallel()
	r := start(t, newFake(t), enabled)
	for _, tt := range []struct {
		conf  string
		group bool
	}{{enabled + console, true}, {enabled + console + pass, false}, {enabled + phone + rest, true}, {enabled, false}} {
		r.write(tt.conf)
		r.ask("reload", "")
		if got := strings.Contains(r.rules(), "group0_"); got != tt.group || len(r.status().Health) > 0 {
			t.Errorf("%s: a group: %v, %q", tt.conf, got, r.status().Health)
		}
	}
}

// Behind a TUN too: there the device says which groups packets are of.
func TestDevicesTun(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		conf   string
		groups uint32
	}{{console, 0xf << 28}, {console + pass + phone + pass + rest, 0}, {rest, 0}} {
		r := start(t, newFake(t), tunEnabled+tt.conf)
		if got := get(r.fake, func() uint32 { return r.tunConf.Groups }); got != tt.groups {
			t.Errorf("%s: groups %#x, want %#x", tt.conf, got, tt.groups)
		}
	}

	dir := lists(t, map[string]string{"names": "bank.example\n", "servers": "192.0.2.80\n"})
	const block = rest + "\toption quic 'reject'\n"
	for file, want := range map[string]string{
		"names":   "b4:6: rule.rest.quic: to reject QUIC and let the names of main.never pass needs engine nfqueue, and this is tun (main.engine says so)",
		"servers": "",
	} {
		r := prepare(t, newFake(t), tunEnabled+"\toption never '"+dir+"/"+file+"'\n"+block)
		if err := check(newFake(t), r.d.opts, io.Discard); (err != nil) != (want != "") || err != nil && !strings.HasSuffix(err.Error(), want) {
			t.Errorf("%s: %v, want %s", file, err, want)
		}
	}
}

// What check writes about rules, and what a config with an interface that nobody
// knows comes to.
func TestCheckDevices(t *testing.T) {
	t.Parallel()
	dir := lists(t, map[string]string{"never": "bank.example\n192.0.2.80\n"})
	k := newFake(t)
	k.outs = map[string]*lookup{"guest": {err: fmt.Errorf("guest: %w", netif.ErrUnknown)}}
	r := prepare(t, k, enabled+"\toption never '"+dir+"/never'\n"+phone+"\tlist port '8443'\n\tlist port '443'\n"+guests)
	var out strings.Builder
	err := check(k, r.d.opts, &out)
	if want := r.conf + ":10: rule.guests.interface: guest: " + netif.ErrUnknown.Error(); fmt.Sprint(err) != want {
		t.Errorf("%v, want %s", err, want)
	}
	for _, want := range []string{
		"never: 1 names and 1 addresses or networks, see " + dir + "/never\n",
		"rule phone: all names, of source 192.168.1.20, fd00::20, to 8443, 443: desync\n",
		"rule guests: all names, of interface guest: desync\n",
	} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %q in:\n%s", want, &out)
		}
	}
	q := start(t, newFake(t), enabled)
	q.set(func() { q.outs = k.outs })
	q.write(enabled + guests)
	q.hangup()
	q.eventually("status tells", func() bool { return len(q.status().Health) > 0 })
	if h := q.status().Health[0].Text; !strings.Contains(h, "refused") || !strings.Contains(h, "b4:4: rule.guests.interface: guest: neither") {
		t.Errorf("status says %q", h)
	}
}

// Rules watch their own ports, and what they do there decides where.
func TestPorts(t *testing.T) {
	t.Parallel()
	const (
		port  = "config rule 'p'\n\tlist port '8443'\n\tlist port '443'\n"
		web   = "config strategy 'web'\n\toption http 'hostcase'\n"
		quic  = "config strategy 'q'\n\toption quic 'fake(ttl=3)'\n"
		block = "\toption quic 'reject'\n"
	)
	for _, tt := range []struct{ name, conf, want string }{
		{"none", rest, "tcp [443] http [] udp [] block []"},
		{"TLS", port + rest, "tcp [443 8443] http [] udp [] block []"},
		{"pass", port + pass, "tcp [443] http [] udp [] block []"},
		{"drop", port + "\toption action 'drop'\n", "tcp [443 8443] http [8443 443] udp [] block [8443 443]"},
		{"HTTP", port + "\toption strategy 'web'\n" + web, "tcp [443 8443] http [8443 443] udp [] block []"},
		{"HTTP, and all", port + "\toption strategy 'web'\n" + rest + "\toption strategy 'web'\n" + web, "tcp [443 8443 80] http [8443 443 80] udp [] block []"},
		{"QUIC", port + "\toption strategy 'q'\n" + quic, "tcp [443] http [] udp [8443 443] block []"},
		{"QUIC blocked", port + block + rest, "tcp [443 8443] http [] udp [] block [8443 443]"},
		{"QUIC blocked by name", port + block + "\tlist domain 'a.example'\n" + rest, "tcp [443 8443] http [] udp [8443 443] block []"},
		{"QUIC blocked by network", port + block + "\tlist prefix '192.0.2.0/24'\n" + rest, "tcp [443 8443] http [] udp [8443 443] block []"},
		{"QUIC blocked but for a network", "config rule 'n'\n\tlist prefix '192.0.2.0/24'\n" + pass + rest + block, "tcp [443] http [] udp [443] block []"},
		{"QUIC blocked for all", rest + block, "tcp [443] http [] udp [] block [443]"},
		{"QUIC blocked in two ways", "config rule 'p'\n\tlist port '443'\n\toption quic 'drop'\n" + "config rule 'o'\n\tlist port '8443'\n" + block,
			"tcp [443 8443] http [] udp [8443] block [443]"},
		{"QUIC blocked for a device", console + block + rest, "tcp [443] http [] udp [443] block []"},
		{"QUIC blocked but for a device", console + pass + rest + block, "tcp [443] http [] udp [] block [443]"},
	} {
		s := settingsOf(t, tt.conf)
		if got := fmt.Sprint("tcp ", s.tcp, " http ", s.http, " udp ", s.udp, " block ", s.block.Ports); got != tt.want {
			t.Errorf("%s:\n got %s\nwant %s", tt.name, got, tt.want)
		}
	}
}

var deviceSet = regexp.MustCompile(`set \w+_devices \{[^=}]*elements = \{ ([^}]*) \}`)
