package lab

import (
	"errors"
	"fmt"
	"slices"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// A Firewall is what the router's firewall does to what leaves by WAN, as
// OpenWrt's does. The zero value routes both families as they are.
type Firewall struct {
	Masq4, Masq6 bool // option masq, and masq6
	MTUFix       bool // option mtu_fix: the MSS in SYNs is what WAN's MTU leaves
	Random       bool // masquerading takes any source port
	NoInclude    bool // without b4's file in /usr/share/nftables.d, which lets the TUN's packets on
	Offload      bool // option flow_offloading; Passed tells what still meets the rules
}

// House is the usual one: IPv4 has one address for all, IPv6 has enough.
var House = Firewall{Masq4: true}

// SetFirewall puts f in the place of what the router has. Connections that are
// under way keep their translation. Whoever routes IPv4 as it is has a provider
// that knows the LAN.
func (l *Lab) SetFirewall(f Firewall) error {
	if err := l.Router.Do(func() error { return f.apply(RouterWAN) }); err != nil {
		return err
	}
	if l.opts.Direct {
		return nil
	}
	lan := "192.168.1.0/24"
	err := l.Censor.unroute(lan)
	if !f.Masq4 && err == nil {
		err = l.Censor.route(lan, "198.51.100.2/24", "access")
	}
	return err
}

// apply makes the table fw4 in the calling thread's namespace: one inet table,
// whose chain srcnat at priority 100 masquerades by out-interface, and whose
// chain forward lets pass what it must.
func (f Firewall) apply(wan string) error {
	c, err := nftables.New()
	if err != nil {
		return fmt.Errorf("open netfilter socket: %w", err)
	}
	t := c.AddTable(&nftables.Table{Family: nftables.TableFamilyINet, Name: "fw4"})
	c.DelTable(t)
	c.AddTable(t)
	if f.MTUFix {
		chain := c.AddChain(&nftables.Chain{
			Name: "mangle_forward", Table: t, Type: nftables.ChainTypeFilter,
			Hooknum: nftables.ChainHookForward, Priority: nftables.ChainPriorityMangle,
		})
		c.AddRule(&nftables.Rule{Table: t, Chain: chain, Exprs: append(leavesBy(wan), clampMSS()...)})
	}
	if err := f.forward(c, t); err != nil {
		return fmt.Errorf("set up the firewall: %w", err)
	}
	witness(c, f.Offload)
	chain := c.AddChain(&nftables.Chain{
		Name: "srcnat", Table: t, Type: nftables.ChainTypeNAT,
		Hooknum: nftables.ChainHookPostrouting, Priority: nftables.ChainPriorityNATSource,
	})
	for _, family := range []struct {
		number byte
		masq   bool
	}{{unix.NFPROTO_IPV4, f.Masq4}, {unix.NFPROTO_IPV6, f.Masq6}} {
		if family.masq {
			c.AddRule(&nftables.Rule{Table: t, Chain: chain, Exprs: slices.Concat(
				isFamily(family.number), leavesBy(wan), []expr.Any{&expr.Masq{FullyRandom: f.Random}})})
		}
	}
	if err := c.Flush(); err != nil {
		needs := "nf_tables with nat"
		if f.Offload {
			needs += ", nft_flow_offload and nf_flow_table_inet"
		}
		return fmt.Errorf("set up the firewall (needs %s): %w", needs, err)
	}
	return nil
}

// equals compares what load puts into register 1.
func equals(load expr.Any, data []byte) []expr.Any {
	return []expr.Any{load, &expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: data}}
}

func leavesBy(device string) []expr.Any {
	name := make([]byte, unix.IFNAMSIZ)
	copy(name, device)
	return equals(&expr.Meta{Key: expr.MetaKeyOIFNAME, Register: 1}, name)
}

