package fw

import (
	"encoding/binary"
	"errors"
	"net/netip"
	"os"
	"testing"
	"time"

	"b4/nstest"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// Both ways of a connection go through the TUN from end to end, but for what
// opens it, and for what comes back to the router itself.
func TestTunAll(t *testing.T) {
	for _, tt := range []struct {
		name         string
		masq4, masq6 bool
	}{
		{"IPv4 behind NAT", true, false},
		{"both behind NAT", true, true},
		{"both routed", false, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			nstest.Enter(t)
			h := newHouse(t, tt.masq4, tt.masq6)
			h.serve()
			h.steerAll(func(c *Config) {
				c.Router = true
				toTUN(c, pick(tt.masq4, wanAddr4.String()), pick(tt.masq6, wanAddr6.String()))
			})
			var steered uint64
			for _, v6 := range []bool{false, true} {
				for _, forwarded := range []bool{false, true} {
					from := here
					if forwarded {
						from = h.client.Do
					}
					before, left, syns := h.counters(h.rules), h.wan.of(v6), h.wan.syns.Load()
					if err := talk(from, v6); err != nil {
						t.Fatalf("v6 %v, forwarded %v: %v", v6, forwarded, err)
					}
					err := h.openedSince(before.Opened, syns)
					n := h.counters(h.rules).minus(before)
					steered += n.Queued
					if forwarded {
						steered += n.Replies
					}
					if err != nil || n.Bare != 0 {
						t.Errorf("v6 %v, forwarded %v: counted %+v, %v", v6, forwarded, n, err)
					}
					up, down := h.judge.bytes()
					if up < bulk || forwarded && down < bulk || !forwarded && down > bulk/10 { // some of the one before may be late
						t.Errorf("v6 %v, forwarded %v: %d bytes up and %d down visited", v6, forwarded, up, down)
					}
					natted := tt.masq6
					if !v6 {
						natted = tt.masq4
					}
					if got := h.wan.of(v6) - left; (got == 0) != (natted || !forwarded) {
						t.Errorf("v6 %v, forwarded %v: %d packets with a LAN source left", v6, forwarded, got)
					}
				}
			}
			// Each has come by once. The device cuts superpackets that are longer
			// than it takes, and merges none.
			if n := h.engine.Counters(); n.Read < steered-steered/10 || n.Read > steered+steered/10 {
				t.Errorf("%d packets were steered, %d visited", steered, n.Read)
			}
		})
	}
}

// bytes returns those seen since it was last called.
func (j *judge) bytes() (up, down int) {
	j.mu.Lock()
	defer j.mu.Unlock()
	up, down = j.up, j.down
	j.up, j.down = 0, 0
	return up, down
}

// No route leads to a TUN here, so every packet passes: the counters tell which
// would have been led there.
func TestTunAllSteers(t *testing.T) {
	t.Parallel()
	nstest.Enter(t)
	r, c := newRouter(t), mustOpen(t)
	mustApply(t, c, mustPlan(t, func(c *Config) { toTUN(c, "", ""); c.All = true }), "wan0")
	want := Counters{}
	check := r.checks(c, &want)
	for _, v6 := range []bool{false, true} {
		f := newFlow(v6, 40000, 443)
		again := *f
		r.shake(f)
		want.Opened++
		want.Replies++ // SYN,ACK
		want.Queued++  // ACK
		check("handshake")
		r.arrive(r.lan, r.wan, again.out(syn, 0))
		want.Opened++
		check("the SYN again")
		for range 30 {
			r.arrive(r.lan, r.wan, f.out(psh|ack, 300))
			r.arrive(r.wan, r.lan, f.back(ack, 0))
			want.Queued++
			want.Replies++
		}
		check("all data")
		r.quote(f)
		check("an ICMP error")
		other := newFlow(v6, 40001, 8443)
		r.shake(other)
		r.arrive(r.lan, r.wan, other.out(psh|ack, 300))
		check("another port")
	}
	if n := elementsOf(t, askedSet); n != 0 {
		t.Error("b4d is to answer what never came to it")
	}
	hang(t, c)
	f := newFlow(false, 40000, 443)
	f.seq, f.ack = f.seq+1+30*300, f.ack+1
	r.arrive(r.lan, r.wan, f.out(psh|ack, 300))
	r.arrive(r.wan, r.lan, f.back(psh|ack, 300))
	check("wedged")
}

