package daemon

import (
	"cmp"
	"errors"
	"fmt"
	"net/netip"
	"runtime"
	"slices"

	"b4/desync"
	"b4/engine"
	"b4/fw"
	"b4/mark"
	"b4/match"
	"b4/nfq"
	"b4/pipeline"
	"b4/tun"
	"b4/uci"
)

// settings is a configuration ready to be put in force: everything in it has
// been checked, and nothing has touched the kernel.
type settings struct {
	file  string // where conf is from
	conf  uci.Config
	marks mark.Set
	who   who
	pipe  *pipeline.Config
	need  desync.Need // of all strategies that rules use

	tcp, udp []uint16     // ports to watch
	http     []uint16     // those of tcp where each request is wanted
	block    fw.QUICBlock // QUIC that no name lets out
}

// load reads and checks everything there is to check without the kernel. The
// error has a line for each thing that is wrong; warnings come in any case.
func load(path string, overrides []string) (*settings, []uci.Warning, error) {
	conf, warnings, err := uci.Load(path, overrides...)
	if err != nil {
		return nil, warnings, err
	}
	s, err := build(path, conf)
	if err == nil {
		warnings = append(warnings, s.early()...)
	}
	return s, warnings, err
}

// build checks what package uci cannot know about.
func build(path string, conf uci.Config) (s *settings, err error) {
	if path == "" {
		path = uci.DefaultPath
	}
	s = &settings{file: path, conf: conf, pipe: &pipeline.Config{All: conf.Main.Steer == steerAll, Observe: conf.Main.Observe}}
	if s.marks, err = mark.New(conf.Main.Mark); err != nil {
		return nil, s.wrong("main.mark", err)
	}
	// A loop that waits for packets keeps a processor from others for some milliseconds.
	s.conf.Main.Queues = min(conf.Main.Queues, runtime.GOMAXPROCS(0))
	if int(conf.Main.QueueNum)+conf.Main.Queues > 1<<16 {
		return nil, s.wrong("main.queues", errors.New("the last would have a number beyond 65535"))
	}
	var errs []error
	strategies, err := s.parseStrategies()
	errs = append(errs, err)
	for _, r := range conf.Rules {
		rule, err := s.buildRule(r, strategies)
		errs = append(errs, err)
		s.pipe.Rules = append(s.pipe.Rules, rule)
	}
	errs = append(errs, s.readNever(), s.group())
	s.gather()
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	return s, nil
}

// handshake is the packets that come before a name is known.
const handshake = desync.SYN | desync.SYNACK

// gather works out what the rules together want to be shown.
func (s *settings) gather() {
	var used uses
	for i := range s.pipe.Rules {
		used.add(&s.pipe.Rules[i], &s.conf.Main)
	}
	m := &s.conf.Main
	s.tcp, s.http = join(m.TCPPorts, used.tcp, used.http), join(used.http)
	for _, port := range join(used.quic) {
		all := s.pipe.Handshake(netip.AddrPortFrom(netip.Addr{}, port))
		switch {
		case all == nil || all.For[desync.QUIC].Action < pipeline.Drop || len(s.block.Ports) > 0 && s.block.Reject != rejectsQUIC(all):
			s.udp = append(s.udp, port)
		default:
			s.block.Ports, s.block.Reject = append(s.block.Ports, port), rejectsQUIC(all)
		}
	}
	s.pipe.Ports = slices.Concat(s.tcp, s.udp)
	for i := range s.pipe.Rules {
		for _, t := range s.pipe.Rules[i].For {
			if t.Steps != nil {
				s.need = s.need.Union(s.needs(i, t.Steps))
			}
		}
	}
}

func rejectsQUIC(r *pipeline.Rule) bool { return r.For[desync.QUIC].Action == pipeline.Reject }

// uses are the ports where rules treat or block something.
type uses struct{ tcp, http, quic []uint16 }

// add adds those of r: its own ones, and where it has none those of m.
func (u *uses) add(r *pipeline.Rule, m *uci.Main) {
	for proto, t := range r.For {
		if r.Unseen || t.Steps == nil && t.Action < pipeline.Drop {
			continue
		}
		switch desync.Proto(proto) {
		case desync.QUIC:
			u.quic = append(u.quic, either(r.Ports, m.QUICPorts)...)
		case desync.HTTP:
			u.http = append(u.http, either(r.Ports, m.HTTPPorts)...)
		default:
			u.tcp = append(u.tcp, r.Ports...)
		}
	}
}

func either(own, main []uint16) []uint16 {
	if len(own) > 0 {
		return own
	}
	return main
}

// join joins lists of ports, each port once.
func join(lists ...[]uint16) (ports []uint16) {
	for _, p := range slices.Concat(lists...) {
		if !slices.Contains(ports, p) {
			ports = append(ports, p)
		}
	}
	return ports
}

// needs is what steps need in rule i.
func (s *settings) needs(i int, steps *desync.Strategy) desync.Need {
	n := steps.Need()
	n.Phases &^= handshake &^ s.begins(i) // they are passed over, see early
	return n
}

// begins are the phases of the handshake that rule i decides about for some connections.
func (s *settings) begins(i int) (p desync.Phases) {
	for _, port := range s.tcp {
		client, server := s.pipe.Begins(i, port)
		if client {
			p |= desync.SYN
		}
		if server {
			p |= desync.SYNACK
		}
	}
	return p
}

