package fw

import (
	"errors"
	"fmt"
	"slices"

	"golang.org/x/sys/unix"
)

// An Offloading is what [ReadOffload] found.
type Offloading struct {
	Hide     Offload // for Config.Offload: what can be hidden from
	Hardware string  // a flowtable that the hardware takes connections from, "inet fw4 ft"; "" if there is none
	By       string  // the chain, or a rule in words, by which some hellos are missed all the same; "" if none are
	Missed   string  // why that is, a sentence that By begins
}

// ReadOffload reads from all tables but ours which connections the firewall
// offloads. Those to the UDP ports udp that leave by one of the devices wan are
// looked at more closely: UDP has no flag that could veto it, so hiding changes the
// protocol that the firewall sees, and must not be where that would let less pass.
// Nothing is hidden from chains at another priority than 0.
func ReadOffload(wan []string, udp []uint16) (Offloading, error) {
	var found Offloading
	s, err := dial()
	if err == nil {
		err = s.steady(func() error {
			tables, err := s.readFlowtables()
			if err != nil || len(tables) == 0 {
				found = Offloading{}
				return err
			}
			r, err := s.readOthers(filter, forward)
			if err == nil {
				found = r.offloading(tables, wan, udp)
			}
			return err
		})
		err = errors.Join(err, s.close())
	}
	if err != nil {
		return Offloading{}, fmt.Errorf("read the firewall's flow offload: %w", err)
	}
	return found, nil
}

// A flowtable is one of another program's.
type flowtable struct {
	table    foreignTable
	name     string
	hardware bool // its entries are given to the devices
}

func (f *flowtable) String() string { return f.table.String() + " " + f.name }

// readFlowtables returns none where the kernel has none: before Linux 4.16 it does
// not know the question.
func (s *socket) readFlowtables() (list []flowtable, err error) {
	err = s.dump(ask(unix.NFT_MSG_GETFLOWTABLE, unix.NFPROTO_UNSPEC), func(family uint8, a attrs) error {
		if f := readFlowtable(family, a); f.table != (foreignTable{inetFamily, tableName}) {
			list = append(list, f)
		}
		return nil
	})
	if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.ENOENT) {
		return nil, nil
	}
	return list, err
}

// Attributes of linux/netfilter/nf_tables.h that x/sys does not have.
const (
	flowtableTable  = 1 // NFTA_FLOWTABLE_TABLE
	flowtableName   = 2 // NFTA_FLOWTABLE_NAME
	flowtableFlags  = 7 // NFTA_FLOWTABLE_FLAGS
	hardwareOffload = 1 // NFT_FLOWTABLE_HW_OFFLOAD
	flowName        = 1 // NFTA_FLOW_TABLE_NAME
)

func readFlowtable(family uint8, a attrs) flowtable {
	return flowtable{
		table: foreignTable{family, a.text(flowtableTable)}, name: a.text(flowtableName),
		hardware: a.num(flowtableFlags)&hardwareOffload != 0,
	}
}

// offloading tells what becomes of connections in the rules of others.
func (r *ruleset) offloading(tables []flowtable, wan []string, ports []uint16) (found Offloading) {
	miss := func(by, why string) {
		if found.By == "" {
			found.By, found.Missed = by, why
		}
	}
	puts := func(protocol byte) (hideable bool) {
		for _, v6 := range []bool{false, true} {
			for _, p := range r.puts(forwarding(v6, protocol)) {
				i := slices.IndexFunc(tables, func(f flowtable) bool { return f.table == p.table && f.name == p.name })
				if i < 0 {
					continue
				}
				if tables[i].hardware {
					found.Hardware = tables[i].String()
				}
				if p.chain.priority != 0 {
					miss(p.chain.String(), fmt.Sprintf("offloads at priority %d, want 0", p.chain.priority))
					continue
				}
				hideable = true
			}
		}
		return hideable
	}
	found.Hide.TCP = puts(unix.IPPROTO_TCP)
	if puts(udp) && len(ports) > 0 {
		by, why := r.objects(wan, ports)
		if found.Hide.UDP = why == ""; why != "" {
			miss(by, why)
		}
	}
	return found
}

// objects says what keeps UDP from being hidden by another protocol, and why; "" if
// nothing does.
func (r *ruleset) objects(wan []string, ports []uint16) (by, why string) {
	for _, v6 := range []bool{false, true} {
		for _, p := range r.puts(forwarding(v6, hiddenUDP)) {
			return p.chain.String(), "offloads every protocol, want it to name tcp and udp"
		}
		for _, dev := range wan {
			for _, port := range ports {
				plain, hidden := forwarding(v6, udp), forwarding(v6, hiddenUDP)
				for _, k := range []*knowledge{plain, hidden} {
					k.name(unix.NFT_META_OIFNAME, unix.NFT_META_OIF, dev, 0)
					k.dport = port
				}
				if by := r.lets(plain, r.passes(hidden)); by != "" {
					return by, "for UDP only, so that it cannot be hidden"
				}
			}
		}
	}
	return "", ""
}

// forwarding is any packet of a protocol that is forwarded.
func forwarding(v6 bool, protocol byte) *knowledge {
	k := about(v6)
	k.meta[unix.NFT_META_L4PROTO] = []byte{protocol}
	return k
}

// A put is that a base chain puts connections into a flowtable.
type put struct {
	chain *foreignChain
	table foreignTable
	name  string
}

// puts returns those that packets may meet.
func (r *ruleset) puts(k *knowledge) (list []put) {
	for _, c := range r.base(filter, forward, k.v6) {
		o := newOracle(r, k)
		o.put = func(in *foreignChain, name string) { list = append(list, put{c, in.table, name}) }
		o.ask(c)
	}
	return list
}

// passes returns the rules that let packets pass, some at least.
func (r *ruleset) passes(k *knowledge) map[*byte]bool {
	all := map[*byte]bool{}
	r.eachPass(k, func(rule *byte, _ string) { all[rule] = true })
	return all
}

// lets returns a rule in words that lets packets pass and is none of others.
func (r *ruleset) lets(k *knowledge, others map[*byte]bool) (by string) {
	r.eachPass(k, func(rule *byte, words string) {
		if !others[rule] {
			by = words
		}
	})
	return by
}

func (r *ruleset) eachPass(k *knowledge, f func(rule *byte, words string)) {
	for _, c := range r.base(filter, forward, k.v6) {
		o := newOracle(r, k)
		o.pass = f
		o.ask(c)
	}
}
