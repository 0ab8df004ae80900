package main

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"b4/censor"
	"b4/fw"
	"b4/lab"
)

// A scene is a firewall, and what is shown behind it.
type scene struct {
	firewall lab.Firewall
	proto    lab.Proto
	censors  []string
	hellos   []lab.Hello // none is all that this machine can send
	only4    bool        // without IPv6
	router   string      // the censor that the router's own connections meet; empty is none
}

// In the first scenes stands the usual house. In the last one the families have
// changed places.
var (
	scenes = []scene{
		{firewall: lab.House, censors: []string{"tspu-2022-II", "tspu-2024", "gfw-2022", "full"}, router: "gfw-2022"},
		{firewall: lab.House, proto: lab.HTTP, censors: []string{"tr-2024"}, hellos: []lab.Hello{lab.Small}},
		{firewall: lab.House, proto: lab.QUIC, censors: []string{"gfw-quic"}, hellos: []lab.Hello{lab.Small, lab.PostQuantum}},
		{firewall: lab.Firewall{Masq6: true}, censors: []string{"gfw-2022"}},
	}
	smallScenes = []scene{
		{firewall: lab.House, censors: []string{"gfw-2022"}, hellos: []lab.Hello{lab.Small, lab.PostQuantum}},
		{firewall: lab.House, censors: []string{"full"}, hellos: []lab.Hello{lab.PostQuantum}},
		{firewall: lab.House, proto: lab.QUIC, censors: []string{"gfw-quic"}, hellos: []lab.Hello{lab.Small}, only4: true},
		{firewall: lab.Firewall{Masq6: true}, censors: []string{"gfw-2022"}, hellos: []lab.Hello{lab.Small}},
	}
)

// queueEngine is the one that sees QUIC.
const queueEngine = "nfqueue"

// A row is one censor, one family, one protocol and kind of hello, and one engine.
type row struct {
	profile censor.Profile
	request lab.Request // for the blocked name
	path    string      // what becomes of its source address
	rule    string      // that is to match it
	engine  string

	strategy                             string // as b4d tells it
	before, open, after, allowed, intact error
	packets, connections                 uint64 // that visited user space with the download
	tooMany                              error  // of these packets
	unwell                               error  // what b4d's status finds amiss
}

// maxPackets is how many packets of a connection may visit user space: two
// segments or datagrams of a hello, and then one or two that show that it is
// over. On an emulated machine a sender's timers are shorter than the way to b4d
// and back: it sends again, and its request is on the way before the first
// verdict. There it may be as many as b4's rules ever let see.
const (
	maxPackets     = 4
	maxPacketsSlow = fw.DefaultBound
)

// rows lists the rows of one censor in a scene, without their engine.
func (d *demo) rows(s scene, name string) ([]row, error) {
	p, err := censor.Lookup(name)
	if err != nil {
		return nil, err
	}
	p.Action.Delay = [2]time.Duration{} // what it does, it does before the page is there
	host, rule := lab.Blocked, ruleAll
	if p.TCP.Mode == censor.Full || s.proto != lab.TLS {
		host, rule = lab.Hard, ruleHard
	}
	var rows []row
	add := func(h lab.Hello, v6, router bool, path string) {
		r := lab.Request{Host: host, Proto: s.proto, Hello: h, V6: v6, Router: router}
		rows = append(rows, row{profile: p, request: r, path: path, rule: rule})
	}
	for _, v6 := range []bool{false, true} {
		if v6 && s.only4 {
			continue
		}
		path := "routed"
		if v6 && s.firewall.Masq6 || !v6 && s.firewall.Masq4 {
			path = "nat"
		}
		for _, h := range s.kinds(p) {
			add(h, v6, false, path)
		}
		if name == s.router {
			add(lab.Small, v6, true, "router")
		}
	}
	return rows, nil
}

// kinds are those of a scene's hellos that a censor always blocks without b4:
// of others there is nothing to show.
func (s *scene) kinds(p censor.Profile) []lab.Hello {
	all := s.hellos
	if all == nil {
		all = lab.Hellos()
	}
	return slices.DeleteFunc(slices.Clone(all), func(h lab.Hello) bool {
		return h == lab.PostQuantum && p.WholeHello || h == lab.Chromium && p.TCP.Mode == censor.None
	})
}

const format = "%-2s %-6s %-5s %-12s %-12s %-7s  %-7s  %-7s  %-7s  %-7s  %-8s  %-7s %s\n"

// table prints and counts the rows, censor by censor.
func (d *demo) table() {
	fmt.Printf("path: nat is a client behind masquerading, routed one without, router the router itself\n")
	fmt.Printf("before, after: without b4. Downloads are of %d MiB; packets are those of such a connection that\n", d.size>>20)
	fmt.Printf("visited user space (of how many connections). tspu-2022-II reads no hello of two packets.\n\n")
	fmt.Printf(format, "ip", "path", "proto", "hello", "censor", "engine", "before", "b4", "after", "allowed", "download", "packets", "")
	list := scenes
	if d.small {
		list = smallScenes
	}
	strategies := map[string]string{} // by censor
	for _, s := range list {
		if s.proto == lab.QUIC && !slices.Contains(d.engines, queueEngine) {
			continue
		}
		if err := d.lab.SetFirewall(s.firewall); err != nil {
			d.check("set up the firewall", err)
			continue
		}
		for _, name := range s.censors {
			rows, err := d.rows(s, name)
			if err != nil {
				d.check("censor "+name, err)
				continue
			}
			strategies[name] = d.run(rows)
		}
	}
	if err := d.lab.SetFirewall(lab.House); err != nil {
		d.check("set up the firewall", err)
	}
	for _, name := range slices.Sorted(maps.Keys(strategies)) {
		fmt.Printf("%-12s %s\n", name, strategies[name])
	}
	fmt.Println()
}

