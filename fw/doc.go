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
//	postrouting   101  steer    a watched connection leaves by a watched device,
//	                            packets 1..Bound, or of plain HTTP more
//	                   decisive ... and this packet matters: to the queue
//	                   initial  ... or begins like QUIC's handshake: to the queue
//	postrouting   102  confirm  what the verdict's mark asked for is done
//
// QUIC that is blocked needs nobody to look at it. It ends where the kernel can
// still send an ICMP error about it, which is ahead of postrouting:
//
//	forward        -1  block      a connection that leaves by a watched device, to a
//	                              blocked port, and a packet with a long header
//	output         -1  block_own  the same, of the router's own connections
//	                   blocked    ... unless it is RTP: dropped or rejected
//
// A wedged daemon must not hold traffic up either. What shows a packet to b4d, or is about
// to mark it for a TUN, looks first whether b4d has answered the one before, and notes
// that it has to answer this one:
//
//	ask         packets of clients: to the queue, unless b4d was asked [Patience]
//	            ago or more and has not answered since
//	ask_quic    ... datagrams
//	ask_reply   ... packets of servers
//
// Besides, each rule that queues, steers or blocks asks the set wan for the packet's
// device, and the set forgets its devices after [Lease]. Only the packet loop's
// [Conn.TryAnswer] answers, and renews them.
//
// # Plain HTTP
//
// A hello comes among a connection's first packets, the next request of a plain
// one behind an answer of any length. There the client's data is shown for longer,
// and not by number: reading takes as many packets as writing. What bounds it is the
// bytes that the client has sent, of which an upload has many. It is all data, and not
// just what has PSH: the first segment of a long request, with the name, has none. To
// look for a method would miss the second segment, and rules can step over TCP's
// options only since Linux 5.16.
//
// # Devices
//
// Where steer stands, behind source NAT, all clients of the router look alike. Whose a
// packet is, by MAC, source or the device it came in by, is found out ahead, and kept
// in the connection's mark:
//
//	prerouting   -151  whose      what steer might show, or block end, wherever it
//	                              will leave
//	                   devices    ... of a spared device: its connection is done; of a
//	                              group: its connection has the group's bit
//	postrouting   101  decisive   ... destinations that nobody is looked at to: left
//	                   initial    alone; what goes to the queue gets the groups of its
//	                              connection
//	postrouting   102  confirm    ... and loses them
//
// A spared connection needs no rule of its own, as all that lead to b4d ask for
// the mark Done. That stays when a device is spared no more; groups follow new rules
// from a connection's next packet on, as long as it may be looked at. The router's own
// connections do not come by prerouting, and so belong to no group. The sets are made
// anew where they change, with the rules, and left alone where not: long lists cost a
// reload nothing.
//
// A TUN carries no mark. On its way out to there a packet gets the groups into TCP's
// urgent pointer, which package tun clears again:
//
//	postrouting   101  leave      a steered packet leaves by the TUN
//	                   labelled   ... and has no use for the pointer: its groups
//
// # Flow offload
//
// A firewall that offloads takes each connection out of its rules as soon as it is
// established: what follows passes forward and postrouting by, and with it steer. The
// hello would never be seen. So what steer is to see, and the answers, are hidden
// from the rule that offloads, as long as steer is to see them, and not longer:
//
//	forward        -1  hide       a connection by a watched device, either direction,
//	                              packets 1..Bound, or of plain HTTP more, not done
//	                   hidden     ... gets a mark; TCP looks like a last segment, UDP
//	                              like another protocol
//	forward         0             the firewall's, which offloads none of that
//	forward         1  show       what has the mark is as it was
//
// Flow offload leaves FIN to the rules. Conntrack has seen the packet before, and the
// checksum is left alone all the time, so nobody but the chains in between is told
// anything wrong, and what has been merged is not cut before. UDP has no such flag. But
// the firewall says which protocols it offloads, and 253 is none of them. Its first
// packet is never offloaded and not hidden either: the firewall decides about the
// flow by what it is. [ReadOffload] finds out whether it would decide otherwise about the
// next ones.
//
// To have UDP look so where it comes in, ahead of the flowtable, would let the rest of
// a flow be offloaded some packets earlier. But a bridge might send it on like that, and
// each device needs a chain that goes when the device does. To park UDP in a
// flowtable of our own keeps all of a flow by the rules for 30 seconds.
//
// Whatever the rules change to, each packet that was hidden is shown: makeRoom has how.
//
// # To a TUN
//
// Without a queue in the kernel the same packets get a mark, by which the routes
// of package route lead them to a TUN device:
//
//	prerouting   -150  early      packets 1..Bound of a marked connection, or of
//	                              plain HTTP more, not done
//	output       -150  own        the same, of the router's own connections
//	                   decisive   ... and this packet matters: it is marked
//	prerouting   -150  signal     of what comes in by the TUN: a connection is done
//	output       -401  foreign    b4's own: not by WAN with an address it has lost
//	forward        -2  stale      who is bound to an address WAN has lost is told
//	postrouting    99  translate  a connection opens: source NAT, and its mark
//	postrouting   101  leave      a steered packet: if it leaves by the TUN, b4d
//	                   steered    ... is to answer it; its mark goes
//	                   opened     a connection opens without NAT: its mark
//
// The SYN leaves by WAN, and that decides: ahead of the routing decision a
// packet's device could only be guessed, there it is known. So the connection's
// mark (the bit Steer) is all that is asked for later. Only connections with that
// mark are steered, because the kernel kills a masqueraded one that changes its
// device (nf_nat_oif_changed): whoever was open before, or was translated by
// somebody else, stays in the kernel. That is also why our own source NAT stands
// ahead of the firewall's masquerade. It serves both devices, so the rest of a
// connection leaves by WAN under the same binding, with b4d or without.
//
// To steer from the SYN on was tried too. It costs a trip more for each connection
// (3 packets visit instead of 2), and makes the TUN part of the firewall: its
// forward chain must accept new connections to there, and their MSS must be
// clamped again. What is steered here belongs to an established connection,
// which every firewall lets pass. A TUN that is gone costs nothing: its route
// is gone with it, and the next rule leads to WAN.
//
// QUIC has no SYN: the datagram that opens a flow is the one that matters, and
// it would have to be steered by a guess at its device. New to the firewall, it
// would also be forwarded to the TUN by a rule that bypasses those for WAN, and all
// that follows as established. To have it die once conntrack knows it, and steer
// the next, costs every QUIC connection the client's first timeout. So UDP is for
// a queue only, but for what is blocked.
//
// # All traffic
//
// With [Config.All] the chains keep their places and ask for less. To a TUN, both
// directions of a marked connection are steered but for its SYN, and b4d writes
// back into the TUN what it lets go:
//
//	prerouting   -300  back       what comes in by the TUN: untracked
//	prerouting   -150  early      all of a marked connection
//
// It has gone through conntrack and NAT on its first way, so nothing is left to do
// to it, and without a connection no rule of ours finds it a second time. Replies to
// the router itself are delivered ahead of the TUN's route. Firewalls let pass what
// belongs to a connection; this belongs to none, so they must be told to:
// [AcceptsForward] asks them, as [ReadNAT] asks what they would translate.
//
// [Plan] is pure. What it returns is both shown as text and applied, from one
// description of each rule.
package fw
