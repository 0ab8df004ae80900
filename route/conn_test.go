package route

import (
	"bytes"
	"errors"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"b4/nstest"

	"golang.org/x/sys/unix"
)

// edits are configurations that a reload may bring, after each other.
var edits = []struct {
	name string
	edit func(*Config)
}{
	{"start", func(c *Config) {}},
	{"v6 off", func(c *Config) { c.IPv6 = false }},
	{"v6 on", func(c *Config) {}},
	{"gateways", func(c *Config) {
		c.Out, c.Gateway4, c.Gateway6 = "wan0", netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("2001:db8::1")
	}},
	{"another gateway, and one family's gone", func(c *Config) { c.Out, c.Gateway4 = "wan1", netip.MustParseAddr("203.0.113.1") }},
	{"another table behind", func(c *Config) {
		c.Out, c.Gateway4, c.Table = "wan1", netip.MustParseAddr("203.0.113.1"), DefaultTable+1
	}},
	{"another device", func(c *Config) { c.Device = "b4tun1" }},
	{"another table", func(c *Config) { c.Device, c.Table = "b4tun1", 300 }},
	{"another mark", func(c *Config) { c.Device, c.Table, c.Marks.Steer = "b4tun1", 300, 1<<30 }},
	{"other addresses", func(c *Config) {
		c.V4, c.V6 = netip.MustParsePrefix("10.255.0.5/30"), netip.MustParsePrefix("fd62:35::1/64")
	}},
	{"another v6 address", func(c *Config) {
		c.V4, c.V6 = netip.MustParsePrefix("10.255.0.5/30"), netip.MustParsePrefix("fd62:34::1/64")
	}},
	{"v4 off", func(c *Config) { c.IPv4 = false }},
	{"all off", func(c *Config) { c.IPv4, c.IPv6 = false, false }},
	{"all on", func(c *Config) {}},
}

// Through start, reloads and stop, everybody else's routes, rules and addresses,
// and among them default routes of both families with several metrics and each
// attribute there is, stay byte for byte as the kernel tells of them; nothing
// goes before its successor stands; and what stands is not asked for again.
func TestReconcile(t *testing.T) {
	n := enterNetNS(t)
	tun1 := n.openTUN("b4tun1")
	before, c := n.others(), n.open()
	// A kernel before 4.20 tells of everyone's routes, whatever it is asked.
	c.look = func(uint8) (Links, error) { return readLinks(c.c, everyones) }
	var asked []uint16
	c.do = func(typ, flags uint16, body []byte) error {
		asked = append(asked, typ)
		return c.c.Do(typ, flags, body)
	}
	for _, e := range edits {
		want := n.plan(e.edit)
		asked = nil
		if err := c.Reconcile(want); err != nil {
			t.Fatalf("%s: %v", e.name, err)
		}
		n.stands(e.name, want)
		n.untouched(e.name, before)
		first := slices.IndexFunc(asked, deletes)
		if first >= 0 && slices.ContainsFunc(asked[first:], func(typ uint16) bool { return !deletes(typ) }) {
			t.Errorf("%s: deleted before all was added: %v", e.name, asked)
		}
		asked = nil
		if err := c.Reconcile(want); err != nil || asked != nil {
			t.Errorf("%s, again: %v, asked %v", e.name, err, asked)
		}
	}
	want := n.plan(func(c *Config) { c.Device = "b4tun1" })
	for range 3 {
		if err := c.Reconcile(want); err != nil {
			t.Fatal(err)
		}
		n.stands("up", want)
		n.untouched("up", before)
		nstest.Down(n, "b4tun1") // takes routes and IPv6 addresses with it
		nstest.Up(n, "b4tun1")
	}
	if len(c.addrs) != 2 {
		t.Errorf("addresses kept in mind: %v", c.addrs)
	}
	tun1.Close()
	if err := c.Reconcile(nil); err != nil {
		t.Error(err)
	}
	n.stands("stopped, with the device gone", nil)
	n.untouched("stopped", before)
}

func deletes(typ uint16) bool {
	return typ == unix.RTM_DELADDR || typ == unix.RTM_DELROUTE || typ == unix.RTM_DELRULE
}

// A new Conn knows what an old one left, and Cleanup removes it. So does the
// end of the TUN, but for the rules.
func TestCleanup(t *testing.T) {
	n := enterNetNS(t)
	before, want := n.others(), n.plan(func(*Config) {})
	for _, way := range []string{"cleanup", "next start", "device gone"} {
		c := n.open()
		if err := errors.Join(c.Reconcile(want), c.Close(), c.Close()); err != nil {
			t.Fatal(way, err)
		}
		if err := c.Reconcile(nil); err != os.ErrClosed {
			t.Errorf("%s: after Close: %v", way, err)
		}
		n.stands(way+", closed", want)
		switch way {
		case "next start":
			if err := n.open().Reconcile(nil); err != nil {
				t.Fatal(err)
			}
			if got := n.ours(); len(got) != 2 || !strings.Contains(got[0], "inet") || !strings.Contains(got[1], "inet") {
				t.Errorf("%s: left over: %q", way, got) // addresses go with their device
			}
			continue
		case "device gone":
			n.tun.Close()
			if got := n.ours(); len(got) != 2 || !strings.Contains(got[0], "fwmark") || !strings.Contains(got[1], "fwmark") {
				t.Errorf("%s: left over: %q", way, got)
			}
		}
		if err := errors.Join(Cleanup(), Cleanup()); err != nil {
			t.Fatal(err)
		}
		n.untouched(way, before)
		for _, s := range n.ours() {
			if !strings.Contains(s, "inet") {
				t.Errorf("%s: left over: %s", way, s)
			}
		}
	}
}

