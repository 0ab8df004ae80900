package main

import (
	"fmt"
	"strings"

	"b4/censor"
	"b4/lab"
)

// A row is one censor, one family and one kind of hello.
type row struct {
	profile censor.Profile
	hello   lab.Hello
	v6      bool
	host    string // the blocked name it asks for
	rule    string // that is to match it

	engine, strategy                     string // as b4d tells them
	before, open, after, allowed, intact error
	packets, connections                 uint64 // that visited user space with the download
	tooMany                              error
}

// maxPackets is how many packets of a TLS connection may visit user space: two
// segments of a hello, and then one that shows that it is over. On an emulated
// machine a sender's timers are shorter than the way to b4d and back: it sends
// again, and its request is on the way before the first verdict.
const (
	maxPackets     = 4
	maxPacketsSlow = 8
)

// rows lists the rows of one censor.
func (d *demo) rows(name string) ([]row, error) {
	p, err := censor.Lookup(name)
	if err != nil {
		return nil, err
	}
	host, rule := lab.Blocked, ruleAll
	if p.TCP.Mode == censor.Full {
		host, rule = lab.Hard, ruleHard
	}
	var rows []row
	for _, v6 := range []bool{false, true} {
		for _, h := range lab.Hellos() {
			switch {
			case d.small && h > lab.PostQuantum:
				continue
			case h == lab.PostQuantum && p.WholeHello, h == lab.Chromium && p.TCP.Mode == censor.None:
				continue // open without b4, always or at random: there is nothing to show
			}
			rows = append(rows, row{profile: p, hello: h, v6: v6, host: host, rule: rule})
		}
	}
	return rows, nil
}

const format = "%-4s %-12s %-12s %-47s %-8s %-8s %-8s %-8s %-8s %-9s %-7s %s\n"

// table prints and counts the rows, censor by censor. b4d runs once for each.
func (d *demo) table() {
	fmt.Printf("v4 is behind NAT, v6 is routed; downloads are of %d MiB; packets: those of such a connection in user space (/connections)\n", d.size>>20)
	fmt.Printf("tspu-2022-II does not read hellos of two packets, so its post-quantum rows are tspu-2024's\n\n")
	fmt.Printf(format, "ip", "hello", "censor", "strategy", "engine", "before", "b4", "after", "allowed", "download", "packets", "")
	names := []string{"tspu-2022-II", "tspu-2024", "gfw-2022", "full"}
	if d.small {
		names = []string{"gfw-2022", "full"}
	}
	for _, name := range names {
		rows, err := d.rows(name)
		if err != nil {
			d.check("censor "+name, err)
			continue
		}
		d.run(rows)
	}
	fmt.Println()
}

// run fills in the rows of one censor, and prints them.
func (d *demo) run(rows []row) {
	for i := range rows {
		rows[i].before = d.lab.CheckBlocked(rows[i].profile, rows[i].request(rows[i].host))
	}
	b, err := d.start()
	if err != nil {
		d.check("start b4d", err)
		return
	}
	for i := range rows {
		d.with(b, &rows[i])
	}
	err = d.end(b, b.Stop())
	for i := range rows {
		r := &rows[i]
		r.after = d.lab.CheckBlocked(r.profile, r.request(r.host))
		d.print(r)
	}
	if err != nil {
		d.check("stop b4d", err)
	}
}

func (r *row) request(host string) lab.Request {
	return lab.Request{Host: host, Hello: r.hello, V6: r.v6}
}

// with asks for everything that is to work while b4d runs.
func (d *demo) with(b *lab.B4D, r *row) {
	r.open = d.lab.CheckOpen(r.profile, r.request(r.host))
	r.allowed = d.lab.CheckOpen(r.profile, r.request(lab.Allowed))
	first, err := b.Status()
	if err != nil {
		r.intact = err
		return
	}
	r.engine, r.strategy = first.Engine.Name, first.Strategy(r.rule)
	r.intact = d.lab.Download(r.request(r.host), d.size)
	second, err := b.Status()
	if err != nil {
		r.tooMany = err
		return
	}
	r.packets, r.connections = second.Since(first)
	most := uint64(maxPackets)
	if d.small {
		most = maxPacketsSlow
	}
	if r.packets == 0 || r.packets > most*r.connections {
		r.tooMany = fmt.Errorf("%d packets of %d connections came to user space, want 1 to %d of each", r.packets, r.connections, most)
	}
}

// print prints one row, and below it what was wrong.
func (d *demo) print(r *row) {
	family := "v4"
	if r.v6 {
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
	d.checks++
	verdict := "FAIL"
	if len(wrong) == 0 {
		d.passed++
		verdict = "ok"
	}
	packets := fmt.Sprint(r.packets)
	if r.connections > 1 { // a browser
		packets += fmt.Sprintf("/%d", r.connections)
	}
	fmt.Printf(format, family, r.hello, r.profile.Name, r.strategy, r.engine, before, open, after, allowed, intact, packets, verdict)
	for _, w := range wrong {
		fmt.Printf("       %s\n", strings.ReplaceAll(w, "\n", "\n       "))
	}
}
