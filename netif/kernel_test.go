package netif

import (
	"bytes"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"b4/nlwatch"
	"b4/nstest"
	"b4/rtnl"

	"golang.org/x/sys/unix"
)

// A netns changes the network namespace that a test made for itself.
type netns struct {
	*testing.T
	c *rtnl.Conn
}

// enterNetNS moves the test into a namespace with four pairs of devices, a1 to a4
// and b1 to b4, all up.
func enterNetNS(t *testing.T) *netns {
	t.Helper()
	nstest.Enter(t)
	nstest.Sysctl(t, "net.ipv6.conf.default.addr_gen_mode=1") // without link-local addresses nothing moves but by the test
	c, err := rtnl.Dial()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	n := &netns{t, c}
	for _, i := range []string{"1", "2", "3", "4"} {
		n.pair("a"+i, "b"+i)
		nstest.Up(t, "a"+i)
		nstest.Up(t, "b"+i)
	}
	return n
}

func (n *netns) do(what string, typ, flags uint16, body ...[]byte) {
	n.Helper()
	if err := n.c.Do(typ, flags, bytes.Join(body, nil)); err != nil {
		n.Fatalf("%s: %v", what, err)
	}
}

const create = unix.NLM_F_CREATE | unix.NLM_F_EXCL

func name(s string) []byte { return attr(unix.IFLA_IFNAME, []byte(s), []byte{0}) }

func (n *netns) pair(a, b string) {
	n.do("add "+a, unix.RTM_NEWLINK, create, ifinfo(0, 0, 0, 0), name(a),
		attr(unix.IFLA_LINKINFO, attr(unix.IFLA_INFO_KIND, []byte("veth")),
			attr(unix.IFLA_INFO_DATA, attr(1 /* VETH_INFO_PEER */, ifinfo(0, 0, 0, 0), name(b)))))
}

func (n *netns) index(dev string) int32 { n.Helper(); return nstest.Index(n, dev) }

func (n *netns) oif(dev string) []byte { return attr(unix.RTA_OIF, u32(uint32(n.index(dev)))) }

func (n *netns) route(family uint8, attrs ...[]byte) {
	n.do("add route", unix.RTM_NEWROUTE, create, append([][]byte{rthead(family, 0, mainTable, unicast, 0)}, attrs...)...)
}

func (n *netns) want(what string, v4, v6 []string) {
	n.Helper()
	w, err := Default()
	if err != nil || !slices.Equal(w.V4, v4) || !slices.Equal(w.V6, v6) {
		n.Errorf("%s: %q and %q, %v; want %q and %q", what, w.V4, w.V6, err, v4, v6)
	}
}

func metric(m uint32) []byte { return attr(unix.RTA_PRIORITY, u32(m)) }

func devs(names ...string) []string { return names }

