package pipeline

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"b4/engine"
	"b4/flow"
	"b4/match"
)

// The marks of two groups of devices, among other programs' bits.
const (
	tv, phone = 1 << 28, 1 << 29
	others    = 0x00c0ffee
)

func TestChoose(t *testing.T) {
	a := set(t, "a.example")
	every := Rule{Name: "every"}
	for _, tt := range []struct {
		name  string
		rules []Rule
		never *match.Set
		// Of everybody, tv and phone: for a.example to 443 and 8443, and for b.example
		// to 443; "" is no rule.
		want string
		// Of everybody, tv and phone to 443, then what Handshake says of 443 and 8443.
		certain string
	}{
		{"none", nil, nil, " |||", "|||/"},
		{"all", []Rule{every}, nil, "every every every|every every every|every every every", "every|every|every|every/every"},
		{"names", []Rule{{Name: "a", Domains: a}, every}, nil, "a a every|a a every|a a every", "|||/"},
		{"not", []Rule{{Name: "rest", Not: a}, every}, nil, "every every rest|every every rest|every every rest", "|||/"},
		{"a rule behind", []Rule{every, {Name: "a", Domains: a}}, nil, "every every every|every every every|every every every", "every|every|every|every/every"},
		{"a device", []Rule{{Name: "tv", Groups: tv}, every}, nil, "every every every|tv tv tv|every every every", "every|tv|every|/"},
		{"a device alone", []Rule{{Name: "tv", Groups: tv}}, nil, "  |tv tv tv|  ", "|tv||/"},
		{"two devices", []Rule{{Name: "tv", Groups: tv}, {Name: "phone", Groups: phone}, every}, nil, "every every every|tv tv tv|phone phone phone", "every|tv|phone|/"},
		{"devices of one rule", []Rule{{Name: "both", Groups: tv | phone}}, nil, "  |both both both|both both both", "|both|both|/"},
		{"a device, names", []Rule{{Name: "tv", Groups: tv, Domains: a}, every}, nil, "every every every|tv tv every|every every every", "every||every|/"},
		{"unseen", []Rule{{Name: "tv", Groups: tv, Unseen: true}, every}, nil, "every every every|every every every|every every every", "every|every|every|every/every"},
		{"a port", []Rule{{Name: "port", Ports: []uint16{8080, 8443}}, every}, nil, "every port every|every port every|every port every", "every|every|every|every/port"},
		{"a port alone", []Rule{{Name: "port", Ports: []uint16{443}, Domains: a}}, nil, "port  |port  |port  ", "|||/"},
		{"a port, a device", []Rule{{Name: "port", Ports: []uint16{8443}, Groups: tv}, every}, nil, "every every every|every port every|every every every", "every|every|every|every/"},
		{"never", []Rule{every}, a, "main.never main.never every|main.never main.never every|main.never main.never every", "|||/"},
		{"never, a device", []Rule{{Name: "tv", Groups: tv}}, a, "main.never main.never |main.never main.never tv|main.never main.never ", "|||/"},
	} {
		c := Config{Rules: tt.rules, Never: tt.never}
		var got, certain []string
		for _, mark := range []uint32{others, others | tv, others | phone} {
			var each []string
			for _, to := range []struct {
				host string
				port uint16
			}{{"www.a.example", 443}, {"www.a.example", 8443}, {"b.example", 443}} {
				each = append(each, nameOf(c.Choose([]byte(to.host), mark, server(to.port))))
			}
			got = append(got, strings.Join(each, " "))
			certain = append(certain, nameOf(c.Certain(mark, server(443))))
		}
		if tt.want == " |||" {
			tt.want = "  |  |  "
		}
		if got := strings.Join(got, "|"); got != tt.want {
			t.Errorf("%s: chooses %q, want %q", tt.name, got, tt.want)
		}
		text := strings.Join(certain, "|") + "|" + nameOf(c.Handshake(anywhere(443))) + "/" + nameOf(c.Handshake(anywhere(8443)))
		if text != tt.certain {
			t.Errorf("%s: certain of %q, want %q", tt.name, text, tt.certain)
		}
	}
}

// server is one of no rule's networks.
func server(port uint16) netip.AddrPort {
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte{192, 0, 2, 80}), port)
}

// anywhere is a server that is not known.
func anywhere(port uint16) netip.AddrPort { return netip.AddrPortFrom(netip.Addr{}, port) }

func nameOf(r *Rule) string {
	if r == nil {
		return ""
	}
	return r.Name
}

