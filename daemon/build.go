package daemon

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"strings"

	"b4/desync"
	"b4/fw"
	"b4/mark"
	"b4/match"
	"b4/pipeline"
	"b4/uci"
)

// maxListLine bounds a line of a list of names.
const maxListLine = 4096

// settings is a configuration ready to be put in force: everything in it has
// been checked, and nothing has touched the kernel.
type settings struct {
	file  string // where conf is from
	conf  uci.Config
	marks mark.Set
	pipe  *pipeline.Config
	need  desync.Need // of all strategies that rules use
}

// load reads and checks everything there is to check without the kernel. The
// error has a line for each thing that is wrong; warnings come in any case.
func load(path string, overrides []string) (*settings, []uci.Warning, error) {
	conf, warnings, err := uci.Load(path, overrides...)
	if err != nil {
		return nil, warnings, err
	}
	s, err := build(path, conf)
	return s, append(warnings, unused(&conf)...), err
}

// build checks what package uci cannot know about.
func build(path string, conf uci.Config) (s *settings, err error) {
	if path == "" {
		path = uci.DefaultPath
	}
	s = &settings{file: path, conf: conf, pipe: &pipeline.Config{}}
	if s.marks, err = mark.New(conf.Main.Mark); err != nil {
		return nil, s.wrong("main.mark", err)
	}
	var errs []error
	if conf.Main.Engine == "tun" {
		errs = append(errs, s.wrong("main.engine", errors.New("this version has engine nfqueue only: write auto or nfqueue")))
	}
	strategies, err := s.parseStrategies()
	errs = append(errs, err)
	for _, r := range conf.Rules {
		rule, err := s.buildRule(r, strategies)
		errs = append(errs, err)
		s.pipe.Rules = append(s.pipe.Rules, rule)
		if rule.Action == pipeline.Desync && rule.TLS != nil {
			s.need = s.need.Union(rule.TLS.Need())
		}
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	return s, nil
}

// wrong is an error at the place of an option, or of the whole file where the
// option is not set.
func (s *settings) wrong(option string, err error) error {
	at := s.conf.Place(option)
	if at == (uci.Place{}) {
		at.File = s.file
	}
	return &uci.Error{At: at, Text: option + ": " + err.Error()}
}

// unused warns of texts that this version does nothing with.
func unused(conf *uci.Config) (list []uci.Warning) {
	for _, st := range conf.Strategies {
		for _, o := range []struct{ name, text string }{{"quic", st.QUIC}, {"http", st.HTTP}} {
			if option := "strategy." + st.Name + "." + o.name; o.text != "" {
				list = append(list, uci.Warning{At: conf.Place(option), Text: option + ": this version treats TLS only and leaves this alone"})
			}
		}
	}
	return list
}

// parseStrategies reads the TLS text of every strategy; an empty one is nil.
func (s *settings) parseStrategies() (map[string]*desync.Strategy, error) {
	m := make(map[string]*desync.Strategy, len(s.conf.Strategies))
	var errs []error
	for _, st := range s.conf.Strategies {
		if st.TLS == "" {
			continue
		}
		parsed, err := desync.Parse(st.TLS)
		if err != nil {
			errs = append(errs, s.wrong("strategy."+st.Name+".tls", err))
			continue
		}
		m[st.Name] = parsed
	}
	return m, errors.Join(errs...)
}

func (s *settings) buildRule(r uci.Rule, strategies map[string]*desync.Strategy) (pipeline.Rule, error) {
	rule := pipeline.Rule{Name: r.Name, Strategy: r.Strategy, TLS: strategies[r.Strategy]}
	switch r.Action {
	case "pass":
		rule.Action = pipeline.Pass
	case "drop":
		rule.Action = pipeline.Drop
	}
	var errs []error
	if len(r.Domain)+len(r.DomainFile) > 0 {
		var b match.Builder
		errs = append(errs, s.addNames(&b, "rule."+r.Name+".domain", r.Domain))
		for _, file := range r.DomainFile {
			if err := addFile(&b, file); err != nil {
				errs = append(errs, s.wrong("rule."+r.Name+".domain_file", err))
			}
		}
		rule.Domains = b.Set()
	}
	if len(r.Not) > 0 {
		var b match.Builder
		errs = append(errs, s.addNames(&b, "rule."+r.Name+".not", r.Not))
		rule.Not = b.Set()
	}
	return rule, errors.Join(errs...)
}

func (s *settings) addNames(b *match.Builder, option string, names []string) error {
	for _, n := range names {
		if err := b.Add(n); err != nil {
			return s.wrong(option, err)
		}
	}
	return nil
}

// addFile adds the names of a list file: one a line, '#' begins a comment. One
// bad line refuses the file.
func addFile(b *match.Builder, path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	sc := bufio.NewScanner(f)
	sc.Buffer(nil, maxListLine)
	n := 0
	for sc.Scan() {
		n++
		text, _, _ := strings.Cut(sc.Text(), "#")
		if text = strings.TrimSpace(text); text == "" {
			continue
		}
		if err := b.Add(text); err != nil {
			return fmt.Errorf("%s:%d: %w", path, n, err)
		}
	}
	if err := sc.Err(); err != nil {
		return fmt.Errorf("%s:%d: %w", path, n+1, err)
	}
	return nil
}

// plan is the rule set for s on a kernel that offers f.
func (s *settings) plan(f fw.Features) (*fw.Ruleset, error) {
	m := &s.conf.Main
	return fw.Plan(fw.Config{
		Marks:     s.marks,
		Queue:     m.QueueNum,
		Form:      f.Queue,
		TCP:       m.Ports,
		IPv4:      true,
		IPv6:      m.IPv6,
		Router:    m.Router,
		Bound:     fw.DefaultBound,
		SYN:       s.need.Phases&desync.SYN != 0,
		SkipIPsec: f.IPsec,
		Replies: fw.Replies{
			SYNACK: s.need.Phases&desync.SYNACK != 0 || s.need.Hops,
			First:  replies(s.need),
		},
	})
}

// firstReplies is how many packets of the server a strategy sees that asks for
// its first ones.
const firstReplies = 3

func replies(n desync.Need) int {
	if n.Phases&desync.Replies != 0 {
		return firstReplies
	}
	return 0
}

// sameCore reports whether t can take the place of s without a new engine.
func (s *settings) sameCore(t *settings) bool {
	a, b := &s.conf.Main, &t.conf.Main
	return a.QueueNum == b.QueueNum && a.QueueLen == b.QueueLen && a.MaxFlows == b.MaxFlows && s.marks == t.marks
}
