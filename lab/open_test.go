package lab

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"b4/censor"
)

// treated is a configuration by which all names of one protocol are treated.
func treated(engine string, p Proto, strategy string, options ...string) string {
	return configure(engine, options...) + fmt.Sprintf("\nconfig strategy 'default'\n\toption %v '%s'\n", p, strategy)
}

// variant finds a censor by its name, or by that and the guess that is turned
// around. What it leaves to chance it always does, and at once.
func variant(t *testing.T, name string) censor.Profile {
	t.Helper()
	plain, _, _ := strings.Cut(name, ":")
	p, err := censor.Lookup(plain)
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range censor.Variants(p) {
		if v.Name == name {
			v.Action.PerMille, v.Action.Delay = 0, [2]time.Duration{}
			return v
		}
	}
	t.Fatalf("no censor %q", name)
	return p
}

// An opening is a censor that blocks, and the strategies that open it.
type opening struct {
	censor     string
	proto      Proto
	hellos     []Hello
	strategies []string
}

// requests are all kinds of one for the blocked name.
func (o *opening) requests() (rs []Request) {
	for _, v6 := range []bool{false, true} {
		for _, h := range o.hellos {
			rs = append(rs, Request{Host: Blocked, Proto: o.proto, V6: v6, Hello: h})
		}
	}
	return rs
}

// run shows that the censor blocks without b4d, and does not with it, and nothing
// that is allowed breaks; behind IPv4's masquerading and IPv6's routing, and with
// IPv6 masqueraded as well.
func (o *opening) run(t *testing.T, engine string) {
	l := build(t, Options{})
	p, rs := variant(t, o.censor), o.requests()
	shut := func(when string) {
		t.Helper()
		for i, err := range l.CheckAllBlocked(p, rs) {
			if err != nil {
				t.Errorf("%s: %+v: %v", when, rs[i], err)
			}
		}
	}
	shut("before")
	for _, fire := range []Firewall{House, {Masq4: true, Masq6: true}} {
		if err := l.SetFirewall(fire); err != nil {
			t.Fatal(err)
		}
		d := launchB4D(t, l, configure(engine))
		for _, s := range o.strategies {
			if err := d.Reload(treated(engine, o.proto, s)); err != nil {
				t.Fatal(err)
			}
			for _, r := range rs {
				if fire.Masq6 && !r.V6 {
					continue // has been
				}
				for _, r.Host = range []string{Blocked, Allowed} {
					if err := l.CheckOpen(p, r); err != nil {
						t.Errorf("%s: %s, v6 %t, %v hello, %+v: %v", s, r.Host, r.V6, r.Hello, fire, err)
					}
				}
			}
		}
		if err := d.Stop(); err != nil {
			t.Error(err)
		}
	}
	shut("after")
}

// openings runs a list in parallel: most of the time it takes is waiting.
func openings(t *testing.T, engine string, list []opening) {
	for _, o := range list {
		t.Run(o.censor, func(t *testing.T) {
			t.Parallel()
			o.run(t, engine)
		})
	}
}