func TestChooseAllocs(t *testing.T) {
	c := Config{Never: set(t, "bank.example"), Rules: []Rule{{Groups: tv, Ports: []uint16{8443}}, {Domains: set(t, "a.example"), Prefixes: networks("198.51.100.0/24", "2001:db8::/32")}, {}}}
	name := []byte("www.b.example")
	if n := testing.AllocsPerRun(100, func() { c.Choose(name, others|tv, server(443)); c.Certain(tv, server(443)); c.Handshake(server(443)) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// housed is a rig for a house: the TV is treated, and nobody else.
func housed(t *testing.T) *rig {
	return newRig(t, Rule{Name: "tv", Groups: tv, For: treat(Desync, strategy(t, "split(midsld) disorder"))})
}

// of sends a segment of a device with a mark; what leaves has to carry it, too.
func (r *rig) of(mark uint32, off int, payload []byte, ack uint32) (engine.Verdict, string) {
	r.t.Helper()
	r.mark = mark
	return r.send(off, payload, ack)
}

// A device is told by each packet's mark: of a whole message, of one in two, of one
// that comes again, and of one whose rest never comes.
func TestDevice(t *testing.T) {
	msg := hello(host, 0, false)
	long := hello(host, 1760, false)
	for _, tt := range []struct {
		mark uint32
		why  string
		late int // packets that leave after the wait for the rest
	}{
		{others | tv, "treated", 2},
		{others | phone, "no_rule", 1},
		{others, "no_rule", 1},
	} {
		treated := tt.why == "treated"
		r := housed(t)
		if _, why := r.of(tt.mark, 0, msg, 1); why != tt.why || r.shown() == treated {
			t.Errorf("mark %#x: %s, shown: %v", tt.mark, why, r.shown())
		}
		r.reads(msg)
		if treated {
			if _, why := r.of(tt.mark, 0, msg, 1); why != "again" {
				t.Errorf("mark %#x: sent again: %s", tt.mark, why)
			}
		}

		r = housed(t)
		r.of(tt.mark, 0, long[:1400], 1)
		if _, why := r.of(tt.mark, 1400, long[1400:], 1); !strings.Contains(why, tt.why) || r.shown() == treated {
			t.Errorf("mark %#x, in two: %s, shown: %v", tt.mark, why, r.shown())
		}
		r.reads(long)

		r = housed(t)
		r.of(tt.mark, 0, long[:1400], 1)
		r.wait(2 * flow.Wait)
		if len(r.wire) != tt.late || r.shown() == treated {
			t.Errorf("mark %#x, without its rest: %d packets, shown: %v", tt.mark, len(r.wire), r.shown())
		}
	}
}

// Each request on a connection is of the device that sends it.
func TestDeviceHTTP(t *testing.T) {
	rule := Rule{Name: "tv", Groups: tv, For: web(t, Desync, "split(midsld) disorder")}
	r := newRig(t, rule)
	msg := request(host, 0, false)
	for i, want := range []string{"treated", "treated"} {
		if _, why := r.of(tv, i*len(msg), msg, uint32(1+i)); why != want {
			t.Errorf("request %d: %s", i, why)
		}
	}
}

// A QUIC hello in several datagrams is treated from the first, where the name
// does not matter to its device.
func TestDeviceQUIC(t *testing.T) {
	for _, tt := range []struct {
		mark uint32
		why  string
	}{{tv, "treated treated"}, {phone, "quic_part no_rule"}} {
		for _, v6 := range []bool{false, true} {
			rule := forQUIC(t, "", Desync, "fake(ttl=3)")
			rule.Groups = tv
			r := newQUICRig(t, rule)
			r.v6, r.mark = v6, tt.mark
			msg := cryptoHello(host, 1600, true)
			var got []string
			for off := 0; off < len(msg); off += 1000 {
				_, why := r.send(r.initial(off, msg[off:min(off+1000, len(msg))]))
				got = append(got, why)
			}
			if text := strings.Join(got, " "); text != tt.why {
				t.Errorf("mark %#x, v6 %v: %s, want %s", tt.mark, v6, text, tt.why)
			}
		}
	}
}

// Hosts that are never touched pass the whole of a house's rules by.
func TestNever(t *testing.T) {
	r := newRig(t)
	r.p.Use(&Config{Never: set(t, "blocked.example"), Rules: r.p.config.Load().Rules})
	var events []string
	stop, _ := r.p.Trace(&Tracer{Hosts: set(t, "*"), Each: func(e Event) { events = append(events, fmt.Sprint(e.Rule, " ", e.Why)) }})
	defer stop()
	if v, why := r.send(0, hello(host, 0, false), 1); v != engine.Accept|engine.Done || why != "passed" || !r.shown() {
		t.Errorf("%v because %s", v, why)
	}
	if got := fmt.Sprint(events); got != "[main.never passed]" {
		t.Errorf("traced as %s", got)
	}
}

// BenchmarkChoose is what a house with groups costs.
func BenchmarkChoose(b *testing.B) {
	name, to := []byte(host), server(443)
	many := func(n int) *match.Networks {
		var b match.NetworksBuilder
		for i := range n {
			b.Add(netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(i >> 7), byte(i << 1)}), 24))
		}
		return b.Networks()
	}
	for _, bm := range []struct {
		name string
		c    Config
	}{
		{"plain", Config{Rules: []Rule{{}}}},
		{"groups", Config{Never: set(b, "bank.example"), Rules: []Rule{{Groups: tv}, {Groups: phone}, {Ports: []uint16{8443}}, {}}}},
		{"10 networks", Config{Rules: []Rule{{Prefixes: many(10)}, {}}}},
		{"10000 networks", Config{Rules: []Rule{{Prefixes: many(10000)}, {}}}},
	} {
		b.Run(bm.name, func(b *testing.B) {
			for range b.N {
				bm.c.Choose(name, others, to)
			}
		})
	}
}
