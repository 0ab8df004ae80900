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
	Domains  *match.Set // nil stands for all names
	Not      *match.Set // names the rule leaves to the rules behind it
	Strategy string     // its name
	For      [desync.Protos]Treatment
}

// A Config is what the pipeline decides by. It is immutable once in use.
type Config struct {
	Rules []Rule // the first that matches decides

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

// Choose returns the rule for a host name, nil if none matches.
func (c *Config) Choose(name []byte) *Rule {
	for i := range c.Rules {
		r := &c.Rules[i]
		if (r.Domains == nil || r.Domains.Contains(name)) && !r.Not.Contains(name) {
			return r
		}
	}
	return nil
}
