package fw

// wholly is toTun where all is wanted but what opens. ICMP errors about a
// connection have its mark too, and stay in the kernel.
func (c *Config) wholly() chain {
	return chain{"decisive", nil, []rule{
		{opening, accept},
		{overTCP{}, direction{reply: false}, gotoChain(askTCP)},
		{overTCP{}, direction{reply: true}, gotoChain(askReply)},
	}}
}

// back keeps what b4d writes back into the TUN from conntrack, which has counted
// and translated it on its first way. Untracked, it has no connection's mark, so
// no other rule of ours meets it, and NAT lets it be.
func (c *Config) back() chain {
	return chain{"back", &hook{filter, prerouting, -300}, []rule{
		{isDevice{iifname, c.Tun.Device}, notrack{}},
	}}
}
