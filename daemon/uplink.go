package daemon

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"b4/fw"
	"b4/route"

	"golang.org/x/sys/unix"
)

// An uplink is the one WAN device behind a TUN, as the TUN's rules, routes and
// packets depend on it.
type uplink struct {
	device string
	index  int32
	mtu    int // bytes; of the TUN, so that nothing has to be cut twice
	v4, v6 way
	notes  findings // what keeps a family, or warns: sentences without their points
}

// A way is how connections of one family leave by an uplink.
type way struct {
	open   bool       // they can be steered
	custom bool       // they cannot, as their sources are translated in a way of their own
	snat   netip.Addr // the source the firewall gives them; the zero Addr leaves it
}

func (w way) finding(family string) Finding {
	switch {
	case !w.open:
		return finding("way_none", "%s left alone", family)
	case w.snat.IsValid():
		return finding("way_masqueraded", "%s masqueraded as %s", family, w.snat)
	}
	return finding("way_routed", "%s routed as it is", family)
}

// findings say what leaves by u and how, in a few words each.
func (u *uplink) findings() []Finding {
	return []Finding{finding("", "%s, MTU %d", u.device, u.mtu), u.v4.finding("IPv4"), u.v6.finding("IPv6")}
}

func (u *uplink) String() string { return joined(u.findings()) }

// joined are the texts of findings in one line.
func joined(list []Finding) string {
	var texts []string
	for _, f := range list {
		texts = append(texts, f.Text)
	}
	return strings.Join(texts, "; ")
}

// Why nothing is steered into a TUN though it should be. What passes by itself
// is waited for; what is to be mended is an error in a new configuration.
var (
	errNoUplink = fail("no_uplink", "no interface that is up leads to the internet")
	errSeveral  = errors.New("engine tun serves one uplink")
)

// uplinks are the devices that the TUN may stand before.
func (what *scope) uplinks(s *settings) []string {
	if s.conf.Tun.Out != "" {
		return what.out
	}
	return what.devices
}

// uplink is the one that it does.
func (what *scope) uplink(s *settings) (string, error) {
	devices := what.uplinks(s)
	switch len(devices) {
	case 0:
		return "", errNoUplink
	case 1:
		return devices[0], nil
	}
	return "", s.wrong("tun.out", fail("several", "%w, and there are %s: name one of them in tun.out, or choose engine nfqueue, which serves them all", errSeveral, strings.Join(devices, ", ")))
}

// maxMTU is the largest that a TUN takes (MAX_MTU of drivers/net/tun.c).
const maxMTU = 65535

// findUplink looks at what is behind the TUN now.
func findUplink(k kernel, s *settings, what scope, l route.Links) (u uplink, err error) {
	if u.device, err = what.uplink(s); err != nil {
		return u, err
	}
	dev, ok := l.Device(u.device)
	if !ok || !dev.Up {
		return u, fail("down", "%w: %s is down", errNoUplink, u.device)
	}
	// What is larger than WAN's would be lost at the raw socket, without the
	// ICMP error that tells its sender.
	u.index, u.mtu = dev.Index, min(dev.MTU, maxMTU)
	if s.conf.Tun.MTU != 0 {
		u.mtu = min(u.mtu, s.conf.Tun.MTU)
	}
	if len(what.devices) > 0 && !slices.Contains(what.devices, u.device) {
		u.note("uplink_out", "tun.out: %s is none of the devices that lead to the internet (%s): add it to main.wan if it does", u.device, strings.Join(what.devices, ", "))
	}
	if err := u.translations(k, s, l); err != nil {
		return u, err
	}
	return u, u.advise(k, s)
}

// advise looks for settings of the kernel, and chains of the firewall, that
// steered packets would be lost to.
func (u *uplink) advise(k kernel, s *settings) error {
	all := s.conf.Main.Steer == steerAll
	for _, a := range k.sysctls(s.conf.Tun.Device, u.device) {
		switch {
		case a.WriteBack && !all, a.V6 && !u.v6.open, !a.V6 && !u.v4.open:
		case a.Breaks:
			return fail("sysctl", "%s: set %s in /etc/sysctl.conf", a.Why, a.Line)
		default:
			u.note("uplink_sysctl", "%s: set %s in /etc/sysctl.conf", a.Why, a.Line)
		}
	}
	if !all {
		return nil
	}
	ok, why, err := k.acceptsForward(s.conf.Tun.Device)
	if err == nil && !ok {
		err = s.wrong("main.steer", fail("drops", "%s drops what comes back from %s: steer 'all' needs firewall4's include of b4, or a rule that accepts it", why, s.conf.Tun.Device))
	}
	return err
}

