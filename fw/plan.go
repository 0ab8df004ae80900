package fw

import (
	"errors"
	"fmt"
	"slices"

	"b4/mark"
)

// DefaultBound is the usual [Config.Bound]. The kernel's counter sums both
// directions: the first segment of a hello is packet 4, its second 5 or 6. A
// post-quantum hello, cut and out of order, draws acknowledgements of each piece,
// and what follows a HelloRetryRequest is then packet 13 or later (measured).
// Retransmissions come on top: on a router with more to do than it can, where
// clients send again before b4d has had its turn, that was packet 21 (measured). It
// costs little: a connection is done with its first data behind the hello,
// whatever the count.
const DefaultBound = 40

// httpBytes is how much the client of a plain connection may send until that is the
// kernel's for good, headers and bare ACKs included. An upload is so after some 180
// full packets (measured), though it goes unanswered and the kernel may have merged
// them. Who reads acknowledges every other segment by 52 bytes, of IPv6 72, so
// requests are shown until some 10 MB have come, and mostly for longer. A higher
// bound costs each long upload what it adds.
const httpBytes = 256 << 10

// bareLength is the longest packet, in bytes with its IP header, that is taken
// for a bare ACK unless it carries PSH. IPv6 (40), TCP (20) and a full set of
// options (40) make 100. The short tail of a long hello carries PSH.
const bareLength = 120

// A QueueForm says how a rule hands a packet to b4d.
type QueueForm uint8

const (
	None   QueueForm = iota // the kernel has no way
	Native                  // the nftables expression queue
	Xt                      // the xtables target NFQUEUE, through nft_compat
	Tun                     // no queue: a mark that leads to a TUN device
)

func (f QueueForm) String() string {
	switch f {
	case Native:
		return "native"
	case Xt:
		return "xt"
	case Tun:
		return "tun"
	}
	return "none"
}

// Config is what the rules depend on.
type Config struct {
	Marks      mark.Set
	Queue      uint16    // number of the NFQUEUE, the first where there are several
	Queues     int       // how many there are, one behind the other; 0 is one
	Form       QueueForm // Native or Xt, see Probe; or Tun
	Tun        TunConfig // where Form is Tun
	TCP        []uint16  // watched destination ports of TCP
	HTTP       []uint16  // those of TCP whose clients speak message by message
	UDP        []uint16  // watched destination ports of UDP, for a queue only
	Block      QUICBlock // QUIC that is not let out; of its ports and the two above at least one
	Devices    Devices   // who is treated how, and what nobody is
	Offload    Offload   // of the firewall, that hellos are to be hidden from
	IPv4, IPv6 bool      // watched families, at least one

	// Scatter4 and Scatter6 leave UDP alone in their family, as it must be where
	// [Scatters] says so. What is blocked is not concerned.
	Scatter4, Scatter6 bool

	// Bound is for a connection's packets, both directions summed: 1..Bound are
	// looked at. To a port of HTTP the client's are beyond it too, as each message
	// decides anew, until it has sent 256 KiB, headers and all.
	Bound int

	Router    bool    // also the connections that the router itself opens
	SYN       bool    // SYNs too; for a queue only
	SkipIPsec bool    // leave alone what an IPsec policy will wrap; needs Features.IPsec
	Replies   Replies // for a queue only, but for what All brings anyway

	// All shows b4d the watched TCP ports wholly, both directions, whatever Bound
	// and the mark Done say, which then is for spared devices alone, and of UDP all
	// that begins like a handshake, which Block then blocks wherever it stands: for
	// kernels that count no packets, and for measuring. SYNs are left out all the same unless SYN. A TUN is
	// only shown connections that have opened since, and b4d must write what
	// it lets go back into it (tun.Config.Back); the firewall must accept
	// that, see AcceptsForward.
	All bool
}