// run fills in the rows of one censor for each engine, and prints them. What is
// blocked without b4 is asked once for all engines. It returns the strategy.
func (d *demo) run(rows []row) (strategy string) {
	before := d.blocked(rows)
	var all []row
	for _, engine := range d.engines {
		if rows[0].request.Proto == lab.QUIC && engine != queueEngine {
			continue
		}
		of := slices.Clone(rows)
		for i := range of {
			of[i].engine, of[i].before = engine, before[i]
		}
		b, err := d.start(engine)
		if err != nil {
			d.check("start b4d with engine "+engine, err)
			continue
		}
		for i := range of {
			d.with(b, &of[i])
		}
		took := d.account(engine, b)
		if err := d.end(b, errors.Join(took, b.Stop())); err != nil {
			d.check("stop b4d with engine "+engine, err)
		}
		all = append(all, of...)
	}
	after := d.blocked(rows)
	for i := range all {
		all[i].after = after[i%len(rows)]
		d.print(&all[i])
		strategy = all[i].strategy
	}
	fmt.Println()
	return strategy
}

// blocked asks for the blocked names without b4.
func (d *demo) blocked(rows []row) []error {
	var list []lab.Request
	for i := range rows {
		list = append(list, rows[i].request)
	}
	return d.lab.CheckAllBlocked(rows[0].profile, list)
}

// with asks for everything that is to work while b4d runs.
func (d *demo) with(b *lab.B4D, r *row) {
	r.open = d.lab.CheckOpen(r.profile, r.request)
	other := r.request
	other.Host = lab.Allowed
	r.allowed = d.lab.CheckOpen(r.profile, other)
	first, err := b.Status()
	if err == nil && first.Engine.Name != r.engine {
		err = fmt.Errorf("b4d has engine %s (%s)", first.Engine.Name, first.Engine.Why)
	}
	if err != nil {
		r.intact = err
		return
	}
	r.strategy = first.Strategy(r.rule, r.request.Proto)
	for range 3 { // a machine at its limit sends some packets twice
		d.count(b, r)
		if r.tooMany == nil || r.intact != nil || r.unwell != nil {
			break
		}
	}
}

// count downloads, and counts the packets that visit user space for it.
func (d *demo) count(b *lab.B4D, r *row) {
	first, err := b.AtRest()
	if err == nil {
		r.intact = d.lab.Download(r.request, d.size)
	}
	second, ask := b.Status()
	if r.tooMany = errors.Join(err, ask); r.tooMany != nil {
		return
	}
	r.packets, r.connections = second.Since(first)
	if r.request.Proto == lab.QUIC {
		r.connections = 1 // the kernel counts those of TCP
	}
	most := uint64(maxPackets)
	if d.small {
		most = maxPacketsSlow
	}
	if r.packets == 0 || r.packets > most*r.connections {
		r.tooMany = fmt.Errorf("%d packets of %d connections came to user space, want 1 to %d of each", r.packets, r.connections, most)
	}
	if len(second.Health) > 0 {
		r.unwell = errors.New("status says: " + strings.Join(lab.Sentences(second.Health), " "))
	}
}

// print prints one row, and below it what was wrong.
func (d *demo) print(r *row) {
	family := "v4"
	if r.request.V6 {
		family = "v6"
	}
	var wrong []string
	word := func(err error, good, bad string) string {
		if err != nil {
			wrong = append(wrong, err.Error())
			return bad
		}
		return good
	}
	before := word(r.before, "blocked", "VOID")
	open := word(r.open, "open", "BLOCKED")
	after := word(r.after, "blocked", "VOID")
	allowed := word(r.allowed, "fine", "BROKEN")
	intact := word(r.intact, "intact", "BROKEN")
	word(r.tooMany, "", "")
	word(r.unwell, "", "")
	d.checks++
	verdict := "ok"
	if len(wrong) > 0 {
		verdict = "FAIL"
		d.failed = append(d.failed, fmt.Sprintf("%s %s %v %v %s %s: %s",
			family, r.path, r.request.Proto, r.request.Hello, r.profile.Name, r.engine, strings.Join(wrong, "; ")))
	}
	packets := fmt.Sprint(r.packets)
	if r.connections > 1 { // a browser
		packets += fmt.Sprintf("/%d", r.connections)
	}
	hello := r.request.Hello.String()
	if r.request.Proto == lab.HTTP {
		hello = "-"
	}
	fmt.Printf(format, family, r.path, r.request.Proto, hello, r.profile.Name, r.engine, before, open, after, allowed, intact, packets, verdict)
	for _, w := range wrong {
		fmt.Printf("       %s\n", strings.ReplaceAll(w, "\n", "\n       "))
	}
}
