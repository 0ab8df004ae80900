package tun

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"net/netip"
	"sync/atomic"
	"testing"
	"time"

	"b4/desync"
	"b4/engine"
	"b4/nstest"
	"b4/packet"
	"b4/pipeline"
	"b4/rtnl"
	"b4/tlshello"

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
func wire(t *testing.T, a, b *nstest.Space, aName, bName string, aAddrs, bAddrs []netip.Prefix, see func([]byte)) (da, db *Device) {
	da = openIn(t, a, DeviceConfig{Name: aName, Queue: 5000, Addrs: aAddrs})
	db = openIn(t, b, DeviceConfig{Name: bName, Queue: 5000, Addrs: bAddrs})
	go pump(t, da, func(h Header, p []byte) error { see(p); return db.Write(h, p) })
	go pump(t, db, func(h Header, p []byte) error { return da.Write(h, p) })
	return da, db
}

var everywhere = []netip.Prefix{netip.MustParsePrefix("0.0.0.0/0"), netip.MustParsePrefix("::/0")}

// byDefault makes default routes by a device.
func byDefault(t *testing.T, s *nstest.Space, d *Device) {
	s.Do(func() {
		for _, to := range everywhere {
			nstest.Route(t, d.Name(), to, unix.RT_TABLE_MAIN, 0)
		}
	})
}

// steered makes default routes by a device for what has the mark.
func steered(t *testing.T, dev string) {
	c, err := rtnl.Dial()
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	for i, family := range []uint8{unix.AF_INET, unix.AF_INET6} {
		nstest.Route(t, dev, everywhere[i], steerTable, 0)
		rule := rtnl.Route{Family: family, Table: steerTable, Type: unix.FR_ACT_TO_TBL} // struct fib_rule_hdr has the same shape
		if err := c.Do(unix.RTM_NEWRULE, unix.NLM_F_CREATE|unix.NLM_F_EXCL, rtnl.AppendUint32(rule.Append(nil), unix.FRA_FWMARK, steerMark)); err != nil {
			t.Fatalf("add rule: %v", err)
		}
	}
}

