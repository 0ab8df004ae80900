package lab

import (
	"encoding/binary"
	"fmt"
	"net/netip"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// offload puts what the chain forwards into a flowtable, as firewall4 does with
// the option flow_offloading: by the chain's first rule, ahead of any include.
// From then on a connection's packets go from device to device and pass no rule.
func offload(c *nftables.Conn, chain *nftables.Chain) error {
	const name = "ft"
	c.AddFlowtable(&nftables.Flowtable{
		Table: chain.Table, Name: name, Devices: []string{RouterLAN, RouterWAN},
		Hooknum: nftables.FlowtableHookIngress, Priority: nftables.FlowtablePriorityFilter,
	})
	protocols := &nftables.Set{Table: chain.Table, Anonymous: true, Constant: true, KeyType: nftables.TypeInetProto}
	err := c.AddSet(protocols, []nftables.SetElement{{Key: []byte{unix.IPPROTO_TCP}}, {Key: []byte{unix.IPPROTO_UDP}}})
	c.AddRule(&nftables.Rule{Table: chain.Table, Chain: chain, Exprs: []expr.Any{
		&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: 1},
		&expr.Lookup{SourceRegister: 1, SetID: protocols.ID, SetName: protocols.Name},
		&expr.FlowOffload{Name: name},
	}})
	return err
}

// witnessTable counts in the router what Passed tells.
const witnessTable = "witness"

// Its chains, and where they stand: one ahead of every other of the hook forward,
// two where firewall4's is, which see what that sees.
var witnesses = []struct {
	chain    string
	priority *nftables.ChainPriority
	match    []expr.Any
}{
	{"all", nftables.ChainPriorityRef(-1000), nil},
	{"fin", nftables.ChainPriorityFilter, finSet()},
	{"masked", nftables.ChainPriorityFilter, equals(&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: 1}, []byte{maskedUDP})},
}

// finSet matches what has FIN.
func finSet() []expr.Any {
	const fin = 0x01
	return append(equals(&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: 1}, []byte{unix.IPPROTO_TCP}),
		&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseTransportHeader, Offset: 13, Len: 1},
		&expr.Bitwise{SourceRegister: 1, DestRegister: 1, Len: 1, Mask: []byte{fin}, Xor: []byte{0}},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{fin}})
}

// witness makes the table anew, or takes it away.
func witness(c *nftables.Conn, wanted bool) {
	t := c.AddTable(&nftables.Table{Family: nftables.TableFamilyINet, Name: witnessTable})
	c.DelTable(t)
	if !wanted {
		return
	}
	c.AddTable(t)
	for _, w := range witnesses {
		chain := c.AddChain(&nftables.Chain{
			Name: w.chain, Table: t, Type: nftables.ChainTypeFilter, Hooknum: nftables.ChainHookForward, Priority: w.priority,
		})
		c.AddRule(&nftables.Rule{Table: t, Chain: chain, Exprs: append(w.match[:len(w.match):len(w.match)], &expr.Counter{})})
	}
}

// Passed is what the rules of a router with a flowtable have seen since its
// firewall was set.
type Passed struct {
	Packets uint64 // forwarded by the rules, not by the flowtable
	FIN     uint64 // of them those that firewall4's own chain saw as TCP with FIN
	UDP     uint64 // of them those that it saw with the number that hides UDP
}

// Since is what came after an earlier one.
func (p Passed) Since(earlier Passed) Passed {
	return Passed{p.Packets - earlier.Packets, p.FIN - earlier.FIN, p.UDP - earlier.UDP}
}

// Passed reads the counters. The firewall must have Offload.
func (l *Lab) Passed() (p Passed, err error) {
	err = l.Router.Do(func() error {
		c, err := nftables.New()
		if err != nil {
			return fmt.Errorf("open netfilter socket: %w", err)
		}
		for i, n := range []*uint64{&p.Packets, &p.FIN, &p.UDP} {
			t := &nftables.Table{Family: nftables.TableFamilyINet, Name: witnessTable}
			if *n, err = counted(c, &nftables.Chain{Table: t, Name: witnesses[i].chain}); err != nil {
				return err
			}
		}
		return nil
	})
	return p, err
}

// counted reads the only counter of a chain.
func counted(c *nftables.Conn, chain *nftables.Chain) (uint64, error) {
	rules, err := c.GetRules(chain.Table, chain)
	if err != nil {
		return 0, fmt.Errorf("read the counter of %s: %w", chain.Name, err)
	}
	for _, r := range rules {
		for _, e := range r.Exprs {
			if n, ok := e.(*expr.Counter); ok {
				return n.Packets, nil
			}
		}
	}
	return 0, fmt.Errorf("there is no counter in %s", chain.Name)
}

