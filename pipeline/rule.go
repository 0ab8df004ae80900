package pipeline

import (
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

// A Rule joins names with what is done for them.
type Rule struct {
	Name     string
	Groups   uint32     // bits of packets' marks, of which one must be set; 0 is whatever mark
	Unseen   bool       // the connections that it is for are never shown: it matches nothing
	Ports    []uint16   // destinations' ports; none stands for all
	Domains  *match.Set // nil stands for all names
	Not      *match.Set // names the rule leaves to the rules behind it
	Strategy string     // its name
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

// Choose returns the rule for a host name that a packet with a mark, to a port,
// brings; nil if none matches.
func (c *Config) Choose(name []byte, mark uint32, port uint16) *Rule {
	if c.Never.Contains(name) {
		return &never
	}
	for i := range c.Rules {
		r := &c.Rules[i]
		if r.meets(mark, port) && (r.Domains == nil || r.Domains.Contains(name)) && !r.Not.Contains(name) {
			return r
		}
	}
	return nil
}

// meets reports whether r is for packets with a mark to a port, of some name.
func (r *Rule) meets(mark uint32, port uint16) bool {
	return (r.Groups == 0 || r.Groups&mark != 0) && (len(r.Ports) == 0 || slices.Contains(r.Ports, port)) && !r.Unseen
}

// Certain returns the rule that every name would get from a packet with a mark,
// to a port; nil where the name decides.
func (c *Config) Certain(mark uint32, port uint16) *Rule {
	for i := range c.Rules {
		if r := &c.Rules[i]; r.meets(mark, port) {
			if r.Domains != nil || r.Not != nil || c.Never.Len() > 0 {
				return nil
			}
			return r
		}
	}
	return nil
}

// Handshake returns the rule that every name would get from everybody to a port;
// nil where there is none. What is done before a name is known, to packets either
// way, is done by it: what comes from a server has no mark to tell whom it is for.
func (c *Config) Handshake(port uint16) *Rule {
	const everybody = ^uint32(0)
	if r := c.Certain(everybody, port); r != nil && r.Groups == 0 {
		return r
	}
	return nil
}
