package daemon

import (
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"sort"
	"strings"

	"b4/fw"
	"b4/mark"
	"b4/netif"
	"b4/pipeline"
	"b4/uci"
)

// A who is whom rules are for, and what is not for them: with the interfaces as the
// configuration names them.
type who struct {
	groups []fw.Group // each has its bit in marks
	spared []fw.Group // the kernel lets go all of theirs
	never  []netip.Prefix
}

// devices are those of a rule, in an order that tells whether they are another's.
func devices(r *uci.Rule) fw.Group {
	g := fw.Group{MACs: slices.Clone(r.MACs), Sources: slices.Clone(r.Sources), Interfaces: slices.Clone(r.Interfaces)}
	sort.SliceStable(g.MACs, func(i, j int) bool { return string(g.MACs[i][:]) < string(g.MACs[j][:]) })
	sort.SliceStable(g.Sources, func(i, j int) bool { return g.Sources[i].String() < g.Sources[j].String() })
	sort.Stable(sort.StringSlice(g.Interfaces))
	return g
}

func sameDevices(a, b fw.Group) bool {
	return slices.Equal(a.MACs, b.MACs) && slices.Equal(a.Sources, b.Sources) && slices.Equal(a.Interfaces, b.Interfaces)
}

// forAll reports whether a rule says nothing of devices.
func forAll(r *uci.Rule) bool { return len(r.MACs)+len(r.Sources)+len(r.Interfaces) == 0 }

// group gives the devices of each rule their bit. Rules ahead of all others that let
// everything of some devices pass need none: the kernel does that.
func (s *settings) group() error {
	first := true
	for i := range s.conf.Rules {
		conf, r := &s.conf.Rules[i], &s.pipe.Rules[i]
		if first = first && !forAll(conf) && passes(r); first {
			r.Unseen = true
			s.who.spared = append(s.who.spared, devices(conf))
			continue
		}
		if forAll(conf) {
			continue
		}
		g := devices(conf)
		n := slices.IndexFunc(s.who.groups, func(other fw.Group) bool { return sameDevices(g, other) })
		if n < 0 {
			n = len(s.who.groups)
			s.who.groups = append(s.who.groups, g)
		}
		if n == mark.MaxGroups {
			return s.wrong(whoOption(conf), fail("groups", "one group of devices too many: %d can be told apart: join devices in one rule, or name the same ones in several", n))
		}
		r.Groups = s.marks.WithGroups().Group(n)
	}
	if len(s.who.groups) > 0 {
		s.marks = s.marks.WithGroups()
	}
	return nil
}

// passes reports whether a rule lets go all there is.
func passes(r *pipeline.Rule) bool {
	for _, t := range r.For {
		if t.Action != pipeline.Pass {
			return false
		}
	}
	return r.Domains == nil && r.Prefixes == nil && r.Not == nil && len(r.Ports) == 0
}

// whoOption is the first option of a rule that says something of devices.
func whoOption(r *uci.Rule) string {
	kind := "interface"
	switch {
	case len(r.MACs) > 0:
		kind = "mac"
	case len(r.Sources) > 0:
		kind = "source"
	}
	return "rule." + r.Name + "." + kind
}

// whoOf tells whom a rule is for.
func whoOf(r *uci.Rule) Who {
	w := Who{Sources: networks(r.Sources), Interfaces: r.Interfaces}
	for _, m := range r.MACs {
		w.MACs = append(w.MACs, strings.ReplaceAll(fmt.Sprintf("% x", m), " ", ":"))
	}
	return w
}

// whoText says it; "" is everybody.
func whoText(r *uci.Rule) string {
	w := whoOf(r)
	var parts []string
	say := func(kind string, list []string) {
		if len(list) > 0 {
			parts = append(parts, kind+" "+strings.Join(list, ", "))
		}
	}
	say("MAC", w.MACs)
	say("source", w.Sources)
	say("interface", w.Interfaces)
	return strings.Join(parts, "; ")
}

// networks are the texts of networks, and of single addresses without a length.
func networks(list []netip.Prefix) (texts []string) {
	for _, p := range list {
		text := p.String()
		if p.IsSingleIP() {
			text = p.Addr().String()
		}
		texts = append(texts, text)
	}
	return texts
}

// portText is a list of ports in words.
func portText(ports []uint16) string {
	return strings.ReplaceAll(strings.Trim(fmt.Sprint(ports), "[]"), " ", ", ")
}

// noDevice is a name that no device has (dev_valid_name of net/core/dev.c).
const noDevice = "."

// devices is who for the rules of the table, with the interfaces as the devices
// that lans says they are. Those that are down match nobody, never everybody.
func (w *who) devices(lans lans) fw.Devices {
	resolve := func(groups []fw.Group) (list []fw.Group) {
		for _, g := range groups {
			if len(g.Interfaces) > 0 {
				g.Interfaces = lans.of(g.Interfaces)
			}
			list = append(list, g)
		}
		return list
	}
	return fw.Devices{Groups: resolve(w.groups), Spared: resolve(w.spared), Never: w.never}
}

// lans are the interfaces that rules are for, by their names in the configuration.
type lans map[string]lookup

// of are the devices that names stand for now.
func (l lans) of(names []string) []string {
	var list []string
	for _, name := range names {
		list = append(list, l[name].wan.Devices()...)
	}
	if len(list) == 0 {
		return []string{noDevice}
	}
	sort.Stable(sort.StringSlice(list))
	return slices.Compact(list)
}

// open reports whether to ask again though nothing tells.
func (l lans) open() bool {
	for _, lan := range l {
		if lan.open() {
			return true
		}
	}
	return false
}

// eachWrong calls f for each interface of which it is not known what it is.
func (l lans) eachWrong(s *settings, f func(option string, err error)) {
	s.eachInterface(func(option, name string) {
		if lan := l[name]; lan.err != nil {
			f(option, lan.err)
		}
	})
}

// eachInterface calls f for each name of an interface in a rule, with the option
// that it stands in first.
func (s *settings) eachInterface(f func(option, name string)) {
	seen := map[string]bool{}
	for i := range s.conf.Rules {
		for _, name := range s.conf.Rules[i].Interfaces {
			if !seen[name] {
				seen[name] = true
				f("rule."+s.conf.Rules[i].Name+".interface", name)
			}
		}
	}
}

// askLANs finds the devices of rules' interfaces. It is a new map each time: the one
// before may be in use.
func askLANs(k kernel, s *settings, before lans, log *slog.Logger) lans {
	now := lans{}
	s.eachInterface(func(option, name string) {
		l := before[name]
		l.lan = true
		l.ask(k, s, option, []string{name}, log)
		now[name] = l
	})
	return now
}

// checkLANs refuses names of interfaces that mean nothing.
func (s *settings) checkLANs(k kernel) error {
	var errs []error
	s.eachInterface(func(option, name string) {
		if _, err := k.resolve([]string{name}); errors.Is(err, netif.ErrUnknown) {
			errs = append(errs, s.wrong(option, err))
		}
	})
	return errors.Join(errs...)
}
