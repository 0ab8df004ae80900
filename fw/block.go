package fw

// A QUICBlock says which QUIC is not let out, whatever [Config.Form]. The kernel
// does it all and b4d sees nothing of it, but it lasts while devices are watched and
// while b4d answers what it is shown.
// What begins like a handshake is blocked, of the watched families, among the
// packets 1..Bound of connections that leave by a watched device: those of
// clients, and with [Config.Router] the router's own. A connection that is under way
// goes on.
type QUICBlock struct {
	Ports []uint16 // destination ports of UDP; those that stand in Config.UDP too are blocked, not shown

	// Reject has the sender told by ICMP (port unreachable), so that a browser
	// takes to TCP at once; it needs Features.Reject. Otherwise it is left to
	// wait. The kernel limits the errors it sends a host: to 6 at once and 1 a
	// second, a few more of IPv6 (measured; net.ipv4.icmp_ratelimit and
	// net.ipv6.icmp.ratelimit). For the router's own programs there is no limit,
	// and sending fails as well, with EPERM, as it does where packets are
	// dropped.
	Reject bool
}

// blockChains are behind the routing decision, and the last where an ICMP error
// can be sent (nft_reject_validate): what leaves by a watched device is known. At
// -1 they are ahead of the firewall's forward chain, whose flow offload takes
// packets past all others.
func (c *Config) blockChains() []chain {
	if len(c.Block.Ports) == 0 {
		return nil
	}
	first := append(c.blockable(), device{oifname}, gotoChain("blocked"))
	chains := []chain{c.blocked(), {"block", &hook{filter, forward, -1}, []rule{first}}}
	if c.Router {
		chains = append(chains, chain{"block_own", &hook{filter, output, -1}, []rule{first}})
	}
	return chains
}

// blockable matches what is blocked where it leaves by a watched device.
func (c *Config) blockable() rule {
	return append(c.first(c.family(), packets{upto: c.Bound}, udpPort{blockedSet, c.Block.Ports}, longHeader{}), c.notDone()...)
}

// blocked ends what begins like QUIC's handshake.
func (c *Config) blocked() chain {
	var rules []rule
	if c.SkipIPsec {
		rules = append(rules, rule{ipsec{}, accept})
	}
	end := rule{counter{"blocked"}, drop}
	if c.Block.Reject {
		end[1] = unreachable{}
	}
	rules = append(rules, c.never(destination)...)
	return chain{"blocked", nil, append(rules, rule{likeRTP{}, accept}, pass, end)}
}
