package lab

import (
	"errors"
	"net"
	"net/netip"
	"slices"
	"testing"
)

// meet joins the client and the server of a Direct lab, and has both ends close, or
// the client reset.
func meet(t *testing.T, l *Lab, v6, reset bool, while func(client netip.AddrPort)) {
	t.Helper()
	at := netip.AddrPortFrom(Modern.Addr(v6).Addr(), 8080).String()
	var ln net.Listener
	var c, other net.Conn
	err := l.Server.Do(func() (err error) {
		ln, err = net.Listen("tcp", at)
		return err
	})
	if err == nil {
		defer ln.Close()
		err = l.Client.Do(func() (err error) {
			c, err = net.Dial("tcp", at)
			return err
		})
	}
	if err == nil {
		other, err = ln.Accept()
	}
	if err != nil {
		t.Fatal(err)
	}
	while(c.LocalAddr().(*net.TCPAddr).AddrPort())
	if reset {
		c.(*net.TCPConn).SetLinger(0)
		other.(*net.TCPConn).SetLinger(0)
	}
	if err := errors.Join(c.Close(), other.Close()); err != nil {
		t.Fatal(err)
	}
}

func TestWatchMasked(t *testing.T) {
	t.Parallel()
	l := build(t, Options{Direct: true})
	nothing := func(netip.AddrPort) {}
	watch := func() *MaskedWatch {
		w, err := l.Router.WatchMasked()
		if err != nil {
			t.Fatal(err)
		}
		return w
	}

	w := watch()
	for _, v6 := range []bool{false, true} {
		meet(t, l, v6, true, nothing)
	}
	if n, some, err := w.Close(); n != 0 || err != nil {
		t.Errorf("connections that were reset: %d packets look hidden, %v, %v", n, some, err)
	}

	w = watch()
	for _, v6 := range []bool{false, true} {
		meet(t, l, v6, false, nothing)
		network := "ip4:253"
		if v6 {
			network = "ip6:253"
		}
		err := l.Client.Do(func() error {
			c, err := net.Dial(network, Modern.Addr(v6).Addr().String())
			if err != nil {
				return err
			}
			_, err = c.Write(make([]byte, 64))
			return errors.Join(err, c.Close())
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	_, all, err := w.Close()
	if err != nil {
		t.Error(err)
	}
	for _, want := range []Masked{
		{Device: RouterLAN, Proto: 6}, {Device: RouterLAN, Proto: 6, Leaves: true},
		{Device: RouterWAN, Proto: 6}, {Device: RouterWAN, Proto: 6, Leaves: true},
		{Device: RouterLAN, Proto: maskedUDP}, {Device: RouterWAN, Proto: maskedUDP, Leaves: true},
	} {
		for _, v6 := range []bool{false, true} {
			ok := slices.ContainsFunc(all, func(m Masked) bool {
				return m.Device == want.Device && m.Proto == want.Proto && m.Leaves == want.Leaves && m.Dst.Is6() == v6
			})
			if !ok {
				t.Errorf("IPv6 %t: want %v; got %v", v6, want, all)
			}
		}
	}
}

func TestTracked(t *testing.T) {
	t.Parallel()
	l := build(t, Options{Direct: true})
	for _, v6 := range []bool{false, true} {
		meet(t, l, v6, true, func(client netip.AddrPort) {
			all, err := l.Router.Tracked()
			if want := (Tracked{Proto: 6, Client: client}); err != nil || !slices.Contains(all, want) {
				t.Errorf("got %v, %v; want %v among them", all, err, want)
			}
		})
	}
}