// A set-up that fails half-way does not stay half-done. Each change of each
// reload is refused in turn, and the look ahead of them: nobody else's routes
// move, a family is whole as it was or as it shall be, the next try succeeds, and
// after the end there is as much of everything as before the start.
func TestRefusals(t *testing.T) {
	for i, e := range edits {
		t.Run(e.name, func(t *testing.T) { refuse(t, i) })
	}
}

func refuse(t *testing.T, i int) {
	n := enterNetNS(t)
	n.openTUN("b4tun1")
	before := n.others()
	old := (*State)(nil)
	if i > 0 {
		old = n.plan(edits[i-1].edit)
	}
	want := n.plan(edits[i].edit)
	for at := 0; ; at++ {
		c := n.open()
		if err := errors.Join(c.Reconcile(nil), c.Reconcile(old)); err != nil {
			t.Fatal(err)
		}
		c.look = func(uint8) (Links, error) { return Links{}, unix.ENOBUFS }
		if err := c.Reconcile(want); !errors.Is(err, unix.ENOBUFS) {
			t.Fatalf("blind: %v", err)
		}
		n.stands("blind", old)
		c.look = func(protocol uint8) (Links, error) { return readLinks(c.c, protocol) }
		asked := 0
		c.do = func(typ, flags uint16, body []byte) error {
			if asked++; asked == at+1 {
				return unix.ENOMEM
			}
			return c.c.Do(typ, flags, body)
		}
		err := c.Reconcile(want)
		n.untouched("refused", before)
		if asked <= at {
			if err != nil {
				t.Fatal(err)
			}
			if n.stands("not refused", want); at == 0 {
				t.Error("nothing was asked")
			}
			return
		}
		if !errors.Is(err, unix.ENOMEM) {
			t.Fatalf("change %d: %v", at, err)
		}
		for _, v6 := range []bool{false, true} {
			n.whole(v6, at, old, want)
		}
		c.do = c.c.Do
		if err := c.Reconcile(want); err != nil {
			t.Fatal(err)
		}
		n.stands("healed", want)
		if err := errors.Join(c.Reconcile(nil), c.Close()); err != nil {
			t.Fatal(err)
		}
		if got := n.ours(); got != nil {
			t.Fatalf("change %d: left over: %q", at, got)
		}
		n.untouched("stopped", before)
	}
}

// whole asks that one family stands as in old or as in want. What could not be
// removed may be left besides.
func (n *netns) whole(v6 bool, at int, old, want *State) {
	n.Helper()
	of := func(s *State) *State {
		if s != nil {
			for _, f := range s.families {
				if f.v6() == v6 {
					return &State{s.names, []family{f}}
				}
			}
		}
		return nil
	}
	was, shall := lines(of(old)), lines(of(want))
	var got []string
	for _, s := range n.ours() {
		if slices.Contains(was, s) || slices.Contains(shall, s) {
			got = append(got, s)
		}
	}
	lacks := func(all []string) bool {
		return slices.ContainsFunc(all, func(s string) bool { return !slices.Contains(got, s) })
	}
	half := slices.ContainsFunc(got, func(s string) bool { return !slices.Contains(was, s) })
	if lacks(shall) && (lacks(was) || half) {
		n.Errorf("change %d, v6 %v: neither\n%q nor\n%q but\n%q", at, v6, was, shall, got)
	}
}

// The kernel's own refusal, for want of CAP_NET_ADMIN.
func TestUnprivileged(t *testing.T) {
	n := enterNetNS(t)
	before, want, c := n.others(), n.plan(func(*Config) {}), n.open()
	head := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var caps, fewer [2]unix.CapUserData
	if err := unix.Capget(&head, &caps[0]); err != nil {
		t.Fatal(err)
	}
	fewer = caps
	fewer[0].Effective &^= 1 << unix.CAP_NET_ADMIN
	if err := unix.Capset(&head, &fewer[0]); err != nil { // of this thread alone
		t.Fatal(err)
	}
	err := c.Reconcile(want)
	if err := unix.Capset(&head, &caps[0]); err != nil {
		t.Fatal(err)
	}
	if !errors.Is(err, unix.EPERM) || !strings.Contains(err.Error(), "CAP_NET_ADMIN") {
		t.Errorf("reconciled: %v", err)
	}
	n.untouched("refused", before)
	n.stands("refused", nil)
}

