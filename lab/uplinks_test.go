package lab

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"testing"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// A policy has the router lead some connections by the one uplink and some by the
// other.
type policy struct {
	name   string
	choose func(l *Lab, second pair) error
	named  bool // the second uplink holds no default route of the main table
}

// policies are how routers do that: by metrics and destinations, by hashes, by
// sources, and by marks as mwan3 and pbr set them, both for what the router itself
// sends too.
var policies = []policy{
	{name: "metrics", choose: func(l *Lab, second pair) error {
		errs := []error{l.defaults(second, 20)}
		for _, s := range []Site{Old, Retry} {
			errs = append(errs, l.Router.route(s.V4.String()+"/32", second.b4, second.aDev), l.Router.route(s.V6.String()+"/128", second.b6, second.aDev))
		}
		return errors.Join(errs...)
	}},
	{name: "multipath", choose: func(l *Lab, second pair) error {
		return errors.Join(l.Router.Sysctl("net/ipv4/fib_multipath_hash_policy", "1"), l.Router.Sysctl("net/ipv6/fib_multipath_hash_policy", "1"), l.multipath(second))
	}},
	{name: "source rules", choose: func(l *Lab, second pair) error {
		return errors.Join(l.defaults(second, 20), l.secondClient(), l.tables(second, 1), l.rule(200, &netlink.Rule{Src: network("192.168.1.3/32"), Table: 2}), l.rule(200, &netlink.Rule{Src: network("2001:db8:1::3/128"), Table: 2}))
	}},
	{name: "mwan3", choose: func(l *Lab, second pair) error {
		return errors.Join(l.defaults(second, 20), l.tables(second, 1), l.marked(marks{0x100, 0x3f00, 1, true}))
	}},
	{name: "pbr", named: true, choose: func(l *Lab, second pair) error {
		return errors.Join(l.tables(second, 256), l.marked(marks{0x10000, 0xff0000, 256, false}))
	}},
}

// Whatever b4 sends of its own, pieces, decoys and fragments, leaves by the uplink
// that the connection has, with the address it has there; and blocked sites open by
// each.
func TestStrays(t *testing.T) {
	t.Parallel()
	for _, p := range policies {
		t.Run(p.name, func(t *testing.T) {
			t.Parallel()
			l := build(t, Options{Firewall: &Firewall{Masq4: true, Masq6: true}})
			second := l.secondWAN(t)
			if err := errors.Join(masquerade(l.Router, second.aDev), p.choose(l, second)); err != nil {
				t.Fatal(err)
			}
			// Of two IPv6 routes the kernel leaves the one whose neighbour it
			// does not know yet, in the middle of a connection too.
			for _, e := range []pair{l.pairs()[1], second} {
				for _, to := range []string{e.b4, e.b6} {
					if _, _, err := echo(l.Router, netip.MustParsePrefix(to).Addr(), 64); err != nil {
						t.Fatal(err)
					}
				}
			}
			var options []string
			if p.named {
				options = []string{"list wan 'wan'", "list wan 'wan2'"}
			}
			d := launchB4D(t, l, configure("nfqueue", options...)+"\nconfig strategy 'default'\n"+
				"\toption tls 'fake(ttl=3) split(1, midsld) disorder'\n\toption quic 'fake(ttl=3, repeat=2) ipfrag(32)'\n")
			ends := []pair{l.pairs()[1], second}
			var strays, theirs []*lanWatch
			for _, e := range ends {
				strays, theirs = append(strays, watchSources(t, e, false)), append(theirs, watchSources(t, e, true))
			}
			l.SetCensor(profile(t))
			defer l.SetJudge(nil)
			const rounds = 6
			for range rounds {
				var all []Request
				for i := range 16 {
					r := Request{Host: Blocked, Site: Modern, V6: i&2 != 0, Hello: Hello(i >> 2 & 1), Proto: []Proto{TLS, QUIC}[i>>3]}
					if i&1 != 0 {
						r.Site = []Site{TLS: Old, QUIC: Retry}[r.Proto]
					}
					all = append(all, r)
				}
				together(all, func(r Request) {
					if err := l.Open(r); err != nil {
						t.Errorf("%+v: %v", r, err)
					}
				})
			}
			clean(t, l)
			s := mustStatus(t, d)
			if s.Engine.Counters.Sent < 16*rounds {
				t.Errorf("b4 sent only %d packets", s.Engine.Counters.Sent)
			}
			for i, e := range ends {
				n, good := strays[i].packets(), theirs[i].packets()
				t.Logf("%s: %d packets, %d strays; b4 sent %d by both", e.aDev, good, n, s.Engine.Counters.Sent)
				if n != 0 || good < 16*rounds {
					t.Errorf("%d packets left by %s with an address of another, %d with its own; the first was %x", n, e.aDev, good, strays[i].frame())
				}
			}
		})
	}
}