// translations finds out what the firewall does to the source of connections.
func (u *uplink) translations(k kernel, s *settings, l route.Links) error {
	t := fw.Translation{}
	switch s.conf.Tun.NAT {
	case "masquerade":
		t.V4, t.V6 = fw.Masqueraded, fw.Masqueraded
	case "auto":
		var err error
		if t, err = k.readNAT(u.device); err != nil {
			return fmt.Errorf("read the firewall's rules: %w", err)
		}
	}
	before := len(u.notes)
	u.v4 = u.way(t.V4, t.Why4, l, false)
	if s.conf.Main.IPv6 {
		u.v6 = u.way(t.V6, t.Why6, l, true)
	}
	notes := u.notes[before:]
	why := &coded{errors.New(joined(notes)), notes}
	switch {
	case u.v4.open || u.v6.open:
		return nil
	case u.v4.custom || u.v6.custom:
		return s.wrong("tun.nat", why)
	case len(notes) > 0:
		return fmt.Errorf("%w: %w", errNoUplink, why)
	}
	return fail("empty", "%w: %s has neither a default route nor an address", errNoUplink, u.device)
}

func (u *uplink) way(n fw.NAT, why string, l route.Links, v6 bool) way {
	family := map[bool]string{false: "IPv4", true: "IPv6"}[v6]
	switch {
	case !u.carries(l, v6):
		return way{}
	case n == fw.Routed:
		return way{open: true}
	case n == fw.Custom:
		u.note("uplink_custom", "%s is left alone, as its sources are translated in a way of their own (%s): set tun.nat to masquerade or none if that is what it comes to", family, why)
		return way{custom: true}
	}
	if a := l.Source(u.device, v6); a.IsValid() {
		return way{open: true, snat: a}
	}
	u.note("uplink_address", "%s is left alone, as %s has no address to masquerade it with", family, u.device)
	return way{}
}

// carries reports whether connections of a family can leave by u at all.
func (u *uplink) carries(l route.Links, v6 bool) bool {
	return slices.ContainsFunc(l.Addrs, func(a route.Addr) bool {
		return a.Prefix.Addr().Is6() == v6 && a.Index == u.index && a.Scope == unix.RT_SCOPE_UNIVERSE
	}) || slices.ContainsFunc(l.Routes, func(r route.Route) bool {
		return r.V6() == v6 && r.Index == u.index && r.Dst.Bits() == 0
	})
}

func (u *uplink) note(code, format string, values ...any) { u.notes.say(true, code, format, values...) }

// A tunnel is what engine tun has besides its device: the routes that lead
// there, and the uplink behind it.
type tunnel struct {
	kernel kernel
	engine tunEngine
	routes routes
	uplink uplink // that packets leave by; zero before there was one
}

// steer makes packets with our mark go into the TUN, and what comes out of it
// leave by the uplink it finds.
func (t *tunnel) steer(s *settings, what scope) error {
	l, err := t.routes.Links()
	if err != nil {
		return err
	}
	u, err := findUplink(t.kernel, s, what, l)
	if err != nil {
		return err
	}
	state, err := s.planRoutes(u, l)
	if err != nil {
		return err
	}
	if err := t.resize(s, u.mtu, l); err != nil {
		return err
	}
	t.engine.SetOut(u.index)
	t.uplink = u
	return t.routes.Reconcile(state)
}

// resize gives the TUN its MTU. Below 1280 bytes the kernel takes IPv6 from a
// device, and gives it anew above, with the settings of any device.
func (t *tunnel) resize(s *settings, mtu int, l route.Links) error {
	if dev, ok := l.Device(s.conf.Tun.Device); ok && dev.MTU == mtu {
		return nil
	}
	if err := t.engine.SetMTU(mtu); err != nil {
		return err
	}
	s.ownSysctls(t.kernel)
	return nil
}

func (s *settings) ownSysctls(k kernel) {
	k.ownSysctls(s.conf.Tun.Device, s.conf.Main.Steer == steerAll)
}

// release takes the routes away, so that packets go as without b4.
func (t *tunnel) release() error { return t.routes.Reconcile(nil) }

// planRoutes is what s wants of the routes, with uplink u.
func (s *settings) planRoutes(u uplink, l route.Links) (*route.State, error) {
	c := &s.conf.Tun
	state, err := route.Plan(route.Config{
		Marks: s.marks, Table: c.Table, Device: c.Device, V4: c.V4, V6: c.V6, IPv4: u.v4.open, IPv6: u.v6.open,
		Out: u.device, Gateway4: c.Gateway4, Gateway6: c.Gateway6,
	}, l)
	if err != nil && !errors.Is(err, route.ErrNoDevice) {
		err = s.wrong("tun.route_table", err) // all else uci has looked at
	}
	return state, err
}
