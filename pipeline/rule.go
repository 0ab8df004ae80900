package pipeline

import (
	"b4/desync"
	"b4/match"
)

// An Action is what a rule does with a connection.
type Action uint8

const (
	Desync Action = iota // its strategy is applied
	Pass                 // it goes on as it is
	Drop                 // its hello is discarded
)

// A Rule joins names with what is done for them.
type Rule struct {
	Name     string
	Domains  *match.Set // nil stands for all names
	Not      *match.Set // names the rule leaves to the rules behind it
	Action   Action
	Strategy string           // its name
	TLS      *desync.Strategy // nil leaves TLS as it is
}

// A Config is what the pipeline decides by. It is immutable once in use.
type Config struct {
	Rules []Rule // the first that matches decides
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