// watchSources counts, at the provider's end of p, what the router sends with its
// address there, or what it sends with any other. Not counted is what hashes or ports
// may lead another way than the connection it is about, with or without b4: ICMP,
// and what the router's own TCP answers, which has its whole TTL.
func watchSources(t *testing.T, p pair, own bool) *lanWatch {
	t.Helper()
	a4, a6 := netip.MustParsePrefix(p.a4).Addr().As4(), netip.MustParsePrefix(p.a6).Addr().As16()
	word := func(i int) uint32 { return binary.BigEndian.Uint32(a6[4*i:]) }
	const pktType = 0xfffff000 + 4 // SKF_AD_OFF + SKF_AD_PKTTYPE of linux/filter.h
	const ownTTL = 64
	is, other := uint32(0), uint32(64)
	if own {
		is, other = other, is
	}
	load := func(size uint16, at uint32) unix.SockFilter {
		return unix.SockFilter{Code: unix.BPF_LD | unix.BPF_ABS | size, K: at}
	}
	equal := func(k uint32, then, otherwise uint8) unix.SockFilter {
		return unix.SockFilter{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: k, Jt: then, Jf: otherwise}
	}
	end := func(n uint32) unix.SockFilter { return unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: n} }
	return watchWire(t, p.b, p.bDev, []unix.SockFilter{
		load(unix.BPF_W, pktType), equal(unix.PACKET_OUTGOING, 25, 0),
		load(unix.BPF_H, 12), equal(unix.ETH_P_IP, 0, 6),
		load(unix.BPF_B, 22), equal(ownTTL, 21, 0),
		load(unix.BPF_B, 23), equal(unix.IPPROTO_ICMP, 19, 0),
		load(unix.BPF_W, 26), equal(binary.BigEndian.Uint32(a4[:]), 15, 16),
		equal(unix.ETH_P_IPV6, 0, 16),
		load(unix.BPF_B, 21), equal(ownTTL, 14, 0),
		load(unix.BPF_B, 20), equal(unix.IPPROTO_ICMPV6, 12, 0),
		load(unix.BPF_B, 20), equal(0, 10, 0), // what neighbours say to many has hop-by-hop options
		load(unix.BPF_W, 22), equal(word(0), 0, 7),
		load(unix.BPF_W, 26), equal(word(1), 0, 5),
		load(unix.BPF_W, 30), equal(word(2), 0, 3),
		load(unix.BPF_W, 34), equal(word(3), 0, 1),
		end(is), end(other), end(0),
	})
}

// network is a prefix as netlink has it.
func network(s string) *net.IPNet {
	p := netip.MustParsePrefix(s)
	return &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}

// addr is the address in a prefix as netlink has it.
func addr(s string) net.IP { return netip.MustParsePrefix(s).Addr().AsSlice() }

// defaults adds default routes by a second uplink, of a metric.
func (l *Lab) defaults(second pair, metric int) error {
	return errors.Join(l.Router.add(netlink.Route{Dst: network("0.0.0.0/0"), Gw: addr(second.b4), Priority: metric}, second.aDev),
		l.Router.add(netlink.Route{Dst: network("::/0"), Gw: addr(second.b6), Priority: metric + 1024}, second.aDev))
}

// add adds a route by a device.
func (h *Host) add(r netlink.Route, dev string) error {
	return h.Do(func() error {
		link, err := netlink.LinkByName(dev)
		if err != nil {
			return err
		}
		r.LinkIndex = link.Attrs().Index
		if err := netlink.RouteAdd(&r); err != nil {
			return fmt.Errorf("route %v by %s: %w", r, dev, err)
		}
		return nil
	})
}

