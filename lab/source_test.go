package lab

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// Behind masquerading of both families no packet leaves with an address of the
// LAN, whatever the engine, while the provider changes WAN's addresses again
// and again; and what a change cuts ends soon.
func TestNoLANSourceLeaves(t *testing.T) {
	engines(t, func(t *testing.T, engine string) {
		t.Parallel()
		connections := int64(10000)
		if engine != "tun" {
			connections /= 10 // the others are after NAT by their place
		}
		l := build(t, Options{Firewall: &Firewall{}})
		watch := watchLAN(t, l)
		for _, v6 := range []bool{false, true} {
			if err := l.Open(Request{Host: Allowed, V6: v6}); err != nil {
				t.Fatal(err)
			}
			if watch.packets() == 0 {
				t.Fatalf("v6 %t: what has an address of the LAN is not counted", v6)
			}
		}
		if err := l.SetFirewall(Firewall{Masq4: true, Masq6: true}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(100 * time.Millisecond) // the last connection's end was routed as it was
		d := launchB4D(t, l, configure(engine))
		watch.packets()
		first := mustStatus(t, d)

		c := readdressed(t, l, d, engine, connections)
		for more := 2; more > 0 && engine != "tun" && c.slow > renewals && c.cut <= renewals*shakers; more-- {
			first = mustStatus(t, d)
			c = readdressed(t, l, d, engine, connections) // on a busy machine most clients wait for an answer
		}
		s := mustStatus(t, d)
		packets, _ := s.Since(first)
		t.Logf("%d packets in user space", packets)
		if n := watch.packets(); n != 0 {
			t.Errorf("%d packets left with an address of the LAN", n)
		}
		if int64(packets) < connections {
			t.Errorf("%d connections, but only %d packets came to user space: what was proven?", connections, packets)
		}
		// The kernel's own masquerading leaves a client that waits for an
		// answer without one, too: that is what the exception is for.
		if c.cut > renewals*shakers || c.slow > renewals {
			t.Errorf("%d connections were cut, %d of them without being told", c.cut, c.slow)
		}
		for _, v6 := range []bool{false, true} {
			if err := l.CheckOpen(profile(t), Request{Host: Blocked, V6: v6}); err != nil {
				t.Error("in the end:", err)
			}
		}
	})
}

// So many times the addresses change, while so many connections are made at once.
const renewals, shakers = 12, 8

// readdressed makes connections while the provider changes WAN's addresses.
func readdressed(t *testing.T, l *Lab, d *B4D, engine string, connections int64) *cuts {
	t.Helper()
	start := time.Now()
	c := &cuts{opened: start}
	var begun atomic.Int64
	var live sync.WaitGroup
	for i := range shakers {
		live.Add(1)
		go func() {
			defer live.Done()
			for begun.Add(1) <= connections && !c.hopeless() {
				c.note(t, l, i%2 == 1)
			}
		}()
	}
	for n := range int64(renewals) {
		for begun.Load() < (n+1)*connections/(renewals+1) && !c.hopeless() {
			time.Sleep(time.Millisecond)
		}
		v4, v6 := WANAddr4, netip.MustParseAddr("2001:db8:f::2")
		if n%2 == 0 {
			v4, v6 = netip.MustParseAddr("198.51.100.3"), netip.MustParseAddr("2001:db8:f::3")
		}
		c.change(func() error {
			if err := l.SetWAN(v4, v6); err != nil {
				return err
			}
			return d.has(ofTUN(engine, fmt.Sprintf("IPv4 masqueraded as %v; IPv6 masqueraded as %v", v4, v6)))
		}, t)
	}
	live.Wait()
	took := time.Since(start)
	if n := begun.Load(); n < connections {
		t.Errorf("only %d connections of %d in %v, %d of them failed for no reason", n, connections, took, c.wrong)
	}
	t.Logf("%d connections in %v, %d cut, %d of them without being told, the slowest after %v; a change took %v at the most",
		connections, took, c.cut, c.slow, c.slowest, c.longest)
	return c
}

// has waits until b4d has this uplink.
func (d *B4D) has(uplink string) error {
	return within(followsLimit, func() error {
		s, err := d.Status()
		return errors.Join(err, s.leavesBy(uplink))
	})
}

// cuts counts the connections that a change of address has ended.
type cuts struct {
	mu        sync.Mutex
	changed   time.Time // the last change's end
	n         int       // of changes begun
	changing  bool
	cut, slow int
	wrong     int           // that failed for no reason
	opened    time.Time     // when one last did not fail
	slowest   time.Duration // to be told
	longest   time.Duration // of changes
}

// hopeless is when there is nothing more to learn: each failure takes seconds.
func (c *cuts) hopeless() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.wrong > 20 || time.Since(c.opened) > enough
}

// enough is how long none may open: b4d follows a change (followsLimit), and what
// began before that comes to its deadline.
const enough = 20 * time.Second

// settle is how long after a change of address connections may still fail: b4d
// makes its rules anew, on a busy machine too.
const settle = time.Second

// told is how long it may take until a client is told.
const told = 1500 * time.Millisecond

// change makes a change, which ends when b4d knows of it.
func (c *cuts) change(f func() error, t *testing.T) {
	c.mu.Lock()
	c.n, c.changing = c.n+1, true
	c.mu.Unlock()
	start := time.Now()
	if err := f(); err != nil {
		t.Error(err)
	}
	c.mu.Lock()
	c.changing, c.changed = false, time.Now()
	c.longest = max(c.longest, c.changed.Sub(start))
	c.mu.Unlock()
}

// note opens one connection and notes how that ended.
func (c *cuts) note(t *testing.T, l *Lab, v6 bool) {
	c.mu.Lock()
	n, near := c.n, c.changing || time.Since(c.changed) < settle
	c.mu.Unlock()
	start := time.Now()
	err := shake(l, v6)
	took := time.Since(start)
	c.mu.Lock()
	defer c.mu.Unlock()
	if err == nil {
		c.opened = time.Now()
		return
	}
	if c.n == n && !near {
		c.wrong++
		t.Errorf("v6 %t: %v after the last change of address: after %v: %v", v6, start.Sub(c.changed), took, err)
		return
	}
	c.cut++
	c.slowest = max(c.slowest, took)
	if took > told {
		c.slow++
	}
	if c.changing { // there is no uplink: do not spin
		time.Sleep(time.Millisecond)
	}
}

// shake opens a connection and shakes hands on it.
func shake(l *Lab, v6 bool) error {
	deadline := time.Now().Add(5 * time.Second)
	conn, err := l.dial(l.Client, Modern.Addr(v6), deadline)
	if err != nil {
		return err
	}
	defer conn.Close()
	conn.SetLinger(0)
	conn.SetDeadline(deadline)
	return tls.Client(conn, &tls.Config{ServerName: Blocked, InsecureSkipVerify: true, CurvePreferences: Small.curves()}).Handshake()
}
