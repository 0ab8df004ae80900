package daemon

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"testing"
	"time"

	"b4/engine"
	"b4/fw"
	"b4/mark"
	"b4/netif"
	"b4/nfq"
	"b4/nstest"
	"b4/route"
	"b4/rtnl"
	"b4/tun"

	"github.com/google/nftables"
	"golang.org/x/sys/unix"
)

// A faulty is the real kernel, whose answer number n is an error.
type faulty struct {
	linux
	n, asked int
	hit      string // what failed
}

func (k *faulty) ask(what string) error {
	if k.asked++; k.asked == k.n {
		k.hit = what
		return errBroken
	}
	return nil
}

func (k *faulty) probe() (fw.Features, error) {
	if err := k.ask("probe"); err != nil {
		return fw.Features{}, err
	}
	return k.linux.probe()
}

func (k *faulty) openTable() (table, error) {
	if err := k.ask("open table"); err != nil {
		return nil, err
	}
	t, err := k.linux.openTable()
	return &faultyTable{t, k}, err
}

func (k *faulty) openSender(m mark.Set) (sender, error) {
	if err := k.ask("open sender"); err != nil {
		return nil, err
	}
	return k.linux.openSender(m)
}

func (k *faulty) openRoutes(tell func(string)) (routes, error) {
	if err := k.ask("open routes"); err != nil {
		return nil, err
	}
	r, err := k.linux.openRoutes(tell)
	return &faultyRoutes{r, k}, err
}

func (k *faulty) watchFirewall() (watcher, error) {
	if err := k.ask("watch firewall"); err != nil {
		return nil, err
	}
	return k.linux.watchFirewall()
}

func (k *faulty) readNAT(wan string) (fw.Translation, error) {
	if err := k.ask("read NAT"); err != nil {
		return fw.Translation{}, err
	}
	return k.linux.readNAT(wan)
}

func (k *faulty) newQueue(c nfq.Config) engine.Engine { return &faultyEngine{k.linux.newQueue(c), k} }
func (k *faulty) newTun(c tun.Config) tunEngine {
	e := k.linux.newTun(c)
	return &faultyTun{faultyEngine{e, k}, e}
}

type faultyTable struct {
	table
	k *faulty
}

func (t *faultyTable) Apply(r *fw.Ruleset, watched []string) error {
	if err := t.k.ask("apply"); err != nil {
		return err
	}
	return t.table.Apply(r, watched)
}

type faultyRoutes struct {
	routes
	k *faulty
}

func (r *faultyRoutes) Links() (route.Links, error) {
	if err := r.k.ask("links"); err != nil {
		return route.Links{}, err
	}
	return r.routes.Links()
}

// Reconcile fails after it has changed something, as when one of the families is
// refused.
func (r *faultyRoutes) Reconcile(s *route.State) error {
	err := r.routes.Reconcile(s)
	if s != nil {
		err = errors.Join(err, r.k.ask("reconcile"))
	}
	return err
}

type faultyEngine struct {
	engine.Engine
	k *faulty
}

func (e *faultyEngine) Supported() error {
	return errors.Join(e.k.ask("supported"), e.Engine.Supported())
}
func (e *faultyEngine) Start() error {
	if err := e.k.ask("start"); err != nil {
		return err
	}
	return e.Engine.Start()
}

type faultyTun struct {
	faultyEngine
	e tunEngine
}

func (t *faultyTun) SetOut(index int32) { t.e.SetOut(index) }
func (t *faultyTun) SetMTU(n int) error { return errors.Join(t.k.ask("mtu"), t.e.SetMTU(n)) }

// uplinks makes WAN devices in the test's namespace, each with a default route.
func uplinks(t *testing.T, names ...string) netif.WAN {
	t.Helper()
	nstest.Enter(t)
	nstest.Sysctl(t,
		"net.ipv6.conf.default.addr_gen_mode=1", // without link-local addresses nothing moves but by the test
		"net.ipv4.ip_forward=1",
		"net.ipv6.conf.all.forwarding=1",
		// What the TUN needs of its own it is given, whatever the others have.
		"net.ipv4.conf.all.rp_filter=1",
		"net.ipv6.conf.default.disable_ipv6=1",
	)
	var wan netif.WAN
	for i, name := range names {
		uplinkDevice(t, i, name)
		wan.V4, wan.V6 = append(wan.V4, name), append(wan.V6, name)
	}
	return wan
}

// uplinkDevice makes WAN device number i.
func uplinkDevice(t *testing.T, i int, name string) {
	t.Helper()
	nstest.TUN(t, name)
	nstest.Up(t, name)
	nstest.Addr(t, name, netip.PrefixFrom(netip.AddrFrom4([4]byte{192, 0, 2, byte(5 + i)}), 24))
	nstest.Route(t, name, netip.MustParsePrefix("0.0.0.0/0"), unix.RT_TABLE_MAIN, uint32(10+i))
	uplink6(t, i, name)
}

// uplink6 gives IPv6 to a WAN device.
func uplink6(t *testing.T, i int, name string) {
	t.Helper()
	nstest.Sysctl(t, "net.ipv6.conf."+name+".disable_ipv6=0")
	nstest.Addr(t, name, netip.MustParsePrefix(fmt.Sprintf("2001:db8:%d::5/64", i)))
	nstest.Route(t, name, netip.MustParsePrefix("::/0"), unix.RT_TABLE_MAIN, uint32(10+i))
	settle6(t)
}

