package fw

import (
	"encoding/binary"
	"fmt"

	"golang.org/x/sys/unix"
)

// Scatters reports in which family the firewall may draw the source port of a UDP
// flow that leaves by wan at random (masquerade random or fully-random). Datagrams
// that open such a flow and wait in a queue at the same time, as those of a long
// QUIC hello, leave from a port each, and the server takes them for strangers: see
// [Config.Scatter4].
// What legacy iptables does is not seen.
func Scatters(wan string) (v4, v6 bool, err error) {
	err = readRules(nat, postrouting, func(r *ruleset) {
		index := indexOf(wan)
		v4 = r.scatters(leaving(wan, index, false))
		v6 = r.scatters(leaving(wan, index, true))
	})
	if err != nil {
		return false, false, fmt.Errorf("read the firewall's NAT: %w", err)
	}
	return v4, v6, nil
}

// scatters asks about UDP what else k knows.
func (r *ruleset) scatters(k *knowledge) bool {
	k.meta[unix.NFT_META_L4PROTO] = []byte{unix.IPPROTO_UDP}
	o := newOracle(r, k)
	o.nat()
	return o.scatters
}

// targetFlags returns the flags of the first range in what an xtables target of
// source NAT is told: struct nf_nat_range of IPv6 begins with them, struct
// nf_nat_ipv4_multi_range_compat with the number of ranges.
func targetFlags(c *foreignChain, info []byte) uint32 {
	at := 0
	if c.table.family == ip4Family {
		at = 4
	}
	if len(info) < at+4 {
		return 0
	}
	return binary.NativeEndian.Uint32(info[at:])
}

// draws takes note of the flags of a source NAT.
func (o *oracle) draws(flags uint32) {
	o.scatters = o.scatters || flags&unix.NF_NAT_RANGE_PROTO_RANDOM_ALL != 0
}
