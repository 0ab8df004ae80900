package route

import (
	"bytes"
	"encoding/binary"
	"errors"
	"net/netip"
	"os"
	"testing"
	"time"

	"b4/engine"
	"b4/inject"
	"b4/nstest"

	"golang.org/x/sys/unix"
)

// A house has one uplink with several routers on its link, told apart by their
// MACs, and a second uplink.
type house struct {
	*netns
	wan    *os.File // a TAP
	second *os.File
	sender *inject.Sender
}

// The routers on the link: main's routes lead to the first; the second is on
// the same network, the third on none.
var (
	routers = [2][3]string{
		{"192.0.2.1", "192.0.2.254", "203.0.113.1"},
		{"2001:db8::1", "fe80::b4", "2001:db8:77::1"},
	}
	far    = [2]string{"198.51.100.9", "2001:db8:f::9"}
	client = [2]string{"10.0.0.2", "fd00:a::2"} // a foreign source, as those of forwarded packets are
)

func mac(router int) []byte { return []byte{2, 0xb4, 0, 0, 0, byte(1 + router)} }

func enterHouse(t *testing.T) *house {
	n := enterBareNetNS(t)
	h := &house{netns: n, wan: n.openTAP("wan0"), second: n.openTUN("wan1")}
	n.tun = n.openTUN("b4tun0")
	for _, a := range []string{"192.0.2.2/24", "2001:db8::2/64"} {
		n.addr("wan0", a)
	}
	for _, a := range []string{"198.18.0.2/24", "2001:db8:1::2/64"} {
		n.addr("wan1", a)
	}
	wan := u32(n.index("wan0"))
	for v, of := range routers {
		for i, gateway := range of {
			n.do(unix.RTM_NEWNEIGH, create, []byte{familyOf(v == 1), 0, 0, 0}, wan, []byte{unix.NUD_PERMANENT, 0, 0, 0},
				attr(unix.NDA_DST, addrs(gateway)), attr(unix.NDA_LLADDR, mac(i)))
		}
		n.mainRoutes(v == 1, unix.RTM_NEWROUTE)
	}
	s, err := inject.Open(config(t).Marks)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	h.sender = s
	h.settle()
	return h
}

// mainRoutes adds or removes the default routes by both uplinks; the second's is
// the better one.
func (n *netns) mainRoutes(v6 bool, typ uint16) {
	n.Helper()
	head := rthead(familyOf(v6), 0, unix.RT_TABLE_MAIN, static, 0, unicast, 0)
	n.do(typ, unix.NLM_F_CREATE, head, attr(unix.RTA_GATEWAY, addrs(routers[index(v6)][0])), attr(unix.RTA_OIF, u32(n.index("wan0"))), attr(unix.RTA_PRIORITY, u32(20)))
	n.do(typ, unix.NLM_F_CREATE, head, attr(unix.RTA_OIF, u32(n.index("wan1"))), attr(unix.RTA_PRIORITY, u32(10)))
}

// leaves sends a datagram as b4 does, for the device named if any, and asks that
// it leaves to a router by its number, or by the second uplink (-1).
func (h *house) leaves(what string, v6 bool, dev string, want int) {
	h.Helper()
	var out int32
	if dev != "" {
		out = int32(h.index(dev))
	}
	p := udp(client[index(v6)], far[index(v6)])
	if _, err := h.sender.Send([]engine.Out{{Bytes: p, Meta: engine.Meta{Out: out}}}); err != nil {
		h.Errorf("%s, v6 %v, by %q: %v", what, v6, dev, err)
		return
	}
	if want < 0 {
		if !h.arrives(h.second, soon) {
			h.Errorf("%s, v6 %v, by %q: not at the second uplink", what, v6, dev)
		}
		return
	}
	if to := h.frame(p); !bytes.Equal(to, mac(want)) {
		h.Errorf("%s, v6 %v, by %q: sent to %x, want %x", what, v6, dev, to, mac(want))
	}
}

// frame waits for the Ethernet frame that carries p and returns whom it is for.
func (h *house) frame(p []byte) []byte {
	h.Helper()
	h.wan.SetReadDeadline(time.Now().Add(soon))
	for b := make([]byte, 2048); ; {
		n, err := h.wan.Read(b)
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return nil
		}
		if err != nil {
			h.Fatal(err)
		}
		// The kernel gives an IPv4 packet its identification and sum.
		if n >= 14+len(p) && bytes.Equal(b[14+len(p)-8:14+len(p)], p[len(p)-8:]) && binary.BigEndian.Uint16(b[12:]) != unix.ETH_P_ARP {
			return bytes.Clone(b[:6])
		}
	}
}