// multipath puts in the place of the default routes those by both uplinks.
func (l *Lab) multipath(second pair) error {
	first := l.pairs()[1]
	for _, f := range []struct {
		dst    string
		v1, v2 string
	}{{"0.0.0.0/0", first.b4, second.b4}, {"::/0", first.b6, second.b6}} {
		if err := l.Router.unroute(f.dst); err != nil {
			return err
		}
		err := l.Router.Do(func() error {
			var hops []*netlink.NexthopInfo
			for _, h := range []struct{ dev, via string }{{first.aDev, f.v1}, {second.aDev, f.v2}} {
				link, err := netlink.LinkByName(h.dev)
				if err != nil {
					return err
				}
				hops = append(hops, &netlink.NexthopInfo{LinkIndex: link.Attrs().Index, Gw: addr(h.via)})
			}
			return netlink.RouteAdd(&netlink.Route{Dst: network(f.dst), MultiPath: hops})
		})
		if err != nil {
			return fmt.Errorf("route %s by both: %w", f.dst, err)
		}
	}
	return nil
}

// tables has a default route by each uplink in a table of its own, first and the
// next.
func (l *Lab) tables(second pair, first int) error {
	var errs []error
	for i, p := range []pair{l.pairs()[1], second} {
		errs = append(errs, l.Router.add(netlink.Route{Dst: network("0.0.0.0/0"), Gw: addr(p.b4), Table: first + i}, p.aDev),
			l.Router.add(netlink.Route{Dst: network("::/0"), Gw: addr(p.b6), Table: first + i}, p.aDev))
	}
	return errors.Join(errs...)
}

// rule adds a rule to the router; of both families if it has no source.
func (l *Lab) rule(pref int, r *netlink.Rule) error {
	families := []int{unix.AF_INET, unix.AF_INET6}
	if r.Src != nil {
		families = []int{map[bool]int{true: unix.AF_INET, false: unix.AF_INET6}[r.Src.IP.To4() != nil]}
	}
	for _, family := range families {
		add := netlink.NewRule()
		add.Family, add.Priority, add.Src, add.Mark, add.Mask, add.Table = family, pref, r.Src, r.Mark, r.Mask, r.Table
		if err := l.Router.Do(func() error { return netlink.RuleAdd(add) }); err != nil {
			return fmt.Errorf("add rule %v: %w", add, err)
		}
	}
	return nil
}

// secondClient gives the client another address of each family, which it has for
// some of the sites.
func (l *Lab) secondClient() error {
	errs := []error{l.Client.configure("eth0", "192.168.1.3/24", "2001:db8:1::3/64")}
	for _, s := range []Site{Old, Retry} {
		errs = append(errs, l.Client.add(netlink.Route{Dst: network(s.V4.String() + "/32"), Gw: addr("192.168.1.1/24"), Src: addr("192.168.1.3/24")}, "eth0"),
			l.Client.add(netlink.Route{Dst: network(s.V6.String() + "/128"), Gw: addr("2001:db8:1::1/64"), Src: addr("2001:db8:1::3/64")}, "eth0"))
	}
	return errors.Join(errs...)
}

// masquerade has what leaves by a device masqueraded, in both families.
func masquerade(h *Host, dev string) error {
	return h.Do(func() error {
		c, err := nftables.New()
		if err != nil {
			return err
		}
		t := c.AddTable(&nftables.Table{Family: nftables.TableFamilyINet, Name: "second"})
		chain := c.AddChain(&nftables.Chain{
			Name: "srcnat", Table: t, Type: nftables.ChainTypeNAT, Hooknum: nftables.ChainHookPostrouting, Priority: nftables.ChainPriorityNATSource,
		})
		c.AddRule(&nftables.Rule{Table: t, Chain: chain, Exprs: append(leavesBy(dev), &expr.Masq{})})
		return c.Flush()
	})
}

// marks are two marks under a mask, step and twice that, and the first of two
// tables they lead to. Where they are kept, the connection remembers them, and what
// has one is left alone, as mwan3 does; else each packet gets one anew, as pbr does.
type marks struct {
	step, mask uint32
	table      int
	kept       bool
}

