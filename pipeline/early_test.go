package pipeline

import (
	"math/rand/v2"
	"net/netip"
	"strings"
	"testing"

	"b4/desync"
	"b4/engine"
	"b4/match"
	"b4/packet"
)

// A SYN, and what a server answers it with, follow the rule that every name would get
// from the device to the server, in whatever order rules stand, as far as the address
// decides: whom an answer is for it does not say. So does the first datagram of QUIC,
// ahead of the name.
func TestHandshakeByAddress(t *testing.T) {
	a := set(t, "a.example")
	here, half := networks("198.51.100.0/24", "2001:db8:1::/48"), networks("198.51.100.0/25", "2001:db8:1::/64")
	fake, pass := treat(Desync, strategy(t, "synfake(badsum) wsize(100) split(midsld)")), treat(Pass, nil)
	fake[desync.QUIC].Action, pass[desync.QUIC].Action = Reject, Pass
	long := cryptoHello(host, 1800, true)
	all := func(f [desync.Protos]Treatment) Rule { return Rule{For: f} }
	net := func(f [desync.Protos]Treatment) Rule { return Rule{For: f, Prefixes: here} }
	names := func(f [desync.Protos]Treatment) Rule { return Rule{For: f, Domains: a} }
	to := func(r Rule, port uint16) Rule { r.Ports = []uint16{port}; return r }
	of := func(r Rule, group uint32) Rule { r.Groups = group; return r }
	not := func(r Rule) Rule { r.Not = a; return r }
	for _, tt := range []struct {
		name  string
		rules []Rule
		never *match.Set
		// Who treats: of a SYN to a server in the networks from anybody (a) and from the TV
		// (t), then of the answer (s), and behind the bar the same of another server.
		want string
	}{
		{"all", []Rule{all(fake)}, nil, "ats|ats"},
		{"a network", []Rule{net(fake)}, nil, "ats|"},
		{"a network ahead of all", []Rule{net(fake), all(pass)}, nil, "ats|"},
		{"all but a network", []Rule{net(pass), all(fake)}, nil, "|ats"},
		{"a network behind all", []Rule{all(fake), net(pass)}, nil, "ats|ats"},
		{"a part of a network", []Rule{{Prefixes: half, For: pass}, net(fake)}, nil, "|"},
		{"names ahead of a network", []Rule{names(pass), net(fake), all(fake)}, nil, "|"},
		{"a network ahead of names", []Rule{net(fake), names(fake), all(fake)}, nil, "ats|"},
		{"names besides a network", []Rule{{Domains: a, Prefixes: here, For: fake}, all(fake)}, nil, "ats|"},
		{"no names of a list", []Rule{{Domains: set(t), For: pass}, net(fake)}, nil, "ats|"},
		{"a network but names", []Rule{not(net(fake)), all(fake)}, nil, "|ats"},
		{"names are never touched", []Rule{net(fake), all(fake)}, a, "|"},
		{"another port's network", []Rule{to(net(pass), 8443), all(fake)}, nil, "ats|ats"},
		{"the port's network", []Rule{to(net(fake), 443), all(pass)}, nil, "ats|"},
		{"a device", []Rule{of(all(fake), tv), all(pass)}, nil, "t|t"},
		{"all but a device", []Rule{of(all(pass), tv), all(fake)}, nil, "a|a"},
		{"a network for a device", []Rule{of(net(fake), tv), all(pass)}, nil, "t|"},
		{"a network but for a device", []Rule{of(net(pass), tv), all(fake)}, nil, "a|ats"},
		{"another device's names", []Rule{of(names(pass), phone), net(fake)}, nil, "at|"},
		{"the device's names", []Rule{of(names(pass), tv), net(fake)}, nil, "a|"},
		{"a device's unseen", []Rule{{Groups: tv, Unseen: true, For: pass}, net(fake)}, nil, "ats|"},
	} {
		for _, v6 := range []bool{false, true} {
			var got, quic [2]string
			for i, prefixes := range []*match.Networks{here, networks("203.0.113.0/24", "2001:db8:2::/48")} {
				rules := make([]Rule, len(tt.rules))
				copy(rules, tt.rules)
				for j := range rules {
					if rules[j].Prefixes != nil && i > 0 {
						rules[j].Prefixes = prefixes // the rig's server is the same: its networks are others
					}
				}
				for _, who := range []struct {
					sign  string
					mark  uint32
					flags uint8
				}{{"a", others, packet.SYN}, {"t", others | tv, packet.SYN}, {"s", others, packet.SYN | packet.ACK}} {
					r := newRig(t, rules...)
					r.v6, r.loose, r.mark = v6, true, who.mark
					r.p.Use(&Config{Rules: rules, Never: tt.never})
					pkt := r.handshake(who.flags, 52, nil)
					pkt.Mark = who.mark
					if v, _ := r.handle(pkt); v == engine.Replace {
						got[i] += who.sign
					}
					if who.sign == "s" {
						continue
					}
					q := newQUICRig(t, rules...)
					q.v6, q.mark = v6, who.mark
					q.p.Use(&Config{Rules: rules, Never: tt.never})
					if _, why := q.send(q.initial(0, long[:1000])); why == "rejected" {
						quic[i] += who.sign
					}
				}
			}
			if got := strings.Join(got[:], "|"); got != tt.want {
				t.Errorf("%s, v6 %v: %q, want %q", tt.name, v6, got, tt.want)
			}
			if got := strings.Join(quic[:], "|"); got != strings.ReplaceAll(tt.want, "s", "") {
				t.Errorf("%s, v6 %v: %q of QUIC, want %q but for the answers", tt.name, v6, got, tt.want)
			}
		}
	}
}

