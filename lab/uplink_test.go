package lab

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// opensAgain wants blocked sites to open soon, in both families.
func opensAgain(t *testing.T, l *Lab, what string) {
	t.Helper()
	for _, v6 := range []bool{false, true} {
		start := time.Now()
		eventually(t, fmt.Sprintf("%s, v6 %t", what, v6), func() error {
			return l.CheckOpen(profile(t), Request{Host: Blocked, V6: v6, Timeout: time.Second})
		})
		t.Logf("%s, v6 %t: opened after %v", what, v6, time.Since(start).Round(time.Millisecond))
	}
}

// Whatever becomes of the uplink, blocked sites open as soon as it is there
// again, and nothing leaves it with an address of the LAN.
func TestUplinkChanges(t *testing.T) {
	engines(t, func(t *testing.T, engine string) {
		l := build(t, Options{Firewall: &Firewall{Masq4: true, Masq6: true}})
		d := launchB4D(t, l, configure(engine))
		d.moved = true
		opensAgain(t, l, "at first")
		watch := watchLAN(t, l)
		if err := l.SetWAN(netip.MustParseAddr("198.51.100.9"), netip.MustParseAddr("2001:db8:f::9")); err != nil {
			t.Fatal(err)
		}
		opensAgain(t, l, "other addresses")
		if engine == "tun" { // until then connections get the old address, and are ended when it has
			eventually(t, "b4d has the new addresses", func() error {
				s := mustStatus(t, d)
				return s.leavesBy("as 198.51.100.9; IPv6 masqueraded as 2001:db8:f::9")
			})
		}

		if err := l.SetMTU(1400); err != nil {
			t.Fatal(err)
		}
		opensAgain(t, l, "another MTU")
		if engine == "tun" {
			eventually(t, "the TUN has WAN's MTU", func() error {
				n, err := l.Router.MTU("b4tun0")
				if err == nil && n != 1400 {
					err = fmt.Errorf("it has %d", n)
				}
				return err
			})
		}
		for _, v6 := range []bool{false, true} {
			r := Request{Host: Blocked, V6: v6, Hello: PostQuantum}
			if err := errors.Join(l.CheckOpen(profile(t), r), send(l, r, 1<<20)); err != nil {
				t.Errorf("another MTU, v6 %t: %v", v6, err)
			}
		}
		if n := watch.packets(); n != 0 {
			t.Errorf("%d packets left with an address of the LAN", n)
		}

		if err := l.CutWAN(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(300 * time.Millisecond)
		if err := l.MendWAN(); err != nil {
			t.Fatal(err)
		}
		watch = watchLAN(t, l)
		opensAgain(t, l, "another device of the same name")
		if n := watch.packets(); n != 0 {
			t.Errorf("%d packets left the new device with an address of the LAN", n)
		}
		eventually(t, "status is content", func() error {
			if s := mustStatus(t, d); len(s.Health) > 0 {
				return errors.New(strings.Join(Sentences(s.Health), " "))
			}
			return nil
		})
	})
}

// The default routes move to another device, as after a fall-back to a modem.
func TestUplinkMoves(t *testing.T) {
	engines(t, func(t *testing.T, engine string) {
		l := build(t, Options{})
		second := l.secondWAN(t)
		d := launchB4D(t, l, configure(engine))
		d.moved = true
		opensAgain(t, l, "at first")
		if err := errors.Join(l.Router.unroute("0.0.0.0/0"), l.Router.unroute("::/0")); err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(l.Router.route("0.0.0.0/0", second.b4, second.aDev), l.Router.route("::/0", second.b6, second.aDev)); err != nil {
			t.Fatal(err)
		}
		if err := l.Censor.unroute("2001:db8:1::/64"); err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(l.Censor.route("192.168.1.0/24", second.a4, second.bDev), l.Censor.route("2001:db8:1::/64", second.a6, second.bDev)); err != nil {
			t.Fatal(err)
		}
		followed(t, l, d, ofTUN(engine, second.aDev+", "), "the default routes moved to another device")
	})
}

// The firewall is reloaded with other zones: what it masquerades, and only that,
// leaves with WAN's address, and all of it opens.
func TestFirewallReload(t *testing.T) {
	t.Parallel()
	engines(t, func(t *testing.T, engine string) {
		l := build(t, Options{})
		d := launchB4D(t, l, configure(engine))
		opensAgain(t, l, "at first")
		time.Sleep(time.Second) // b4d has heard of all that came with its own start
		if err := l.SetFirewall(Firewall{Masq6: true}); err != nil {
			t.Fatal(err)
		}
		watch := watchLAN(t, l)
		for _, v6 := range []bool{false, true} {
			eventually(t, fmt.Sprintf("other zones, v6 %t", v6), func() error {
				watch.packets()
				before := mustStatus(t, d)
				if err := l.CheckOpen(profile(t), Request{Host: Blocked, V6: v6, Timeout: time.Second}); err != nil {
					return err
				}
				s := mustStatus(t, d)
				if n, _ := s.Since(before); n == 0 {
					return errors.New("nothing came to user space")
				}
				if n := watch.packets(); (n == 0) != v6 {
					return fmt.Errorf("%d packets with an address of the LAN", n)
				}
				return nil
			})
		}
	})
}

// secondWAN joins the router to the provider a second time, without a default
// route.
func (l *Lab) secondWAN(t *testing.T) pair {
	t.Helper()
	p := pair{l.Router, "wan2", l.Censor, "access2", "198.18.0.2/24", "198.18.0.1/24", "2001:db8:e::2/64", "2001:db8:e::1/64"}
	err := veth(p.a, p.aDev, p.b, p.bDev, false)
	if err == nil {
		err = errors.Join(p.a.configure(p.aDev, p.a4, p.a6), p.b.configure(p.bDev, p.b4, p.b6))
	}
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// A TUN serves one WAN: check refuses a second one by its name, and b4d leaves
// the traffic alone where it turns up later.
func TestTwoUplinks(t *testing.T) {
	path, err := program()
	if err != nil {
		t.Fatal(err)
	}
	engines(t, func(t *testing.T, engine string) {
		l := build(t, Options{})
		l.secondWAN(t)
		file := filepath.Join(t.TempDir(), "b4")
		text := configure(engine, "list wan 'wan'", "list wan 'wan2'")
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		var out transcript
		cmd := exec.Command(path, "check", "-config", file)
		cmd.Stdout, cmd.Stderr = &out, &out
		err := l.Router.Run(cmd)
		if engine != "tun" {
			if err != nil {
				t.Errorf("check: %v: %s", err, out.String())
			}
			launchB4D(t, l, text)
			opensAgain(t, l, "by either")
			return
		}
		if cmd.ProcessState.ExitCode() != 2 || !strings.Contains(out.String(), "wan2: name one of them in tun.out, or choose engine nfqueue") {
			t.Errorf("check: %v: %s", err, out.String())
		}
		if d, err := l.StartB4D(path, text); err == nil { // or it runs, and does nothing
			s := mustStatus(t, d)
			if !strings.Contains(strings.Join(Sentences(s.Health), " "), "wan2") {
				t.Errorf("status does not name it: %q", s.Health)
			}
			if err := errors.Join(l.Open(Request{Host: Blocked}), l.Open(Request{Host: Blocked, V6: true}), d.Stop()); err != nil {
				t.Error(err)
			}
		} else if !strings.Contains(err.Error(), "wan2") {
			t.Errorf("b4d does not name it: %v", err)
		}
	})
}

// With strict reverse path filters that ask by mark, what is steered would not
// arrive: b4d leaves it alone and says why; then it goes on.
func TestStrictReversePath(t *testing.T) {
	l := build(t, Options{})
	strict := func(value string) {
		t.Helper()
		for _, name := range []string{"rp_filter", "src_valid_mark"} {
			if err := l.Router.Sysctl("net/ipv4/conf/all/"+name, value); err != nil {
				t.Fatal(err)
			}
		}
	}
	engines(t, func(t *testing.T, engine string) {
		strict("1")
		d := launchB4D(t, l, configure(engine))
		for range 5 {
			for _, v6 := range []bool{false, true} {
				if err := l.Open(Request{Host: Blocked, V6: v6}); err != nil {
					t.Error(err)
				}
			}
		}
		s := mustStatus(t, d)
		health := strings.Join(Sentences(s.Health), " ")
		if told := strings.Contains(health, "rp_filter"); told != (engine == "tun") {
			t.Errorf("status says %q", health)
		}
		strict("0")
		eventually(t, "open without the filters", func() error {
			return errors.Join(l.CheckOpen(profile(t), Request{Host: Blocked}), l.CheckOpen(profile(t), Request{Host: Blocked, V6: true}))
		})
	})
}
