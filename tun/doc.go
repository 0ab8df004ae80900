// Package tun takes packets from a TUN device of its own, to which routes steer
// them, and sends what becomes of them by another way.
//
// # Verdicts
//
// The kernel is rid of a packet once it is in the device's queue, so there is
// nothing to settle: Accept sends the packet again as it came, Replace sends the
// pieces, Drop sends nothing. All leave through Config.Send, marked and
// untracked, by the device Config.Out, those of a burst at once. A TUN carries no mark
// and no device number: one Engine serves one WAN.
//
// # Done
//
// With NFQUEUE a verdict's mark becomes the connection's. Here what is sent is
// untracked, so its mark reaches no connection, and the packet that was read is
// gone. What conntrack still knows is the tuple. Signal makes an ICMP error
// about the packet, which the Sink writes to the device: conntrack looks the
// quoted packet up, finds the connection by its translated addresses (so a
// source NAT on the device costs nothing), and hangs it on the error. One rule
// a family turns that into the connection's mark and drops it, before routing and
// before any socket:
//
//	chain prerouting, priority -150:
//	iifname "b4tun0" icmp type source-quench    ct mark set ct mark | DONE drop
//	iifname "b4tun0" icmpv6 type packet-too-big ct mark set ct mark | DONE drop
//
// An ICMP error does not touch TCP's state machine, nor the counters, nor the
// timeout (nf_conntrack_in in net/netfilter/nf_conntrack_core.c returns before
// them). Without the rule it does no harm either: hosts ignore a source quench
// (RFC 6633), and a packet too big for the largest MTU there is. It costs one
// write of 2.4 µs a connection, and needs no ctnetlink module and no set of tuples
// that would have to guess the address before NAT. Without it a connection's
// first 40 packets come by, done or not, and of plain HTTP more.
//
// # Groups
//
// Whose packet it is the rules know ahead of NAT, and a TUN carries nothing but the
// packet. So they label it: Config.Groups, lowest first, stand in TCP's urgent pointer,
// of packets that have no use for it, on the way out to the device:
//
//	chain postrouting, priority 101:
//	oifname "b4tun0" tcp flags ! urg tcp urgptr set 0
//	oifname "b4tun0" tcp flags ! urg ct mark & GROUP0 != 0 tcp urgptr set tcp urgptr | 1
//
// The Source takes the label off before anybody sees the packet, and it becomes the
// packet's mark. To ask the kernel about each packet instead would take a set of tuples
// and a system call.
//
// # Superpackets
//
// With offloads the kernel hands over what it would have cut and summed for the
// wire: up to 64 KiB under one header. The Source cuts that into the wire's own
// segments, because these are what a censor sees and what bounds the size of
// ours. It does so faster than the kernel would for a device without offloads
// (240 MB/s against 180 on two cores; 13 against 2 on an emulated MIPS). Only what
// Config.Whole names travels whole, and with Config.Back returns whole, in one
// write (1130 MB/s).
//
// Where no device joins what comes from the wire, each packet is one to read and one to
// write, and to write it costs the whole way through forwarding. So what goes back of a
// burst is joined here, under the rules of the kernel's own GRO, but that IPv4
// identifications must count on: the kernel cuts it again to the byte. With packets of
// 1500 bytes a download is 2.4 times as fast, at 0.6 of the CPU.
package tun
