package fw

import (
	"errors"
	"fmt"
	"net/netip"
)

// A TunConfig says where [Config.Form] Tun leads decisive packets.
type TunConfig struct {
	Device string // the TUN's name
	WAN    string // the one WAN device whose connections are watched

	// SNAT4 and SNAT6 are the WAN addresses that connections are translated
	// to where the firewall would have masqueraded them. The zero Addr is for
	// a family that is routed as it is.
	SNAT4, SNAT6 netip.Addr
}

func (c *Config) checkTun() error {
	t := &c.Tun
	if c.Marks.Steer == 0 {
		return errors.New("no mark bit to steer by")
	}
	if _, err := deviceKeys([]string{t.Device, t.WAN}); err != nil {
		return err
	}
	switch {
	case t.Device == t.WAN:
		return fmt.Errorf("device %q: want a TUN that is not the WAN device", t.Device)
	case t.SNAT4.IsValid() && !t.SNAT4.Is4():
		return fmt.Errorf("source NAT to %v: want an IPv4 address", t.SNAT4)
	case t.SNAT6.IsValid() && (!t.SNAT6.Is6() || t.SNAT6.Is4In6()):
		return fmt.Errorf("source NAT to %v: want an IPv6 address", t.SNAT6)
	case c.SYN || c.Replies.End || c.Replies.any() && !c.All:
		return errors.New("a TUN is shown no SYNs and no replies: choose engine nfqueue")
	case len(c.UDP) > 0:
		return errors.New("a TUN is shown no QUIC, whose first datagram decides: choose engine nfqueue")
	}
	return nil
}

func (c *Config) tunChains() []chain {
	var chains []chain
	if c.translates() {
		chains = append(chains, c.foreign())
	}
	chains = append(chains, c.rawOut(), c.ask(askTCP, "queued"))
	if c.All {
		chains = append(chains, c.ask(askReply, "replies"), c.wholly(), c.back())
	} else {
		chains = append(chains, c.toTun(), c.signal())
	}
	chains = append(chains, c.early())
	if c.Router {
		chains = append(chains, c.own())
	}
	if c.translates() {
		chains = append(append(chains, c.stale()...), c.translate())
	}
	chains = append(chains, c.labelled()...)
	return append(chains, c.byTUN(), c.opened(), c.leave())
}

// translates reports whether a watched family is masqueraded.
func (c *Config) translates() bool {
	for _, f := range c.families() {
		if c.Form == Tun && f.snat.IsValid() {
			return true
		}
	}
	return false
}

// foreign keeps what b4 sends for a connection off WAN once its source is not
// WAN's any more: it has gone past NAT. Only b4's own packets come by.
func (c *Config) foreign() chain {
	var rules []rule
	for _, f := range c.families() {
		if f.snat.IsValid() {
			rules = append(rules, rule{isDevice{oifname, c.Tun.WAN}, sourceIsNot(f.snat), drop})
		}
	}
	return chain{"foreign", nil, rules}
}

// toTun sorts out the packets that carry nothing, and those that open: a SYN
// that came again, perhaps with data, takes the way of the first.
func (c *Config) toTun() chain {
	return chain{"decisive", nil, append(c.never(destination), []rule{
		{opening, accept},
		{maxLength(bareLength), tcpFlags{psh, 0}, counter{"bare"}, accept},
		{gotoChain(askTCP)},
	}...)}
}

// signal takes in what b4d says about a connection by way of the TUN: an ICMP
// error about one of its packets, which conntrack ascribes to it. Nobody else
// can speak there, so there is nothing else to let in.
func (c *Config) signal() chain {
	done := setBits{ctMark, c.Marks.Done}
	return chain{"signal", nil, []rule{
		{icmpType{4, sourceQuench}, done},
		{icmpType{6, packetTooBig}, done},
		{drop},
	}}
}

// early finds the first packets of connections that leave showed to go by WAN.
// It stands after conntrack (-200), so that the count is right, and where the
// mark still decides the route.
func (c *Config) early() chain {
	var rules []rule
	if c.All {
		rules = []rule{{c.steerable(), alive(c.Tun.WAN), gotoChain("decisive")}}
	} else {
		rules = append([]rule{{isDevice{iifname, c.Tun.Device}, gotoChain("signal")}}, c.steered()...)
	}
	return chain{"early", &hook{filter, prerouting, -150}, rules}
}

// own is early for the router's own connections, whose packets have their route
// already.
func (c *Config) own() chain {
	return chain{"own", &hook{reroute, output, -150}, c.steered()}
}

