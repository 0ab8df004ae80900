package fw

import (
	"net/netip"
	"testing"

	"b4/nstest"
)

// Who is bound to an address that WAN has lost is told at once, though the packet
// is one that is hidden from flow offload, and nobody has checked its checksum yet,
// as on OpenWrt with a network card that does not.
func TestStaleIsTold(t *testing.T) {
	nstest.Enter(t)
	r, c := newRouter(t), mustOpen(t)
	nstest.Sysctl(t, "net.netfilter.nf_conntrack_checksum=0")
	apply := func(snat4 string, offloads bool) {
		mustApply(t, c, mustPlan(t, func(c *Config) { toTUN(c, snat4, ""); c.Offload.TCP = offloads }), "wan0")
	}
	apply("192.0.2.1", false)
	f := newFlow(false, 40000, 443)
	r.arrive(r.lan, r.wan, f.out(syn, 0))
	f.src = netip.AddrPortFrom(netip.MustParseAddr("192.0.2.1"), 40000)
	r.arrive(r.wan, r.lan, f.back(syn|ack, 0))
	f.src = netip.AddrPortFrom(netip.MustParseAddr("10.0.0.2"), 40000)
	r.arrive(r.lan, r.wan, f.out(ack, 0))

	apply("192.0.2.9", true)
	if _, err := r.lan.Write(f.out(psh|ack, 300)); err != nil {
		t.Fatal(err)
	}
	if p, ok := r.receive(r.lan, soon); !ok || p[ipLen(p)+13]&rst == 0 {
		t.Errorf("the client is told %x", p)
	}
}
