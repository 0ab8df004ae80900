package pipeline

import (
	"bytes"
	"net/netip"
	"strings"
	"testing"

	"b4/desync"
	"b4/engine"
	"b4/match"
)

func networks(texts ...string) *match.Networks {
	var b match.NetworksBuilder
	for _, text := range texts {
		b.Add(netip.MustParsePrefix(text))
	}
	return b.Networks()
}

// Rules for servers' networks, in either family.
func TestChooseByServer(t *testing.T) {
	a := set(t, "a.example")
	here := networks("198.51.100.0/24", "2001:db8:1::/48")
	every, net := Rule{Name: "every"}, Rule{Name: "net", Prefixes: here}
	for _, tt := range []struct {
		name  string
		rules []Rule
		never bool // a.example is
		// For a server in the networks, for another, and for one that is not known: what
		// www.a.example, b.example and a message without a name get, and behind the colon
		// what is certain.
		want string
	}{
		{"alone", []Rule{net}, false, "net net net:net|- - -:-|- - -:-"},
		{"ahead of all names", []Rule{net, every}, false, "net net net:net|every every -:every|every every -:-"},
		{"behind all names", []Rule{every, net}, false, "every every net:every|every every -:every|every every -:every"},
		{"behind a list of all names", []Rule{{Name: "list", Domains: set(t, "*")}, net}, false, "list list net:-|list list -:-|list list -:-"},
		{"besides names", []Rule{{Name: "both", Domains: a, Prefixes: here}, every}, false, "both both both:both|both every -:-|both every -:-"},
		{"but names", []Rule{{Name: "net", Prefixes: here, Not: a}, every}, false, "every net net:-|every every -:every|every every -:-"},
		{"of a device", []Rule{{Name: "tv", Groups: tv, Prefixes: here}, every}, false, "every every -:every|every every -:every|every every -:every"},
		{"at a port", []Rule{{Name: "port", Ports: []uint16{8443}, Prefixes: here}, every}, false, "every every -:every|every every -:every|every every -:every"},
		{"never", []Rule{net, every}, true, "main.never net net:-|main.never every -:-|main.never every -:-"},
	} {
		c := Config{Rules: tt.rules}
		if tt.never {
			c.Never = a
		}
		for _, server := range [][3]string{{"198.51.100.7", "192.0.2.80"}, {"2001:db8:1::7", "2001:db8:2::7"}} {
			var got []string
			for _, addr := range server {
				at, _ := netip.ParseAddr(addr) // the last is none
				to := netip.AddrPortFrom(at, 443)
				var each []string
				for _, name := range []string{"www.a.example", "b.example", ""} {
					each = append(each, known(c.Choose([]byte(name), others, to)))
				}
				got = append(got, strings.Join(each, " ")+":"+known(c.Certain(others, to)))
			}
			if got := strings.Join(got, "|"); got != tt.want {
				t.Errorf("%s, %s: %q, want %q", tt.name, server[0], got, tt.want)
			}
		}
		// What the kernel does for all names it does for all servers.
		if r := c.Handshake(netip.AddrPortFrom(netip.Addr{}, 443)); r != nil && r.Prefixes != nil {
			t.Errorf("%s: the handshake follows rule %s", tt.name, r.Name)
		}
	}
}

func known(r *Rule) string {
	if r == nil {
		return "-"
	}
	return r.Name
}

// A hello to a server in a rule's networks is the rule's, whatever it says; one that
// says no name leaves as it came where the strategy has nothing to cut by.
func TestServer(t *testing.T) {
	named := hello(host, 0, false)
	nameless := bytes.Replace(named, []byte{0, 0, 0, 24, 0, 22, 0}, []byte{0x5a, 0x5a, 0, 24, 0, 22, 0}, 1)
	if bytes.Equal(named, nameless) {
		t.Fatal("the name is not where the test looks")
	}
	here, there := networks("198.51.100.0/24", "2001:db8:1::/48"), networks("203.0.113.0/24", "2001:db8:2::/48")
	tls := func(a Action, steps string) [desync.Protos]Treatment { return treat(a, strategy(t, steps)) }
	for _, tt := range []struct {
		name     string
		rule     Rule
		msg      []byte
		v        engine.Verdict
		why      string
		segments int
	}{
		{"a name", Rule{Prefixes: here, For: tls(Desync, "split(midsld) disorder")}, named, engine.Replace, "treated", 2},
		{"no name", Rule{Prefixes: here, For: tls(Desync, "split(1) disorder")}, nameless, engine.Replace, "treated", 2},
		{"no name to cut in", Rule{Prefixes: here, For: tls(Desync, "split(midsld) disorder")}, nameless, engine.Accept, "as_is", 1},
		{"another's name", Rule{Prefixes: here, Domains: set(t, "other.example"), For: tls(Desync, "split(1)")}, named, engine.Replace, "treated", 2},
		{"elsewhere", Rule{Prefixes: there, For: tls(Desync, "split(1)")}, named, engine.Accept | engine.Done, "no_rule", 1},
		{"elsewhere, no name", Rule{Prefixes: there, For: tls(Desync, "split(1)")}, nameless, engine.Accept | engine.Done, "no_name", 1},
		{"pass", Rule{Prefixes: here, For: tls(Pass, "")}, nameless, engine.Accept | engine.Done, "passed", 1},
		{"drop", Rule{Prefixes: here, For: tls(Drop, "")}, nameless, engine.Drop, "dropped", 0},
	} {
		for _, v6 := range []bool{false, true} {
			r := newRig(t, tt.rule)
			r.v6 = v6
			if v, why := r.send(0, tt.msg, 1); v != tt.v || why != tt.why || len(r.wire) != tt.segments {
				t.Errorf("%s, v6 %v: %v because %s, %d segments", tt.name, v6, v, why, len(r.wire))
			}
			if tt.segments > 0 {
				r.reads(tt.msg)
			}
		}
	}
}

// The same over QUIC, where the server also decides while the name is not there.
func TestServerQUIC(t *testing.T) {
	nameless := cryptoHello(host, 0, false)
	i := bytes.Index(nameless, []byte(host)) - 9 // the extension's type: one that nobody knows
	nameless[i], nameless[i+1] = 0xfa, 0xfa
	long := cryptoHello(host, 1800, true)
	here, there := networks("198.51.100.0/24", "2001:db8:1::/48"), networks("203.0.113.0/24")
	for _, v6 := range []bool{false, true} {
		rule := forQUIC(t, "", Drop, "")
		rule.Prefixes = here
		r := newQUICRig(t, rule)
		r.v6 = v6
		r.want(engine.Drop, "dropped", r.initial(0, nameless))

		r = newQUICRig(t, rule)
		r.v6 = v6
		r.want(engine.Drop, "dropped", r.initial(0, long[:1000])) // ahead of the name

		rule.Prefixes = there
		r = newQUICRig(t, rule, forQUIC(t, "", Pass, ""))
		r.v6 = v6
		r.want(engine.Accept, "no_name", r.initial(0, nameless))
		r.port++
		r.want(engine.Accept, "passed", r.initial(0, long[:1000]))
		r.want(engine.Accept, "passed", r.initial(1000, long[1000:]))
	}
}