// Rules that begin to act before a name is known are those that Certain and Handshake
// return for some server, whatever rules there are.
func TestBegins(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 6))
	a := set(t, "a.example")
	const servers = 6 // each is the only one of its network
	network := func(i int) netip.Prefix {
		if i&1 == 0 {
			return netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(i)}), 16)
		}
		return netip.PrefixFrom(netip.AddrFrom16([16]byte{0x20, byte(i)}), 16)
	}
	for range 3000 {
		c := Config{Rules: make([]Rule, 1+r.IntN(4))}
		if r.IntN(8) == 0 {
			c.Never = a
		}
		for i := range c.Rules {
			rule := &c.Rules[i]
			rule.Groups = [...]uint32{0, 0, 0, tv, phone}[r.IntN(5)]
			rule.Ports = [...][]uint16{nil, nil, nil, {443}, {8443}}[r.IntN(5)]
			rule.Domains = [...]*match.Set{nil, nil, nil, a, set(t)}[r.IntN(5)]
			rule.Not = [...]*match.Set{nil, nil, nil, nil, a}[r.IntN(5)]
			rule.Unseen = rule.Groups != 0 && r.IntN(8) == 0
			if r.IntN(3) > 0 {
				var b match.NetworksBuilder
				b.Add(network(i))
				rule.Prefixes = b.Networks()
			}
		}
		for _, port := range []uint16{443, 8443} {
			client, server := map[*Rule]bool{}, map[*Rule]bool{}
			for i := range servers {
				to := netip.AddrPortFrom(network(i).Addr(), port)
				for _, mark := range []uint32{others, tv, phone} {
					client[c.Certain(mark, to)] = true
				}
				server[c.Handshake(to)] = true
			}
			for i := range c.Rules {
				gotClient, gotServer := c.Begins(i, port)
				if rule := &c.Rules[i]; gotClient != client[rule] || gotServer != server[rule] {
					t.Fatalf("rule %d of %+v to port %d: %v and %v, want %v and %v", i, c.Rules, port, gotClient, gotServer, client[rule], server[rule])
				}
			}
		}
	}
}