// early warns of steps for the handshake in rules that it comes too early for.
func (s *settings) early() (list []uci.Warning) {
	for i := range s.pipe.Rules {
		r := &s.pipe.Rules[i]
		for proto, t := range r.For {
			if t.Steps == nil || t.Steps.Need().Phases&handshake&^s.begins(i) == 0 {
				continue
			}
			option := "strategy." + r.Strategy + "." + desync.Proto(proto).String()
			list = append(list, uci.Warning{At: s.conf.Place(option), Text: fmt.Sprintf(
				"%s: its steps for the handshake do nothing in rule %s, or of a rule for devices those for answers: without a name it is not settled which rule is meant", option, r.Name)})
		}
	}
	return list
}

// texts are what a strategy does to each kind of message: nil is nothing.
type texts [desync.Protos]*desync.Strategy

// parseStrategies reads the texts of every strategy.
func (s *settings) parseStrategies() (map[string]texts, error) {
	m := make(map[string]texts, len(s.conf.Strategies))
	var errs []error
	for _, st := range s.conf.Strategies {
		var parsed texts
		for proto, text := range [desync.Protos]string{st.TLS, st.HTTP, st.QUIC} {
			if text == "" {
				continue
			}
			proto, err := desync.Proto(proto), error(nil)
			if parsed[proto], err = proto.ParseWith(text, readPayload); err != nil {
				errs = append(errs, s.wrong("strategy."+st.Name+"."+proto.String(), err))
			}
		}
		m[st.Name] = parsed
	}
	return m, errors.Join(errs...)
}

// actions are the words of rule.action and rule.quic.
var actions = map[string]pipeline.Action{
	"desync": pipeline.Desync, "pass": pipeline.Pass, "drop": pipeline.Drop, "reject": pipeline.Reject,
}

func (s *settings) buildRule(r uci.Rule, strategies map[string]texts) (pipeline.Rule, error) {
	rule := pipeline.Rule{Name: r.Name, Ports: r.Ports, Strategy: r.Strategy}
	for proto, steps := range strategies[r.Strategy] {
		t := &rule.For[proto]
		if t.Action = actions[r.Action]; proto == int(desync.QUIC) {
			t.Action = actions[cmp.Or(r.QUIC, r.Action)]
		}
		if t.Action == pipeline.Desync {
			t.Steps = steps
		}
	}
	var errs []error
	var names match.Builder
	var networks match.NetworksBuilder
	for _, p := range r.Prefixes {
		networks.Add(p)
	}
	errs = append(errs, s.addNames(&names, "rule."+r.Name+".domain", r.Domain))
	for _, file := range r.DomainFile {
		if err := readHosts(file, names.Add, networks.Add); err != nil {
			errs = append(errs, s.wrong("rule."+r.Name+".domain_file", err))
		}
	}
	rule.Prefixes = networks.Networks()
	if len(r.Domain)+len(r.DomainFile) > 0 {
		if rule.Domains = names.Set(); rule.Domains.Len() == 0 && rule.Prefixes != nil {
			rule.Domains = nil // a file of networks alone
		}
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

// steerAll is the value of main.steer for the watched ports wholly.
const steerAll = "all"

// rules is what s wants of the table, on a kernel that offers f: with a queue,
// or with a TUN before u. The firewall does what h says, and the interfaces of rules
// are what l says.
func (s *settings) rules(f fw.Features, u *uplink, h house, l lans) fw.Config {
	m := &s.conf.Main
	c := fw.Config{
		Marks: s.marks, TCP: s.tcp, HTTP: s.http, Block: s.block, IPv4: true, IPv6: m.IPv6, Router: m.Router,
		Bound: fw.DefaultBound, All: m.Steer == steerAll, SkipIPsec: f.IPsec, Devices: s.who.devices(l), Offload: h.offload.Hide,
	}
	c.Block.Reject = c.Block.Reject && f.Reject
	if u != nil {
		c.Form, c.IPv4, c.IPv6 = fw.Tun, u.v4.open, u.v6.open
		c.Tun = fw.TunConfig{Device: s.conf.Tun.Device, WAN: u.device, SNAT4: u.v4.snat, SNAT6: u.v6.snat}
		return c
	}
	c.UDP, c.Scatter4, c.Scatter6 = s.udp, h.scatter.v4, h.scatter.v6
	c.Form, c.Queue, c.Queues, c.SYN = f.Queue, m.QueueNum, m.Queues, s.need.Phases&desync.SYN != 0
	c.Replies = fw.Replies{
		SYNACK: s.need.Phases&desync.SYNACK != 0 || s.need.Hops || m.Observe,
		End:    m.Observe,
	}
	if m.Observe {
		c.Replies.First = firstReplies
	}
	return c
}

// firstReplies is how many packets of a server are shown where its first ones
// are wanted: its SYN,ACK, perhaps a bare ACK, and its first data.
const firstReplies = 3

// queue is the NFQUEUE that s wants, or the NFQUEUEs: one for each of send.
func (s *settings) queue(send []engine.Sender, report func(error)) nfq.Config {
	m := &s.conf.Main
	c := nfq.Config{Num: m.QueueNum, Len: uint32(m.QueueLen), Done: s.marks.Done, Send: send[0], More: send[1:], Report: report}
	if m.Steer == steerAll {
		c.GSO, c.Whole, c.Cut = true, pipeline.Whole, m.QueueNum+uint16(len(send)) // behind 65535 comes 0
	}
	return c
}

// tun is the TUN that s wants.
func (s *settings) tun(send engine.Sender, report func(error)) tun.Config {
	all := s.conf.Main.Steer == steerAll
	c := tun.Config{
		Device: tun.DeviceConfig{Name: s.conf.Tun.Device}, // its MTU follows the uplink's
		Signal: !all, Back: all, Groups: s.marks.Groups, Send: send, Report: report,
	}
	if all {
		c.Whole = pipeline.Whole
	}
	return c
}
