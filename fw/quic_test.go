package fw

import (
	"encoding/binary"
	"testing"

	"b4/nstest"

	"golang.org/x/sys/unix"
)

// datagram is a UDP datagram of f, from who opened it or from the other side.
func (f *flow) datagram(back bool, payload ...byte) []byte {
	src, dst := f.src, f.dst
	if back {
		src, dst = dst, src
	}
	udp := binary.BigEndian.AppendUint16(nil, src.Port())
	udp = binary.BigEndian.AppendUint16(udp, dst.Port())
	udp = binary.BigEndian.AppendUint16(udp, uint16(8+len(payload)))
	udp = append(append(udp, 0, 0), payload...)
	pseudo := append(src.Addr().AsSlice(), dst.Addr().AsSlice()...)
	pseudo = append(pseudo, 0, unix.IPPROTO_UDP, byte(len(udp)>>8), byte(len(udp)))
	binary.BigEndian.PutUint16(udp[6:], checksum(append(pseudo, udp...)))
	return ipPacket(src.Addr(), dst.Addr(), unix.IPPROTO_UDP, udp)
}

// Nobody listens, as in TestSteer.
func TestSteerUDP(t *testing.T) {
	const long, short = 0xc3, 0x43
	nstest.Enter(t)
	r, c := newRouter(t), mustOpen(t)
	mustApply(t, c, mustPlan(t, func(c *Config) { c.UDP = []uint16{443} }), "wan0")
	want := Counters{}
	check := r.checks(c, &want)
	for _, v6 := range []bool{false, true} {
		f := newFlow(v6, 40000, 443)
		r.arrive(r.lan, r.wan, f.datagram(false, long, 0, 0, 0, 1)) // packet 1
		want.QUIC++
		check("first")
		r.arrive(r.lan, r.wan, f.datagram(false, long)) // packet 2
		want.QUIC++
		check("of one byte")
		r.arrive(r.lan, r.wan, f.datagram(false)) // packet 3
		check("empty")
		r.arrive(r.wan, r.lan, f.datagram(true, long, 0, 0, 0, 1)) // packet 4
		check("of the server")
		r.arrive(r.lan, r.wan, f.datagram(false, short, 0, 0, 0, 1)) // packet 5
		check("short header")
		for range 7 {
			r.arrive(r.lan, r.wan, f.datagram(false, 0x80))
			want.QUIC++
		}
		check("up to the bound")
		r.arrive(r.lan, r.wan, f.datagram(false, long))
		check("after the bound")
		r.arrive(r.lan, r.wan, newFlow(v6, 40001, 8443).datagram(false, long))
		check("another port")
		r.shake(newFlow(v6, 40002, 443))
		want.Opened++
		want.Bare++
		check("TCP")
	}
}

func TestSteerUDPOnlyWhatIsAskedFor(t *testing.T) {
	tests := []struct {
		name    string
		edit    func(*Config)
		watched []string
		v6      bool
		want    Counters
	}{
		{"no UDP", func(c *Config) { c.UDP = nil }, []string{"wan0"}, false, Counters{}},
		{"no TCP", func(c *Config) { c.TCP = nil }, []string{"wan0"}, false, Counters{QUIC: 2}},
		{"not this device", nil, []string{"lan0"}, true, Counters{}},
		{"IPv6 off", func(c *Config) { c.IPv6 = false }, []string{"wan0"}, true, Counters{}},
		{"IPv4 off", func(c *Config) { c.IPv4 = false }, []string{"wan0"}, true, Counters{QUIC: 2}},
		{"no IPv4", func(c *Config) { c.Scatter4 = true }, []string{"wan0"}, false, Counters{}},
		{"no IPv4, IPv6", func(c *Config) { c.Scatter4 = true }, []string{"wan0"}, true, Counters{QUIC: 2}},
		{"no IPv6", func(c *Config) { c.Scatter6 = true }, []string{"wan0"}, true, Counters{}},
		{"no IPv6, IPv4", func(c *Config) { c.Scatter6 = true }, []string{"wan0"}, false, Counters{QUIC: 2}},
		{"neither", func(c *Config) { c.Scatter4, c.Scatter6 = true, true }, []string{"wan0"}, false, Counters{}},
		{"two ports", func(c *Config) { c.UDP = []uint16{8443, 443} }, []string{"wan0"}, true, Counters{QUIC: 2}},
		{"two ports of each", func(c *Config) { c.TCP, c.UDP = []uint16{80, 8443}, []uint16{784, 443} }, []string{"wan0"}, false, Counters{QUIC: 2}},
		{"bound 1", func(c *Config) { c.Bound = 1 }, []string{"wan0"}, false, Counters{QUIC: 1}},
		{"all", func(c *Config) { c.All, c.Bound = true, 0 }, []string{"wan0"}, true, Counters{QUIC: 2}},
		{"replies are TCP's", func(c *Config) { c.Replies = Replies{SYNACK: true, First: 3, End: true} }, []string{"wan0"}, true, Counters{QUIC: 2}},
		{"plain route", func(c *Config) { c.SkipIPsec = true }, []string{"wan0"}, false, Counters{QUIC: 2}},
	}
	nstest.Enter(t)
	r, c := newRouter(t), mustOpen(t)
	for i, tt := range tests {
		rules := mustPlan(t, func(c *Config) {
			c.UDP = []uint16{443}
			if tt.edit != nil {
				tt.edit(c)
			}
		})
		mustApply(t, c, rules, tt.watched...)
		before := r.counters(c)
		f := newFlow(tt.v6, 41000+uint16(i), 443)
		r.arrive(r.lan, r.wan, f.datagram(false, 0xc3, 1, 2, 3))
		r.arrive(r.lan, r.wan, f.datagram(false, 0xe3, 1, 2, 3))
		r.arrive(r.lan, r.wan, f.datagram(false, 0x43, 1, 2, 3))
		r.arrive(r.wan, r.lan, f.datagram(true, 0xc3, 1, 2, 3))
		if got := r.counters(c).minus(before); got != tt.want {
			t.Errorf("%s: got %+v, want %+v", tt.name, got, tt.want)
		}
	}
}
