package route

import (
	"bytes"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"b4/nstest"
	"b4/rtnl"

	"golang.org/x/sys/unix"
)

// A netns is a network namespace that a test made for itself.
type netns struct {
	testing.TB
	c               *rtnl.Conn
	wan0, wan1, tun *os.File // the devices' other ends; tun is b4tun0's
}

// soon is when what is to come has come, on a machine that stalls too.
const soon = 10 * time.Second

// enterNetNS moves the test into a namespace with two uplinks, wan0 and wan1,
// our TUN, and what others on a router have by way of routes and rules. All
// devices are TUNs: nothing of them comes up by and by.
func enterNetNS(t testing.TB) *netns {
	t.Helper()
	n := enterBareNetNS(t)
	n.wan0, n.wan1, n.tun = n.openTUN("wan0"), n.openTUN("wan1"), n.openTUN("b4tun0")
	n.furnish()
	n.settle()
	return n
}

// enterBareNetNS moves the test into a namespace with nothing but lo.
func enterBareNetNS(t testing.TB) *netns {
	t.Helper()
	nstest.Enter(t)
	nstest.Sysctl(t, "net.ipv6.conf.default.addr_gen_mode=1") // without link-local addresses nothing moves but by the test
	c, err := rtnl.Dial()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return &netns{TB: t, c: c}
}

const create = unix.NLM_F_CREATE | unix.NLM_F_EXCL

func (n *netns) do(typ, flags uint16, body ...[]byte) {
	n.Helper()
	if err := n.c.Do(typ, flags, bytes.Join(body, nil)); err != nil {
		n.Fatalf("message %d: %v", typ, err)
	}
}

func (n *netns) links() Links {
	n.Helper()
	l, err := readLinks(n.c, everyones)
	if err != nil {
		n.Fatal(err)
	}
	return l
}

func (n *netns) index(dev string) uint32 { n.Helper(); return uint32(nstest.Index(n, dev)) }

// openTUN makes a device, brings it up and returns its other end.
func (n *netns) openTUN(name string) *os.File {
	n.Helper()
	f := nstest.TUN(n, name)
	nstest.Up(n, name)
	return f
}

// openTAP is openTUN for a device on a link with other hosts.
func (n *netns) openTAP(name string) *os.File {
	n.Helper()
	f := nstest.TAP(n, name)
	nstest.Up(n, name)
	return f
}

func (n *netns) addr(dev, prefix string) {
	n.Helper()
	nstest.Addr(n, dev, netip.MustParsePrefix(prefix))
}

func (n *netns) route(family, table, proto, typ uint8, attrs ...[]byte) {
	n.Helper()
	n.do(unix.RTM_NEWROUTE, unix.NLM_F_CREATE|unix.NLM_F_APPEND, rthead(family, 0, table, proto, 0, typ, 0), bytes.Join(attrs, nil))
}

// rule adds a rule of protocol proto. In a family's head it says what to do:
// unix.FR_ACT_…
func (n *netns) rule(family, proto, action uint8, pref uint32, attrs ...[]byte) {
	n.Helper()
	n.do(unix.RTM_NEWRULE, create, rthead(family, 0, 0, 0, 0, action, 0), attr(unix.FRA_PRIORITY, u32(pref)),
		attr(unix.FRA_PROTOCOL, []byte{proto}), bytes.Join(attrs, nil))
}

func hop(index uint32, weight uint8, gateway string) []byte {
	via := attr(unix.RTA_GATEWAY, addrs(gateway))
	return bytes.Join([][]byte{{byte(unix.SizeofRtNexthop + len(via)), 0, 0, weight}, u32(index), via}, nil)
}

// icmpv6RouterPrefHigh is ICMPV6_ROUTER_PREF_HIGH of linux/icmpv6.h.
const icmpv6RouterPrefHigh = 1

