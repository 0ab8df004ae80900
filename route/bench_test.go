package route

import (
	"fmt"
	"testing"

	"b4/nstest"
	"b4/rtnl"

	"golang.org/x/sys/unix"
)

// What rules cost a forwarded packet: of the whole way from one device to the
// next, without any rule but the system's, with ours, and with ten.
func BenchmarkForward(b *testing.B) {
	for _, v6 := range []bool{false, true} {
		for _, rules := range []int{0, 1, 2, 10} {
			b.Run(fmt.Sprintf("v%d/%d rules", 4+2*index(v6), rules), func(b *testing.B) { benchmarkForward(b, v6, rules) })
		}
	}
}

func benchmarkForward(b *testing.B, v6 bool, rules int) {
	n := enterBareNetNS(b)
	lan := n.openTUN("lan0")
	n.openTUN("wan0")
	for dev, nets := range map[string][2]string{"lan0": {"10.0.0.1/24", "fd00:a::1/64"}, "wan0": {"192.0.2.2/24", "2001:db8::2/64"}} {
		n.addr(dev, nets[0])
		n.addr(dev, nets[1])
	}
	nstest.Sysctl(n, "net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1")
	p, family := udp("10.0.0.2", "203.0.113.9"), uint8(v4)
	if v6 {
		p, family = udp("fd00:a::2", "2001:db8:f::9"), unix.AF_INET6
	}
	n.route(family, unix.RT_TABLE_MAIN, static, unicast, attr(unix.RTA_OIF, u32(n.index("wan0"))))
	for i := range rules {
		n.rule(family, Protocol, unix.FR_ACT_TO_TBL, Pref+uint32(i), attr(unix.FRA_TABLE, u32(DefaultTable)),
			attr(unix.FRA_FWMARK, u32(1<<24)), attr(unix.FRA_FWMASK, u32(1<<24)))
	}
	for range b.N { // where wan0's queue is full the packet is dropped, at its end
		if _, err := lan.Write(p); err != nil {
			b.Fatal(err)
		}
	}
}

// What a snapshot costs where there is a whole internet of routes, in the main
// table or in another, and what a Reconcile that has nothing to do.
func BenchmarkLinks(b *testing.B) {
	for _, bb := range []struct {
		name   string
		family uint8
		table  uint32
		routes int
	}{
		{"few", v4, unix.RT_TABLE_MAIN, 10},
		{"v4 main", v4, unix.RT_TABLE_MAIN, 100_000},
		{"v6 main", v6, unix.RT_TABLE_MAIN, 100_000},
		{"v4 other", v4, 1000, 100_000},
	} {
		b.Run(bb.name, func(b *testing.B) {
			n := enterBareNetNS(b)
			n.openTUN("wan0")
			n.manyRoutes(bb.family, bb.table, bb.routes)
			c := n.open()
			for _, act := range []struct {
				name string
				do   func() error
			}{
				{"snapshot", func() error { _, err := c.Links(); return err }},
				{"reconcile", func() error { return c.Reconcile(nil) }},
			} {
				b.Run(act.name, func(b *testing.B) {
					b.ReportAllocs()
					for range b.N {
						if err := act.do(); err != nil {
							b.Fatal(err)
						}
					}
				})
			}
		})
	}
}

// manyRoutes adds routes to networks of the internet by wan0.
func (n *netns) manyRoutes(family uint8, table uint32, routes int) {
	n.Helper()
	wan := rtnl.AppendUint32(nil, unix.RTA_OIF, n.index("wan0"))
	for i := range routes {
		dst, bits := []byte{20 + byte(i>>16), byte(i >> 8), byte(i), 0}, uint8(24)
		if family == v6 {
			dst, bits = append([]byte{0x2a, byte(i >> 16), byte(i >> 8), byte(i)}, make([]byte, 12)...), 48
		}
		n.do(unix.RTM_NEWROUTE, create, rthead(family, bits, 0, unix.RTPROT_BGP, 0, unicast, 0), attr(unix.RTA_TABLE, u32(table)), attr(unix.RTA_DST, dst), wan)
	}
}
