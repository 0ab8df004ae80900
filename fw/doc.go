// Package fw programs the kernel's packet filter: it shows b4d just the packets
// that decide what a censor sees, and leaves every other packet alone.
//
// Everything stands in one table, inet b4, that belongs to the socket of the
// [Conn] that made it (NFT_TABLE_F_OWNER, Linux 5.12): other programs cannot
// change it, and it vanishes when the socket closes, however b4d ends. A packet
// meets its chains in this order:
//
//	output       -401  raw_out  packets of b4's own pass by conntrack
//	prerouting   -150  observe  replies, where a strategy wants to see them
//	postrouting   101  steer    a watched connection leaves by a watched device
//	                   decisive ... and this packet matters: to the queue
//	postrouting   102  confirm  what the verdict's mark asked for is done
//
// A wedged daemon must not hold traffic up either. Each rule that queues asks
// the set wan for the packet's device, the set forgets its devices after
// [Timeout], and only the packet loop's [Conn.Refresh] renews them.
//
// [Plan] is pure. What it returns is both shown as text and applied, from one
// description of each rule.
package fw