func TestDefault(t *testing.T) {
	tests := []struct {
		name   string
		do     func(n *netns)
		v4, v6 []string
	}{
		{"no route", func(n *netns) {}, nil, nil},
		{"v4", func(n *netns) { n.route(v4, n.oif("a1")) }, devs("a1"), nil},
		{"v6", func(n *netns) { n.route(v6, n.oif("a1")) }, nil, devs("a1")},
		{"best metric first", func(n *netns) {
			n.route(v4, n.oif("a1"), metric(20))
			n.route(v4, n.oif("a2"), metric(10))
			n.route(v6, n.oif("a3"), metric(20))
			n.route(v6, n.oif("a2"), metric(10))
		}, devs("a2", "a1"), devs("a2", "a3")},
		{"a device for each family", func(n *netns) {
			n.route(v4, n.oif("a1"))
			n.route(v6, n.oif("a2"))
		}, devs("a1"), devs("a2")},
		{"twice on one device", func(n *netns) {
			n.route(v4, n.oif("a1"))
			n.route(v4, n.oif("a1"), metric(5))
		}, devs("a1"), nil},
		{"v6 for a source prefix", func(n *netns) {
			n.do("add route", unix.RTM_NEWROUTE, create, []byte{v6, 0, 56, 0, mainTable, unix.RTPROT_STATIC, 0, unicast, 0, 0, 0, 0},
				attr(unix.RTA_SRC, netip.MustParseAddr("2001:db8::").AsSlice()), n.oif("a1"))
		}, nil, devs("a1")},
		{"multipath", func(n *netns) {
			n.route(v4, attr(unix.RTA_MULTIPATH, hop(n.index("a3"), 0), hop(n.index("a1"), 0)))
		}, devs("a1", "a3"), nil},
		{"multipath without carrier", func(n *netns) {
			n.route(v4, attr(unix.RTA_MULTIPATH, hop(n.index("a3"), 0), hop(n.index("a1"), 0)))
			nstest.Down(n, "b1")
		}, devs("a1", "a3"), nil},
		{"multipath with a dead device", func(n *netns) {
			n.route(v4, attr(unix.RTA_MULTIPATH, hop(n.index("a3"), 0), hop(n.index("a1"), 0)))
			nstest.Down(n, "a1")
		}, devs("a3"), nil},
		{"next hop object", func(n *netns) {
			n.do("add next hop", unix.RTM_NEWNEXTHOP, create, []byte{v4, 0, 0, 0, 0, 0, 0, 0},
				attr(unix.NHA_ID, u32(9)), attr(unix.NHA_OIF, u32(uint32(n.index("a2")))))
			n.route(v4, attr(30 /* RTA_NH_ID */, u32(9)))
		}, devs("a2"), nil},
		{"blackhole and unreachable", func(n *netns) {
			for _, typ := range []uint8{unix.RTN_BLACKHOLE, unix.RTN_UNREACHABLE, unix.RTN_PROHIBIT} {
				n.do("add route", unix.RTM_NEWROUTE, create, rthead(v4, 0, mainTable, typ, 0), metric(uint32(typ)))
				n.do("add route", unix.RTM_NEWROUTE, create, rthead(v6, 0, mainTable, typ, 0), metric(uint32(typ)))
			}
			n.route(v4, n.oif("a1"), metric(99))
		}, devs("a1"), nil},
		{"loopback", func(n *netns) { n.route(v4, n.oif("lo")) }, nil, nil},
		{"another table", func(n *netns) {
			n.do("add route", unix.RTM_NEWROUTE, create, rthead(v4, 0, 100, unicast, 0), n.oif("a1"))
		}, nil, nil},
		{"longer prefix", func(n *netns) {
			n.do("add route", unix.RTM_NEWROUTE, create, rthead(v4, 1, mainTable, unicast, 0), attr(unix.RTA_DST, make([]byte, 4)), n.oif("a1"))
		}, nil, nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			n := enterNetNS(t)
			tt.do(n)
			n.want(tt.name, tt.v4, tt.v6)
		})
	}
}

// More routes than one datagram of a dump holds.
func TestDefaultAmongMany(t *testing.T) {
	n := enterNetNS(t)
	dev := n.oif("a1")
	for i := range 1500 {
		n.do("add route", unix.RTM_NEWROUTE, create, rthead(v4, 32, mainTable, unicast, 0),
			attr(unix.RTA_DST, []byte{10, 1, byte(i >> 8), byte(i)}), dev)
	}
	n.route(v4, dev, metric(1))
	n.want("1500 other routes", devs("a1"), nil)
}

