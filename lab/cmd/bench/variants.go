package main

import (
	"fmt"
	"slices"
	"strings"

	"b4/lab"
)

// A daemon is what is at work in a site's router.
type daemon interface {
	PID() int
	Stop() error
}

// A variant is one of the ways that packets take through a router.
type variant struct {
	name  string                                   // in -variants, and in tables
	what  string                                   // in words
	start func(l *lab.Lab) (daemon, error)         // nil: plain forwarding
	quic  func(d *lab.B4D, treated bool) (_ error) // has b4 treat QUIC, or not; nil: it cannot
	queue uint16                                   // whose packets are counted, where the daemon is not b4; 0 is none
}

// plainName is the variant that all others are compared with, and againName the same
// once more.
const plainName, againName = "plain", "again"

// config is b4d's: as it ships, but on.
const config = `
config b4 'main'
	option enabled '1'
	option engine '%s'
	option steer '%s'
`

// treatedQUIC is what the usual strategy lacks.
const treatedQUIC = `
config strategy 'default'
	option tls 'split(midsld) disorder'
	option quic 'split(midsld) disorder'
`

// variants are those there are, with the b4d at program.
func variants(program string) []variant {
	all := []variant{{name: plainName, what: "plain forwarding"}}
	for _, v := range []struct{ name, engine, steer, what string }{
		{"nfqueue", "nfqueue", "decisive", "b4, engine nfqueue"},
		{"tun", "tun", "decisive", "b4, engine tun"},
		{"nfqueue-all", "nfqueue", "all", "b4, engine nfqueue, all traffic (option steer 'all')"},
		{"tun-all", "tun", "all", "b4, engine tun, all traffic"},
	} {
		text := fmt.Sprintf(config, v.engine, v.steer)
		b := variant{name: v.name, what: v.what, start: func(l *lab.Lab) (daemon, error) {
			d, err := l.StartB4D(program, text)
			if err != nil {
				return nil, err
			}
			return d, nil
		}}
		if v.engine == "nfqueue" { // a TUN is not shown QUIC
			b.quic = func(d *lab.B4D, treated bool) error {
				if treated {
					return d.ReloadNow(text + treatedQUIC)
				}
				return d.ReloadNow(text)
			}
		}
		all = append(all, b)
	}
	all = append(all, yardsticks()...)
	for _, p := range peers {
		all = append(all, p.variants()...)
	}
	return append(all,
		variant{name: againName, what: "plain forwarding once more: how far from 1, or 0, nothing at all may come out"})
}

// choose picks variants by their names; plain forwarding is always among them, and
// first.
func choose(all []variant, names string) ([]variant, error) {
	wanted := strings.Split(names, ",")
	for _, name := range wanted {
		if !slices.ContainsFunc(all, func(v variant) bool { return v.name == name }) {
			return nil, fmt.Errorf("there is no variant %q", name)
		}
	}
	return slices.DeleteFunc(slices.Clone(all), func(v variant) bool {
		return v.name != plainName && !slices.Contains(wanted, v.name)
	}), nil
}
