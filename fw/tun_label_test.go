package fw

import (
	"encoding/binary"
	"errors"
	"maps"
	"net/netip"
	"slices"
	"testing"

	"b4/nstest"
	"b4/packet"
	"b4/tun"

	"golang.org/x/sys/unix"
)

// urgent are packets that leave with something in TCP's urgent pointer.
func urgent(p []byte) bool {
	return protocol(p) == unix.IPPROTO_TCP && binary.BigEndian.Uint16(p[ipLen(p)+18:]) != 0
}

// marks are those that packets have come with since it was asked.
func (j *judge) marks() []uint32 {
	j.mu.Lock()
	defer j.mu.Unlock()
	marks := slices.Sorted(maps.Keys(j.told))
	clear(j.told)
	return marks
}

// isTold reports whether marks has something to say.
func (j *judge) isTold() bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	return len(j.told) > 0
}

// A TUN is told the groups of each packet, and nobody else sees a trace of that.
func TestTunGroups(t *testing.T) {
	for _, tt := range []struct {
		name     string
		all, nat bool
	}{
		{"behind NAT", false, true},
		{"routed", false, false},
		{"all", true, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			nstest.Enter(t)
			h := newHouse(t, tt.nat, tt.nat)
			h.serve()
			h.wan.watch(urgent)
			h.judge.told = map[uint32]bool{}
			m := config(t, Tun).Marks.WithGroups()
			c := tun.Config{Signal: true, Groups: m.Groups}
			if tt.all {
				acceptTUN(t)
				c = tun.Config{Groups: m.Groups, Back: true, Whole: func([]byte) bool { return true }}
			}
			h.serveTUN(c, func(c *Config) {
				c.Router, c.All = true, tt.all
				toTUN(c, pick(tt.nat, wanAddr4.String()), pick(tt.nat, wanAddr6.String()))
				groups(c,
					Group{Sources: prefixes("10.0.0.2/32")},
					Group{Interfaces: []string{"lan0"}},
					Group{Interfaces: []string{"lan1"}},
					Group{Sources: prefixes("fd00:a::2/128"), Interfaces: []string{"lan0"}})
			})
			if tt.all {
				nstest.Sysctl(t, "net.ipv4.conf."+tunName+".accept_local=1", "net.ipv4.conf."+tunName+".rp_filter=0")
			}
			for v6, want := range map[bool]uint32{false: m.Group(0) | m.Group(1), true: m.Group(1) | m.Group(3)} {
				for _, from := range []struct {
					do   func(func())
					want uint32
				}{{h.client.Do, want}, {here, 0}} {
					conn, err := dialFrom(from.do, v6)
					if err == nil {
						err = errors.Join(converse(conn, 4096), conn.Close())
					}
					if err != nil {
						t.Fatal(err)
					}
					h.still()
					if got := h.judge.marks(); !slices.Equal(got, []uint32{from.want}) {
						t.Errorf("v6 %v: marks %#x, want %#x alone", v6, got, from.want)
					}
				}
			}
			if err := h.paths.Reconcile(nil); err != nil { // the TUN is no way any more
				t.Fatal(err)
			}
			conn, err := dialFrom(h.client.Do, false)
			if err == nil {
				err = errors.Join(converse(conn, 4096), conn.Close())
			}
			if err != nil {
				t.Fatal(err)
			}
			if h.judge.bad != 0 || len(h.wan.packets()) != 0 {
				t.Errorf("%d packets came changed, %d left so", h.judge.bad, len(h.wan.packets()))
			}
		})
	}
}

// Of what was to be summed, or cut, by a network card the kernel must not sum the
// label, or it would be in the sums for good.
func TestTunGroupsOfSuperpackets(t *testing.T) {
	t.Parallel()
	nstest.Enter(t)
	h := newHouse(t, true, true)
	h.serve()
	h.wan.watch(urgent)
	h.judge.told = map[uint32]bool{}
	m := config(t, Tun).Marks.WithGroups()
	h.serveTUN(tun.Config{Signal: true, Groups: m.Groups}, func(c *Config) {
		behindNAT(c)
		groups(c, Group{Interfaces: []string{"lan0"}}, Group{Interfaces: []string{"lan1"}})
	})
	lan, err := tun.Open(tun.DeviceConfig{Name: "lan1", MTU: 1500})
	if err != nil {
		t.Fatal(err)
	}
	defer lan.Close()
	acceptFrom(t, "lan1")

	setUpLink(t, "lan1", netip.MustParseAddr("10.0.5.1"), netip.MustParseAddr("fd00:5::1"))
	const pressing = 5
	for v6, src := range map[bool]string{false: "10.0.5.2:40000", true: "[fd00:5::2]:40000"} {
		f := newFlow(v6, 0, 443)
		f.src = netip.MustParseAddrPort(src)
		write := func(head tun.Header, p []byte) {
			t.Helper()
			if err := lan.Write(head, p); err != nil {
				t.Fatal(err)
			}
		}
		write(tun.Header{}, f.out(syn, 0))
		buf := make([]byte, 1<<16)
		for {
			var head tun.Header
			n, err := lan.Read(soon, &head, buf)
			if err != nil || n == 0 {
				t.Fatalf("v6 %v: no answer: %v", v6, err)
			}
			if p := buf[:n]; protocol(p) == unix.IPPROTO_TCP && (p[0]>>4 == 6) == v6 {
				f.ack = binary.BigEndian.Uint32(p[ipLen(p)+4:]) + 1
				break
			}
		}
		write(tun.Header{}, f.out(ack, 0))
		h.judge.marks()
		p := f.out(psh|ack|urg, 10)
		at := ipLen(p)
		p[at+19] = pressing
		packet.Finish(p, at, unix.IPPROTO_TCP)
		write(tun.Header{}, p)
		p = f.out(psh|ack, 600)
		p[at+18], p[at+19] = 0xff, 0xff // which means nothing
		binary.BigEndian.PutUint16(p[at+16:], packet.Fold(packet.Pseudo(p, unix.IPPROTO_TCP, len(p)-at)))
		head := tun.Header{Flags: 1, CsumStart: uint16(at), CsumOffset: 16, HdrLen: uint16(at + 20), GSOSize: 200, GSOType: 1}
		if v6 {
			head.GSOType = 4
		}
		write(head, p)

		await(h.judge.isTold) // which the counters are ahead of
		h.still()
		if got, want := h.judge.marks(), []uint32{m.Group(1)}; !slices.Equal(got, want) {
			t.Errorf("v6 %v: marks %#x, want %#x", v6, got, want)
		}
	}
	await(func() bool { return len(h.wan.packets()) >= 2 }) // until the reader of wan has had its turn
	for _, p := range h.wan.packets() {
		if tcp := p[ipLen(p):]; tcp[19] != pressing || tcp[13]&urg == 0 {
			t.Errorf("packet %x left", p)
		}
	}
	if len(h.wan.packets()) != 2 || h.judge.bad != 2 {
		t.Errorf("%d packets have left with a pointer, %d were seen: want the 2 that are urgent", len(h.wan.packets()), h.judge.bad)
	}
}
