package match

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"
)

func networks(texts string) *Networks {
	var b NetworksBuilder
	for _, text := range strings.Fields(texts) {
		b.Add(netip.MustParsePrefix(text))
	}
	return b.Networks()
}

// prefixes are the fewest networks that stand for the same addresses, those of IPv4
// first.
func (s *Networks) prefixes() (list []netip.Prefix) {
	if s == nil {
		return nil
	}
	for i, t := range [...]spans{s.v4, s.v6} {
		n := [...]int{4, 16}[i]
		for ; len(t) > 0; t = t[2*n:] {
			first, _ := netip.AddrFromSlice(t[:n])
			last, _ := netip.AddrFromSlice(t[n : 2*n])
			for more := true; more; first = first.Next() {
				p := widest(first, last)
				list = append(list, p)
				first = end(p)
				more = first != last
			}
		}
	}
	return list
}

// widest is the largest network that begins with first and goes no further than last.
func widest(first, last netip.Addr) netip.Prefix {
	for bits := 0; ; bits++ {
		p := netip.PrefixFrom(first, bits)
		if p.Masked() == p && !last.Less(end(p)) {
			return p
		}
	}
}

// end is the last address of a network.
func end(p netip.Prefix) netip.Addr {
	b := p.Addr().AsSlice()
	fill(b, p.Bits())
	a, _ := netip.AddrFromSlice(b)
	return a
}

// Networks that touch or contain each other are one, whatever their order, and
// bits beyond a network's length count for nothing.
func TestNetworksJoined(t *testing.T) {
	for _, tt := range []struct{ add, want string }{
		{"198.51.100.0/24", "198.51.100.0/24"},
		{"198.51.100.77/24 2001:db8::77/64", "198.51.100.0/24 2001:db8::/64"},
		{"198.51.100.128/25 198.51.100.0/25", "198.51.100.0/24"},
		{"2001:db8:1::/48 2001:db8::/48", "2001:db8::/47"},
		{"10.0.0.0/8 10.1.0.0/16 10.255.255.255/32 10.0.0.0/8", "10.0.0.0/8"},
		{"10.0.0.0/16 10.0.0.0/8", "10.0.0.0/8"},
		{"10.0.0.1/32 10.0.0.2/31 10.0.0.4/32", "10.0.0.1/32 10.0.0.2/31 10.0.0.4/32"}, // one run
		{"10.0.0.0/32 10.0.0.2/32", "10.0.0.0/32 10.0.0.2/32"},
		{"255.255.255.255/32 255.255.255.0/24 0.0.0.0/32", "0.0.0.0/32 255.255.255.0/24"},
		{"128.0.0.0/1 0.0.0.0/1", "0.0.0.0/0"},
		{"ffff::/16 ::/1 8000::/1", "::/0"},
		{"10.255.255.0/24 11.0.0.0/24", "10.255.255.0/24 11.0.0.0/24"},
		{"2001:db8:0:ffff::/64 2001:db8:1::/64", "2001:db8:0:ffff::/64 2001:db8:1::/64"},
		{"::ffff:0:0/96 0.0.0.0/8", "0.0.0.0/8 ::ffff:0.0.0.0/96"},
	} {
		s := networks(tt.add)
		if got := fmt.Sprint(s.prefixes()); got != "["+tt.want+"]" || s.Len() != len(strings.Fields(tt.add)) {
			t.Errorf("%s: %s of %d, want %s", tt.add, got, s.Len(), tt.want)
		}
	}
	if s := networks("10.0.0.1/32 10.0.0.2/31 10.0.0.4/32"); len(s.v4) != 8 {
		t.Errorf("what touches takes %d bytes", len(s.v4))
	}
}

func TestNetworksNone(t *testing.T) {
	var zero netip.Addr
	a, six := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("2001:db8::1")
	if s := networks(""); s != nil || s.Len() != 0 || s.Contains(a) || s.Contains(zero) || s.prefixes() != nil {
		t.Error("nothing holds something")
	}
	s := networks("0.0.0.0/0 ::/0")
	for addr, want := range map[netip.Addr]bool{a: true, six: true, netip.MustParseAddr("::ffff:192.0.2.1"): true, zero: false, six.WithZone("wan"): true} {
		if s.Contains(addr) != want {
			t.Errorf("%v: not %v", addr, want)
		}
	}
	if networks("0.0.0.0/0").Contains(netip.MustParseAddr("::ffff:192.0.2.1")) || networks("::/0").Contains(a) {
		t.Error("one family's networks hold the other's addresses")
	}
}

// linear is what Networks is short for.
func linear(list []netip.Prefix, a netip.Addr) bool {
	return slices.ContainsFunc(list, func(p netip.Prefix) bool { return p.Contains(a) })
}