// Replies says which packets of TCP servers are queued as well. They may be
// replaced, but a mark on their verdict asks for nothing. The zero value asks for
// none. Replies to the router itself are among them, whatever Router says.
type Replies struct {
	SYNACK bool // the SYN,ACK
	First  int  // packets 1..First of the server, the SYN,ACK being the first
	End    bool // FIN and RST, and the RST that conntrack calls invalid
}

func (r Replies) any() bool { return r.SYNACK || r.First > 0 || r.End }

// Plan returns the rules for c. It is pure.
func Plan(c Config) (*Ruleset, error) {
	if err := c.check(); err != nil {
		return nil, fmt.Errorf("plan rules: %w", err)
	}
	c.TCP, c.HTTP, c.UDP, c.Block.Ports = sorted(c.TCP), c.shownHTTP(), c.shownUDP(), sorted(c.Block.Ports)

	r := &Ruleset{}
	switch {
	case len(c.TCP)+len(c.UDP) == 0: // b4d is shown nothing
	case c.Form == Tun:
		r.chains = c.tunChains()
	default:
		r.chains = c.queueChains()
	}
	r.chains = append(r.chains, c.deviceChains()...)
	r.chains = append(r.chains, c.blockChains()...)
	r.chains = append(r.chains, c.offloadChains()...)
	r.sets = c.fixedSets()
	for _, s := range []portSet{{portsSet, c.TCP}, {httpPortsSet, c.HTTP}, {udpPortsSet, c.UDP}, {blockedSet, c.Block.Ports}} {
		if len(s.ports) > 1 {
			r.ports = append(r.ports, s)
		}
	}
	return r, nil
}

// sorted returns ports in order, each once, and leaves its argument alone.
func sorted(ports []uint16) []uint16 {
	var list []uint16
	for _, p := range ports {
		if at, ok := slices.BinarySearch(list, p); !ok {
			list = slices.Insert(list, at, p)
		}
	}
	return list
}

// shownHTTP returns the ports of HTTP in order, none where all is shown anyway.
func (c *Config) shownHTTP() []uint16 {
	if c.All {
		return nil
	}
	return sorted(c.HTTP)
}

// shownUDP returns the ports of UDP that are left to be shown, in order.
func (c *Config) shownUDP() []uint16 {
	if v4, v6 := c.udpFamilies(); !v4 && !v6 {
		return nil
	}
	return slices.DeleteFunc(sorted(c.UDP), func(p uint16) bool { return slices.Contains(c.Block.Ports, p) })
}

func (c *Config) queueChains() []chain {
	chains := []chain{c.rawOut()}
	if len(c.TCP) > 0 {
		chains = append(chains, c.ask(askTCP, "queued"), c.decisive())
	}
	if len(c.UDP) > 0 {
		chains = append(chains, c.ask(askQUIC, "quic"), c.initial())
	}
	chains = append(chains, c.steer(), c.confirm())
	if len(c.TCP) > 0 && (c.Replies.any() || c.All) {
		chains = append(chains, c.ask(askReply, "replies"), c.replies(), c.observe())
	}
	return chains
}

// queues is how many there are, at least one.
func (c *Config) queues() uint16 { return uint16(max(c.Queues, 1)) }

func (c *Config) check() error {
	m, ports := c.Marks, slices.Concat(c.TCP, c.UDP, c.Block.Ports)
	unwatched := func(p uint16) bool { return !slices.Contains(c.TCP, p) }
	switch {
	case m.Injected == 0 || m.Done == 0 || m.Hide == 0:
		return errors.New("no mark bits")
	case c.Form != Native && c.Form != Xt && c.Form != Tun:
		return fmt.Errorf("queue form %v: want native, xt or tun", c.Form)
	case c.Queues < 0 || int(c.Queue)+c.Queues > 1<<16:
		return fmt.Errorf("%d queues from %d on: want numbers up to 65535", c.Queues, c.Queue)
	case len(ports) == 0 || slices.Contains(ports, 0):
		return fmt.Errorf("ports %v of TCP, %v of UDP and %v that are blocked: want at least one, from 1 to 65535", c.TCP, c.UDP, c.Block.Ports)
	case slices.ContainsFunc(c.HTTP, unwatched):
		return fmt.Errorf("ports %v of HTTP: want some of those of TCP, %v", c.HTTP, c.TCP)
	case !c.IPv4 && !c.IPv6:
		return errors.New("neither IPv4 nor IPv6 is wanted")
	case c.Bound < 1 && !c.All:
		return fmt.Errorf("bound %d: want at least 1 packet", c.Bound)
	case c.Replies.First < 0:
		return fmt.Errorf("first %d replies: want no negative number", c.Replies.First)
	}
	if c.Form == Tun {
		if err := c.checkTun(); err != nil {
			return err
		}
	}
	return c.checkDevices()
}