// forward lets the LAN out and the answers in, and nothing else. What conntrack
// makes no sense of, NAT leaves as it is: firewall4 drops that "to prevent NAT
// leakage" where it masquerades.
func (f Firewall) forward(c *nftables.Conn, t *nftables.Table) error {
	policy := nftables.ChainPolicyDrop
	chain := c.AddChain(&nftables.Chain{
		Name: "forward", Table: t, Type: nftables.ChainTypeFilter, Policy: &policy,
		Hooknum: nftables.ChainHookForward, Priority: nftables.ChainPriorityFilter,
	})
	rule := func(verdict expr.VerdictKind, terms ...[]expr.Any) {
		c.AddRule(&nftables.Rule{Table: t, Chain: chain, Exprs: append(slices.Concat(terms...), &expr.Verdict{Kind: verdict})})
	}
	if f.Offload {
		if err := offload(c, chain); err != nil {
			return err
		}
	}
	toWAN := named(expr.MetaKeyOIFNAME, RouterWAN) // and wan2
	if !f.NoInclude {
		rule(expr.VerdictAccept, named(expr.MetaKeyIIFNAME, "b4tun"))
	}
	rule(expr.VerdictAccept, ctState(expr.CtStateBitESTABLISHED|expr.CtStateBitRELATED))
	if f.Masq4 {
		rule(expr.VerdictDrop, isFamily(unix.NFPROTO_IPV4), toWAN, ctState(expr.CtStateBitINVALID))
	}
	if f.Masq6 {
		rule(expr.VerdictDrop, isFamily(unix.NFPROTO_IPV6), toWAN, ctState(expr.CtStateBitINVALID))
	}
	rule(expr.VerdictAccept, named(expr.MetaKeyIIFNAME, RouterLAN), toWAN)
	return nil
}

// named matches devices whose name begins so.
func named(key expr.MetaKey, prefix string) []expr.Any {
	return equals(&expr.Meta{Key: key, Register: 1}, []byte(prefix))
}

func isFamily(number byte) []expr.Any {
	return equals(&expr.Meta{Key: expr.MetaKeyNFPROTO, Register: 1}, []byte{number})
}

// ctState matches a connection in any of the states.
func ctState(bits uint32) []expr.Any {
	none := make([]byte, 4)
	return []expr.Any{
		&expr.Ct{Key: expr.CtKeySTATE, Register: 1},
		&expr.Bitwise{SourceRegister: 1, DestRegister: 1, Len: 4, Mask: binaryutil.NativeEndian.PutUint32(bits), Xor: none},
		&expr.Cmp{Op: expr.CmpOpNeq, Register: 1, Data: none},
	}
}

// clampMSS is firewall4's "tcp flags syn tcp option maxseg size set rt mtu".
func clampMSS() []expr.Any {
	const optionMSS, synOnly = 2, 0x02
	return slices.Concat(
		equals(&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: 1}, []byte{unix.IPPROTO_TCP}),
		[]expr.Any{
			&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseTransportHeader, Offset: 13, Len: 1},
			&expr.Bitwise{SourceRegister: 1, DestRegister: 1, Len: 1, Mask: []byte{synOnly | 0x04}, Xor: []byte{0}},
			&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{synOnly}},
			&expr.Rt{Key: expr.RtTCPMSS, Register: 1},
			// The kernel has the number in its own order, a header has not.
			&expr.Byteorder{SourceRegister: 1, DestRegister: 1, Op: expr.ByteorderHton, Len: 2, Size: 2},
			&expr.Exthdr{SourceRegister: 1, Type: optionMSS, Offset: 2, Len: 2, Op: expr.ExthdrOpTcpopt},
		})
}

// unroute takes a route away, if there is one.
func (h *Host) unroute(prefix string) error {
	return h.Do(func() error {
		dst, err := netlink.ParseIPNet(prefix)
		if err != nil {
			return err
		}
		if err := netlink.RouteDel(&netlink.Route{Dst: dst}); err != nil && !errors.Is(err, unix.ESRCH) {
			return fmt.Errorf("take the route to %s away in %s: %w", prefix, h.Name, err)
		}
		return nil
	})
}

// Tables lists the nftables tables of a host as "family name", sorted.
func (h *Host) Tables() ([]string, error) {
	var names []string
	err := h.Do(func() error {
		c, err := nftables.New()
		if err != nil {
			return fmt.Errorf("open netfilter socket: %w", err)
		}
		tables, err := c.ListTables()
		for _, t := range tables {
			names = append(names, familyName(t.Family)+" "+t.Name)
		}
		return err
	})
	slices.Sort(names)
	return names, err
}

func familyName(f nftables.TableFamily) string {
	switch f {
	case nftables.TableFamilyINet:
		return "inet"
	case nftables.TableFamilyIPv4:
		return "ip"
	case nftables.TableFamilyIPv6:
		return "ip6"
	}
	return fmt.Sprintf("family%d", f)
}
