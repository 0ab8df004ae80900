package fw

import (
	"errors"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"b4/nstest"

	"golang.org/x/sys/unix"
)

// mustOpen is Open for tests that answer late, or never: on a slow machine more than
// Patience passes between a packet that asks and the next.
func mustOpen(t testing.TB) *Conn {
	t.Helper()
	c, err := open(tableOwner, limits{Lease, time.Minute})
	return opened(t, c, err)
}

// impatient is Open as b4d calls it.
func impatient(t testing.TB) *Conn {
	t.Helper()
	c, err := Open()
	return opened(t, c, err)
}

// opened closes c when the test ends.
func opened(t testing.TB, c *Conn, err error) *Conn {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

func mustApply(t testing.TB, c *Conn, r *Ruleset, watched ...string) {
	t.Helper()
	if err := c.Apply(r, watched); err != nil {
		t.Fatal(err)
	}
}

func TestProbe(t *testing.T) {
	nstest.Enter(t)
	f, err := Probe()
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%+v", f)
	if (f.Queue == None) != (f.Missing != "") {
		t.Errorf("queue %v, missing %q", f.Queue, f.Missing)
	}
	if !f.Tun {
		t.Error("no rules to a TUN")
	}
	if l := inKernel(t); len(l.tables) != 0 {
		t.Errorf("left %q", l.tables)
	}
}

func TestApplyListsBack(t *testing.T) {
	nstest.Enter(t)
	c := mustOpen(t)
	plain := mustPlan(t, nil)
	full := mustPlan(t, func(c *Config) {
		c.TCP, c.Replies = []uint16{80, 443}, Replies{SYNACK: true, First: 2, End: true}
	})
	ports := mustPlan(t, func(c *Config) { c.TCP, c.UDP = []uint16{80, 443}, []uint16{443, 784} })
	udp := mustPlan(t, func(c *Config) { c.TCP, c.UDP = nil, []uint16{443, 8443} })
	block := mustPlan(t, func(c *Config) { c.UDP, c.Block = []uint16{443}, QUICBlock{Ports: []uint16{443, 784}, Reject: true} })
	only := mustPlan(t, func(c *Config) { c.TCP, c.Router, c.Block = nil, true, QUICBlock{Ports: []uint16{443, 784}} })
	tunnel := mustPlan(t, behindNAT)
	blocking := mustPlan(t, func(c *Config) { behindNAT(c); c.Block = QUICBlock{Ports: []uint16{443}} })
	routed := mustPlan(t, func(c *Config) { toTUN(c, "", "") })
	whole := mustPlan(t, func(c *Config) { c.All = true })
	wholeTunnel := mustPlan(t, func(c *Config) { behindNAT(c); c.All = true })
	var chains []string // that there have been: none goes away, or what is queued would be lost
	for i, r := range []*Ruleset{plain, plain, full, full, plain, tunnel, tunnel, routed, full, tunnel, wholeTunnel, whole, tunnel, whole, wholeTunnel, ports, ports, full, udp, ports, tunnel, udp, block, only, blocking, only, tunnel, plain} {
		mustApply(t, c, r, "wan0", "wan1")
		want := listing{rules: map[string]int{}}
		for _, ch := range r.chains {
			chains = append(chains, ch.name)
			want.rules[ch.name] = len(ch.rules)
		}
		slices.Sort(chains)
		chains = slices.Compact(chains)
		want.chains = chains
		got := inKernel(t)
		if !slices.Equal(got.tables, []string{tableName}) || !slices.Equal(got.chains, want.chains) {
			t.Errorf("apply %d: tables %q, chains %q, want %q", i, got.tables, got.chains, want.chains)
		}
		for _, name := range want.chains {
			if got.rules[name] != want.rules[name] {
				t.Errorf("apply %d: chain %s has %d rules, want %d", i, name, got.rules[name], want.rules[name])
			}
		}
		want.sets = slices.Clone(alwaysSets)
		for _, s := range r.ports {
			want.sets = append(want.sets, s.name)
		}
		slices.Sort(want.sets)
		if len(got.counters) != len(counterNames) || !slices.Equal(got.sets, want.sets) {
			t.Errorf("apply %d: counters %q, sets %q, want %q", i, got.counters, got.sets, want.sets)
		}
		if n := elements(t, c.s); n != 2 {
			t.Errorf("apply %d: %d watched devices, want 2", i, n)
		}
	}
}

func TestOwner(t *testing.T) {
	nstest.Enter(t)
	f, err := Probe()
	if err != nil {
		t.Fatal(err)
	}
	if !f.Owner {
		t.Skip("tables have no owner on this kernel")
	}
	c := mustOpen(t)
	mustApply(t, c, mustPlan(t, nil), "wan0")
	if l := inKernel(t); l.flags&tableOwner == 0 {
		t.Errorf("table flags %#x, want the owner flag", l.flags)
	}
	if _, err := Open(); !errors.Is(err, ErrOwned) || !errors.Is(err, unix.EPERM) || strings.Contains(err.Error(), "\n") {
		t.Errorf("second Open: %v", err)
	}
	if err := Cleanup(); !errors.Is(err, ErrOwned) {
		t.Errorf("Cleanup: %v", err)
	}
	if err := c.Answer(); err != nil {
		t.Errorf("the first goes on: %v", err)
	}
	if err := errors.Join(c.Close(), c.Close()); err != nil {
		t.Error(err)
	}
	if l := inKernel(t); len(l.tables) != 0 {
		t.Errorf("Close left %q", l.tables)
	}
}

// The kernel closes the sockets of a killed process.
func TestTableGoesWithItsSocket(t *testing.T) {
	nstest.Enter(t)
	c := mustOpen(t)
	if c.flags&tableOwner == 0 {
		t.Skip("tables have no owner on this kernel")
	}
	mustApply(t, c, mustPlan(t, nil), "wan0")
	fd, err := unix.Open("/dev/null", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(unix.Dup3(fd, c.s.fd, unix.O_CLOEXEC), unix.Close(fd)); err != nil {
		t.Fatal(err)
	}
	if l := inKernel(t); len(l.tables) != 0 {
		t.Errorf("left %q", l.tables)
	}
	if err := c.Answer(); err == nil {
		t.Error("Answer on a lost socket: want an error")
	}
}

// A kernel without owned tables leaves the table of a killed b4d.
func TestStaleTable(t *testing.T) {
	nstest.Enter(t)
	leave := func() {
		c, err := open(0, usual)
		if err != nil {
			t.Fatal(err)
		}
		mustApply(t, c, mustPlan(t, nil), "wan0")
		if err := c.s.close(); err != nil {
			t.Fatal(err)
		}
		if l := inKernel(t); len(l.tables) != 1 || l.flags != 0 {
			t.Fatalf("tables %q with flags %#x, want a plain one", l.tables, l.flags)
		}
	}
	leave()
	c := mustOpen(t)
	if l := inKernel(t); len(l.chains) != 0 || l.flags != c.flags {
		t.Errorf("Open left chains %q, flags %#x", l.chains, l.flags)
	}
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	leave()
	for range 2 {
		if err := Cleanup(); err != nil {
			t.Error(err)
		}
	}
	if l := inKernel(t); len(l.tables) != 0 {
		t.Errorf("Cleanup left %q", l.tables)
	}
}

// 0x80 is a flag that no kernel knows, as the owner flag is to Linux 5.11.
func TestKernelWithoutOwners(t *testing.T) {
	nstest.Enter(t)
	c, err := open(0x80, usual)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	mustApply(t, c, mustPlan(t, nil), "wan0")
	if l := inKernel(t); len(l.tables) != 1 || l.flags != 0 {
		t.Errorf("tables %q with flags %#x, want a plain one", l.tables, l.flags)
	}
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	if l := inKernel(t); len(l.tables) != 0 {
		t.Errorf("Close left %q", l.tables)
	}
}

func TestPlainTableLost(t *testing.T) {
	nstest.Enter(t)
	c, err := open(0, usual)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	r := mustPlan(t, nil)
	mustApply(t, c, r, "wan0")
	if err := Cleanup(); err != nil { // as `firewall stop` does
		t.Fatal(err)
	}
	if err := c.Answer(); !errors.Is(err, unix.ENOENT) {
		t.Errorf("Answer without a table: %v", err)
	}
	if err := c.Apply(r, []string{"wan0"}); !errors.Is(err, unix.ENOENT) {
		t.Errorf("Apply without a table: %v", err)
	}
	if err := c.Close(); err != nil {
		t.Errorf("Close without a table: %v", err)
	}
	mustApply(t, mustOpen(t), r, "wan0")
}

func TestFailedApplyChangesNothing(t *testing.T) {
	nstest.Enter(t)
	c := mustOpen(t)
	good := mustPlan(t, nil)
	mustApply(t, c, good, "wan0")
	before := inKernel(t)

	bad := &Ruleset{chains: append(slices.Clone(good.chains),
		chain{"broken", nil, []rule{{gotoChain("nowhere")}}})}
	err := c.Apply(bad, []string{"wan0", "wan1"})
	if !errors.Is(err, unix.ENOENT) || !strings.Contains(err.Error(), `chain broken the rule "goto nowhere"`) {
		t.Errorf("got %v", err)
	}
	after := inKernel(t)
	if !slices.Equal(before.chains, after.chains) || after.rules["decisive"] != before.rules["decisive"] {
		t.Errorf("before %+v, after %+v", before, after)
	}
	if n := elements(t, c.s); n != 1 {
		t.Errorf("%d watched devices, want 1", n)
	}
	if err := c.Apply(good, []string{"a name that is too long"}); err == nil {
		t.Error("bad device name: want an error")
	}
	mustApply(t, c, good, "wan0")
}

func TestAnswerAllocatesNothing(t *testing.T) {
	nstest.Enter(t)
	c := mustOpen(t)
	mustApply(t, c, mustPlan(t, nil), "wan0", "wan1")
	n := testing.AllocsPerRun(100, func() {
		if err := c.Answer(); err != nil {
			t.Fatal(err)
		}
	})
	if n != 0 {
		t.Errorf("%v allocations, want 0", n)
	}
}

func BenchmarkAnswer(b *testing.B) {
	nstest.Enter(b)
	c := mustOpen(b)
	mustApply(b, c, mustPlan(b, nil), "wan0")
	b.ReportAllocs()
	b.ResetTimer()
	for range b.N {
		if err := c.Answer(); err != nil {
			b.Fatal(err)
		}
	}
}

// The packet loop answers while the daemon reloads and asks for counts.
func TestConcurrentUse(t *testing.T) {
	nstest.Enter(t)
	c := mustOpen(t)
	r := mustPlan(t, nil)
	mustApply(t, c, r, "wan0")
	var wg sync.WaitGroup
	for _, f := range []func() error{
		c.Answer,
		func() error { _, err := c.TryAnswer(); return err },
		func() error { return c.Apply(r, []string{"wan0"}) },
		func() error { return c.Watch([]string{"wan0", "wan1"}) },
		func() error { _, err := c.Counters(); return err },
	} {
		wg.Add(1)
		go func() {
			defer wg.Done()
			for range 20 {
				if err := f(); err != nil {
					t.Error(err)
				}
			}
		}()
	}
	wg.Wait()
}

func TestClosed(t *testing.T) {
	nstest.Enter(t)
	c := mustOpen(t)
	r := mustPlan(t, nil)
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	_, counters := c.Counters()
	for name, err := range map[string]error{
		"Apply": c.Apply(r, nil), "Watch": c.Watch(nil), "Answer": c.Answer(), "Counters": counters,
	} {
		if !errors.Is(err, os.ErrClosed) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// The capability is dropped for the test's thread only, which ends with it.
func TestWithoutCapability(t *testing.T) {
	nstest.Enter(t)
	hdr := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var none [2]unix.CapUserData
	if err := unix.Capset(&hdr, &none[0]); err != nil {
		t.Fatal(err)
	}
	_, openErr := Open()
	_, probeErr := Probe()
	for _, err := range []error{openErr, probeErr, Cleanup()} {
		if !errors.Is(err, unix.EPERM) || errors.Is(err, ErrOwned) || !strings.Contains(err.Error(), "CAP_NET_ADMIN") {
			t.Errorf("got %v", err)
		}
	}
}