// rawOut keeps b4's own packets from conntrack: decoys, fragments and odd flags
// are invalid to it, and what it tracks anew it sends through NAT again.
// -401 is ahead of defragmentation (-400) and conntrack (-200).
func (c *Config) rawOut() chain {
	r := rule{bits{metaMark, c.Marks.Injected, true}, notrack{}}
	if c.translates() {
		r = append(r, gotoChain("foreign"))
	}
	return chain{"raw_out", &hook{filter, output, -401}, []rule{r}}
}

// steer finds the first packets of watched connections. It stands after source
// NAT (100), so that a packet looks as it will on the wire. Every packet that
// leaves the router meets its first terms, few the last ones: the cheap and
// telling ones come first, and the set lookup (60 ns) last. What is done, as most
// are, goes by one bit. Of UDP, all but a
// handshake ends at its first bit, ahead of conntrack's count.
//
// The packet count begins at 1, never at 0: a connection that is older than
// the kernel's packet accounting counts 0 for ever.
func (c *Config) steer() chain {
	rules := c.past()
	for _, k := range c.kinds() {
		rules = append(rules, c.leaving(k))
	}
	return chain{"steer", &hook{filter, postrouting, 101}, rules}
}

func (c *Config) httpPort() port { return port{dport, httpPortsSet, c.HTTP} }

// A kind is packets that a chain sorts, where they leave by a watched device.
type kind struct {
	chain string
	match rule
}

// kinds are all that b4d may be shown of clients.
func (c *Config) kinds() (list []kind) {
	if len(c.TCP) > 0 {
		list = append(list, kind{"decisive", c.first(c.family(), packets{upto: c.Bound}, port{dport, portsSet, c.TCP})})
	}
	if len(c.HTTP) > 0 {
		list = append(list, kind{"decisive", c.first(c.family(), sent(httpBytes), c.httpPort())})
	}
	if len(c.UDP) > 0 {
		list = append(list, kind{"initial", c.first(only(c.udpFamilies()), packets{upto: c.Bound}, udpPort{udpPortsSet, c.UDP}, longHeader{})})
	}
	return list
}

// leaving leads to its chain what leaves by a watched device.
func (c *Config) leaving(k kind) rule {
	r := k.match
	if !c.Router {
		r = append(r, forwarded{})
	}
	return append(r, device{oifname}, gotoChain(k.chain))
}

// first matches the early packets of a client's connections, of a family, done or not.
func (c *Config) first(family []term, early term, match ...term) rule {
	r := append(rule(match), bits{metaMark, c.Marks.Injected, false}, direction{reply: false})
	if !c.All {
		r = append(r, early)
	}
	return append(r, family...)
}

// notDone matches connections that may need b4d. Who wants all still does not want
// those of spared devices.
func (c *Config) notDone() []term {
	if c.All && len(c.Devices.Spared) == 0 {
		return nil
	}
	return []term{bits{ctMark, c.Marks.Done, false}}
}

// past lets connections go that need b4d no more. It leads chains that nearly every
// packet of the router meets: what follows costs three times as much.
func (c *Config) past() []rule {
	if len(c.notDone()) == 0 {
		return nil
	}
	return []rule{{bits{ctMark, c.Marks.Done, true}, accept}}
}

// opening matches SYNs that are no answers.
var opening = tcpFlags{fin | syn | rst | ack, syn}

