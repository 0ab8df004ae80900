package fw

import (
	"os"
	"testing"

	"b4/nstest"
)

// What b4's rules cost the packets they let pass, which are nearly all: those of a
// connection that is done, both ways, and of one they are not about. It is compared
// with a house whose firewall has conntrack and one rule.
func BenchmarkForward(b *testing.B) {
	for _, rules := range []struct {
		name string
		edit func(*Config) // nil is no table of b4's
	}{
		{"house", nil},
		{"queue", func(c *Config) {}},
		{"tun", func(c *Config) { c.Form, c.UDP, c.Tun = Tun, nil, TunConfig{Device: "b4tun0", WAN: "wan0"} }},
		{"queue, offload", hideAll},
	} {
		for _, pkt := range []struct {
			name string
			port uint16
			back bool
		}{{"sent", 443, false}, {"answered", 443, true}, {"other", 8443, true}} {
			b.Run(rules.name+"/"+pkt.name, func(b *testing.B) {
				nstest.Enter(b)
				r := newRouter(b)
				done := rule{port{side: dport, ports: []uint16{443}}, opening, setBits{ctMark, config(b, Native).Marks.Done}}
				table(b, "house", chain{"forward", &hook{filter, forward, 0}, []rule{{established{}, accept}}},
					chain{"treated", &hook{filter, prerouting, -152}, []rule{done}})
				if rules.edit != nil {
					c := mustOpen(b)
					mustApply(b, c, mustPlan(b, func(c *Config) {
						c.TCP, c.HTTP, c.UDP = []uint16{80, 443}, []uint16{80}, []uint16{443}
						rules.edit(c)
					}), "wan0")
				}
				f := newFlow(false, 40000, pkt.port)
				r.shake(f)
				from, to, p := r.lan, r.wan, f.out(psh|ack, 100) // too short to be shown
				if pkt.back {
					from, to, p = r.wan, r.lan, f.back(psh|ack, 100)
				}
				for range 2 * DefaultBound {
					r.arrive(from, to, p)
				}
				b.ResetTimer()
				flood(b, from, p)
			})
		}
	}
}

func flood(b *testing.B, from *os.File, p []byte) {
	for range b.N { // where the queue of the device behind is full the packet is dropped, at its end
		if _, err := from.Write(p); err != nil {
			b.Fatal(err)
		}
	}
}