// compare asks about the addresses in and around each network of a list.
func compare(t *testing.T, list []netip.Prefix) {
	t.Helper()
	var b NetworksBuilder
	for _, p := range list {
		b.Add(p)
	}
	s := b.Networks()
	short := s.prefixes()
	for _, p := range list {
		p = p.Masked()
		first, last := p.Addr(), end(p)
		for _, a := range []netip.Addr{first, last, first.Prev(), last.Next(), last.Next().Next()} {
			if want := linear(list, a); s.Contains(a) != want || linear(short, a) != want {
				t.Fatalf("%v: %v of %v is %v, want %v", list, a, short, s.Contains(a), want)
			}
		}
	}
	for _, table := range []struct {
		spans
		n int
	}{{s.v4, 4}, {s.v6, 16}} {
		for n := table.n; len(table.spans) > 2*n; table.spans = table.spans[2*n:] {
			if touches(table.spans[n:2*n], table.spans[2*n:3*n]) {
				t.Fatalf("%v: % x is not in order, or not apart", list, table.spans[:4*n])
			}
		}
	}
}

// draw makes a network: of few bits that differ, so that many touch.
func draw(r *rand.Rand) netip.Prefix {
	var b [16]byte
	n := 4 + 12*r.IntN(2)
	wild := r.IntN(4) == 0
	for i := range b[:n] {
		if b[i] = [...]byte{0, 0xff, 0x0f, 0x80}[r.IntN(4)]; wild {
			b[i] = byte(r.Uint32())
		}
	}
	a, _ := netip.AddrFromSlice(b[:n])
	return netip.PrefixFrom(a, r.IntN(8*n+1))
}

func TestNetworksLinear(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 2000 {
		list := make([]netip.Prefix, 1+r.IntN(12))
		for i := range list {
			list[i] = draw(r)
		}
		compare(t, list)
	}
}

func FuzzNetworks(f *testing.F) {
	none := make([]byte, 18)
	f.Add(append([]byte{4, 10, 0, 0, 0, 8, 4, 11, 0, 0, 0, 8}, none...))
	f.Add(append([]byte{6, 0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 32, 4, 255, 255, 255, 255, 32}, none...))
	f.Fuzz(func(t *testing.T, b []byte) {
		var list []netip.Prefix
		for len(b) > 17 && len(list) < 32 {
			n := 4 + 12*int(b[0]>>1&1) // 4 stands for IPv4, and 6 for IPv6
			a, _ := netip.AddrFromSlice(b[1 : 1+n])
			list = append(list, netip.PrefixFrom(a, int(b[1+n])%(8*n+1)))
			b = b[2+n:]
		}
		if len(list) > 0 {
			compare(t, list)
		}
	})
}

// scattered are n networks of a family that do not touch, in no order.
func scattered(n int, v6 bool) []netip.Prefix {
	list := make([]netip.Prefix, n)
	for i, at := range rand.New(rand.NewPCG(3, 4)).Perm(n) {
		var b [16]byte
		if b[0] = 0x20; v6 {
			binary.BigEndian.PutUint32(b[2:], uint32(at)<<1)
			list[i] = netip.PrefixFrom(netip.AddrFrom16(b), 48)
		} else {
			binary.BigEndian.PutUint32(b[:], 1<<24+uint32(at)<<9)
			list[i] = netip.PrefixFrom(netip.AddrFrom4([4]byte(b[:4])), 24)
		}
	}
	return list
}

func collected(lists ...[]netip.Prefix) *Networks {
	var b NetworksBuilder
	for _, p := range slices.Concat(lists...) {
		b.Add(p)
	}
	return b.Networks()
}

// A network takes 8 bytes of IPv4 and 32 of IPv6, with nothing kept beside.
func TestNetworksMemory(t *testing.T) {
	const n, page = 10000, 8 << 10
	s := collected(scattered(n, false), scattered(n, true))
	if len(s.v4) != 8*n || len(s.v6) != 32*n || cap(s.v4) > 8*n+page || cap(s.v6) > 32*n+page {
		t.Errorf("%d networks of each family take %d and %d bytes", n, cap(s.v4), cap(s.v6))
	}
	twice := scattered(n, true)
	if s := collected(twice, twice, twice); len(s.v6) != 32*n || cap(s.v6) > 32*n+page {
		t.Errorf("%d networks that are there three times take %d bytes", n, cap(s.v6))
	}
	a, six := netip.MustParseAddr("9.9.9.9"), netip.MustParseAddr("2000:9::9")
	if n := testing.AllocsPerRun(100, func() { s.Contains(a); s.Contains(six) }); n != 0 {
		t.Errorf("a look takes %v allocations", n)
	}
}

var sink bool

func BenchmarkNetworks(b *testing.B) {
	for _, n := range []int{0, 10, 10000} {
		s := collected(scattered(n, false), scattered(n, true))
		for _, addr := range []string{"1.3.0.7", "2000:0:10::7"} {
			a := netip.MustParseAddr(addr)
			b.Run(fmt.Sprintf("%d/v6=%v", n, a.Is6()), func(b *testing.B) {
				b.ReportAllocs()
				for range b.N {
					sink = s.Contains(a)
				}
			})
		}
	}
}

func BenchmarkNetworksBuild(b *testing.B) {
	list := slices.Concat(scattered(10000, false), scattered(10000, true))
	for range b.N {
		collected(list)
	}
}