// Tracked is a connection that a host's conntrack knows.
type Tracked struct {
	Proto     uint8
	Client    netip.AddrPort // as it was before NAT
	Offloaded bool           // it is in a flowtable
}

// Tracked lists the connections.
func (h *Host) Tracked() ([]Tracked, error) {
	var all []Tracked
	err := h.Do(func() error {
		const get = 1 // IPCTNL_MSG_CT_GET
		return eachTracked(get, func(attrs []byte) error {
			t, err := tracked(attrs)
			if err == nil {
				all = append(all, t)
			}
			return err
		})
	})
	return all, err
}

// Refused counts the packets that a host's conntrack has dropped since it was made.
// That is where the machine's nf_conntrack_max is reached: the same connection's
// packets are then dropped again and again, and those of others are not, as it goes by
// where in the table one belongs whether an old one can make room (early_drop).
func (h *Host) Refused() (n uint64, err error) {
	err = h.Do(func() error {
		const get, drop = 4, 10 // IPCTNL_MSG_CT_GET_STATS_CPU, CTA_STATS_DROP
		return eachTracked(get, func(attrs []byte) error {
			return eachAttr(attrs, func(kind uint16, v []byte) error {
				if kind == drop {
					n += uint64(binary.BigEndian.Uint32(v))
				}
				return nil
			})
		})
	})
	return n, err
}

// eachTracked asks conntrack, and visits the attributes of each answer.
func eachTracked(get int, visit func(attrs []byte) error) error {
	req := nl.NewNetlinkRequest(unix.NFNL_SUBSYS_CTNETLINK<<8|get, unix.NLM_F_DUMP)
	req.AddData(&nl.Nfgenmsg{NfgenFamily: unix.AF_UNSPEC, Version: unix.NFNETLINK_V0})
	msgs, err := req.Execute(unix.NETLINK_NETFILTER, 0)
	if err != nil {
		return fmt.Errorf("ask conntrack (needs nf_conntrack_netlink): %w", err)
	}
	for _, m := range msgs {
		if err := visit(m[nl.SizeofNfgenmsg:]); err != nil {
			return err
		}
	}
	return nil
}

// Attributes of ctnetlink, from linux/netfilter/nfnetlink_conntrack.h, and the
// bit of a flowtable in CTA_STATUS, from nf_conntrack_common.h.
const (
	ctaTupleOrig, ctaStatus             = 1, 3
	ctaTupleIP, ctaTupleProto           = 1, 2
	ctaIPv4Src, ctaIPv6Src              = 1, 3
	ctaProtoNum, ctaProtoSrcPort        = 1, 2
	ipsOffload                          = 1 << 14
	attrTypes                    uint16 = 0x3fff // without what says that it is nested
)

func tracked(attrs []byte) (t Tracked, err error) {
	var src netip.Addr
	var port uint16
	err = eachAttr(attrs, func(kind uint16, v []byte) error {
		switch kind {
		case ctaStatus:
			t.Offloaded = binary.BigEndian.Uint32(v)&ipsOffload != 0
		case ctaTupleOrig:
			return eachAttr(v, func(part uint16, v []byte) error {
				return eachAttr(v, func(kind uint16, v []byte) error {
					switch {
					case part == ctaTupleIP && (kind == ctaIPv4Src || kind == ctaIPv6Src):
						src, _ = netip.AddrFromSlice(v)
					case part == ctaTupleProto && kind == ctaProtoNum:
						t.Proto = v[0]
					case part == ctaTupleProto && kind == ctaProtoSrcPort:
						port = binary.BigEndian.Uint16(v)
					}
					return nil
				})
			})
		}
		return nil
	})
	t.Client = netip.AddrPortFrom(src, port)
	return t, err
}

func eachAttr(b []byte, visit func(kind uint16, value []byte) error) error {
	attrs, err := nl.ParseRouteAttr(b)
	for _, a := range attrs {
		if err == nil {
			err = visit(a.Attr.Type&attrTypes, a.Value)
		}
	}
	return err
}

// Segment switches the offloads of a Direct lab's devices off: packets are then
// as long as the wire's, and there are as many.
func (l *Lab) Segment() error {
	for _, p := range l.pairs() {
		for _, end := range []struct {
			h   *Host
			dev string
		}{{p.a, p.aDev}, {p.b, p.bDev}} {
			if err := end.h.Do(func() error { return offloadsOff(end.dev) }); err != nil {
				return fmt.Errorf("in %s: %w", end.h.Name, err)
			}
		}
	}
	return nil
}