// decisive sorts out the packets that carry nothing, if not all are wanted.
func (c *Config) decisive() chain {
	var rules []rule
	if c.SkipIPsec {
		rules = append(rules, rule{ipsec{}, accept})
	}
	rules = append(rules, c.never(destination)...)
	if c.SYN {
		rules = append(rules, c.label()...)
	}
	syn := rule{opening, counter{"opened"}}
	if c.SYN {
		syn = append(syn, gotoChain(askTCP))
	} else {
		syn = append(syn, accept)
	}
	rules = append(rules, syn)
	if !c.All {
		rules = append(rules, rule{maxLength(bareLength), tcpFlags{psh, 0}, counter{"bare"}, accept})
	}
	if !c.SYN {
		rules = append(rules, c.label()...)
	}
	return chain{"decisive", nil, append(rules, rule{gotoChain(askTCP)})}
}

// initial queues what steer found of UDP.
func (c *Config) initial() chain {
	var rules []rule
	if c.SkipIPsec {
		rules = append(rules, rule{ipsec{}, accept})
	}
	rules = append(append(rules, c.never(destination)...), c.label()...)
	return chain{"initial", nil, append(rules, rule{gotoChain(askQUIC)})}
}

// confirm does what the mark of a verdict asks for, and takes that mark off the
// packet again. It stands right behind steer: a queued packet goes on there. The
// packet may have become a fragment by then, which has no ports; replies, whose
// mark asks for nothing, are told by their direction.
func (c *Config) confirm() chain {
	m := c.Marks
	r := rule{bits{metaMark, m.Done, true}, direction{reply: false}}
	if !c.All || len(c.Devices.Spared) == 0 {
		r = append(r, setBits{ctMark, m.Done})
	}
	rules := append([]rule{append(r, clearBits{metaMark, m.Done})}, c.unlabel()...)
	return chain{"confirm", &hook{filter, postrouting, 102}, rules}
}

// observe finds the server's packets. It stands after conntrack (-200) and
// ahead of destination NAT (-100): addresses are the exact reverse of those in
// steer, and they are the wire's. That the router's own are among them cannot be
// told here. An invalid packet has no connection, so nothing else narrows it down.
func (c *Config) observe() chain {
	r := append(rule{port{sport, portsSet, c.TCP}, direction{reply: true}}, c.notDone()...)
	r = append(r, c.family()...)
	rules := []rule{append(r, gotoChain("replies"))}
	if c.Replies.End {
		r := append(rule{port{sport, portsSet, c.TCP}, tcpFlags{mask: rst, want: rst}, invalid{}}, c.family()...)
		rules = append(rules, c.never(source, r...)...)
		rules = append(rules, append(r, device{iifname}, gotoChain(askReply)))
	}
	return chain{"observe", &hook{filter, prerouting, -150}, rules}
}

func (c *Config) replies() chain {
	rules := c.never(source)
	add := func(terms ...term) {
		rules = append(rules, append(rule(terms), device{iifname}, gotoChain(askReply)))
	}
	if c.All {
		add()
		return chain{"replies", nil, rules}
	}
	if c.Replies.SYNACK {
		add(tcpFlags{syn | ack, syn | ack})
	}
	if c.Replies.First > 0 {
		add(packets{upto: c.Replies.First, reply: true})
	}
	if c.Replies.End {
		add(tcpFlags{mask: fin, want: fin})
		add(tcpFlags{mask: rst, want: rst})
	}
	return chain{"replies", nil, rules}
}

// family restricts a rule where one of the families is not wanted.
func (c *Config) family() []term { return only(c.IPv4, c.IPv6) }

func only(v4, v6 bool) []term {
	switch {
	case !v6:
		return []term{nfproto(4)}
	case !v4:
		return []term{nfproto(6)}
	}
	return nil
}

// udpFamilies are those of which UDP is shown.
func (c *Config) udpFamilies() (v4, v6 bool) { return c.IPv4 && !c.Scatter4, c.IPv6 && !c.Scatter6 }
