package fw

import (
	"encoding/binary"
	"net/netip"
	"runtime"
	"slices"
	"testing"
	"time"

	"b4/nstest"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// scattered are so many prefixes of both families that do not touch.
func scattered(n int) (list []netip.Prefix) {
	for i := range uint32(n / 2) {
		v4 := binary.BigEndian.AppendUint32(nil, 11<<24|i<<9)
		v6 := append([]byte{0x20, 1, 0xd, 0xb8}, binary.BigEndian.AppendUint32(nil, i<<1)...)
		a4, _ := netip.AddrFromSlice(v4)
		a6, _ := netip.AddrFromSlice(append(v6, make([]byte, 8)...))
		list = append(list, netip.PrefixFrom(a6, 64), netip.PrefixFrom(a4, 24))
	}
	return list
}

// elementsOf counts what a set holds, ends of intervals too.
func elementsOf(t testing.TB, set string) int {
	t.Helper()
	s, err := dial()
	if err != nil {
		t.Fatal(err)
	}
	defer s.close()
	n := 0
	get := request(unix.NFT_MSG_GETSETELEM, func(ae *netlink.AttributeEncoder) {
		ae.String(unix.NFTA_SET_ELEM_LIST_SET, set)
	})
	err = s.dump(get, func(_ uint8, a attrs) error {
		list := a.get(unix.NFTA_SET_ELEM_LIST_ELEMENTS)
		for _, _, ok := list.next(); ok; _, _, ok = list.next() {
			n++
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// A list may be long: it goes into the kernel with the rules, as one transaction, and
// stays there while it is the same.
func TestManyPrefixes(t *testing.T) {
	t.Parallel()
	nstest.Enter(t)
	r, c := newRouter(t), mustOpen(t)
	var macs [][6]byte
	for i := range uint16(1000) {
		macs = append(macs, [6]byte{2, 0, 0, 0, byte(i >> 8), byte(i)})
	}
	never := append(scattered(20000), prefixes("192.0.2.2/32 fd00:b::2/128")...)
	edit := func(c *Config) {
		groups(c, Group{MACs: macs, Sources: scattered(1000)})
		c.Devices.Never = never
	}
	rules := mustPlan(t, edit)
	start, before := time.Now(), allocated()
	mustApply(t, c, rules, "wan0")
	t.Logf("%d prefixes took %v and %d KiB", len(never), time.Since(start), (allocated()-before)>>10)
	for set, want := range map[string]int{"never4": 2 * 10001, "never6": 2 * 10001, "group0_macs": 1000, "group0_sources4": 1000, "group0_sources6": 1000} {
		if got := elementsOf(t, set); got != want {
			t.Errorf("set %s holds %d elements, want %d", set, got, want)
		}
	}
	looks := func(sport uint16, want uint64) {
		t.Helper()
		if err := c.Answer(); err != nil {
			t.Fatal(err)
		}
		before := r.counters(c).Opened
		for _, v6 := range []bool{false, true} {
			r.shake(newFlow(v6, sport, 443))
		}
		if n := r.counters(c).Opened - before; n != want {
			t.Errorf("%d connections were looked at, want %d", n, want)
		}
	}
	looks(40000, 0)

	start = time.Now()
	mustApply(t, c, mustPlan(t, edit), "wan0")
	t.Logf("again: %v", time.Since(start))
	b := newBatch(tableName)
	b.replaceSets(rules, mustPlan(t, edit))
	if n := len(b.what); n != 1 {
		t.Errorf("the same again takes %d messages, want none", n-1)
	}

	never = never[:30]
	mustApply(t, c, mustPlan(t, edit), "wan0")
	if got := elementsOf(t, "never4"); got != 30 {
		t.Errorf("a list that changed holds %d elements, want 30", got)
	}
	looks(40001, 2)
	mustApply(t, c, mustPlan(t, nil), "wan0")
	if got := inKernel(t).sets; !slices.Equal(got, alwaysSets) {
		t.Errorf("sets %q are left, want %q alone", got, alwaysSets)
	}
}

// The packet loop does not wait while the rules are changed.
func TestTryAnswerWaitsForNobody(t *testing.T) {
	var c Conn
	c.mu.Lock()
	tried := make(chan bool, 1)
	go func() { done, _ := c.TryAnswer(); tried <- done }()
	select {
	case done := <-tried:
		if done {
			t.Error("says that it has answered")
		}
	case <-time.After(5 * time.Second):
		t.Error("still waiting")
	}
}

// allocated is how many bytes were, so far.
func allocated() uint64 {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.TotalAlloc
}
