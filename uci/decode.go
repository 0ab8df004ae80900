package uci

import (
	"errors"
	"fmt"
	"slices"
	"sort"
	"strings"
)

// Decode checks a tree against the schema. Each override is "section.option=value"
// and takes the place of what the tree has; several for one list are several
// values, and an empty value means not set. Unknown sections and options of the
// tree are warnings, whereas in an override they are errors.
//
// The error joins an *Error for each thing that is wrong, by line; the Config is
// then empty. Warnings are sorted by line too and come in any case. The tree is
// not changed.
func Decode(t *Tree, override ...string) (Config, []Warning, error) {
	t = t.clone()
	if err := migrate(t, migrations); err != nil {
		return Config{}, nil, err
	}
	addImplied(t)
	d := decoder{cfg: Config{Version: Version, places: map[string]Place{}}}
	d.override(t, override)
	for _, s := range t.Sections {
		d.section(s)
	}
	d.checkTun()
	for i := range d.cfg.Rules {
		d.resolve(&d.cfg.Rules[i])
	}
	sort.SliceStable(d.warnings, func(i, j int) bool { return d.warnings[i].At.before(d.warnings[j].At) })
	if len(d.errs) > 0 {
		sort.SliceStable(d.errs, func(i, j int) bool { return d.errs[i].At.before(d.errs[j].At) })
		var errs []error
		for _, err := range d.errs {
			errs = append(errs, err)
		}
		return Config{}, d.warnings, errors.Join(errs...)
	}
	return d.cfg, d.warnings, nil
}

func (p Place) before(o Place) bool { return p.Line < o.Line || p.Line == o.Line && p.File < o.File }

// onlyNames are the names of the sections that there is one of, by type.
var onlyNames = map[string]string{"b4": "main", "tun": "tun"}

// addImplied adds the sections that are there even where the file has none of
// them: main, tun, the built-in strategy, and a rule where there is no other.
func addImplied(t *Tree) {
	add := func(typ, name string, options ...*Option) {
		t.Sections = append(t.Sections, &Section{Type: typ, Name: name, Options: options})
	}
	if t.section("b4", "main") == nil {
		add("b4", "main")
	}
	if t.section("tun", "tun") == nil {
		add("tun", "tun")
	}
	if t.section("strategy", defaultStrategy) == nil {
		add("strategy", defaultStrategy, &Option{Name: "tls", Values: []Value{{Text: DefaultTLS}}})
	}
	if len(t.GetSections("rule")) == 0 {
		add("rule", defaultRule)
	}
}

// clone copies a tree down to its options; the values are shared, as nothing
// changes them in place.
func (t *Tree) clone() *Tree {
	c := &Tree{File: t.File}
	for _, s := range t.Sections {
		dup := *s
		dup.Options = nil
		for _, o := range s.Options {
			option := *o
			dup.Options = append(dup.Options, &option)
		}
		c.Sections = append(c.Sections, &dup)
	}
	return c
}

// A decoder gathers the configuration and everything that is wrong with it.
type decoder struct {
	cfg      Config
	warnings []Warning
	errs     []*Error
}

func (d *decoder) fail(at Place, format string, args ...any) {
	d.errs = append(d.errs, &Error{at, fmt.Sprintf(format, args...)})
}

func (d *decoder) warn(at Place, format string, args ...any) {
	d.warnings = append(d.warnings, Warning{at, fmt.Sprintf(format, args...)})
}

// override puts "section.option=value" into the tree.
func (d *decoder) override(t *Tree, settings []string) {
	seen := map[*Option]bool{} // the file's values are gone
	for _, setting := range settings {
		path, text, ok := strings.Cut(setting, "=")
		name, option, dotted := strings.Cut(path, ".")
		at := Place{File: "-set " + path}
		if !ok || !dotted {
			d.fail(at, "want section.option=value, such as main.engine=nfqueue")
			continue
		}
		o, err := t.overridden(name, option)
		if err != nil {
			d.fail(at, "%v", err)
			continue
		}
		if !seen[o] {
			seen[o] = true
			o.Values, o.List = nil, true
		}
		if text != "" {
			o.Values = append(o.Values, Value{text, at})
		}
	}
}

// overridden returns the option that an override is about. It is added where
// the section lacks it and the schema knows it.
func (t *Tree) overridden(section, option string) (*Option, error) {
	found := false
	for _, s := range t.Sections {
		if s.Name != section {
			continue
		}
		found = true
		if field(s.Type, option) == nil {
			continue
		}
		o := s.option(option)
		if o == nil {
			o = &Option{Name: option}
			s.Options = append(s.Options, o)
		}
		return o, nil
	}
	if found {
		return nil, fmt.Errorf("section %s has no option %q", section, option)
	}
	return nil, fmt.Errorf("there is no section %q", section)
}