// settle6 waits until the kernel is done with IPv6 addresses: a router's last act
// is the route to the anycast address of each network.
func settle6(t *testing.T) {
	t.Helper()
	c, err := rtnl.Dial()
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	count := func(typ uint16, is func(body []byte) bool) int {
		found, err := rtnl.Dump(c, typ, unix.AF_INET6, func(all []struct{}, m rtnl.Message) []struct{} {
			if is(m.Body) {
				all = append(all, struct{}{})
			}
			return all
		})
		if err != nil {
			t.Fatal(err)
		}
		return len(found)
	}
	const shorter = 127 // networks have such an address (RFC 4291 section 2.6.1), pairs and single addresses none
	for settled := false; !settled; time.Sleep(time.Millisecond) {
		tentative := count(unix.RTM_GETADDR, func(b []byte) bool { return b[2]&unix.IFA_F_TENTATIVE != 0 })
		networks := count(unix.RTM_GETADDR, func(b []byte) bool { return b[1] < shorter && b[3] == unix.RT_SCOPE_UNIVERSE })
		settled = tentative == 0 && networks == count(unix.RTM_GETROUTE, func(b []byte) bool { return b[7] == unix.RTN_ANYCAST })
	}
}

// census is what the namespace and the process have: file descriptors, devices,
// addresses, routes, rules and tables, each by its text.
func census(t *testing.T) map[string]int {
	t.Helper()
	m := map[string]int{}
	for i := range 1024 {
		if _, err := unix.FcntlInt(uintptr(i), unix.F_GETFD, 0); err == nil {
			m["fds"]++
		}
	}
	c, err := rtnl.Dial()
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	for what, typ := range map[string]uint16{"link": unix.RTM_GETLINK, "addr": unix.RTM_GETADDR, "route": unix.RTM_GETROUTE, "rule": unix.RTM_GETRULE} {
		for _, family := range []uint8{unix.AF_INET, unix.AF_INET6} {
			all, err := rtnl.Dump(c, typ, family, func(all []string, msg rtnl.Message) []string {
				if typ == unix.RTM_GETLINK {
					msg.Body = nil // it counts packets
				}
				return append(all, fmt.Sprintf("%s of %d: %x", what, family, msg.Body))
			})
			if err != nil {
				t.Fatal(err)
			}
			for _, text := range all {
				m[text]++
			}
		}
	}
	tables, err := (&nftables.Conn{}).ListTables()
	if err != nil {
		t.Fatal(err)
	}
	for _, table := range tables {
		m["table "+table.Name]++
	}
	return m
}

// same asks that there is what there was.
func same(t *testing.T, what string, before map[string]int) {
	t.Helper()
	after := census(t)
	for text, n := range before {
		if after[text] != n {
			t.Errorf("%s: %d of %s, and there were %d", what, after[text], text, n)
		}
	}
	for text, n := range after {
		if before[text] == 0 {
			t.Errorf("%s: %d of %s, and there were none", what, n, text)
		}
	}
}

var quiet = slog.New(slog.NewTextHandler(io.Discard, nil))

// Whatever step of the start fails, on the real kernel, nothing of it is left:
// no descriptor, device, address, route, rule or table.
func TestFailedStartLeavesNothing(t *testing.T) {
	for _, conf := range []string{
		"\toption engine 'nfqueue'\n", "\toption engine 'tun'\n", "\toption engine 'auto'\n",
		"\toption engine 'tun'\n\toption steer 'all'\n",
		"\toption engine 'tun'\nconfig tun 'tun'\n\toption gateway '192.0.2.1'\n",
	} {
		t.Run("", func(t *testing.T) {
			wan := uplinks(t, "wan0")
			s := configured(t, enabled+conf)
			for n := 1; ; n++ {
				k := &faulty{n: n}
				before := census(t)
				c, err := startCore(k, s, scope{devices: wan.Devices()}, nil, quiet)
				switch {
				case k.hit == "":
					if err != nil || c.idle != nil || len(c.watched) != 1 {
						t.Fatalf("without a fault: %v, %v", err, c.idle)
					}
					if c.tunnel != nil && len(c.tunnel.uplink.notes) > 0 {
						t.Error(c.tunnel.uplink.notes)
					}
				case err == nil && c.idle == nil && c.choice.engine == engineTun && k.hit == "supported":
					// auto has taken the other one
				case err == nil && c.idle == nil:
					t.Errorf("%s failed, and nobody cared", k.hit)
				case err == nil && len(c.watched) > 0:
					t.Errorf("%s failed, and packets are steered", k.hit)
				case err != nil && !errors.Is(err, errBroken):
					t.Errorf("%s: %v", k.hit, err)
				}
				if err == nil {
					if err := c.stop(); err != nil {
						t.Errorf("%s: stop: %v", k.hit, err)
					}
				}
				same(t, "after "+k.hit, before)
				if k.hit == "" {
					t.Logf("%d steps", n-1)
					return
				}
			}
		})
	}
}

// configured is the settings of a configuration file.
func configured(t *testing.T, conf string) *settings {
	t.Helper()
	path := filepath.Join(t.TempDir(), "b4")
	if err := os.WriteFile(path, []byte(conf), 0o600); err != nil {
		t.Fatal(err)
	}
	s, _, err := load(path, nil)
	if err != nil {
		t.Fatal(err)
	}
	return s
}
