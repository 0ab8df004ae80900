package fw

import (
	"testing"
	"time"

	"b4/nlwatch"
	"b4/nstest"

	"github.com/google/nftables"
)

// told reports whether w tells of what act does, as it is to or not.
func told(t *testing.T, w *nlwatch.Watcher, act func() error, want bool) bool {
	t.Helper()
	limit := time.Second // well above what a watcher gathers for
	if want {
		limit = soon
	}
	if err := act(); err != nil {
		t.Fatal(err)
	}
	start := time.Now()
	if err := w.Wait(limit); err != nil {
		t.Fatal(err)
	}
	return time.Since(start) < limit
}

// Another's rules are told of, and so is their end; what fills sets is not, nor
// are our own answers.
func TestWatch(t *testing.T) {
	t.Parallel()
	nstest.Enter(t)
	w, err := Watch()
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	conn := newStranger(t)
	table := &nftables.Table{Family: nftables.TableFamilyINet, Name: "fw4"}
	set := &nftables.Set{Table: table, Name: "hosts", KeyType: nftables.TypeIPAddr}
	c, err := Open()
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	rules := mustPlan(t, nil)
	for _, tt := range []struct {
		what string
		act  func() error
		want bool
	}{
		{"a table with a chain and a set", func() error {
			conn.AddTable(table)
			conn.AddChain(&nftables.Chain{Table: table, Name: "srcnat", Type: nftables.ChainTypeNAT, Hooknum: nftables.ChainHookPostrouting, Priority: nftables.ChainPriorityNATSource})
			if err := conn.AddSet(set, nil); err != nil {
				return err
			}
			return conn.Flush()
		}, true},
		{"a rule", func() error {
			conn.AddRule(&nftables.Rule{Table: table, Chain: &nftables.Chain{Name: "srcnat"}})
			return conn.Flush()
		}, true},
		{"an element", func() error {
			if err := conn.SetAddElements(set, []nftables.SetElement{{Key: []byte{192, 0, 2, 1}}}); err != nil {
				return err
			}
			return conn.Flush()
		}, false},
		{"our rules", func() error { return c.Apply(rules, []string{"wan0"}) }, true},
		{"our answer", c.Answer, false},
		{"everything goes", func() error { conn.FlushRuleset(); return conn.Flush() }, true},
	} {
		if got := told(t, w, tt.act, tt.want); got != tt.want {
			t.Errorf("%s: told %v", tt.what, got)
		}
	}
}
