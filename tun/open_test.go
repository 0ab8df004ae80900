package tun

import (
	"errors"
	"net"
	"net/netip"
	"strings"
	"testing"

	"b4/engine"
	"b4/nstest"

	"golang.org/x/sys/unix"
)

var errBroken = errors.New("broken on purpose")

// Each act fails once, in turn before and after it has done its work, and
// nothing is left: no device, no descriptor.
func TestKernelOpenFailsAtEachAct(t *testing.T) {
	s := nstest.NewSpace(t)
	c := DeviceConfig{Name: "b4tun0", MTU: 1400, Queue: 100, Addrs: []netip.Prefix{net4, net6}}
	var acts []string
	openIn(t, s, DeviceConfig{Name: "first"}).Close() // so that Go's poller is there
	s.Do(func() {
		d, err := open(c, func(act string, do func() error) error { acts = append(acts, act); return do() })
		if err != nil {
			t.Error(err)
			return
		}
		d.Close()
	})
	before := fds(t)
	for _, fail := range acts {
		for _, done := range []bool{false, true} {
			if done && fail == "waiter" {
				continue // the last: nothing fails behind it
			}
			s.Do(func() {
				_, err := open(c, func(act string, do func() error) error {
					if act == fail && !done {
						return errBroken
					}
					if err := do(); err != nil || act != fail {
						return err
					}
					return errBroken
				})
				if !errors.Is(err, errBroken) || !strings.Contains(err.Error(), "b4tun0") {
					t.Errorf("%s: error %v", fail, err)
				}
				if _, err := net.InterfaceByName(c.Name); err == nil {
					t.Errorf("%s: the device is left", fail)
				}
			})
			if n := fds(t); n != before {
				t.Errorf("%s: %d descriptors, %d before", fail, n, before)
			}
		}
	}
	if len(acts) != 13 {
		t.Errorf("acts %q", acts)
	}
}

func TestKernelOpenRefused(t *testing.T) {
	s := nstest.NewSpace(t)
	s.Do(func() {
		for name, c := range map[string]DeviceConfig{
			"mtu":         {Name: "b4tun0", MTU: 20},
			"addr":        {Name: "b4tun0", Addrs: []netip.Prefix{netip.MustParsePrefix("0.0.0.0/0")}},
			"name":        {Name: "a name that is too long"},
			"slash":       {Name: "a/b"},
			"addr family": {Name: "b4tun0", Addrs: []netip.Prefix{{}}},
		} {
			d, err := Open(c)
			if err == nil {
				d.Close()
				t.Errorf("%s: no error", name)
			}
			t.Log(err)
		}
	})
}

func TestProbe(t *testing.T) {
	for _, tt := range []struct {
		name  string
		known Offloads
		fail  error
		want  Offloads
	}{
		{"6.2", Checksums | TCP4 | TCP6 | ECN | UDP, nil, Checksums | TCP4 | TCP6 | ECN | UDP},
		{"5.15", Checksums | TCP4 | TCP6 | ECN, nil, Checksums | TCP4 | TCP6 | ECN},
		{"no ecn", Checksums | TCP4 | TCP6, nil, Checksums | TCP4 | TCP6},
		{"no tso6", Checksums | TCP4, nil, Checksums | TCP4},
		{"no tso4", Checksums | TCP6, nil, Checksums},
		{"checksums", Checksums, nil, Checksums},
		{"none", 0, nil, 0},
		{"broken", Checksums, unix.EBADFD, 0},
	} {
		got, err := probe(func(o Offloads) error {
			if tt.fail != nil {
				return tt.fail
			}
			if o&^tt.known != 0 {
				return unix.EINVAL
			}
			return nil
		})
		if err != tt.fail || err == nil && got != tt.want {
			t.Errorf("%s: %v, %v", tt.name, got, err)
		}
	}
	if s := (Checksums | TCP4 | UDP).String(); s != "tx tso4 uso" || Offloads(0).String() != "none" {
		t.Error(s)
	}
}

func TestExplain(t *testing.T) {
	d := Device{name: "b4tun0"}
	for _, c := range []struct {
		err       error
		words     string
		supported bool
	}{
		{explainOpen(unix.ENOENT), "kmod-tun", false},
		{explainOpen(unix.ENODEV), "kmod-tun", false},
		{explainOpen(unix.ENXIO), "kmod-tun", false},
		{explainOpen(unix.EACCES), "open /dev/net/tun: permission", true},
		{explainCreate("b4tun0", unix.EBUSY), "another program holds", true},
		{explainCreate("b4tun0", unix.EPERM), "CAP_NET_ADMIN", true},
		{explainCreate("a/b", unix.EINVAL), `"a/b"`, true},
		{explainCreate("b4tun0", unix.ENOMEM), "cannot allocate", true},
		{d.explain("read from", unix.EBADFD), "read from b4tun0: another program has deleted", true},
		{d.explain("write to", unix.EIO), "write to b4tun0: the device is down", true},
		{d.explain("write to", unix.ENOMEM), "write to b4tun0: cannot", true},
	} {
		if !strings.Contains(c.err.Error(), c.words) || errors.Is(c.err, engine.ErrNotSupported) == c.supported {
			t.Errorf("%v", c.err)
		}
		t.Log(c.err)
	}
	if explainOpen(nil) != nil {
		t.Error("an error from none")
	}
}

func TestKernelSupported(t *testing.T) {
	nstest.Enter(t)
	if err := New(Config{}).Supported(); err != nil {
		t.Error(err)
	}
}