// steerAll steers what comes from either side to the device, as the router's own
// sources where it translates, and keeps what comes back from it untracked.
func steerAll(t *testing.T) {
	c, err := nftables.New()
	if err != nil {
		t.Fatal(err)
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
	for _, from := range []string{"lan", "wan"} {
		add("from_"+from, nftables.ChainTypeFilter, nftables.ChainHookPrerouting, -150, append(is(expr.MetaKeyIIFNAME, from),
			&expr.Immediate{Register: 1, Data: binary.NativeEndian.AppendUint32(nil, steerMark)},
			&expr.Meta{Key: expr.MetaKeyMARK, Register: 1, SourceRegister: true})...)
	}
	add("snat", nftables.ChainTypeNAT, nftables.ChainHookPostrouting, 99, append(is(expr.MetaKeyOIFNAME, "b4tun0"),
		&expr.Meta{Key: expr.MetaKeyNFPROTO, Register: 1}, &expr.Cmp{Register: 1, Data: []byte{unix.NFPROTO_IPV4}},
		&expr.Immediate{Register: 1, Data: wan4.Addr().AsSlice()},
		&expr.NAT{Type: expr.NATTypeSourceNAT, Family: unix.NFPROTO_IPV4, RegAddrMin: 1})...)
	if err := c.Flush(); err != nil {
		t.Fatal(err)
	}
}

// An allRouter takes all traffic between a client and a server: it reaches the
// engine, goes back by the device, and leaves translated, IPv4 behind NAT and
// IPv6 without.
type allRouter struct {
	*Engine
	client, server *nstest.Space
	leaked         atomic.Int64 // packets that left WAN with the client's source
	largest        atomic.Int64 // that left WAN
}

// newAllRouter runs h until stop. Packets of ours leave by Config.Send, which is
// given the server's device; nil is none.
func newAllRouter(t *testing.T, h engine.Handler, c Config, send func(far *Device, b []byte) error) (r *allRouter, stop func()) {
	t.Helper()
	router := nstest.NewSpace(t)
	r = &allRouter{client: nstest.NewSpace(t), server: nstest.NewSpace(t)}
	near, _ := wire(t, r.client, router, "eth0", "lan", []netip.Prefix{client4, client6}, []netip.Prefix{lan4, lan6}, func([]byte) {})
	_, far := wire(t, router, r.server, "wan", "eth0", []netip.Prefix{wan4, wan6}, []netip.Prefix{server4, server6}, func(p []byte) {
		r.largest.Store(max(r.largest.Load(), int64(len(p))))
		if p[0]>>4 == 4 && netip.AddrFrom4([4]byte(p[12:])) != wan4.Addr() {
			r.leaked.Add(1)
		}
	})
	c.Device, c.Back = DeviceConfig{Name: "b4tun0", Queue: 5000}, true
	c.Send = sender(func(o engine.Out) error { return send(far, o.Bytes) })
	c.Report = func(err error) { t.Error(err) }
	r.Engine = New(c)
	router.Do(func() {
		if err := r.Start(); err != nil {
			t.Fatal(err)
		}
		nstest.Sysctl(t, "net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1", "net.ipv4.conf.b4tun0.accept_local=1")
		for _, dev := range []string{"all", "b4tun0", "lan", "wan"} {
			nstest.Sysctl(t, "net.ipv4.conf."+dev+".rp_filter=0")
		}
		steerAll(t)
		steered(t, "b4tun0")
	})
	byDefault(t, r.client, near)
	byDefault(t, r.server, far)
	bigSegments(t, r.client, r.server)
	end := make(chan error, 1)
	go func() { end <- r.Run(h) }()
	return r, func() {
		t.Helper()
		for before := r.Counters(); ; before = r.Counters() { // the last acknowledgements
			if time.Sleep(50 * time.Millisecond); r.Counters() == before {
				break
			}
		}
		if err := errors.Join(r.Close(), <-end); err != nil {
			t.Error(err)
		}
		if n := r.leaked.Load(); n > 0 {
			t.Errorf("%d packets left with the client's source", n)
		}
		if n := r.largest.Load(); n < 20_000 {
			t.Errorf("the largest packet that left had %d bytes", n)
		}
	}
}

// Superpackets reach the engine whole and go back in one write each, in both
// directions.
func TestKernelBack(t *testing.T) {
	var largest [2]int // by direction
	var total int
	see := judge(func(p *engine.Packet, _ *engine.Batch) engine.Verdict {
		var v packet.View
		dir := 0
		if v.Decode(p.Bytes) && v.Src.Port() == 4430 {
			dir = 1
		}
		largest[dir], total = max(largest[dir], len(p.Bytes)), total+len(p.Bytes)
		return engine.Accept
	})
	r, stop := newAllRouter(t, see, Config{Whole: func([]byte) bool { return true }}, func(*Device, []byte) error { return errBroken })
	for _, to := range []netip.Addr{server4.Addr(), server6.Addr()} {
		a, b := connect(t, r.client, r.server, netip.AddrPortFrom(to, 4430))
		transfer(t, a, b, 8<<20)
		transfer(t, b, a, 8<<20)
	}
	stop()
	n := r.Counters()
	t.Logf("%d packets, the largest of %d bytes", n.Read, largest)
	if n.Accepted != n.Read || n.SendFailed+n.Lost+n.Dropped > 0 || min(largest[0], largest[1]) < 20_000 || total < 32<<20 {
		t.Errorf("counters %+v, %d bytes", n, total)
	}
}

// A hello that comes as one superpacket is cut and treated, with all else
// whole, and the server reads the very bytes.
func TestKernelBackHello(t *testing.T) {
	strategy, err := desync.TLS.Parse("split(midsld) disorder")
	if err != nil {
		t.Fatal(err)
	}
	p := pipeline.New(64, &pipeline.Config{All: true, Ports: []uint16{4430}, Rules: []pipeline.Rule{{Name: "all", For: [desync.Protos]pipeline.Treatment{{Steps: strategy}}}}})
	const host = "www.blocked.example"
	var pieces, longest, shown atomic.Int64
	r, stop := newAllRouter(t, p, Config{Whole: pipeline.Whole}, func(far *Device, b []byte) error {
		pieces.Add(1)
		longest.Store(max(longest.Load(), int64(len(b))))
		if bytes.Contains(b, []byte(host)) || len(b) > 1500 {
			shown.Add(1)
		}
		return far.Write(Header{}, b)
	})
	hellos := 0
	for _, to := range []netip.Addr{server4.Addr(), server6.Addr()} {
		for _, size := range []int{600, 1700, 2200, 3000} {
			a, b := connect(t, r.client, r.server, netip.AddrPortFrom(to, 4430))
			msg := bigHello(host, size)
			if _, err := a.Write(msg); err != nil {
				t.Fatal(err)
			}
			got := make([]byte, size)
			if _, err := io.ReadFull(b, got); err != nil || !bytes.Equal(got, msg) {
				t.Fatalf("%v, %d bytes: %v, or other bytes", to, size, err)
			}
			hellos++
			transfer(t, b, a, 4<<20)
			transfer(t, a, b, 4<<20)
		}
	}
	stop()
	n, c := r.Counters(), p.Counts()
	t.Logf("%d pieces, counters %+v, %v", pieces.Load(), n, c)
	if int(p.Hellos()) != hellos || int(n.Replaced) < hellos || shown.Load() > 0 || p.MidStream() > 0 {
		t.Errorf("%d hellos of %d, %d pieces show the name", p.Hellos(), hellos, shown.Load())
	}
	if longest.Load() < 1300 { // of segments of 1448 bytes
		t.Errorf("the longest piece has %d bytes", longest.Load())
	}
	if n.SendFailed+n.Lost > 0 || c["reply"] < 100 || c["under_way"] < 100 || c["not_tls"]+c["cut"] > 0 {
		t.Errorf("counters %+v, %v", n, c)
	}
}

// bigHello is a ClientHello of n bytes for a host.
func bigHello(host string, n int) []byte {
	b := tlshello.AppendDecoy(nil, host, 3)
	more := n - len(b)
	h, _ := tlshello.Parse(b)
	b = append(b, 0xfa, 0xfa, byte((more-4)>>8), byte(more-4))
	b = append(b, make([]byte, more-4)...)
	for _, at := range []int{3, 7, h.Extensions - 2} {
		binary.BigEndian.PutUint16(b[at:], binary.BigEndian.Uint16(b[at:])+uint16(more))
	}
	return b
}
