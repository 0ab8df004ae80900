package fw

import (
	"testing"

	"b4/nstest"
)

// Who a packet is from decides its mark, in the queue and nowhere else.
func TestGroups(t *testing.T) {
	for _, masqueraded := range []bool{false, true} {
		t.Run(map[bool]string{false: "routed", true: "masqueraded"}[masqueraded], func(t *testing.T) {
			t.Parallel()
			nstest.Enter(t)
			h := newHome(t, masqueraded)
			m := config(t, Native).Marks.WithGroups()
			h.watch(func(c *Config) {
				c.Router, c.UDP = true, []uint16{443}
				groups(c,
					Group{MACs: [][6]byte{{2, 0, 0, 0, 0, 1}, anna.mac}},
					Group{Sources: prefixes("10.0.0.3/32 10.0.0.64/26 fd00:a::3/128")},
					Group{Interfaces: []string{"guest0", "guest1"}},
					Group{MACs: [][6]byte{anna.mac, nobody.mac}, Sources: prefixes("10.0.0.0/29 fd00:a::/64"), Interfaces: []string{"lan0"}})
			})
			h.send(&anna, h.open(&anna, server(false)).out(psh|ack, 300)) // nobody listens
			h.leaves()
			h.queue = listen(t)
			defer h.queue.close()
			for _, v6 := range []bool{false, true} {
				for _, tt := range []struct {
					guest
					want uint32
				}{
					{anna, m.Group(0) | m.Group(3)},
					{berta, m.Group(1)},
					{clara, m.Group(2)},
					{nobody, m.Group(3)},
					{guest{"anna's card in berta's hands", anna.mac, berta.v4, berta.v6}, m.Group(0) | m.Group(1) | m.Group(3)},
					{guest{"anna's address elsewhere", [6]byte{}, anna.v4, anna.v6}, m.Group(2)},
				} {
					f := h.open(&tt.guest, server(v6))
					for range 2 {
						if got := h.hello(&tt.guest, f); got != tt.want|foreignMark {
							t.Errorf("%s, v6 %v: mark %#x, want %#x", tt.name, v6, got, tt.want|foreignMark)
						}
					}
					h.send(&tt.guest, h.flow(&tt.guest, server(v6)).datagram(false, 0xc3, 0, 0, 0, 1))
					if got := h.shown(0); got != tt.want|foreignMark {
						t.Errorf("%s, QUIC, v6 %v: mark %#x, want %#x", tt.name, v6, got, tt.want|foreignMark)
					}
					h.leaves()
				}
				if got := h.own(v6); got != 0 {
					t.Errorf("the router's own, v6 %v: mark %#x, want none", v6, got)
				}
			}
			h.clean()
		})
	}
}

// Rules that change are right for connections that may still be looked at.
func TestGroupsChange(t *testing.T) {
	t.Parallel()
	nstest.Enter(t)
	h := newHome(t, true)
	m := config(t, Native).Marks.WithGroups()
	lan, guests := Group{Interfaces: []string{"lan0"}}, Group{Interfaces: []string{"guest0"}}
	card, net4 := Group{MACs: [][6]byte{anna.mac}}, Group{Sources: prefixes("10.0.0.0/24")}
	h.queue = listen(t)
	defer h.queue.close()
	var f *flow
	for i, tt := range []struct {
		name   string
		groups []Group
		want   uint32
	}{
		{"at first", []Group{lan, guests}, m.Group(0)},
		{"in another order", []Group{guests, lan}, m.Group(1)},
		{"of the same name", []Group{guests, card, net4}, m.Group(1) | m.Group(2)},
		{"fewer", []Group{net4}, m.Group(0)},
		{"in none", []Group{guests}, 0},
		{"in one again", []Group{card}, m.Group(0)},
	} {
		h.watch(func(c *Config) { groups(c, tt.groups...); c.Bound = 20 })
		if i == 0 {
			f = h.open(&anna, server(false))
		}
		if got := h.hello(&anna, f); got != tt.want|foreignMark {
			t.Errorf("%s: mark %#x, want %#x", tt.name, got, tt.want|foreignMark)
		}
	}
	h.watch(func(c *Config) { groups(c, card); c.Bound, c.Devices.Spared = 20, []Group{net4} })
	before := h.counters(h.rules)
	h.send(&anna, f.out(psh|ack, 300))
	h.leaves()
	if got := h.counters(h.rules).minus(before); got != (Counters{}) {
		t.Errorf("spared: got %+v, want none", got)
	}
	h.clean()
}