func TestResolveAsksNetifd(t *testing.T) {
	old := sockets
	defer func() { sockets = old }()
	n := enterNetNS(t)
	nstest.Down(n, "a1")
	n.do("rename", unix.RTM_NEWLINK, 0, ifinfo(0, n.index("a1"), unix.IFF_UP, unix.IFF_UP), name("pppoe-wan"))
	n.route(v6, n.oif("pppoe-wan"))
	for _, tt := range []struct{ file, want, err string }{
		{"netifd.txt", "a2 (v4, v6), pppoe-wan (v6), backup (down), lte (down)", "a9: " + ErrUnknown.Error()},
		{"bare.txt", "a2 (v4, v6)", "wan: " + ErrUnknown.Error()},
		{"denied.txt", "none", "ask netifd for its interfaces: find"},
	} {
		sockets = []string{replay(n.T, tt.file)}
		w, err := Resolve([]string{"wan", "wan6", "backup", "lte", "a2", "a9"})
		if w.String() != tt.want || err == nil || !strings.HasPrefix(err.Error(), tt.err) {
			n.Errorf("%s: %s, %v; want %s, %s", tt.file, w, err, tt.want, tt.err)
		}
	}
}

const (
	// patience is far above what a watcher gathers events for, on a slow machine.
	patience = 5 * time.Second
	// calmness is well above it.
	calmness = 500 * time.Millisecond
)

// fires asks that act wakes w before patience ends.
func (n *netns) fires(w *nlwatch.Watcher, what string, act func()) {
	n.Helper()
	act()
	start := time.Now()
	if err := w.Wait(patience); err != nil || time.Since(start) >= patience {
		n.Errorf("%s: no event (%v)", what, err)
	}
}

// silent asks that nothing wakes w for a while.
func (n *netns) silent(w *nlwatch.Watcher, what string) {
	n.Helper()
	const limit = calmness
	start := time.Now()
	if err := w.Wait(limit); err != nil || time.Since(start) < limit {
		n.Errorf("%s: event after %v (%v)", what, time.Since(start), err)
	}
}

// calm waits until the devices have come up: the kernel tells their state as
// much as a second later (net/core/link_watch.c).
func (n *netns) calm(w *nlwatch.Watcher) {
	limit := 1200 * time.Millisecond
	if os.Getenv("B4_SLOW") != "" { // an emulated machine may be late with it
		limit *= 3
	}
	for end := time.Now().Add(10 * patience); time.Now().Before(end); {
		start := time.Now()
		if err := w.Wait(limit); err != nil || time.Since(start) >= limit {
			return
		}
	}
	n.Error("events never cease")
}

// Whatever gives Resolve another answer is told by these groups.
func TestWatch(t *testing.T) {
	n := enterNetNS(t)
	w, err := rtnl.Watch(rtnl.Links | rtnl.Addrs | rtnl.Routes)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	n.calm(w)
	n.fires(w, "route added", func() { n.route(v4, n.oif("a1")) })
	n.want("route added", devs("a1"), nil)
	n.fires(w, "route removed", func() { n.do("remove", unix.RTM_DELROUTE, 0, rthead(v4, 0, mainTable, unicast, 0), n.oif("a1")) })
	n.want("route removed", nil, nil)
	n.do("add route", unix.RTM_NEWROUTE, create, rthead(v4, 24, mainTable, unicast, 0), attr(unix.RTA_DST, []byte{10, 0, 0, 0}), n.oif("a1"))
	n.silent(w, "a route of no concern")
	n.fires(w, "v6 route added", func() { n.route(v6, n.oif("a1")) })
	n.want("v6 route added", nil, devs("a1"))
	n.fires(w, "device down", func() { nstest.Down(n, "a1") })
	n.want("device down", nil, nil)
	n.fires(w, "device renamed", func() {
		n.do("rename", unix.RTM_NEWLINK, 0, ifinfo(0, n.index("a1"), 0, 0), name("wan"))
	})
	n.fires(w, "renamed device up", func() { nstest.Up(n, "wan"); n.route(v4, n.oif("wan")) })
	n.want("device renamed", devs("wan"), nil)
	n.fires(w, "device removed", func() { n.do("remove", unix.RTM_DELLINK, 0, ifinfo(0, n.index("wan"), 0, 0)) })
	n.want("device removed", nil, nil)
}
