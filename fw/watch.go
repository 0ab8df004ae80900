package fw

import (
	"fmt"

	"b4/nlwatch"

	"golang.org/x/sys/unix"
)

// Watch subscribes to what the kernel says of tables, chains, rules and flowtables,
// whoever changes them: whatever gives [ReadNAT], [AcceptsForward] or [ReadOffload]
// another answer, but for elements of named sets. It is of the calling thread's
// network namespace.
// Applying rules of ours is told, answering is not.
func Watch() (*nlwatch.Watcher, error) {
	w, err := nlwatch.Open(unix.NETLINK_NETFILTER, 1<<(unix.NFNLGRP_NFTABLES-1), concern())
	if err != nil {
		return nil, fmt.Errorf("watch the firewall: %w", err)
	}
	return w, nil
}

// concern leaves the rest in the kernel: our answers, and programs that fill
// sets, as a resolver may with each answer. A notification is one message, or,
// since Linux 5.10, those of a transaction; the first tells of which kind they are.
func concern() []unix.SockFilter {
	kinds := []uint16{
		unix.NFT_MSG_NEWTABLE, unix.NFT_MSG_DELTABLE, unix.NFT_MSG_NEWCHAIN, unix.NFT_MSG_DELCHAIN,
		unix.NFT_MSG_NEWRULE, unix.NFT_MSG_DELRULE, unix.NFT_MSG_NEWFLOWTABLE, unix.NFT_MSG_DELFLOWTABLE,
	}
	program := []unix.SockFilter{nlwatch.Load(unix.BPF_H, nlwatch.TypeAt)}
	for i, kind := range kinds {
		toKeep := uint8(len(kinds) - i)
		program = append(program, nlwatch.Equal(nlwatch.Network(unix.NFNL_SUBSYS_NFTABLES<<8|kind), toKeep, 0))
	}
	return append(program, nlwatch.Leave(), nlwatch.Keep())
}