// furnish adds, in both families, each kind of route and rule that others have.
func (n *netns) furnish() {
	n.Helper()
	metric := func(m uint32) []byte { return attr(unix.RTA_PRIORITY, u32(m)) }
	table := func(t uint32) []byte { return attr(unix.FRA_TABLE, u32(t)) }
	wan0, wan1 := n.index("wan0"), n.index("wan1")
	oif0, oif1 := attr(unix.RTA_OIF, u32(wan0)), attr(unix.RTA_OIF, u32(wan1))
	const main, dhcp, boot = unix.RT_TABLE_MAIN, unix.RTPROT_DHCP, unix.RTPROT_BOOT
	for _, f := range []struct {
		family             uint8
		net0, net1         string
		gw0, gw1, src, far string
		offLink            string
	}{
		{v4, "192.0.2.2/24", "198.51.100.2/24", "192.0.2.1", "198.51.100.1", "192.0.2.2", "10.9.0.0", "203.0.113.1"},
		{v6, "2001:db8::2/64", "2001:db8:1::2/64", "2001:db8::1", "2001:db8:1::1", "2001:db8::2", "fd09::", "2001:db8:77::1"},
	} {
		n.addr("wan0", f.net0)
		n.addr("wan1", f.net1)
		via0, via1 := attr(unix.RTA_GATEWAY, addrs(f.gw0)), attr(unix.RTA_GATEWAY, addrs(f.gw1))
		n.route(f.family, main, static, unicast, via0, oif0, metric(10), attr(unix.RTA_METRICS, attr(unix.RTAX_MTU, u32(1400))))
		n.route(f.family, main, dhcp, unicast, via1, oif1, metric(20))
		n.route(f.family, main, dhcp, unicast, via1, oif1, metric(20+DefaultTable))
		n.route(f.family, main, static, unicast, metric(30), attr(unix.RTA_MULTIPATH, hop(wan0, 1, f.gw0), hop(wan1, 4, f.gw1)))
		n.do(unix.RTM_NEWROUTE, create, rthead(f.family, 0, main, static, 0, unicast, unix.RTNH_F_ONLINK), attr(unix.RTA_GATEWAY, addrs(f.offLink)), oif1,
			metric(50), attr(unix.RTA_PREFSRC, addrs(f.src)), attr(unix.RTA_METRICS, attr(unix.RTAX_ADVMSS, u32(1360)), attr(unix.RTAX_INITCWND, u32(20)), attr(unix.RTAX_LOCK, u32(1<<unix.RTAX_MTU)), attr(unix.RTAX_MTU, u32(1420))))
		n.route(f.family, main, static, unix.RTN_UNREACHABLE, metric(4000))
		n.route(f.family, main, static, unix.RTN_BLACKHOLE, metric(4001))
		n.route(f.family, main, static, unix.RTN_PROHIBIT, metric(4002))
		n.route(f.family, 1, boot, unicast, via0, oif0)
		n.route(f.family, 2, boot, unicast, via1, oif1, metric(5))
		n.route(f.family, 0, boot, unicast, via1, oif1, table(256))
		n.do(unix.RTM_NEWROUTE, create, rthead(f.family, 16, main, static, 0, unicast, 0), attr(unix.RTA_DST, addrs(f.far)), oif0, attr(unix.RTA_PREFSRC, addrs(f.src)))
		n.do(unix.RTM_NEWNEXTHOP, create, []byte{f.family, 0, 0, 0, 0, 0, 0, 0}, attr(unix.NHA_ID, u32(9+uint32(f.family))), attr(unix.NHA_GATEWAY, addrs(f.gw0)), attr(unix.NHA_OIF, u32(wan0)))
		n.route(f.family, main, static, unicast, metric(40), attr(rtaNexthopID, u32(9+uint32(f.family))))

		const lookup = unix.FR_ACT_TO_TBL
		mark := func(m, mask uint32) []byte {
			return append(attr(unix.FRA_FWMARK, u32(m)), attr(unix.FRA_FWMASK, u32(mask))...)
		}
		n.rule(f.family, static, lookup, 220, table(220)) // strongSwan
		n.rule(f.family, boot, unix.FR_ACT_GOTO, 500, mark(0x8000, 0x8000), attr(unix.FRA_GOTO, u32(2001)))
		n.rule(f.family, static, lookup, Pref, mark(1, 1), table(1)) // somebody has our priority
		n.rule(f.family, boot, lookup, 1001, attr(unix.FRA_IIFNAME, []byte("wan0\x00")), table(1))
		n.rule(f.family, boot, lookup, 2001, mark(0x100, 0x3f00), table(1)) // mwan3
		n.rule(f.family, boot, lookup, 2002, mark(0x200, 0x3f00), table(2))
		n.rule(f.family, boot, unix.FR_ACT_BLACKHOLE, 2061, mark(0x3d00, 0x3f00))
		n.rule(f.family, boot, unix.FR_ACT_UNREACHABLE, 2062, mark(0x3e00, 0x3f00))
		n.rule(f.family, static, lookup, 29998, mark(0x10000, 0xff0000), table(256)) // pbr
		n.rule(f.family, boot, lookup, 30000, attr(unix.FRA_SUPPRESS_PREFIXLEN, u32(1)), table(main))
		n.rule(f.family, boot, lookup, 30001, attr(unix.FRA_IP_PROTO, []byte{unix.IPPROTO_TCP}), attr(unix.FRA_UID_RANGE, u32(7), u32(9)), table(main))
	}
	n.do(unix.RTM_NEWROUTE, create, []byte{v4, 0, 0, 0x10, main, static, 0, unicast, 0, 0, 0, 0}, attr(unix.RTA_GATEWAY, addrs("192.0.2.1")), oif0)
	n.route(v6, main, unix.RTPROT_RA, unicast, attr(unix.RTA_GATEWAY, addrs("2001:db8:1::1")), oif1, metric(60), attr(unix.RTA_PREF, []byte{icmpv6RouterPrefHigh}))
	n.do(unix.RTM_NEWROUTE, create, []byte{v6, 0, 56, 0, main, static, 0, unicast, 0, 0, 0, 0}, attr(unix.RTA_SRC, addrs("2001:db8::")), attr(unix.RTA_GATEWAY, addrs("2001:db8::1")), oif0)
}

