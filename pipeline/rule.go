package pipeline

import (
	"net/netip"
	"slices"

	"b4/desync"
	"b4/match"
	"b4/packet"
)

// An Action is what a rule does with a connection.
type Action uint8

const (
	Desync Action = iota // its strategy is applied
	Pass                 // it goes on as it is
	Drop                 // its message is discarded
	Reject               // the same, and the client is told, so that it need not wait
)

// A Treatment is what a rule does with messages of one kind.
type Treatment struct {
	Action Action
	Steps  *desync.Strategy // of Desync; nil leaves the message as it is
}

// A Rule joins hosts with what is done for them.
type Rule struct {
	Name     string
	Groups   uint32          // bits of packets' marks, of which one must be set; 0 is whatever mark
	Unseen   bool            // the connections that it is for are never shown: it matches nothing
	Ports    []uint16        // destinations' ports; none stands for all
	Domains  *match.Set      // nil stands for all names, unless there are Prefixes
	Prefixes *match.Networks // servers' networks, which it is for whatever the name, and where none is said
	Not      *match.Set      // names the rule leaves to the rules behind it
	Strategy string          // its name
	For      [desync.Protos]Treatment
}

// A Config is what the pipeline decides by. It is immutable once in use.
type Config struct {
	Never *match.Set // names of hosts that pass, whatever the rules say
	Rules []Rule     // the first that matches decides

	// All says that the engine shows all of a connection, both ways and to its
	// end, and not just how it begins.
	All bool

	// Observe says that the engine shows the servers' first packets, FIN and RST,
	// to conclude from what became of a message.
	Observe bool

	// Chooser picks strategies; nil stands for the rules' own.
	Chooser Chooser

	// Ports are the servers'. A packet from one of them that goes to none is a
	// reply, also where the engine does not tell (engine.Packet.Dir). It need
	// not be set for an engine that tells, or one that is shown no replies.
	Ports []uint16
}

// reply reports whether a packet comes from a server, by its ports. NAT of the
// client changes neither: both engines see server and port as they are on WAN.
func (c *Config) reply(v *packet.View) bool {
	return slices.Contains(c.Ports, v.Src.Port()) && !slices.Contains(c.Ports, v.Dst.Port())
}

// NeverRule is the name of what passes the hosts of Config.Never.
const NeverRule = "main.never"

// never is a rule ahead of all others.
var never = Rule{Name: NeverRule, For: [desync.Protos]Treatment{{Action: Pass}, {Action: Pass}, {Action: Pass}}}

// Choose returns the rule for a host name that a packet with a mark, to a server,
// brings; nil if none matches. Without a name, or with the zero Addr for a server that
// is not known, what is there decides.
func (c *Config) Choose(name []byte, mark uint32, to netip.AddrPort) *Rule {
	if c.Never.Contains(name) {
		return &never
	}
	for i := range c.Rules {
		r := &c.Rules[i]
		if r.meets(mark, to.Port()) && r.has(name, to.Addr()) && !r.Not.Contains(name) {
			return r
		}
	}
	return nil
}

// meets reports whether r is for packets with a mark to a port, of some name.
func (r *Rule) meets(mark uint32, port uint16) bool {
	return (r.Groups == 0 || r.Groups&mark != 0) && (len(r.Ports) == 0 || slices.Contains(r.Ports, port)) && !r.Unseen
}

// has reports whether a host is among those of r, but for its names Not.
func (r *Rule) has(name []byte, server netip.Addr) bool {
	if r.all() {
		return len(name) > 0
	}
	return len(name) > 0 && r.Domains.Contains(name) || r.Prefixes.Contains(server)
}

// all reports whether r is for all names and servers.
func (r *Rule) all() bool { return r.Domains == nil && r.Prefixes == nil }

// named reports whether it takes a name to tell if r is for a server that is in none
// of its Prefixes.
func (r *Rule) named() bool { return r.Domains.Len() > 0 }

// Certain returns the rule that every name would get from a packet with a mark,
// to a server; nil where the name decides, or the server does and is the zero Addr.
func (c *Config) Certain(mark uint32, to netip.AddrPort) *Rule {
	for i := range c.Rules {
		r, server := &c.Rules[i], to.Addr()
		switch {
		case !r.meets(mark, to.Port()):
		case r.all() || r.Prefixes.Contains(server):
			if r.Not != nil || c.Never.Len() > 0 {
				return nil
			}
			return r
		case r.named() || r.Prefixes != nil && !server.IsValid():
			return nil
		}
	}
	return nil
}

// everybody is a mark of all devices at once: what is certain with it is certain of
// each of them, and of who is in no group, unless it is a rule for devices.
const everybody = ^uint32(0)

// Handshake returns the rule that every name would get from everybody to a server, or
// to all at a port where the server is the zero Addr; nil where there is none. What is
// done with a server's packets before a name is known is done by it: they have no mark
// to tell whom they are for.
func (c *Config) Handshake(to netip.AddrPort) *Rule {
	if r := c.Certain(everybody, to); r != nil && r.Groups == 0 {
		return r
	}
	return nil
}

// Begins reports whether rule i decides about some connections to a port before a name
// is known, as far as the rules ahead do not have all its networks: by a client's
// packets, or by a server's.
func (c *Config) Begins(i int, port uint16) (client, server bool) {
	r := &c.Rules[i]
	client = r.meets(everybody, port) && r.Not == nil && (r.Prefixes != nil || r.Domains == nil) && c.Never.Len() == 0
	server = client && r.Groups == 0
	for j := range c.Rules[:i] {
		if o := &c.Rules[j]; o.meets(everybody, port) && (o.all() || o.named()) {
			client = client && !o.meets(r.Groups, port)
			server = false
		}
	}
	return client, server
}
