package rtnl

import (
	"fmt"

	"b4/nlwatch"

	"golang.org/x/sys/unix"
)

// What may be watched, as bind(2) takes it: a bit for each of the
// RTNLGRP numbers. The links belong to the routes too: when a device goes down
// the kernel removes its IPv4 routes without a word.
const (
	// Links leaves out what bridges say of their ports, at each change of
	// their state.
	Links = unix.RTMGRP_LINK
	Addrs = unix.RTMGRP_IPV4_IFADDR | unix.RTMGRP_IPV6_IFADDR
	// Routes tells of default routes alone, in any table.
	Routes = unix.RTMGRP_IPV4_ROUTE | unix.RTMGRP_IPV6_ROUTE
	Rules  = unix.RTMGRP_IPV4_RULE | 1<<(unix.RTNLGRP_IPV6_RULE-1)
)

// Watch subscribes to what the kernel says of the given kinds in the calling
// thread's network namespace. What is of no concern is left in the kernel:
// thousands of routes a second, as a router between providers sees them, wake
// nobody.
func Watch(kinds uint32) (*nlwatch.Watcher, error) {
	w, err := nlwatch.Open(unix.NETLINK_ROUTE, kinds, concern())
	if err != nil {
		return nil, fmt.Errorf("watch routes: %w", err)
	}
	return w, nil
}

// concern leaves in the kernel what is not worth a look: of routes all but the
// default ones, and of links what bridges say of their ports. A notification is
// one message. The program reads its type, then the family of struct ifinfomsg or
// the length of the destination of struct rtmsg behind it.
func concern() []unix.SockFilter {
	const (
		body   = unix.SizeofNlMsghdr
		dstLen = body + 1
	)
	return []unix.SockFilter{
		nlwatch.Load(unix.BPF_H, nlwatch.TypeAt),
		nlwatch.Equal(nlwatch.Network(unix.RTM_NEWROUTE), 3, 0),
		nlwatch.Equal(nlwatch.Network(unix.RTM_DELROUTE), 2, 0),
		nlwatch.Equal(nlwatch.Network(unix.RTM_NEWLINK), 3, 0),
		nlwatch.Equal(nlwatch.Network(unix.RTM_DELLINK), 2, 4),
		nlwatch.Load(unix.BPF_B, dstLen),
		nlwatch.Equal(0, 2, 3),
		nlwatch.Load(unix.BPF_B, body),
		nlwatch.Equal(unix.AF_BRIDGE, 1, 0),
		nlwatch.Keep(),
		nlwatch.Leave(),
	}
}
