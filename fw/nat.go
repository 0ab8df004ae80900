package fw

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// A NAT is what the firewall does to the source of the TCP connections that
// leave by one device, in one family.
type NAT uint8

const (
	Routed      NAT = iota // nothing
	Masqueraded            // all get an address of the device
	Custom                 // something else, or not the same for all
)

func (n NAT) String() string {
	switch n {
	case Masqueraded:
		return "masqueraded"
	case Custom:
		return "custom"
	}
	return "routed"
}

// A Translation is what [ReadNAT] found. Why is, for Custom, the rule in words
// after its table and chain: "inet fw4 srcnat_wan: masquerade for some sources
// only".
type Translation struct {
	V4, V6     NAT
	Why4, Why6 string
}

// ReadNAT reads from all tables but ours what the firewall does to connections
// of clients that leave by wan, which need not be there. Rules that ask for
// the device, the family, TCP, the direction or that a connection is new have
// their answer. Those that ask for sources, destinations, ports, times or
// incoming devices are for some only, which is Custom, unless all come to the
// same in the end: Docker's masquerade for its own network does not matter where
// the firewall masquerades all. Packets with a mark (tailscale's, Kubernetes'),
// of a local process, or for IPsec are not asked about: rules that want one do
// not count, as package b4 does not steer these either.
func ReadNAT(wan string) (Translation, error) {
	var t Translation
	err := readRules(nat, postrouting, func(r *ruleset) {
		index := indexOf(wan)
		t.V4, t.Why4 = r.nat(leaving(wan, index, false))
		t.V6, t.Why6 = r.nat(leaving(wan, index, true))
	})
	if err != nil {
		return Translation{}, fmt.Errorf("read the firewall's NAT: %w", err)
	}
	for _, l := range []struct {
		file string
		n    *NAT
		why  *string
	}{
		{"/proc/thread-self/net/ip_tables_names", &t.V4, &t.Why4},
		{"/proc/thread-self/net/ip6_tables_names", &t.V6, &t.Why6},
	} {
		has, err := listsNAT(l.file)
		if err != nil {
			return Translation{}, fmt.Errorf("read the tables of legacy iptables: %w", err)
		}
		if has {
			*l.n, *l.why = Custom, "legacy iptables has a nat table, which nftables does not show"
		}
	}
	return t, nil
}

// listsNAT reads one name a line. There is no file where there is no iptables.
func listsNAT(file string) (bool, error) {
	names, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return slices.Contains(strings.Fields(string(names)), "nat"), err
}

func (r *ruleset) nat(k *knowledge) (NAT, string) { return newOracle(r, k).nat() }

// nat asks the base chains in turn: the first that translates a connection has
// done it.
func (o *oracle) nat() (NAT, string) {
	var all endings
	rest := ending{met: true}
	for _, c := range o.rules.base(nat, postrouting, o.know.v6) {
		e := o.ask(c)
		all.add(translated, rest.some, e[translated])
		all.add(rebound, rest.some, e[rebound])
		var next endings
		next.add(accepted, rest.some, e[accepted])
		next.add(accepted, rest.some, e[onward])
		if rest = next[accepted]; !rest.met {
			break
		}
	}
	switch m, b := all[translated], all[rebound]; {
	case b.met && b.some != "":
		return Custom, b.some
	case b.met:
		return Custom, b.by
	case m.met && rest.met && m.some != "":
		return Custom, m.some
	case m.met && rest.met:
		return Custom, rest.some
	case m.met:
		return Masqueraded, ""
	}
	return Routed, ""
}

// AcceptsForward reports whether the firewall lets what b4d writes back into
// the TUN dev be forwarded: untracked packets of both families, to whatever
// device. If not, why is the chain, and the rule or policy, that ends them.
// Rules for some sources, destinations and the like do not count either way.
// What legacy iptables says is not seen.
func AcceptsForward(dev string) (ok bool, why string, err error) {
	err = readRules(filter, forward, func(r *ruleset) {
		index := indexOf(dev)
		why = ""
		for _, v6 := range []bool{false, true} {
			if why == "" {
				why = r.blocks(writtenBack(dev, index, v6))
			}
		}
	})
	if err != nil {
		return false, "", fmt.Errorf("read the firewall's forward chains: %w", err)
	}
	return why == "", why, nil
}

// blocks says what ends packets for which no rule is special, "" if nothing does.
func (r *ruleset) blocks(k *knowledge) string {
	o := newOracle(r, k)
	for _, c := range r.base(filter, forward, k.v6) {
		e := o.ask(c)
		switch d, end := e[dropped], e[onward]; {
		case d.met && d.some == "":
			return d.by
		case c.drops && end.met && end.some == "":
			return c.String() + ": policy drop"
		}
	}
	return ""
}

// readRules gives f the tables of others that have a base chain of a kind at
// a hook. f is called anew where they changed before it returned.
func readRules(kind chainType, point hookPoint, f func(*ruleset)) error {
	s, err := dial()
	if err != nil {
		return err
	}
	err = s.steady(func() error {
		r, err := s.readOthers(kind, point)
		if err == nil {
			f(r)
		}
		return err
	})
	return errors.Join(err, s.close())
}

// indexOf returns a device's number, 0 if there is no such device.
func indexOf(dev string) uint32 {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return 0
	}
	defer unix.Close(fd)
	ifr, err := unix.NewIfreq(dev)
	if err != nil || unix.IoctlIfreq(fd, unix.SIOCGIFINDEX, ifr) != nil {
		return 0
	}
	return ifr.Uint32()
}
