package daemon

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"b4/match"
	"b4/pipeline"
	"b4/uci"
)

// TestHostRequest is the parameter of the method test_host.
type TestHostRequest struct {
	Host    string `json:"host"`    // a name, as a browser would show it to b4, or an address, which has none
	MAC     string `json:"mac"`     // of the device that asks for it; "" is one that no rule names
	Address string `json:"address"` // the device's on the LAN; the same
	Port    uint16 `json:"port"`    // 0 is the first that is watched
}

// A HostTest tells what the configuration in force does with a host that a device
// asks for. A rule for devices behind an interface is taken for one for others: where
// a device is only the kernel knows.
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
	// Why is "matches"; "excluded" by its list not; "no_name", as none of its names
	// stands for the host; "prefix", as neither does, and it is for servers of certain
	// networks besides; or else it would match, but it is for other "devices" or "ports"
	// only.
	Why string `json:"why"`
	By  string `json:"by"` // the name or network that decided, "*" for all names; or those networks (eight of them, and files), devices or ports
}

func (d *Daemon) handleTestHost(_ context.Context, q TestHostRequest, _ func(any) error) (any, error) {
	d.mu.Lock()
	s := d.set
	d.mu.Unlock()
	return s.testHost(q)
}

// An asker is a host, and the device that asks for it.
type asker struct {
	host    string     // the name; "" is an address
	server  netip.Addr // the zero Addr is not known
	port    uint16
	mac     [6]byte
	address netip.Addr
}

// read checks the parameters.
func (q *TestHostRequest) read() (a asker, err error) {
	wrong := func(name string) (asker, error) { return a, fmt.Errorf("parameter %s: %w", name, err) }
	a.port = q.Port
	if q.MAC != "" {
		if a.mac, err = uci.ParseMAC(q.MAC); err != nil {
			return wrong("mac")
		}
	}
	if q.Address != "" {
		if a.address, err = netip.ParseAddr(q.Address); err != nil {
			err = fmt.Errorf("%q is not an address", q.Address)
			return wrong("address")
		}
		a.address = a.address.Unmap()
	}
	if server, err := netip.ParseAddr(q.Host); err == nil && server.Zone() == "" {
		a.server = server.Unmap()
		return a, nil
	}
	var b match.Builder
	if err = b.Add(q.Host); err == nil && (strings.Contains(q.Host, "*") || strings.HasPrefix(q.Host, ".")) {
		err = errors.New("want one host name, and not a pattern")
	}
	if err != nil {
		return wrong("host")
	}
	a.host = strings.ToLower(strings.TrimSuffix(q.Host, "."))
	return a, nil
}

// is reports whether a rule is for the device, as far as that is known.
func (a *asker) is(r *uci.Rule) bool {
	return (len(r.MACs) == 0 || slices.Contains(r.MACs, a.mac)) && (len(r.Sources) == 0 || within(r.Sources, a.address) != "") && len(r.Interfaces) == 0
}

// within is the network of list that an address is in, "" if there is none.
func within(list []netip.Prefix, addr netip.Addr) string {
	for i := range list {
		if list[i].Contains(addr) {
			return networks(list[i : i+1])[0]
		}
	}
	return ""
}

// serversText says which servers a rule is for: some of its networks, and the files
// that may have more.
func serversText(r *uci.Rule) string {
	const enough = 8
	return strings.Join(append(networks(r.Prefixes[:min(len(r.Prefixes), enough)]), r.DomainFile...), ", ")
}

// testHost follows pipeline.Config.Choose step by step.
func (s *settings) testHost(q TestHostRequest) (*HostTest, error) {
	a, err := q.read()
	if err != nil {
		return nil, err
	}
	a.port = cmp.Or(a.port, s.tcp[0])
	t := &HostTest{Host: a.host, Steps: []HostStep{}}
	if a.host == "" {
		t.Host = a.server.String()
	}
	if by := cmp.Or(name(s.pipe.Never, a.host), within(s.who.never, a.server)); by != "" {
		t.Steps = append(t.Steps, HostStep{pipeline.NeverRule, "matches", by})
		t.Rule, t.Action, t.QUICAction = pipeline.NeverRule, "pass", "pass"
		return t, nil
	}
	for i := range s.pipe.Rules {
		r := &s.pipe.Rules[i]
		step := s.step(i, &a)
		t.Steps = append(t.Steps, step)
		if step.Why != "matches" {
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

func (s *settings) step(i int, a *asker) HostStep {
	r, conf := &s.pipe.Rules[i], &s.conf.Rules[i]
	by := cmp.Or(name(r.Domains, a.host), within(conf.Prefixes, a.server))
	if by == "" && r.Prefixes.Contains(a.server) {
		by = a.server.String() // in a file
	}
	if r.Domains == nil && r.Prefixes == nil && a.host != "" {
		by = "*"
	}
	not := name(r.Not, a.host)
	switch {
	case by == "" && r.Prefixes != nil:
		return HostStep{r.Name, "prefix", serversText(conf)}
	case by == "":
		return HostStep{r.Name, "no_name", ""}
	case not != "":
		return HostStep{r.Name, "excluded", not}
	case !a.is(conf):
		return HostStep{r.Name, "devices", whoText(conf)}
	case len(r.Ports) > 0 && !slices.Contains(r.Ports, a.port):
		return HostStep{r.Name, "ports", portText(r.Ports)}
	}
	return HostStep{r.Name, "matches", by}
}

// name is the name in the set that stands for host, the shortest if there are
// several, or ""; there is none for a host without a name.
func name(set *match.Set, host string) string {
	if host != "" && set.Contains(nil) {
		return "*"
	}
	for at := len(host) - 1; at >= 0; at-- {
		if (at == 0 || host[at-1] == '.') && set.Contains([]byte(host[at:])) {
			return host[at:]
		}
	}
	return ""
}