// settle waits for what IPv6 does in a worker of its own: the local routes of
// new addresses.
func (n *netns) settle() {
	n.Helper()
	for end := time.Now().Add(soon); time.Now().Before(end); time.Sleep(time.Millisecond) {
		all := strings.Join(n.others(), "")
		local := func(a string) bool {
			return strings.Contains(all, string(attr(unix.FRA_TABLE, u32(unix.RT_TABLE_LOCAL)))+string(attr(unix.RTA_DST, addrs(a))))
		}
		if local("2001:db8::2") && local("2001:db8:1::2") {
			return
		}
	}
	n.Fatal("IPv6 addresses never become usable")
}

// others are the kernel's messages about all routes, rules and addresses but
// ours.
func (n *netns) others() []string {
	n.Helper()
	var all []string
	l := n.links()
	ours := func(index int32) bool { return l.name(index) == "b4tun0" || l.name(index) == "b4tun1" }
	for _, typ := range []uint16{unix.RTM_GETROUTE, unix.RTM_GETRULE, unix.RTM_GETADDR} {
		for _, family := range []uint8{v4, v6} {
			found, err := rtnl.Dump(n.c, typ, family, func(ss []string, m rtnl.Message) []string {
				for _, r := range parseRoute(nil, family, m) {
					if r.Protocol == Protocol {
						return ss
					}
				}
				for _, r := range parseRule(nil, m) {
					if r.Protocol == Protocol {
						return ss
					}
				}
				for _, a := range parseAddr(nil, m) {
					if ours(a.Index) {
						return ss
					}
				}
				if head, _ := rtnl.ParseRoute(m.Body); typ == unix.RTM_GETROUTE && head.Table == unix.RT_TABLE_LOCAL {
					local := false // the kernel's, for our addresses
					attrs(m.Body[unix.SizeofRtMsg:], func(typ uint16, value []byte) {
						local = local || typ == unix.RTA_OIF && ours(int32(number(value)))
					})
					if local {
						return ss
					}
				}
				return append(ss, string(m.Body))
			})
			if err != nil {
				n.Fatalf("dump %d: %v", typ, err)
			}
			all = append(all, found...)
		}
	}
	return all
}

// untouched asks that the others are byte for byte as they were.
func (n *netns) untouched(what string, before []string) {
	n.Helper()
	after := n.others()
	if slices.Equal(before, after) {
		return
	}
	for _, s := range before {
		if !slices.Contains(after, s) {
			n.Errorf("%s: gone: %x", what, s)
		}
	}
	for _, s := range after {
		if !slices.Contains(before, s) {
			n.Errorf("%s: new: %x", what, s)
		}
	}
	n.Fatalf("%s: another's routes or rules are not as they were", what)
}

// ours is what of ours the kernel has, as text.
func (n *netns) ours() (all []string) {
	n.Helper()
	l := n.links()
	for _, r := range l.Routes {
		if r.Protocol == Protocol {
			all = append(all, line(r.V6(), r.text(l)))
		}
	}
	for _, r := range l.Rules {
		if r.Protocol == Protocol {
			all = append(all, line(r.V6, r.String()))
		}
	}
	for _, a := range l.Addrs {
		if dev := l.name(a.Index); dev == "b4tun0" || dev == "b4tun1" {
			all = append(all, line(a.Prefix.Addr().Is6(), a.text(dev)))
		}
	}
	slices.Sort(all)
	return all
}

func line(v6 bool, text string) string { return fmt.Sprintf("v%d %s", 4+2*index(v6), text) }

// lines are those of s as ours has them.
func lines(s *State) (all []string) {
	if s == nil {
		return nil
	}
	for _, f := range s.families {
		for _, text := range s.lines(f) {
			all = append(all, line(f.v6(), text))
		}
	}
	slices.Sort(all)
	return all
}

// stands asks that the kernel has want, and nothing else of ours.
func (n *netns) stands(what string, want *State) {
	n.Helper()
	if got, want := n.ours(), lines(want); !slices.Equal(got, want) {
		n.Fatalf("%s:\n got %q\nwant %q", what, got, want)
	}
}

func (n *netns) plan(edit func(*Config)) *State {
	n.Helper()
	c := config(n)
	edit(&c)
	s, err := Plan(c, n.links())
	if err != nil {
		n.Fatal(err)
	}
	return s
}

func (n *netns) open() *Conn {
	n.Helper()
	c, err := Open(nil)
	if err != nil {
		n.Fatal(err)
	}
	n.Cleanup(func() { c.Close() })
	return c
}
