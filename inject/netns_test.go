package inject

import (
	"bytes"
	"net/netip"
	"os"
	"testing"
	"time"

	"b4/nstest"
	"b4/rtnl"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// testProto is for experiments (RFC 3692), so nothing else on a link has it.
const testProto = 253

// ours reports whether a protocol is one that only the tests send.
func ours(proto byte) bool {
	return proto == testProto || proto == unix.IPPROTO_UDP || proto == unix.IPPROTO_FRAGMENT
}

// A link is a TUN device: what leaves by it can be read.
type link struct {
	*os.File
	index int32
}

func newLink(t *testing.T, name string, mtu int) *link {
	t.Helper()
	l := &link{nstest.TUN(t, name), nstest.Index(t, name)}
	nstest.SetMTU(t, name, mtu)
	nstest.Up(t, name)
	return l
}

// read returns the next packet of the tests' protocols that left by l, or nil.
func (l *link) read() []byte {
	l.SetReadDeadline(time.Now().Add(10 * time.Second)) // on a machine that stalls, too
	for b := make([]byte, 2048); ; {
		n, err := l.Read(b)
		if err != nil {
			return nil
		}
		if p := b[:n]; n >= 20 && (p[0]>>4 == 4 && ours(p[9]) || p[0]>>4 == 6 && ours(p[6])) {
			return p
		}
	}
}

// tell adds a route or a rule.
func tell(t *testing.T, typ uint16, head []byte, attrs ...[]byte) {
	t.Helper()
	c, err := rtnl.Dial()
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := c.Do(typ, unix.NLM_F_CREATE, append(head, bytes.Join(attrs, nil)...)); err != nil {
		t.Fatalf("message %d: %v", typ, err)
	}
}

// routeFrom adds an IPv6 route for one prefix of sources.
func (l *link) routeFrom(t *testing.T, from, to netip.Prefix) {
	t.Helper()
	head := []byte{unix.AF_INET6, byte(to.Bits()), byte(from.Bits()), 0, unix.RT_TABLE_MAIN, unix.RTPROT_STATIC, unix.RT_SCOPE_UNIVERSE, unix.RTN_UNICAST, 0, 0, 0, 0}
	tell(t, unix.RTM_NEWROUTE, head, rtnl.AppendUint32(nil, unix.RTA_OIF, uint32(l.index)), rtnl.AppendAttr(nil, unix.RTA_SRC, from.Masked().Addr().AsSlice()))
}

// rules send what has the mark, and what has the source, to the other table.
func rules(t *testing.T, mark uint32, source netip.Addr) {
	t.Helper()
	family, bits := byte(unix.AF_INET6), byte(source.BitLen())
	if source.Is4() {
		family = unix.AF_INET
	}
	head := func(bits byte) []byte { return []byte{family, 0, bits, 0, table, 0, 0, unix.FR_ACT_TO_TBL, 0, 0, 0, 0} }
	tell(t, unix.RTM_NEWRULE, head(0), rtnl.AppendUint32(nil, unix.FRA_FWMARK, mark), rtnl.AppendUint32(nil, unix.FRA_FWMASK, mark))
	tell(t, unix.RTM_NEWRULE, head(bits), rtnl.AppendAttr(nil, unix.FRA_SRC, source.AsSlice()))
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

// marker gives mark m, and no other, to all that the router itself sends.
func marker(t *testing.T, m uint32) {
	t.Helper()
	c, err := nftables.New()
	if err != nil {
		t.Fatal(err)
	}
	tab := c.AddTable(&nftables.Table{Family: nftables.TableFamilyINet, Name: "b4mark"})
	chain := c.AddChain(&nftables.Chain{
		Table: tab, Name: "output", Type: nftables.ChainTypeRoute, Hooknum: nftables.ChainHookOutput, Priority: nftables.ChainPriorityMangle,
	})
	c.AddRule(&nftables.Rule{Table: tab, Chain: chain, Exprs: []expr.Any{
		&expr.Immediate{Register: 1, Data: binaryutil.NativeEndian.PutUint32(m)},
		&expr.Meta{Key: expr.MetaKeyMARK, Register: 1, SourceRegister: true},
	}})
	if err := c.Flush(); err != nil {
		t.Fatal(err)
	}
}
