package fw

import (
	"slices"
	"time"

	"golang.org/x/sys/unix"
)

// A packet that was hidden must meet show, or it leaves as hide made it. The kernel
// reads the list of a hook's chains once for each packet, and which generation of
// the rules is in force anew in each chain (nf_hook_slow, nft_do_chain). So
// show has its rules before hide has any, and loses them after hide has none, by
// transactions of their own, between which all packets that are on their way leave
// the hook. Rules that stay the same may be replaced in one: a chain is always seen
// whole, and no chain sees an older generation than the one before.
//
// The table may go at once. Its chains keep their rules until they have left the hook
// (nf_tables_commit_chain_prepare), which they do one by one in the order they were
// made in, be it by deletion or with the socket (__nft_release_hook); and whoever
// has read the list with hide still finds show in it (nf_unregister_net_hook).

// makeRoom is what comes before the transaction that replaces the rules in force
// by r.
func (c *Conn) makeRoom(r *Ruleset) error {
	if c.rules.hides() && c.rules.shows() != r.shows() {
		if err := c.s.reveal(); err != nil {
			return err
		}
		c.rules = c.rules.revealed()
	}
	if r.hides() && !c.rules.hides() {
		return c.makeShow(r)
	}
	return nil
}

// makeShow adds the chains that hide and show, of which only show has rules.
func (c *Conn) makeShow(r *Ruleset) error {
	b := newBatch(tableName)
	for _, ch := range r.chains {
		if ch.name == hideChain || ch.name == showChain {
			b.addChain(ch)
		}
		if ch.name == showChain {
			b.delRulesOf(showChain)
			for _, rule := range ch.rules {
				b.addRule(showChain, rule)
			}
		}
	}
	err := c.s.run(b)
	if err == nil {
		gracePeriod()
	}
	return err
}

// reveal has nothing hidden any more, and returns when all that was is shown again.
func (s *socket) reveal() error {
	b := newBatch(tableName)
	b.delRulesOf(hideChain)
	err := s.run(b)
	if err == nil {
		gracePeriod()
	}
	return err
}

// revealed is r after reveal.
func (r *Ruleset) revealed() *Ruleset {
	after := *r
	after.chains = slices.Clone(r.chains)
	for i := range after.chains {
		if after.chains[i].name == hideChain {
			after.chains[i].rules = nil
		}
	}
	return &after
}

// gracePeriod returns when every packet has left the chains that it was in: they are left
// by the end of a grace period of RCU, for which the kernel waits here. With one
// processor it need not: nobody runs while a packet is forwarded. Where the kernel
// cannot be asked, a time is waited that no packet takes.
func gracePeriod() {
	const global = 1 // MEMBARRIER_CMD_GLOBAL of linux/membarrier.h
	if _, _, errno := unix.Syscall(unix.SYS_MEMBARRIER, global, 0, 0); errno != 0 {
		time.Sleep(100 * time.Millisecond)
	}
}
