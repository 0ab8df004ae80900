package lab

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"b4/censor"
	"b4/packet"

	"golang.org/x/sys/unix"
)

// echo sends an ICMP echo request from a host with a raw socket and returns
// who answered with what type.
func echo(h *Host, to netip.Addr, ttl int) (from netip.Addr, kind byte, err error) {
	err = h.Do(func() error {
		fam, proto, level, opt, ask := unix.AF_INET, unix.IPPROTO_ICMP, unix.IPPROTO_IP, unix.IP_TTL, byte(8)
		if to.Is6() {
			fam, proto, level, opt, ask = unix.AF_INET6, unix.IPPROTO_ICMPV6, unix.IPPROTO_IPV6, unix.IPV6_UNICAST_HOPS, 128
		}
		fd, err := unix.Socket(fam, unix.SOCK_RAW|unix.SOCK_CLOEXEC, proto)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		if err := unix.SetsockoptInt(fd, level, opt, ttl); err != nil {
			return err
		}
		limit := unix.NsecToTimeval(int64(2 * time.Second))
		if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &limit); err != nil {
			return err
		}
		msg := []byte{ask, 0, 0, 0, 0xb4, byte(ttl), 0, 1, 'p', 'i', 'n', 'g'}
		if to.Is4() { // for IPv6 the kernel fills it in
			whole := append(make([]byte, 20), msg...)
			whole[0] = 0x45
			packet.Finish(whole, 20, packet.ICMP)
			msg = whole[20:]
		}
		if err := unix.Sendto(fd, msg, 0, sockaddr(to)); err != nil {
			return err
		}
		buf := make([]byte, 2048)
		for {
			n, sa, err := unix.Recvfrom(fd, buf, 0)
			if err != nil {
				return fmt.Errorf("ping %v with TTL %d: %w", to, ttl, err)
			}
			m := buf[:n]
			if to.Is4() {
				m = m[20:]
			}
			if m[0] == ask || m[0] > 132 { // our own, or a neighbour's message
				continue
			}
			from, kind = address(sa), m[0]
			return nil
		}
	})
	return from, kind, err
}

func sockaddr(a netip.Addr) unix.Sockaddr {
	if a.Is4() {
		return &unix.SockaddrInet4{Addr: a.As4()}
	}
	return &unix.SockaddrInet6{Addr: a.As16()}
}

func address(sa unix.Sockaddr) netip.Addr {
	switch sa := sa.(type) {
	case *unix.SockaddrInet4:
		return netip.AddrFrom4(sa.Addr)
	case *unix.SockaddrInet6:
		return netip.AddrFrom16(sa.Addr)
	}
	return netip.Addr{}
}

// house builds a lab without b4d, and one with it for each engine.
func house(t *testing.T, o Options, f func(t *testing.T, l *Lab)) {
	t.Run("plain", func(t *testing.T) { f(t, build(t, o)) })
	engines(t, func(t *testing.T, engine string) {
		l := build(t, o)
		launchB4D(t, l, configure(engine))
		f(t, l)
	})
}

// Each router on the way shows itself, and those that are virtual answer pings.
func TestTraceroute(t *testing.T) { house(t, Options{}, traceroute) }

func traceroute(t *testing.T, l *Lab) {
	families(t, func(t *testing.T, v6 bool) {
		want := []string{"192.168.1.1", "198.51.100.1", "192.0.2.1", "192.0.2.2", "192.0.2.3", "192.0.2.253", "203.0.113.2"}
		expired, reply := byte(11), byte(0)
		hops, _ := l.Hops()
		if v6 {
			want = []string{"2001:db8:1::1", "2001:db8:f::1", "2001:db8:2::1", "2001:db8:2::2", "2001:db8:2::3", "2001:db8:2::fd", "2001:db8:3::2"}
			expired, reply = 3, 129
			_, hops = l.Hops()
		}
		var got []string
		for ttl := 1; ttl <= len(want); ttl++ {
			from, kind, err := echo(l.Client, Modern.Addr(v6).Addr(), ttl)
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, from.String())
			if last := ttl == len(want); kind != expired && !last || last && kind != reply {
				t.Errorf("TTL %d: ICMP type %d", ttl, kind)
			}
		}
		if !slices.Equal(got, want) {
			t.Errorf("hops %v\nwant %v", got, want)
		}
		for _, h := range hops {
			if from, kind, err := echo(l.Client, h, 64); err != nil || from != h || kind != reply {
				t.Errorf("ping %v: from %v, type %d, %v", h, from, kind, err)
			}
		}
	})
}

// The router's decoys must reach the censor and die before the server.
func TestDecoyTTL(t *testing.T) {
	l := build(t, Options{HopsBefore: 2, HopsAfter: 1})
	families(t, func(t *testing.T, v6 bool) {
		v4Hops, v6Hops := l.Hops()
		want := v4Hops[2]
		if v6 {
			want = v6Hops[2]
		}
		from, _, err := echo(l.Router, Modern.Addr(v6).Addr(), l.DecoyTTL())
		if err != nil || from != want {
			t.Errorf("died at %v, want the hop behind the censor, %v (%v)", from, want, err)
		}
	})
}