// What b4 sends leaves to the configured gateway, whatever main's routes say,
// and nothing else does.
func TestGateway(t *testing.T) {
	h := enterHouse(t)
	c := h.open()
	before := h.others()
	gateways := func(router int, families ...bool) *State {
		return h.plan(func(c *Config) {
			c.Out = "wan0"
			for _, v6 := range families {
				if a := netip.MustParseAddr(routers[index(v6)][router]); v6 {
					c.Gateway6 = a
				} else {
					c.Gateway4 = a
				}
			}
		})
	}
	both := []bool{false, true}
	apply := func(what string, s *State) {
		t.Helper()
		if err := c.Reconcile(s); err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		h.stands(what, s)
		h.untouched(what, before)
	}
	apply("none", gateways(0))
	for _, v6 := range both {
		h.leaves("none", v6, "wan0", 0)
		h.leaves("none", v6, "", -1)
	}
	for router, what := range []string{"main's", "connected", "not connected"} {
		apply(what, gateways(router, both...))
		for _, v6 := range both {
			h.leaves(what, v6, "wan0", router)
			h.leaves(what, v6, "", router)
			h.leaves(what, v6, "wan1", -1)
			if h.send(far[index(v6)], 0); !h.arrives(h.second, soon) {
				t.Errorf("%s, v6 %v: a packet without the mark is led astray", what, v6)
			}
			if h.send(far[index(v6)], config(t).Marks.Steer); !h.arrives(h.tun, soon) {
				t.Errorf("%s, v6 %v: a steered packet is led astray", what, v6)
			}
			h.mainRoutes(v6, unix.RTM_DELROUTE)
			h.leaves(what+", no route in main", v6, "wan0", router)
			h.mainRoutes(v6, unix.RTM_NEWROUTE)
		}
		before = h.others()
	}
	for _, one := range both {
		apply("one family", gateways(1, one))
		h.leaves("one family", one, "wan0", 1)
		h.leaves("one family", !one, "wan0", 0)
		h.leaves("one family", !one, "", -1)
	}
	apply("none again", gateways(0))
	for _, v6 := range both {
		h.leaves("none again", v6, "wan0", 0)
	}
}

// A gateway that the kernel refuses leaves its family as it was, and the other
// one whole.
func TestGatewayRefused(t *testing.T) {
	h := enterHouse(t)
	c := h.open()
	h.addr("wan1", "203.0.113.7/32")
	before := h.others()
	plain := h.plan(func(*Config) {})
	own := h.plan(func(c *Config) {
		c.Out, c.Gateway4, c.Gateway6 = "wan0", netip.MustParseAddr("203.0.113.7"), netip.MustParseAddr(routers[1][1])
	})
	if err := c.Reconcile(own); err == nil {
		t.Error("the router's own address is a gateway")
	}
	h.stands("from nothing", &State{own.names, own.families[1:]})
	if err := errors.Join(c.Reconcile(nil), c.Reconcile(plain)); err != nil {
		t.Fatal(err)
	}
	if err := c.Reconcile(own); err == nil {
		t.Error("the router's own address is a gateway")
	}
	h.stands("from one without", &State{own.names, []family{plain.families[0], own.families[1]}})
	h.untouched("refused", before)
}

// The uplink goes down and up again, and its end takes the route along.
func TestGatewayUplinkGone(t *testing.T) {
	h := enterHouse(t)
	c := h.open()
	want := h.plan(func(c *Config) {
		c.Out, c.Gateway4, c.Gateway6 = "wan0", netip.MustParseAddr(routers[0][2]), netip.MustParseAddr(routers[1][1])
	})
	for range 2 {
		if err := c.Reconcile(want); err != nil {
			t.Fatal(err)
		}
		h.stands("up", want)
		nstest.Down(h, "wan0")
		nstest.Up(h, "wan0")
	}
	h.wan.Close()
	cfg := config(t)
	cfg.Out, cfg.Gateway4 = "wan0", netip.MustParseAddr(routers[0][2])
	if _, err := Plan(cfg, h.links()); !errors.Is(err, ErrNoDevice) {
		t.Errorf("planned for an uplink that is gone: %v", err)
	}
	h.leaves("gone", false, "", -1)
	if err := c.Reconcile(nil); err != nil {
		t.Error(err)
	}
	h.stands("stopped", nil)
}
