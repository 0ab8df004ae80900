package inject

import (
	"errors"
	"net/netip"
	"runtime"
	"testing"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// testProto is for experiments (RFC 3692), so nothing else on a link has it.
const testProto = 253

// inNetNS runs f on a thread in a fresh network namespace. The thread is never
// unlocked, so the runtime discards it and the namespace.
func inNetNS(t *testing.T, f func(t *testing.T)) {
	t.Helper()
	if testing.Short() {
		t.Skip("kernel test")
	}
	t.Run("netns", func(t *testing.T) {
		runtime.LockOSThread()
		if err := unix.Unshare(unix.CLONE_NEWNET); errors.Is(err, unix.EPERM) {
			t.Skip("needs root")
		} else if err != nil {
			t.Fatal(err)
		}
		f(t)
	})
}

// A link is a TUN device: what leaves by it can be read from fd.
type link struct {
	name  string
	index int32
	fd    int
}

func newLink(t *testing.T, name string, mtu uint32) *link {
	t.Helper()
	fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		t.Skipf("no TUN here: %v", err)
	}
	l := &link{name: name, fd: fd}
	t.Cleanup(l.close)
	ctl, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(ctl)
	r, err := unix.NewIfreq(name)
	if err != nil {
		t.Fatal(err)
	}
	for _, step := range []struct {
		fd      int
		request uint
		set     func()
	}{
		{fd, unix.TUNSETIFF, func() { r.SetUint16(unix.IFF_TUN | unix.IFF_NO_PI) }},
		{ctl, unix.SIOCSIFMTU, func() { r.SetUint32(mtu) }},
		{ctl, unix.SIOCSIFFLAGS, func() { r.SetUint16(unix.IFF_UP) }},
		{ctl, unix.SIOCGIFINDEX, func() {}},
	} {
		step.set()
		if err := unix.IoctlIfreq(step.fd, step.request, r); err != nil {
			t.Fatalf("link %s, request %#x: %v", name, step.request, err)
		}
	}
	l.index = int32(r.Uint32())
	return l
}

func (l *link) close() {
	if l.fd >= 0 {
		unix.Close(l.fd)
		l.fd = -1
	}
}

// read returns the next packet of the tests' protocol that left by l, or nil.
func (l *link) read() []byte {
	var b [2048]byte
	for {
		n, err := unix.Read(l.fd, b[:])
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return nil
		}
		if p := b[:n]; n >= 20 && (p[0]>>4 == 4 && p[9] == testProto || p[0]>>4 == 6 && p[6] == testProto) {
			return p
		}
	}
}

// A routes changes addresses, routes and rules.
type routes struct {
	t *testing.T
	c *netlink.Conn
}

func dialRoute(t *testing.T) routes {
	c, err := netlink.Dial(unix.NETLINK_ROUTE, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return routes{t, c}
}

func (r routes) add(typ netlink.HeaderType, head []byte, attrs func(*netlink.AttributeEncoder)) {
	r.t.Helper()
	e := netlink.NewAttributeEncoder()
	attrs(e)
	b, err := e.Encode()
	if err != nil {
		r.t.Fatal(err)
	}
	m := netlink.Message{
		Header: netlink.Header{Type: typ, Flags: netlink.Request | netlink.Acknowledge | netlink.Create},
		Data:   append(head, b...),
	}
	if _, err := r.c.Execute(m); err != nil {
		r.t.Fatalf("message type %d: %v", typ, err)
	}
}

func familyOf(a netip.Addr) byte {
	if a.Is4() {
		return unix.AF_INET
	}
	return unix.AF_INET6
}

func (r routes) address(l *link, p netip.Prefix) {
	r.t.Helper()
	head := []byte{familyOf(p.Addr()), byte(p.Bits()), unix.IFA_F_NODAD, 0, 0, 0, 0, 0}
	copy(head[4:], binaryutil.NativeEndian.PutUint32(uint32(l.index)))
	r.add(unix.RTM_NEWADDR, head, func(e *netlink.AttributeEncoder) {
		e.Bytes(unix.IFA_LOCAL, p.Addr().AsSlice())
		e.Bytes(unix.IFA_ADDRESS, p.Addr().AsSlice())
	})
}

func (r routes) route(l *link, to netip.Prefix, table byte, metric uint32) {
	r.t.Helper()
	head := []byte{familyOf(to.Addr()), byte(to.Bits()), 0, 0, table, unix.RTPROT_STATIC, unix.RT_SCOPE_UNIVERSE, unix.RTN_UNICAST, 0, 0, 0, 0}
	r.add(unix.RTM_NEWROUTE, head, func(e *netlink.AttributeEncoder) {
		e.Uint32(unix.RTA_OIF, uint32(l.index))
		e.Uint32(unix.RTA_PRIORITY, metric)
	})
}

// routeFrom adds an IPv6 route for one prefix of sources.
func (r routes) routeFrom(l *link, from, to netip.Prefix) {
	r.t.Helper()
	head := []byte{unix.AF_INET6, byte(to.Bits()), byte(from.Bits()), 0, unix.RT_TABLE_MAIN, unix.RTPROT_STATIC, unix.RT_SCOPE_UNIVERSE, unix.RTN_UNICAST, 0, 0, 0, 0}
	r.add(unix.RTM_NEWROUTE, head, func(e *netlink.AttributeEncoder) {
		e.Uint32(unix.RTA_OIF, uint32(l.index))
		e.Bytes(unix.RTA_SRC, from.Masked().Addr().AsSlice())
	})
}

// rule sends what selector matches to the other table; of tells the family.
func (r routes) rule(of netip.Addr, selector uint16, value []byte) {
	r.t.Helper()
	head := []byte{familyOf(of), 0, 0, 0, table, 0, 0, unix.FR_ACT_TO_TBL, 0, 0, 0, 0}
	if selector == unix.FRA_SRC {
		head[2] = byte(8 * len(value))
	}
	r.add(unix.RTM_NEWRULE, head, func(e *netlink.AttributeEncoder) {
		e.Bytes(selector, value)
		if selector == unix.FRA_FWMARK {
			e.Uint32(unix.FRA_FWMASK, userMark)
		}
	})
}

// markCounter counts, ahead of every other output rule, packets with mark m and
// the tests' protocol.
func markCounter(t *testing.T, m uint32) func() uint64 {
	t.Helper()
	c, err := nftables.New()
	if err != nil {
		t.Fatal(err)
	}
	priority := nftables.ChainPriority(-401)
	tab := c.AddTable(&nftables.Table{Family: nftables.TableFamilyINet, Name: "b4test"})
	chain := c.AddChain(&nftables.Chain{
		Table: tab, Name: "output", Type: nftables.ChainTypeFilter, Hooknum: nftables.ChainHookOutput, Priority: &priority,
	})
	c.AddRule(&nftables.Rule{Table: tab, Chain: chain, Exprs: []expr.Any{
		&expr.Meta{Key: expr.MetaKeyMARK, Register: 1},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: binaryutil.NativeEndian.PutUint32(m)},
		&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: 1},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{testProto}},
		&expr.Counter{},
	}})
	if err := c.Flush(); err != nil {
		t.Fatal(err)
	}
	return func() uint64 {
		rules, err := c.GetRules(tab, chain)
		if err != nil || len(rules) != 1 {
			t.Fatal(rules, err)
		}
		for _, e := range rules[0].Exprs {
			if n, ok := e.(*expr.Counter); ok {
				return n.Packets
			}
		}
		return 0
	}
}