func TestPathMTU(t *testing.T) { house(t, Options{PathMTU: 1400}, pathMTU) }

func pathMTU(t *testing.T, l *Lab) {
	families(t, func(t *testing.T, v6 bool) {
		before := l.Counters(ToServer).TooBig
		if err := l.Open(Request{Host: Allowed, V6: v6, Hello: PostQuantum}); err != nil {
			t.Error("first:", err)
		}
		for _, r := range []Request{{V6: v6}, {V6: v6, Router: true}, {V6: v6, Hello: PostQuantum}} {
			r.Host = Allowed
			if err := errors.Join(send(l, r, 1<<20), l.Download(r, 1<<20)); err != nil {
				t.Errorf("%+v: %v", r, err)
			}
		}
		if l.Counters(ToServer).TooBig == before {
			t.Error("nothing was too big")
		}
	})
}

func TestLossAndReordering(t *testing.T) {
	imp := Impairment{Loss: 0.01, Reorder: 0.02}
	l := build(t, Options{Seed: 1, ToServer: imp, ToClient: imp})
	families(t, func(t *testing.T, v6 bool) {
		if err := l.Download(Request{Host: Allowed, V6: v6, Timeout: time.Minute}, 4<<20); err != nil {
			t.Error(err)
		}
	})
	if c := l.Counters(ToClient); c.Lost == 0 || c.Reordered == 0 {
		t.Errorf("%+v", c)
	}
}

// Without b4 the censors block the blocked and nothing else.
func TestCensors(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		profile string
		hello   Hello
	}{
		{"tspu-2022-II", Small}, {"tspu-2024", PostQuantum},
		{"gfw-2022", Small}, {"gfw-2022", PostQuantum},
		{"full", Small}, {"full", PostQuantum},
	} {
		p, err := censor.Lookup(tt.profile)
		if err != nil {
			t.Fatal(err)
		}
		t.Run(fmt.Sprintf("%s %v", tt.profile, tt.hello), func(t *testing.T) {
			t.Parallel()
			l := build(t, Options{})
			families(t, func(t *testing.T, v6 bool) {
				if err := l.CheckBlocked(p, Request{Host: Blocked, V6: v6, Hello: tt.hello}); err != nil {
					t.Error(Blocked, err)
				}
				if err := l.CheckOpen(p, Request{Host: Allowed, V6: v6, Hello: tt.hello}); err != nil {
					t.Error(Allowed, err)
				}
			})
		})
	}
}

// Both checks can fail.
func TestChecksFail(t *testing.T) {
	t.Parallel()
	l := build(t, Options{})
	p, err := censor.Lookup("gfw-2022")
	if err != nil {
		t.Fatal(err)
	}
	if err := l.CheckBlocked(p, Request{Host: Allowed}); err == nil {
		t.Error("the allowed site counts as blocked")
	}
	for _, host := range []string{Blocked, Hard} {
		if err := l.CheckOpen(p, Request{Host: host}); err == nil {
			t.Error(host, "counts as open")
		}
	}
	l.SetFilter(func(Direction, []byte) bool { return false })
	if err := l.CheckBlocked(p, Request{Host: Blocked}); err == nil {
		t.Error("a dead line counts as blocked by the censor")
	}
}

// The programs, where they are installed.
func TestTools(t *testing.T) {
	t.Parallel()
	l := build(t, Options{})
	for _, hello := range Hellos() {
		t.Run(hello.String(), func(t *testing.T) {
			families(t, func(t *testing.T, v6 bool) {
				if err := l.Open(Request{Host: Blocked, V6: v6, Hello: hello}); err != nil {
					t.Error(err)
				}
				if err := l.Download(Request{Host: Blocked, V6: v6, Hello: hello}, 1<<20); err != nil {
					t.Error(err)
				}
			})
		})
	}
}

// Nothing of a lab is to be seen in the caller's namespace.
func TestCallerUntouched(t *testing.T) {
	before, err := os.ReadFile("/proc/self/net/dev")
	if err != nil {
		t.Fatal(err)
	}
	l := build(t, Options{})
	if err := l.Open(Request{Host: Allowed}); err != nil {
		t.Error(err)
	}
	after, err := os.ReadFile("/proc/self/net/dev")
	if err != nil {
		t.Fatal(err)
	}
	if a, b := devices(before), devices(after); !slices.Equal(a, b) {
		t.Errorf("devices %v, were %v", b, a)
	}
}

// devices reads the names in /proc/net/dev, which has two lines of heading.
func devices(b []byte) []string {
	var names []string
	for _, line := range strings.Split(string(b), "\n")[2:] {
		name, _, _ := strings.Cut(line, ":")
		names = append(names, strings.TrimSpace(name))
	}
	return names
}
