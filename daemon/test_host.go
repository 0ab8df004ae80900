package daemon

import (
	"context"
	"errors"
	"slices"
	"strings"

	"b4/match"
)

// TestHostRequest is the parameter of the method test_host: a host name, as a
// browser would show it to b4.
type TestHostRequest struct {
	Host string `json:"host"`
}

// A HostTest tells what the configuration in force does with a host that a device
// asks for which no rule is for, at the first port that is watched.
type HostTest struct {
	Host     string     `json:"host"`     // as it was looked up
	Steps    []HostStep `json:"steps"`    // the rules in order, to the one that matches
	Rule     string     `json:"rule"`     // the one that matches; "" where none does
	Action   string     `json:"action"`   // its action
	Strategy string     `json:"strategy"` // its strategy's name
	Treatments
}

// A HostStep is how a rule was passed by, or not.
type HostStep struct {
	Rule string `json:"rule"`
	// Why is "matches", "excluded" by its list not, or "no_name": none of its names
	// stands for the host; or else it would match, but it is for other "devices" or
	// "ports" only.
	Why string `json:"why"`
	By  string `json:"by"` // the name that decided, "*" for all names; or those devices or ports
}

func (d *Daemon) handleTestHost(_ context.Context, q TestHostRequest, _ func(any) error) (any, error) {
	d.mu.Lock()
	s := d.set
	d.mu.Unlock()
	return s.testHost(q.Host)
}

// testHost follows pipeline.Config.Choose step by step.
func (s *settings) testHost(host string) (*HostTest, error) {
	var b match.Builder
	if err := b.Add(host); err != nil {
		return nil, err
	}
	if strings.Contains(host, "*") || strings.HasPrefix(host, ".") {
		return nil, errors.New("want one host name, and not a pattern")
	}
	t := &HostTest{Host: strings.ToLower(strings.TrimSuffix(host, ".")), Steps: []HostStep{}}
	port := s.tcp[0]
	rule := s.pipe.Choose([]byte(t.Host), 0, port)
	if by := name(s.pipe.Never, t.Host); by != "" {
		t.Steps = append(t.Steps, HostStep{rule.Name, "matches", by})
		t.Rule, t.Action, t.QUICAction = rule.Name, "pass", "pass"
		return t, nil
	}
	for i := range s.pipe.Rules {
		r := &s.pipe.Rules[i]
		t.Steps = append(t.Steps, s.step(i, t.Host, port))
		if r != rule {
			continue
		}
		t.Rule, t.Action = r.Name, s.conf.Rules[i].Action
		t.Treatments = s.treatments(i)
		if t.Action == "desync" || t.QUICAction == "desync" {
			t.Strategy = r.Strategy
		}
		break
	}
	return t, nil
}

func (s *settings) step(i int, host string, port uint16) HostStep {
	r, conf := &s.pipe.Rules[i], &s.conf.Rules[i]
	by := "*"
	if r.Domains != nil {
		by = name(r.Domains, host)
	}
	not := name(r.Not, host)
	switch {
	case by == "":
		return HostStep{r.Name, "no_name", ""}
	case not != "":
		return HostStep{r.Name, "excluded", not}
	case !forAll(conf):
		return HostStep{r.Name, "devices", whoText(conf)}
	case len(r.Ports) > 0 && !slices.Contains(r.Ports, port):
		return HostStep{r.Name, "ports", portText(r.Ports)}
	}
	return HostStep{r.Name, "matches", by}
}

// name is the name in the set that stands for host, the shortest if there are
// several, or "".
func name(set *match.Set, host string) string {
	if set.Contains(nil) {
		return "*"
	}
	for at := len(host) - 1; at >= 0; at-- {
		if (at == 0 || host[at-1] == '.') && set.Contains([]byte(host[at:])) {
			return host[at:]
		}
	}
	return ""
}
