package fw

import (
	"errors"
	"fmt"
	"net/netip"

	"b4/mark"
)

// Features are what this kernel offers the rules.
type Features struct {
	Owner   bool      // tables can belong to a socket (Linux 5.12)
	Queue   QueueForm // how a rule queues; None if it cannot
	Reject  bool      // rules can answer by ICMP (kmod-nft-core)
	Tun     bool      // rules can lead to a TUN, which takes kmod-nft-nat; package tun knows whether there are TUNs
	IPsec   bool      // rules can see what an IPsec policy will wrap
	Missing string    // the package to install where Queue is None
}

// Probe asks this kernel. It leaves nothing behind: each question is a
// transaction without an end, which the kernel checks and rolls back. The error
// wraps unix.EPERM without CAP_NET_ADMIN.
func Probe() (Features, error) {
	s, err := dial()
	if err != nil {
		return Features{Missing: "kmod-nft-core"}, err
	}
	f, err := s.probe()
	return f, errors.Join(err, s.close())
}

func (s *socket) probe() (Features, error) {
	c, err := probeConfig()
	if err != nil {
		return Features{}, err
	}
	decisive := chain{name: "decisive", rules: []rule{{maxLength(bareLength), tcpFlags{psh, 0}, counter{"bare"}, accept}}}
	initial := chain{name: "initial", rules: []rule{{counter{"quic"}, accept}}}
	asks := chain{name: askTCP, rules: []rule{pass, {note{}}}}
	core := append([]chain{c.rawOut(), asks, decisive, initial, c.steer(), c.confirm()}, c.blockChains()...)
	if err := s.accepts(0, core...); err != nil {
		return Features{Missing: "kmod-nft-core"}, fmt.Errorf("probe nf_tables: %w", err)
	}
	f := Features{
		Owner:  s.accepts(tableOwner) == nil,
		IPsec:  s.accepts(0, chain{name: "ipsec", rules: []rule{{ipsec{}, accept}}}) == nil,
		Reject: s.accepts(0, chain{name: "reject", rules: []rule{{unreachable{}}}}) == nil,
	}
	c.IPv6 = true
	c.Form = Tun
	few := c.tunChains()
	c.All = true
	f.Tun = s.accepts(0, few...) == nil && s.accepts(0, c.tunChains()...) == nil
	for _, form := range []QueueForm{Native, Xt} {
		if s.accepts(0, chain{name: "queue", rules: []rule{{queue{c.Queue, 1, form}}}}) == nil {
			f.Queue = form
			return f, nil
		}
	}
	f.Missing = "kmod-nft-queue"
	return f, nil
}

// probeConfig brings every term of the rules but those asked for one by one. To
// a TUN, IPv4 is led with NAT and IPv6 without.
func probeConfig() (Config, error) {
	marks, err := mark.New(mark.Base)
	return Config{
		Marks: marks, TCP: []uint16{80, 443}, UDP: []uint16{443}, Block: QUICBlock{Ports: []uint16{443}}, IPv4: true, Bound: DefaultBound,
		Tun: TunConfig{Device: "tun", WAN: "wan", SNAT4: netip.AddrFrom4([4]byte{192, 0, 2, 1})},
	}, err
}

// accepts asks whether the kernel would take a table of these chains. They have
// no hooks: to take back the trial of a hook drops what waits in queues.
func (s *socket) accepts(flags uint32, chains ...chain) error {
	b := newBatch(tableName + "-probe")
	b.addBase(flags, usual)
	for i := range chains {
		chains[i].hook = nil
	}
	b.replaceRules(&Ruleset{}, &Ruleset{ports: []portSet{{portsSet, []uint16{80, 443}}}, chains: chains})
	buf, err := b.trial()
	if err != nil {
		return err
	}
	return b.explain(s.commit(buf))
}
