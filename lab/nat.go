package lab

import (
	"fmt"
	"slices"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// masquerade gives the calling thread's namespace the source NAT that
// OpenWrt's firewall has: one inet table named fw4, whose chain srcnat at
// priority 100 masquerades IPv4 by out-interface.
func masquerade(wan string) error {
	name := make([]byte, unix.IFNAMSIZ)
	copy(name, wan)
	c, err := nftables.New()
	if err != nil {
		return fmt.Errorf("open netfilter socket: %w", err)
	}
	t := c.AddTable(&nftables.Table{Family: nftables.TableFamilyINet, Name: "fw4"})
	chain := c.AddChain(&nftables.Chain{
		Name: "srcnat", Table: t, Type: nftables.ChainTypeNAT,
		Hooknum: nftables.ChainHookPostrouting, Priority: nftables.ChainPriorityNATSource,
	})
	c.AddRule(&nftables.Rule{Table: t, Chain: chain, Exprs: []expr.Any{
		&expr.Meta{Key: expr.MetaKeyNFPROTO, Register: 1},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{unix.NFPROTO_IPV4}},
		&expr.Meta{Key: expr.MetaKeyOIFNAME, Register: 1},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: name},
		&expr.Masq{},
	}})
	if err := c.Flush(); err != nil {
		return fmt.Errorf("add masquerading (needs nf_tables with nat): %w", err)
	}
	return nil
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
