package fw

import "slices"

// An Offload says what of the firewall's flow offload hellos are to be hidden from,
// see [ReadOffload]. UDP is hidden for a queue only.
type Offload struct{ TCP, UDP bool }

// The chains that hide, in the order in which they have to be made and taken away.
const (
	hideChain = "hide"
	showChain = "show"
)

// offloadChains keep early packets in the slow path. hide is made ahead of show, so
// that it is the first to go when the socket that owns the table is closed.
func (c *Config) offloadChains() []chain {
	var rules []rule
	switch {
	case !c.Offload.TCP || len(c.TCP) == 0:
	case c.Form == Tun:
		rules = c.hideSteered()
	default:
		rules = c.hideTCP()
	}
	if c.Offload.UDP && len(c.UDP) > 0 {
		rules = append(rules, c.hideUDP()...)
	}
	if len(rules) == 0 {
		return nil
	}
	others := rule{bits{metaMark, c.Marks.Hide, true}, clearBits{metaMark, c.Marks.Hide}} // what they have marked was not hidden
	return []chain{c.hidden(), {hideChain, &hook{filter, forward, -1}, append(append([]rule{others}, c.past()...), rules...)}, c.show()}
}

// carries matches what an entry in the flowtable could be made by: it is for both
// directions, so that an answer counts, too.
var carries = tcpFlags{fin | syn | rst, 0}

// hideTCP finds what steer is asked about, and the answers.
func (c *Config) hideTCP() []rule {
	rules := c.bothWays(c.family(), packets{upto: c.Bound},
		rule{port{dport, portsSet, c.TCP}, carries}, rule{port{sport, portsSet, c.TCP}, carries})
	if len(c.HTTP) > 0 {
		rules = append(rules, c.bothWays(c.family(), sent(httpBytes),
			rule{c.httpPort(), carries}, rule{c.httpAnswer(), carries})...)
	}
	return rules
}

// hideUDP finds what initial is asked about, and all else of such a flow. Its first
// packet makes no entry, so that the firewall sees it as it is.
func (c *Config) hideUDP() []rule {
	return c.bothWays(only(c.udpFamilies()), packets{upto: c.Bound},
		rule{udpPort{udpPortsSet, c.UDP}, confirmed{}}, rule{udpFrom{udpPortsSet, c.UDP}, confirmed{}})
}

// bothWays hides the early packets of watched connections, those that match out on
// their way out, and those that match in on their way in.
func (c *Config) bothWays(family []term, early term, out, in rule) []rule {
	end := func(r rule, reply bool, key device) rule {
		r = append(r, direction{reply})
		if !c.All {
			r = append(r, early)
		}
		r = append(r, family...)
		return append(r, key, gotoChain("hidden"))
	}
	return []rule{end(out, false, device{oifname}), end(in, true, device{iifname})}
}

// hideSteered finds what early steers, and the rest of such connections.
func (c *Config) hideSteered() []rule {
	hide := func(match ...term) rule {
		return append(match, alive(c.Tun.WAN), gotoChain("hidden"))
	}
	open := c.steerable()
	if c.All {
		return []rule{hide(open, carries)}
	}
	rules := []rule{hide(open, packets{upto: c.Bound}, carries)}
	if len(c.HTTP) > 0 {
		rules = append(rules,
			hide(open, c.httpPort(), carries, direction{reply: false}, sent(httpBytes)),
			hide(open, c.httpAnswer(), carries, direction{reply: true}, sent(httpBytes)))
	}
	return rules
}

func (c *Config) httpAnswer() port { return port{sport, httpPortsSet, c.HTTP} }

// hidden makes a packet look as if it should not be offloaded: flow offload leaves a
// connection's last segments alone (nft_flow_offload_eval), and UDP has nothing of
// the kind, but the firewall offloads only the protocols that it names. The mark
// comes first: it cannot fail, and what has it is looked at by show.
func (c *Config) hidden() chain {
	var rules []rule
	if c.SkipIPsec {
		rules = append(rules, rule{ipsec{}, accept})
	}
	rules = append(append(rules, c.never(destination)...), c.never(source)...)
	hide := setBits{metaMark, c.Marks.Hide}
	if c.Offload.TCP && len(c.TCP) > 0 {
		rules = append(rules, rule{overTCP{}, hide, setFIN{}})
	}
	if c.Offload.UDP && len(c.UDP) > 0 {
		rules = append(rules,
			rule{nfproto(4), isProtocol{4, udp}, hide, setProtocol{4, hiddenUDP}},
			rule{nfproto(6), isProtocol{6, udp}, hide, setProtocol{6, hiddenUDP}})
	}
	return chain{"hidden", nil, rules}
}

// show undoes what hide did, whatever its rules are or were. What cannot be
// undone, for want of memory, does not leave. What looks like nothing that was hidden
// has the mark from somebody else, and goes on.
func (c *Config) show() chain {
	hide := c.Marks.Hide
	shown := clearBits{metaMark, hide}
	return chain{showChain, &hook{filter, forward, 1}, []rule{
		{bits{metaMark, hide, false}, accept},
		{overTCP{}, clearFIN{}, shown, accept},
		{overTCP{}, drop},
		{nfproto(4), isProtocol{4, hiddenUDP}, setProtocol{4, udp}, shown, accept},
		{nfproto(4), isProtocol{4, hiddenUDP}, drop},
		{nfproto(6), isProtocol{6, hiddenUDP}, setProtocol{6, udp}, shown, accept},
		{nfproto(6), isProtocol{6, hiddenUDP}, drop},
	}}
}

// hides reports whether packets are hidden by r.
func (r *Ruleset) hides() bool {
	return slices.ContainsFunc(r.chains, func(c chain) bool { return c.name == hideChain && len(c.rules) > 0 })
}

// shows returns the chain of r that undoes hiding, in words.
func (r *Ruleset) shows() string {
	for _, c := range r.chains {
		if c.name == showChain {
			return (&Ruleset{chains: []chain{c}}).String()
		}
	}
	return ""
}