// quote has the server's side report a packet of f as one that cannot be
// delivered, to its sender.
func (r *router) quote(f *flow) {
	r.t.Helper()
	p := segment(f.src, f.dst, f.seq, f.ack, ack, 20)
	src, dst := f.dst.Addr().AsSlice(), f.src.Addr().AsSlice()
	if f.src.Addr().Is4() {
		body := append([]byte{3, 1, 0, 0, 0, 0, 0, 0}, p...) // host unreachable
		binary.BigEndian.PutUint16(body[2:], checksum(body))
		head := append([]byte{0x45, 0, 0, byte(20 + len(body)), 0, 0, 0, 0, 64, unix.IPPROTO_ICMP, 0, 0}, append(src, dst...)...)
		binary.BigEndian.PutUint16(head[10:], checksum(head))
		p = append(head, body...)
	} else {
		body := append([]byte{1, 3, 0, 0, 0, 0, 0, 0}, p...) // address unreachable
		pseudo := append(append(append([]byte{}, src...), dst...), 0, unix.IPPROTO_ICMPV6, 0, byte(len(body)))
		binary.BigEndian.PutUint16(body[2:], checksum(append(pseudo, body...)))
		head := append([]byte{0x60, 0, 0, 0, 0, byte(len(body)), unix.IPPROTO_ICMPV6, 64}, append(src, dst...)...)
		p = append(head, body...)
	}
	if _, err := r.wan.Write(p); err != nil {
		r.t.Fatal(err)
	}
	r.lan.SetReadDeadline(time.Now().Add(soon))
	for buf := make([]byte, 2048); ; { // it passes
		n, err := r.lan.Read(buf)
		if err != nil {
			r.t.Fatal(err)
		}
		if n == len(p) {
			return
		}
	}
}

// acceptTUN does what an include at the head of firewall4's forward chain does.
func acceptTUN(t testing.TB) {
	t.Helper()
	acceptFrom(t, tunName)
}

// acceptFrom has the firewall of newHouse forward what comes from a device.
func acceptFrom(t testing.TB, name string) {
	t.Helper()
	b := newBatch("fw4")
	b.add(unix.NFT_MSG_NEWRULE, unix.NLM_F_CREATE, func(ae *netlink.AttributeEncoder) {
		ae.String(unix.NFTA_RULE_CHAIN, "forward")
		ae.Do(unix.NLA_F_NESTED|unix.NFTA_RULE_EXPRESSIONS, rule{isDevice{iifname, name}, accept}.code)
	}, "accept what comes from a device")
	s, err := dial()
	if err == nil {
		err = errors.Join(s.run(b), s.close())
	}
	if err != nil {
		t.Fatal(err)
	}
}

// What b4 itself sends past NAT leaves WAN only with the address that
// connections are translated to; a routed family is free.
func TestForeignSourceStays(t *testing.T) {
	nstest.Enter(t)
	r, c := newRouter(t), mustOpen(t)
	awaitAddr(t, wanAddr6)
	injected := config(t, Tun).Marks.Injected
	send := func(src, dst netip.Addr, out *os.File, want bool) bool {
		p := segment(netip.AddrPortFrom(src, 40000), netip.AddrPortFrom(dst, 443), 1, 1, psh|ack, 300)
		if err := sendRaw(p, src.Is6(), injected); err != nil && !errors.Is(err, unix.EPERM) { // which a drop is
			t.Fatal(err)
		}
		_, ok := r.receive(out, patience(!want))
		return ok
	}
	far, far6 := newFlow(false, 1, 1).dst.Addr(), newFlow(true, 1, 1).dst.Addr()
	lan, lan6 := newFlow(false, 1, 1).src.Addr(), newFlow(true, 1, 1).src.Addr()
	for _, tt := range []struct {
		snat4, snat6 string
		src          netip.Addr
		leaves       bool
	}{
		{"192.0.2.1", "fd00:b::1", wanAddr4, true},
		{"192.0.2.1", "fd00:b::1", wanAddr6, true},
		{"192.0.2.1", "fd00:b::1", lan, false},
		{"192.0.2.1", "fd00:b::1", lan6, false},
		{"192.0.2.3", "fd00:b::3", wanAddr4, false}, // WAN's address before
		{"192.0.2.3", "fd00:b::3", wanAddr6, false},
		{"192.0.2.1", "", lan6, true},
		{"", "fd00:b::1", lan, true},
	} {
		mustApply(t, c, mustPlan(t, func(c *Config) { toTUN(c, tt.snat4, tt.snat6) }), "wan0")
		to, client := far, lan
		if tt.src.Is6() {
			to, client = far6, lan6
		}
		if got := send(tt.src, to, r.wan, tt.leaves); got != tt.leaves {
			t.Errorf("translated to %q and %q: a packet from %v left: %v, want %v", tt.snat4, tt.snat6, tt.src, got, tt.leaves)
		}
		if !send(to, client, r.lan, true) {
			t.Errorf("translated to %q and %q: a packet to %v did not leave by the LAN", tt.snat4, tt.snat6, client)
		}
	}
}

// sendRaw sends a whole packet with a mark.
func sendRaw(p []byte, v6 bool, mark uint32) error {
	family, to := unix.AF_INET, unix.Sockaddr(&unix.SockaddrInet4{Addr: [4]byte(p[16:20])})
	if v6 {
		family, to = unix.AF_INET6, &unix.SockaddrInet6{Addr: [16]byte(p[24:40])}
	}
	fd, err := unix.Socket(family, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.IPPROTO_RAW)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_MARK, int(mark)); err != nil {
		return err
	}
	return unix.Sendto(fd, p, 0, to)
}