// steered goes by the connection's mark alone: leave has looked at all the rest.
// Most packets meet just the first term. No route is known in prerouting, but
// the WAN device is, so the set is asked for that.
func (c *Config) steered() []rule {
	lead := func(match ...term) rule {
		return append(match, alive(c.Tun.WAN), gotoChain("decisive"))
	}
	if c.All {
		return []rule{lead(c.steerable(), direction{reply: false})}
	}
	open := c.steerable()
	rules := []rule{lead(open, direction{reply: false}, packets{upto: c.Bound})}
	if len(c.HTTP) > 0 {
		rules = append(rules, lead(open, c.httpPort(), direction{reply: false}, sent(httpBytes)))
	}
	return rules
}

// steerable matches connections that leave has marked, unless b4d is done with them.
func (c *Config) steerable() term {
	m := c.Marks
	if len(c.notDone()) == 0 {
		return bits{ctMark, m.Steer, true}
	}
	return bitsAre{ctMark, m.Steer | m.Done, m.Steer}
}

// translate is ahead of the firewall's masquerade (100), and only where that is
// so, and has so decided, is the connection marked.
func (c *Config) translate() chain {
	var rules []rule
	if c.SkipIPsec {
		rules = append(rules, rule{ipsec{}, accept})
	}
	rules = append(rules, c.never(destination)...)
	for _, f := range c.families() {
		if f.snat.IsValid() {
			r := append(c.opens(), nfproto(f.number))
			rules = append(rules, append(r, setBits{ctMark, c.Marks.Steer}, snat(f.snat)))
		}
	}
	return chain{"translate", &hook{nat, postrouting, 99}, rules}
}

// stale ends the connections that are translated to an address WAN has no more.
// Masqueraded ones the kernel forgets by itself, so that the server's RST ends
// them; ours would hang. Their client learns it at once. It is ahead of hide, as the
// kernel answers nothing whose checksum is wrong (nf_reject_ip_tcphdr_get).
func (c *Config) stale() []chain {
	var rules []rule
	for _, f := range c.families() {
		if f.snat.IsValid() {
			rules = append(rules, rule{nfproto(f.number), boundElsewhere(f.snat), reset{}})
		}
	}
	return []chain{
		{"bound", nil, rules},
		{"stale", &hook{filter, forward, -2}, []rule{{bits{ctMark, c.Marks.Steer, true}, direction{reply: false}, gotoChain("bound")}}},
	}
}

// leave stands after source NAT (100). The mark has done its work by now.
func (c *Config) leave() chain {
	return chain{"leave", &hook{filter, postrouting, 101}, []rule{
		{bits{metaMark, c.Marks.Steer, true}, gotoChain("steered")},
		append(append(c.opens(), c.family()...), gotoChain("opened")),
	}}
}

// byTUN is the way of what was steered. Only here it is known to get to b4d, so that it
// is noted here: behind ask some are yet dropped, by the firewall or for their TTL, and
// answers may be for the router itself.
func (c *Config) byTUN() chain {
	rules := append([]rule{{isDevice{oifname, c.Tun.Device}, note{}}}, c.toDevice()...)
	return chain{"steered", nil, append(rules, rule{clearBits{metaMark, c.Marks.Steer}})}
}

// opened marks the connections of a family that is routed as it is, unless
// somebody has translated them all the same.
func (c *Config) opened() chain {
	rules := append(c.never(destination), rule{counter{"opened"}})
	if c.SkipIPsec {
		rules = append(rules, rule{ipsec{}, accept})
	}
	for _, f := range c.families() {
		if !f.snat.IsValid() {
			rules = append(rules, rule{nfproto(f.number), sourceKept{}, setBits{ctMark, c.Marks.Steer}})
		}
	}
	return chain{"opened", nil, rules}
}

// opens matches the SYNs of watched connections where they leave by WAN.
func (c *Config) opens() rule {
	r := rule{port{dport, portsSet, c.TCP}, opening, bits{metaMark, c.Marks.Injected, false}}
	if len(c.Devices.Spared) > 0 {
		r = append(r, c.notDone()...)
	}
	if !c.Router {
		r = append(r, forwarded{})
	}
	return append(r, device{oifname})
}

type family struct {
	number uint8
	snat   netip.Addr
}

// families are the watched ones.
func (c *Config) families() []family {
	var list []family
	if c.IPv4 {
		list = append(list, family{4, c.Tun.SNAT4})
	}
	if c.IPv6 {
		list = append(list, family{6, c.Tun.SNAT6})
	}
	return list
}
