package lab

import (
	"fmt"
	"strings"
	"testing"
)

// ruleFor is a rule for the networks of a site.
func ruleFor(s Site, options ...string) string {
	return fmt.Sprintf("config rule\n\tlist prefix '%s'\n\tlist prefix '%s'\n\t%s\n", s.V4, s.V6, strings.Join(options, "\n\t"))
}

// A censor that follows connections from their SYN on, by which side it comes from,
// is misled by a step for the handshake alone: for the servers of a rule for networks,
// which the SYN's address settles, and for no others; not where a name has to be known.
func TestHandshakeByNetwork(t *testing.T) {
	t.Parallel()
	l := build(t, Options{})
	p := variant(t, "tspu-2024")
	d := launchB4D(t, l, configure("nfqueue"))
	const (
		syn   = "option strategy 'synfake(synack, badsum)'"
		plain = "option action 'pass'"
		rest  = "config rule 'rest'\n\t"
		names = "config rule 'names'\n\tlist domain 'other.example'\n"
	)
	for _, tt := range []struct {
		name, rules string
		want        []bool // whether the pages of Modern and Retry come
	}{
		{"none", names, []bool{false, false}},
		{"a network", ruleFor(Modern, syn) + rest + plain, []bool{true, false}},
		{"a network ahead of names", ruleFor(Modern, syn) + names, []bool{true, false}},
		{"names ahead of a network", names + ruleFor(Modern, syn), []bool{false, false}},
		{"all but a network", ruleFor(Modern, plain) + rest + syn, []bool{false, true}},
		{"all", rest + syn, []bool{true, true}},
	} {
		if err := d.Reload(configure("nfqueue") + tt.rules); err != nil {
			t.Fatal(err)
		}
		var shut []Request
		for i, site := range []Site{Modern, Retry} {
			for _, v6 := range []bool{false, true} {
				r := Request{Host: Blocked, Site: site, V6: v6}
				if !tt.want[i] {
					shut = append(shut, r)
				} else if err := l.CheckOpen(p, r); err != nil {
					t.Errorf("%s: site %d, v6 %v: %v", tt.name, i, v6, err)
				}
			}
		}
		for i, err := range l.CheckAllBlocked(p, shut) {
			if err != nil {
				t.Errorf("%s: %v, v6 %v: %v", tt.name, shut[i].Site.V4, shut[i].V6, err)
			}
		}
	}
}

// A TUN is shown no SYN, so what wants one is refused by its place, also where it is for
// a network.
func TestHandshakeByNetworkTUN(t *testing.T) {
	t.Parallel()
	l := build(t, Options{})
	d := launchB4D(t, l, configure("tun"))
	err := d.Reload(configure("tun") + ruleFor(Modern, "option strategy 'synfake(synack, badsum)'"))
	if err == nil || !strings.Contains(err.Error(), "needs engine nfqueue") {
		t.Errorf("reload: %v", err)
	}
	if err := l.Open(Request{Host: Allowed}); err != nil {
		t.Error(err)
	}
}

// QUIC is blocked by the server's network in any order of rules, and all that is let
// out comes.
func TestBlockedByNetwork(t *testing.T) {
	t.Parallel()
	l := build(t, Options{})
	d := launchB4D(t, l, configure("nfqueue"))
	const (
		reject = "option quic 'reject'"
		plain  = "option action 'pass'"
		none   = "option strategy 'none'"
		rest   = "config rule 'rest'\n\t"
		names  = "config rule 'names'\n\tlist domain 'other.example'\n\toption quic 'drop'\n"
	)
	for _, tt := range []struct {
		name, rules   string
		modern, retry outcome
	}{
		{"a network", ruleFor(Modern, none, reject) + rest + plain, refused, opens},
		{"all but a network", ruleFor(Modern, plain) + rest + none + "\n\t" + reject, opens, refused},
		{"a network ahead of names", ruleFor(Modern, none, reject) + names, refused, opens},
		{"names ahead of a network", names + ruleFor(Modern, none, reject), refused, opens},
	} {
		if err := d.Reload(configure("nfqueue") + tt.rules + "\nconfig strategy 'none'\n"); err != nil {
			t.Fatal(err)
		}
		var all []Request
		for i := range 8 {
			all = append(all, Request{Host: Blocked, Proto: QUIC, Site: []Site{Modern, Retry}[i&1], V6: i&2 != 0, Router: i&4 != 0})
		}
		together(all, func(r Request) {
			want := tt.modern
			if r.Site.V4 == Retry.V4 {
				want = tt.retry
			}
			if err := l.becomes(r, want); err != nil {
				t.Errorf("%s: %v, v6 %v, router %v: %v", tt.name, r.Site.V4, r.V6, r.Router, err)
			}
		})
	}
}