// Another's rule that says the same as ours, or nearly, ahead of ours or behind.
func TestTwins(t *testing.T) {
	n := enterNetNS(t)
	c, want := n.open(), n.plan(func(*Config) {})
	for _, f := range want.families {
		r := f.rules[0]
		said := bytes.Join([][]byte{attr(unix.FRA_TABLE, u32(r.Table)), attr(unix.FRA_FWMARK, u32(r.Mark)), attr(unix.FRA_FWMASK, u32(r.Mask))}, nil)
		narrow := append(slices.Clone(said), attr(unix.FRA_IIFNAME, []byte("lan0\x00"))...)
		wide := append(slices.Clone(said), attr(unix.FRA_SUPPRESS_PREFIXLEN, u32(0))...)
		family := familyOf(f.v6())
		n.rule(family, static, r.Action, r.Pref, said)
		n.rule(family, static, r.Action, r.Pref, narrow)
		before := n.others()
		if err := c.Reconcile(want); err != nil {
			t.Fatal(err)
		}
		n.stands("ahead", want)
		n.untouched("ahead", before)
		n.rule(family, unix.RTPROT_BOOT, r.Action, r.Pref, wide)
		n.rule(family, unix.RTPROT_BOOT, r.Action, r.Pref, said)
		before = n.others()
		if err := c.Reconcile(nil); err != nil {
			t.Fatal(err)
		}
		n.stands("removed", nil)
		n.untouched("removed", before)
	}
}

// Another's route that comes into our table after Plan has looked: by another
// device, it stays ahead of ours; by ours, it is IPv6's only one.
func TestTwinRoutes(t *testing.T) {
	n := enterNetNS(t)
	c, want := n.open(), n.plan(func(*Config) {})
	for _, f := range want.families {
		for _, dev := range []string{"wan0", "b4tun0"} {
			twin := f.routes[0]
			twin.Protocol, twin.Index = static, int32(n.index(dev))
			n.do(unix.RTM_NEWROUTE, create, twin.body())
			before := n.others()
			one := &State{want.names, []family{f}}
			switch err := c.Reconcile(one); {
			case f.v6() && dev == "b4tun0":
				if !errors.Is(err, unix.EEXIST) {
					t.Errorf("a second IPv6 route by the same device: %v", err)
				}
				n.stands("refused", nil)
			case err != nil:
				t.Fatal(err)
			default:
				n.stands("behind", one)
			}
			n.untouched("added", before)
			if _, err := Plan(config(t), n.links()); !errors.Is(err, ErrTaken) {
				t.Errorf("planned for a table that is another's: %v", err)
			}
			if err := Cleanup(); err != nil {
				t.Fatal(err)
			}
			n.untouched("removed", before)
			n.do(unix.RTM_DELROUTE, 0, twin.body())
			if err := c.Reconcile(nil); err != nil { // the address, with which the kernel removes all routes by b4tun0
				t.Fatal(err)
			}
			n.stands("removed", nil)
		}
	}
}

// A table that is not in the system's, with somebody's routes in it.
func TestTakenTable(t *testing.T) {
	n := enterNetNS(t)
	for _, table := range []uint32{1, 2, 220, 256} {
		c := config(t)
		c.Table = table
		if _, err := Plan(c, n.links()); !errors.Is(err, ErrTaken) {
			t.Errorf("table %d: %v", table, err)
		}
	}
	n.do(unix.RTM_NEWROUTE, create, rthead(v6, 64, 77, static, 0, unix.RTN_BLACKHOLE, 0), attr(unix.RTA_DST, addrs("2001:db8:7::")))
	c := config(t)
	c.Table = 77
	if _, err := Plan(c, n.links()); !errors.Is(err, ErrTaken) {
		t.Errorf("table 77: %v", err)
	}
}

// What another removes is told, and stands again.
func TestWatch(t *testing.T) {
	const patience = 5 * time.Second
	n := enterNetNS(t)
	c, want := n.open(), n.plan(func(*Config) {})
	if err := c.Reconcile(want); err != nil {
		t.Fatal(err)
	}
	f := want.families
	for _, act := range []struct {
		name string
		do   func()
	}{
		{"v4 rule", func() { n.do(unix.RTM_DELRULE, 0, f[0].rules[0].body()) }},
		{"v6 rule", func() { n.do(unix.RTM_DELRULE, 0, f[1].rules[0].body()) }},
		{"v4 route", func() { n.do(unix.RTM_DELROUTE, 0, f[0].routes[0].body()) }},
		{"v6 route", func() { n.do(unix.RTM_DELROUTE, 0, f[1].routes[0].body()) }},
		{"address", func() { n.do(unix.RTM_DELADDR, 0, f[0].addr.body()) }},
	} {
		w, err := Watch()
		if err != nil {
			t.Fatal(err)
		}
		act.do()
		start := time.Now()
		if err := w.Wait(patience); err != nil || time.Since(start) >= patience {
			t.Errorf("%s removed: no event (%v)", act.name, err)
		}
		if err := c.Reconcile(want); err != nil {
			t.Fatal(err)
		}
		n.stands(act.name, want)
		if err := w.Close(); err != nil {
			t.Error(err)
		}
	}
}