// marked has the uplink chosen by marks: of the clients' connections by the last bit
// of their ports, of the router's the other way round, or the second.
func (l *Lab) marked(m marks) error {
	for i := range 2 {
		mask := m.mask
		if err := l.rule(2001+i, &netlink.Rule{Mark: m.step << i, Mask: &mask, Table: m.table + i}); err != nil {
			return err
		}
	}
	return l.Router.Do(func() error {
		c, err := nftables.New()
		if err != nil {
			return err
		}
		t := c.AddTable(&nftables.Table{Family: nftables.TableFamilyINet, Name: "marks"})
		pre := c.AddChain(&nftables.Chain{
			Name: "prerouting", Table: t, Type: nftables.ChainTypeFilter, Hooknum: nftables.ChainHookPrerouting, Priority: nftables.ChainPriorityMangle,
		})
		out := c.AddChain(&nftables.Chain{
			Name: "output", Table: t, Type: nftables.ChainTypeRoute, Hooknum: nftables.ChainHookOutput, Priority: nftables.ChainPriorityMangle,
		})
		rule := func(chain *nftables.Chain, terms ...[]expr.Any) {
			c.AddRule(&nftables.Rule{Table: t, Chain: chain, Exprs: slices.Concat(terms...)})
		}
		for _, chain := range []*nftables.Chain{pre, out} {
			from := named(expr.MetaKeyOIFNAME, RouterWAN)
			if chain == pre {
				from = named(expr.MetaKeyIIFNAME, RouterLAN)
			}
			from = append(from, notNeighbours...)
			for odd := range byte(2) {
				mark := m.step << odd
				if chain == out {
					mark = m.step << (1 - odd&1)
				}
				switch {
				case m.kept:
					rule(chain, from, maskedMark(true, m.mask, m.step<<odd), setMark(m.mask, m.step<<odd), []expr.Any{&expr.Verdict{Kind: expr.VerdictReturn}})
				case chain == out:
					rule(chain, from, setMark(m.mask, m.step<<1))
					continue
				}
				rule(chain, from, maskedMark(false, m.mask, 0), oddPort(odd), setMark(m.mask, mark), keepMark(m.mask, mark))
			}
		}
		return c.Flush()
	})
}

// notNeighbours leaves ICMPv6 out.
var notNeighbours = []expr.Any{
	&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: 1},
	&expr.Cmp{Op: expr.CmpOpNeq, Register: 1, Data: []byte{unix.IPPROTO_ICMPV6}},
}

// oddPort matches source ports by their last bit.
func oddPort(bit byte) []expr.Any {
	return []expr.Any{
		&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseTransportHeader, Offset: 1, Len: 1},
		&expr.Bitwise{SourceRegister: 1, DestRegister: 1, Len: 1, Mask: []byte{1}, Xor: []byte{0}},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{bit}},
	}
}

func markBits(mask, xor uint32) expr.Any {
	return &expr.Bitwise{SourceRegister: 1, DestRegister: 1, Len: 4, Mask: binaryutil.NativeEndian.PutUint32(mask), Xor: binaryutil.NativeEndian.PutUint32(xor)}
}

// maskedMark matches the bits of a connection's mark, or of a packet's.
func maskedMark(ct bool, mask, want uint32) []expr.Any {
	load := expr.Any(&expr.Meta{Key: expr.MetaKeyMARK, Register: 1})
	if ct {
		load = &expr.Ct{Key: expr.CtKeyMARK, Register: 1}
	}
	return []expr.Any{load, markBits(mask, 0), &expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: binaryutil.NativeEndian.PutUint32(want)}}
}

// setMark puts bits into a packet's mark, keepMark into its connection's.
func setMark(mask, bits uint32) []expr.Any {
	return []expr.Any{&expr.Meta{Key: expr.MetaKeyMARK, Register: 1}, markBits(^mask, bits), &expr.Meta{Key: expr.MetaKeyMARK, Register: 1, SourceRegister: true}}
}

func keepMark(mask, bits uint32) []expr.Any {
	return []expr.Any{&expr.Ct{Key: expr.CtKeyMARK, Register: 1}, markBits(^mask, bits), &expr.Ct{Key: expr.CtKeyMARK, Register: 1, SourceRegister: true}}
}
