package fw

import (
	"time"

	"golang.org/x/sys/unix"
)

// The rules ask b4d about a packet, and let packets pass while it gives no answer.
// That takes two sets, in which b4d stands by its name. Who asks adds it to both: to
// asked, which only b4d empties, by [Conn.Answer], and to fresh, which forgets it after
// [Patience]. It was asked that long ago, and has not answered, if it stands in the
// first alone. So nothing has to be renewed while there are no packets.
//
// fresh is filled first, or another processor could meet asked without it. While a
// transaction that empties asked is under way, what stands there is still found, and a
// packet that comes then is not noted: b4d reads it next. Should it hang just then, the
// next packet asks anew, and may wait for Patience, too; the one before is in the queue
// already, where nothing helps any.
const (
	askedSet = "asked"
	freshSet = "fresh"
	b4d      = "b4d"
)

const (
	// Patience is how long b4d may leave unanswered what it was shown: with a wedged
	// daemon new connections hang this long at most. Two seconds bear a router that
	// is busy for one.
	Patience = 2 * time.Second

	// AnswerWithin is after what time to call [Conn.TryAnswer] for packets that were
	// read: once for all that have come by then.
	AnswerWithin = 500 * time.Millisecond

	// Lease is how long watched devices stay watched without an answer, and with
	// them all that the rules do, source NAT and blocking too: so it ends by itself
	// with a daemon that hangs, and with one that was killed where tables have no
	// owner.
	Lease = 90 * time.Second

	// RenewEvery is how often to call [Conn.TryAnswer] though nothing was read. Lease
	// bears one that is missed.
	RenewEvery = 40 * time.Second
)

// gcEvery is how often the kernel looks for elements that have timed out, by itself each
// second. They are not found any more before that, but fresh gets a new one beside
// them every Patience, and a bucket of the kernel's holds 16 (RHT_ELASTICITY).
const gcEvery = 10 * time.Second

// limits are for how long the rules rely on b4d.
type limits struct {
	lease    time.Duration // without an answer, asked or not
	patience time.Duration // once they have asked
}

// usual are the limits of all but tests.
var usual = limits{Lease, Patience}

// addWatchdog adds the sets that tell whether b4d is alive.
func (b *batch) addWatchdog(l limits) {
	b.addSet(wanSet, 1, ifname, unix.IFNAMSIZ, 0, l.lease)
	b.addSet(askedSet, 2, ifname, unix.IFNAMSIZ, unix.NFT_SET_EVAL, 0)
	b.addSet(freshSet, 3, ifname, unix.IFNAMSIZ, unix.NFT_SET_EVAL, l.patience)
}

// answer says that b4d is alive, and renews the watched devices.
func (b *batch) answer(watched [][]byte) {
	b.fill(askedSet, nil)
	b.fill(wanSet, watched)
}

// ask is the chain by which packets get to b4d that are counted under a name. What is
// to go to a TUN is noted in byTUN. Inlined in all who make it, packages are larger.
//
//go:noinline
func (c *Config) ask(name, count string) chain {
	rules, hand := []rule{pass}, term(setBits{metaMark, c.Marks.Steer})
	if c.Form != Tun {
		rules, hand = append(rules, rule{note{}}), queue{c.Queue, c.queues(), c.Form}
	}
	return chain{name, nil, append(rules, rule{counter{count}, hand})}
}

// The chains that ask, by what is asked about.
const (
	askTCP   = "ask"       // packets of TCP clients
	askQUIC  = "ask_quic"  // datagrams
	askReply = "ask_reply" // packets of TCP servers
)

// pass lets packets pass that b4d would not answer.
var pass = rule{unanswered{}, accept}

// unanswered matches while b4d does not answer.
type unanswered struct{}

func (unanswered) String() string { return `"b4d" @asked "b4d" != @fresh` }
func (unanswered) code(c *coder) {
	c.immediate(deviceKey(b4d))
	c.lookup(askedSet)
	c.lookupNot(freshSet)
}

// note has b4d stand in both sets from now on, unless it has yet to answer an
// earlier packet.
type note struct{}

func (note) String() string { return `"b4d" != @asked update @fresh { "b4d" } add @asked { "b4d" }` }
func (note) code(c *coder) {
	c.immediate(deviceKey(b4d))
	c.lookupNot(askedSet)
	c.dynset(unix.NFT_DYNSET_OP_UPDATE, freshSet)
	c.dynset(unix.NFT_DYNSET_OP_ADD, askedSet)
}