// section decodes one section into a place of its own in the configuration.
func (d *decoder) section(s *Section) {
	var t target
	label := s.Type + "." + s.Name
	if only := onlyNames[s.Type]; only != "" {
		if s.Name != only {
			d.warn(s.At, "section %s of type %s is ignored: the only one is named %s", s.Name, s.Type, only)
			return
		}
		label = only
	}
	switch {
	case s.Type == "b4":
		t.main = &d.cfg.Main
	case s.Type == "tun":
		t.tun = &d.cfg.Tun
	case s.Type == "rule":
		d.cfg.Rules = append(d.cfg.Rules, Rule{Name: s.Name, At: s.At})
		t.rule = &d.cfg.Rules[len(d.cfg.Rules)-1]
	case s.Type == "strategy":
		if s.Name == "auto" {
			d.fail(s.At, "strategy auto: this name is kept for b4's own choice, take another")
		}
		d.cfg.Strategies = append(d.cfg.Strategies, Strategy{Name: s.Name, At: s.At})
		t.strategy = &d.cfg.Strategies[len(d.cfg.Strategies)-1]
	default:
		d.warn(s.At, "section %s of the unknown type %s is ignored", s.Name, s.Type)
		return
	}
	if s.At != (Place{}) {
		d.cfg.places[label] = s.At
	}
	d.options(s, label, &t)
}

// options stores the defaults of a section and then what it sets.
func (d *decoder) options(s *Section, label string, t *target) {
	for i := range schema {
		if f := &schema[i]; f.Section == s.Type && f.Default != "" {
			v, _ := f.parse(f.Default) // a test parses them all
			f.store(t, []value{v})
		}
	}
	for _, o := range s.Options {
		if len(o.Values) == 0 {
			continue // an override that unsets
		}
		f, name := field(s.Type, o.Name), label+"."+o.Name
		if f == nil {
			d.warn(o.Values[0].At, "%s: unknown option, ignored", name)
			continue
		}
		d.option(f, o, name, t)
	}
}

func (d *decoder) option(f *Field, o *Option, name string, t *target) {
	if at := o.Values[0].At; at != (Place{}) {
		d.cfg.places[name] = at
	}
	if !f.List && len(o.Values) > 1 {
		d.fail(o.Values[1].At, "%s: want one value, and this is another", name)
	}
	var vs []value
	for _, text := range o.Values {
		v, err := f.parse(text.Text)
		if err != nil {
			d.fail(text.At, "%s: %v", name, err)
			continue
		}
		if v.note != "" {
			d.warn(text.At, "%s: %s: %s", name, quote(text.Text), v.note)
		}
		vs = append(vs, v)
	}
	if len(vs) > 0 {
		f.store(t, vs)
	}
}

// resolve brings a rule to the form that Rule promises: a strategy that exists,
// and no names where all are meant.
func (d *decoder) resolve(r *Rule) {
	label := "rule." + r.Name
	if slices.Contains(r.Not, allNames) {
		d.fail(d.cfg.places[label+".not"], "%s.not: %q would leave nothing to the rule", label, allNames)
	}
	if slices.Contains(r.Domain, allNames) {
		r.Domain, r.DomainFile, r.Prefixes = nil, nil, nil
	}
	at := d.cfg.places[label+".strategy"]
	text, named := r.Strategy, isName(r.Strategy, "-")
	switch {
	case text == "auto":
		r.Strategy = defaultStrategy
	case named && d.hasStrategy(text):
	case named:
		d.fail(at, "%s.strategy: there is no strategy %s: want %s, auto, or a text such as %q",
			label, quote(text), d.strategyNames(), DefaultTLS)
	default:
		r.Strategy = r.Name + ".strategy"
		d.cfg.Strategies = append(d.cfg.Strategies, Strategy{Name: r.Strategy, TLS: text, At: at})
		d.cfg.places["strategy."+r.Strategy] = at
		d.cfg.places["strategy."+r.Strategy+".tls"] = at
	}
}

func (d *decoder) hasStrategy(name string) bool {
	return slices.ContainsFunc(d.cfg.Strategies, func(s Strategy) bool { return s.Name == name })
}

func (d *decoder) strategyNames() string {
	var names []string
	for _, s := range d.cfg.Strategies {
		if !strings.Contains(s.Name, ".") { // not those written into rules
			names = append(names, s.Name)
		}
	}
	return strings.Join(names, ", ")
}
