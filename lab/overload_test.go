package lab

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"b4/mark"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
)

// crowded opens n connections at once, and tells how long each took.
func crowded(t *testing.T, l *Lab, n int) []time.Duration {
	t.Helper()
	took, errs := make([]time.Duration, n), make([]error, n)
	var live sync.WaitGroup
	for i := range n {
		live.Add(1)
		go func() {
			defer live.Done()
			res, err := l.Get(Request{Host: Allowed, V6: i%2 == 1, Hello: Hello(i / 2 % 2), Path: "/bytes?n=1000"})
			took[i], errs[i] = res.Took, err
		}()
	}
	live.Wait()
	if err := errors.Join(errs...); err != nil {
		t.Error(err)
	}
	slices.Sort(took)
	return took
}

// A queue that is full lets pass what comes, and a device's drops it; the
// watchdog ends that. Whichever it is, and whether b4d is slow or stands still,
// every connection opens.
func TestQueueFull(t *testing.T) {
	t.Parallel()
	engines(t, func(t *testing.T, engine string) {
		t.Parallel()
		const short, crowd = 16, 100
		l := build(t, Options{Firewall: &Firewall{Masq4: true, Masq6: true}})
		d := launchB4D(t, l, configure(engine, fmt.Sprintf("option queue_len '%d'", short)))
		before := stateOf(t, l)
		took := crowded(t, l, crowd)
		t.Logf("at once: the longest of %d connections took %v", crowd, took[crowd-1])
		if err := d.Freeze(); err != nil {
			t.Fatal(err)
		}
		seen, err := l.watchFlows()
		must(t, err)
		took = crowded(t, l, crowd)
		must(t, seen.close())
		passed := seen.unhurt()
		t.Logf("with b4d stopped: %d of %d connections lost nothing, the longest took %v", passed, crowd, took[crowd-1])
		if engine == "nfqueue" && passed < crowd-short {
			t.Errorf("%d of %d connections passed the queue of %d packets", passed, crowd, short)
		}
		if err := d.Signal(syscall.SIGCONT); err != nil {
			t.Fatal(err)
		}
		opensAgain(t, l, "after SIGCONT")
		if diff := Changes(before, stateOf(t, l)); len(diff) > 0 {
			t.Errorf("the router has another %v", diff)
		}
	})
}

// unhurt counts the connections of which the router has kept back nothing. It is for
// behind close.
func (s *flows) unhurt() (n int) {
	for _, f := range s.open {
		if f.lost() == 0 {
			n++
		}
	}
	return n
}

// forbid has another table drop what the router sends with b4's mark and is
// longer than longest bytes: the sends fail, with EPERM.
func (l *Lab) forbid(longest uint32) error {
	marks, err := mark.New(mark.Base)
	if err != nil {
		return err
	}
	return l.Router.Do(func() error {
		c, err := nftables.New()
		if err != nil {
			return err
		}
		table := c.AddTable(&nftables.Table{Family: nftables.TableFamilyINet, Name: "other"})
		chain := c.AddChain(&nftables.Chain{Table: table, Name: "output", Type: nftables.ChainTypeFilter,
			Hooknum: nftables.ChainHookOutput, Priority: nftables.ChainPriorityFilter})
		ours := binaryutil.NativeEndian.PutUint32(marks.Injected)
		c.AddRule(&nftables.Rule{Table: table, Chain: chain, Exprs: []expr.Any{
			&expr.Meta{Key: expr.MetaKeyMARK, Register: 1},
			&expr.Bitwise{SourceRegister: 1, DestRegister: 1, Len: 4, Mask: ours, Xor: make([]byte, 4)},
			&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: ours},
			&expr.Meta{Key: expr.MetaKeyLEN, Register: 1},
			&expr.Byteorder{SourceRegister: 1, DestRegister: 1, Op: expr.ByteorderHton, Len: 4, Size: 4},
			&expr.Cmp{Op: expr.CmpOpGt, Register: 1, Data: binary.BigEndian.AppendUint32(nil, longest)},
			&expr.Verdict{Kind: expr.VerdictDrop},
		}})
		return c.Flush()
	})
}

// permit takes away what forbid made.
func (l *Lab) permit() error {
	return l.Router.Do(func() error {
		c, err := nftables.New()
		if err != nil {
			return err
		}
		c.DelTable(&nftables.Table{Family: nftables.TableFamilyINet, Name: "other"})
		return c.Flush()
	})
}

// Where what b4d sends is refused, all of it or just the second piece of a hello,
// the hello goes on as it came: by a queue at once, by a TUN, from which there is
// no other way, when the client sends it again. So it is with what b4d has kept
// until the rest of a hello came.
func TestForbidden(t *testing.T) {
	t.Parallel()
	engines(t, func(t *testing.T, engine string) {
		t.Parallel()
		l := build(t, Options{Firewall: &Firewall{Masq4: true, Masq6: true}})
		d := launchB4D(t, l, configure(engine)+"\nconfig strategy 'default'\n\toption tls 'split(2, midsld)'\n")
		for _, longest := range []uint32{0, 100} {
			if err := l.forbid(longest); err != nil {
				t.Fatal(err)
			}
			before := mustStatus(t, d).Engine.Counters
			seen, err := l.watchFlows()
			if err != nil {
				t.Fatal(err)
			}
			const connections = 16
			crowded(t, l, connections)
			if err := errors.Join(seen.close(), l.permit()); err != nil {
				t.Fatal(err)
			}
			for key, f := range seen.open {
				whole := len(f[ToServer].in) > 1 && f[ToServer].in[1].to <= 1000 // the hello, after the SYN
				if f.waits() > 1 || engine == "nfqueue" && whole && f.lost() > 0 {
					t.Errorf("%+v, up to %d bytes allowed: waited %d times, lost %d", key, longest, f.waits(), f.lost())
				}
			}
			n := mustStatus(t, d).Engine.Counters
			if failed, sent := n.SendFailed-before.SendFailed, n.Sent-before.Sent; failed < connections || sent > 0 != (longest > 0) {
				t.Errorf("up to %d bytes allowed: %d sends failed, %d did not", longest, failed, sent)
			}
			if len(seen.open) != connections || !strings.Contains(d.Log(), "not permitted") {
				t.Errorf("%d connections; the log has nothing of it:\n%s", len(seen.open), d.Log())
			}
		}
		opensAgain(t, l, "when it is permitted")
	})
}

// Where the uplink's MTU gets smaller than the segments that are on their way,
// connections go on: those that are open too.
func TestSmallerMTU(t *testing.T) {
	t.Parallel()
	engines(t, func(t *testing.T, engine string) {
		t.Parallel()
		l := build(t, Options{Firewall: &Firewall{Masq4: true, Masq6: true}})
		launchB4D(t, l, configure(engine))
		seen, err := l.watchFlows()
		if err != nil {
			t.Fatal(err)
		}
		for _, mtu := range []int{1400, 1280} {
			if err := l.SetMTU(mtu); err != nil {
				t.Fatal(err)
			}
			for _, v6 := range []bool{false, true} {
				if err := send(l, Request{Host: Blocked, V6: v6, Hello: PostQuantum}, 256<<10); err != nil {
					t.Errorf("MTU %d, v6 %t: %v", mtu, v6, err)
				}
			}
		}
		if err := seen.close(); err != nil {
			t.Error(err)
		}
		for key, f := range seen.open {
			if f.waits() > 1 {
				t.Errorf("%+v waited %d times", key, f.waits())
			}
		}
		opensAgain(t, l, "afterwards")
	})
}
