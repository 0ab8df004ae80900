package tun

import (
	"encoding/binary"
	"errors"
	"net/netip"
	"os"
	"sync/atomic"
	"testing"

	"b4/engine"
	"b4/rtnl"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// A network of three hosts: client, router, server. The lines between them are
// pairs of TUN devices, along which superpackets travel whole.
var (
	client4, lan4, wan4, server4 = netip.MustParsePrefix("198.51.100.1/24"), netip.MustParsePrefix("198.51.100.254/24"), netip.MustParsePrefix("203.0.113.1/24"), netip.MustParsePrefix("203.0.113.2/24")
	client6, lan6, wan6, server6 = netip.MustParsePrefix("2001:db8:1::1/64"), netip.MustParsePrefix("2001:db8:1::fe/64"), netip.MustParsePrefix("2001:db8:2::1/64"), netip.MustParsePrefix("2001:db8:2::2/64")
)

const steerMark, steerTable = 0x100, 100

// wire joins two namespaces.
func wire(t *testing.T, a, b space, aName, bName string, aAddrs, bAddrs []netip.Prefix, see func([]byte)) (da, db *Device) {
	da = openIn(t, a, DeviceConfig{Name: aName, Queue: 5000, Addrs: aAddrs})
	db = openIn(t, b, DeviceConfig{Name: bName, Queue: 5000, Addrs: bAddrs})
	go pump(t, da, func(h Header, p []byte) error { see(p); return db.Write(h, p) })
	go pump(t, db, func(h Header, p []byte) error { return da.Write(h, p) })
	return da, db
}

// byDefault makes a default route by a device in a table.
func byDefault(t *testing.T, family uint8, table uint8, index int32) {
	c, err := rtnl.Dial()
	if err != nil {
		t.Error(err)
		return
	}
	defer c.Close()
	r := rtnl.Route{Family: family, Table: table, Protocol: unix.RTPROT_STATIC, Scope: unix.RT_SCOPE_UNIVERSE, Type: unix.RTN_UNICAST}
	body := rtnl.AppendUint32(r.Append(nil), unix.RTA_OIF, uint32(index))
	if err := c.Do(unix.RTM_NEWROUTE, unix.NLM_F_CREATE|unix.NLM_F_EXCL, body); err != nil {
		t.Errorf("add route: %v", err)
	}
	if table == steerTable {
		rule := rtnl.Route{Family: family, Table: table, Type: unix.FR_ACT_TO_TBL} // struct fib_rule_hdr has the same shape
		if err := c.Do(unix.RTM_NEWRULE, unix.NLM_F_CREATE|unix.NLM_F_EXCL, rtnl.AppendUint32(rule.Append(nil), unix.FRA_FWMARK, steerMark)); err != nil {
			t.Errorf("add rule: %v", err)
		}
	}
}

func sysctl(t *testing.T, name, value string) {
	if err := os.WriteFile("/proc/sys/net/"+name, []byte(value), 0); err != nil {
		t.Error(err)
	}
}

// steerAll steers what comes from the LAN to the device, as the router's own
// sources where it translates, and keeps what comes back from it untracked.
func steerAll(t *testing.T) {
	c, err := nftables.New()
	if err != nil {
		t.Error(err)
		return
	}
	table := c.AddTable(&nftables.Table{Family: nftables.TableFamilyINet, Name: "b4test"})
	add := func(name string, typ nftables.ChainType, hook *nftables.ChainHook, priority nftables.ChainPriority, e ...expr.Any) {
		chain := c.AddChain(&nftables.Chain{Table: table, Name: name, Type: typ, Hooknum: hook, Priority: &priority})
		c.AddRule(&nftables.Rule{Table: table, Chain: chain, Exprs: e})
	}
	is := func(key expr.MetaKey, device string) []expr.Any {
		name := make([]byte, 16)
		copy(name, device)
		return []expr.Any{&expr.Meta{Key: key, Register: 1}, &expr.Cmp{Register: 1, Data: name}}
	}
	add("raw", nftables.ChainTypeFilter, nftables.ChainHookPrerouting, -300, append(is(expr.MetaKeyIIFNAME, "b4tun0"), &expr.Notrack{})...)
	add("steer", nftables.ChainTypeFilter, nftables.ChainHookPrerouting, -150, append(is(expr.MetaKeyIIFNAME, "lan"),
		&expr.Immediate{Register: 1, Data: binary.NativeEndian.AppendUint32(nil, steerMark)},
		&expr.Meta{Key: expr.MetaKeyMARK, Register: 1, SourceRegister: true})...)
	add("snat", nftables.ChainTypeNAT, nftables.ChainHookPostrouting, 99, append(is(expr.MetaKeyOIFNAME, "b4tun0"),
		&expr.Meta{Key: expr.MetaKeyNFPROTO, Register: 1}, &expr.Cmp{Register: 1, Data: []byte{unix.NFPROTO_IPV4}},
		&expr.Immediate{Register: 1, Data: wan4.Addr().AsSlice()},
		&expr.NAT{Type: expr.NATTypeSourceNAT, Family: unix.NFPROTO_IPV4, RegAddrMin: 1})...)
	if err := c.Flush(); err != nil {
		t.Error(err)
	}
}

// Through a router that takes all traffic: superpackets reach the engine whole,
// go back by the device in one write each, and leave by WAN translated, IPv4
// behind NAT and IPv6 without.
func TestKernelBack(t *testing.T) {
	client, router, server := newSpace(t), newSpace(t), newSpace(t)
	var leaked atomic.Int64
	near, _ := wire(t, client, router, "eth0", "lan", []netip.Prefix{client4, client6}, []netip.Prefix{lan4, lan6}, func([]byte) {})
	_, far := wire(t, router, server, "wan", "eth0", []netip.Prefix{wan4, wan6}, []netip.Prefix{server4, server6}, func(p []byte) {
		if p[0]>>4 == 4 && netip.AddrFrom4([4]byte(p[12:])) != wan4.Addr() {
			leaked.Add(1)
		}
	})
	e := New(Config{
		Device: DeviceConfig{Name: "b4tun0", Queue: 5000}, Back: true, Whole: func([]byte) bool { return true },
		Send:   sender(func(engine.Out) error { return errBroken }),
		Report: func(err error) { t.Error(err) },
	})
	var err error
	router.do(func() {
		err = e.Start()
		for _, s := range []string{"ipv4/ip_forward", "ipv6/conf/all/forwarding", "ipv4/conf/b4tun0/accept_local"} {
			sysctl(t, s, "1")
		}
		for _, s := range []string{"all", "b4tun0", "lan", "wan"} {
			sysctl(t, "ipv4/conf/"+s+"/rp_filter", "0")
		}
		steerAll(t)
		byDefault(t, unix.AF_INET, steerTable, e.Index())
		byDefault(t, unix.AF_INET6, steerTable, e.Index())
	})
	if err != nil {
		t.Fatal(err)
	}
	var largest, bytes int
	end := make(chan error, 1)
	go func() {
		end <- e.Run(judge(func(p *engine.Packet, _ *engine.Batch) engine.Verdict {
			largest, bytes = max(largest, len(p.Bytes)), bytes+len(p.Bytes)
			return engine.Accept
		}))
	}()
	for _, f := range []uint8{unix.AF_INET, unix.AF_INET6} {
		client.do(func() { byDefault(t, f, unix.RT_TABLE_MAIN, near.Index()) })
		server.do(func() { byDefault(t, f, unix.RT_TABLE_MAIN, far.Index()) })
	}
	for _, to := range []netip.Addr{server4.Addr(), server6.Addr()} {
		a, b := connect(t, client, server, netip.AddrPortFrom(to, 4430))
		transfer(t, a, b, 8<<20)
		transfer(t, b, a, 8<<20)
	}
	if err := errors.Join(e.Close(), <-end); err != nil {
		t.Error(err)
	}
	n := e.Counters()
	t.Logf("%d packets, the largest of %d bytes", n.Read, largest)
	if n.Accepted != n.Read || n.SendFailed+n.Lost+n.Dropped > 0 || largest < 20_000 || bytes < 16<<20 {
		t.Errorf("counters %+v, %d bytes", n, bytes)
	}
	if leaked.Load() > 0 {
		t.Errorf("%d packets left with the client's source", leaked.Load())
	}
}
