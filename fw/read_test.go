package fw

import (
	"errors"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"b4/nstest"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// A stranger changes the rules as another program would.
type stranger struct {
	t testing.TB
	*nftables.Conn
}

func newStranger(t testing.TB) stranger {
	t.Helper()
	c, err := nftables.New()
	if err != nil {
		t.Fatal(err)
	}
	return stranger{t, c}
}

func (s stranger) flush() {
	s.t.Helper()
	if err := s.Flush(); err != nil {
		s.t.Fatal(err)
	}
}

func (s stranger) base(t *nftables.Table, name string, kind nftables.ChainType, hook *nftables.ChainHook, prio nftables.ChainPriority, policy nftables.ChainPolicy) *nftables.Chain {
	return s.AddChain(&nftables.Chain{Table: t, Name: name, Type: kind, Hooknum: hook, Priority: &prio, Policy: &policy})
}

// setIDs is held where one is drawn: the library counts them for the whole program.
var setIDs sync.Mutex

func (s stranger) AddSet(set *nftables.Set, elems []nftables.SetElement) error {
	setIDs.Lock()
	defer setIDs.Unlock()
	return s.Conn.AddSet(set, elems)
}

func (s stranger) chain(t *nftables.Table, name string) *nftables.Chain {
	return s.AddChain(&nftables.Chain{Table: t, Name: name})
}

func (s stranger) rule(c *nftables.Chain, e ...expr.Any) {
	s.AddRule(&nftables.Rule{Table: c.Table, Chain: c, Exprs: e})
}

// set adds a set without a name, and a rule's look into it.
func (s stranger) set(t *nftables.Table, key nftables.SetDatatype, verdicts bool, elems ...nftables.SetElement) *expr.Lookup {
	s.t.Helper()
	set := &nftables.Set{Table: t, Anonymous: true, Constant: true, KeyType: key, IsMap: verdicts}
	for _, e := range elems {
		set.Interval = set.Interval || e.IntervalEnd
	}
	if verdicts {
		set.DataType = nftables.TypeVerdict
	}
	if err := s.AddSet(set, elems); err != nil {
		s.t.Fatal(err)
	}
	return &expr.Lookup{SourceRegister: 1, SetName: set.Name, SetID: set.ID, IsDestRegSet: verdicts}
}

func meta(key expr.MetaKey) *expr.Meta { return &expr.Meta{Key: key, Register: 1} }
func to(kind expr.VerdictKind, chain string) *expr.Verdict {
	return &expr.Verdict{Kind: kind, Chain: chain}
}

// firewall4 makes the table that is made of a configuration as installed, with
// two devices in the zone wan; wans is how the zone is looked up.
func (s stranger) firewall4(wans func(*nftables.Table) []expr.Any, masq ...expr.Any) (srcnatWAN, forward *nftables.Chain) {
	fw4 := s.AddTable(&nftables.Table{Family: nftables.TableFamilyINet, Name: "fw4"})
	reject := s.chain(fw4, "handle_reject")
	s.rule(reject, meta(expr.MetaKeyL4PROTO), equal(unix.IPPROTO_TCP), &expr.Reject{Type: unix.NFT_REJECT_TCP_RST})
	s.rule(reject, &expr.Reject{Type: unix.NFT_REJECT_ICMPX_UNREACH, Code: unix.NFT_REJECT_ICMPX_PORT_UNREACH})
	toWAN := s.chain(fw4, "accept_to_wan")
	s.rule(toWAN, append(wans(fw4), &expr.Counter{}, to(expr.VerdictAccept, ""))...)
	fromLAN := s.chain(fw4, "forward_lan")
	s.rule(fromLAN, to(expr.VerdictJump, "accept_to_wan"))

	forward = s.base(fw4, "forward", nftables.ChainTypeFilter, nftables.ChainHookForward, 0, nftables.ChainPolicyDrop)
	states := s.set(fw4, nftables.TypeCTState, true,
		nftables.SetElement{Key: hostOrder(2), VerdictData: to(expr.VerdictAccept, "")},
		nftables.SetElement{Key: hostOrder(4), VerdictData: to(expr.VerdictAccept, "")})
	s.rule(forward, &expr.Ct{Key: expr.CtKeySTATE, Register: 1}, states)
	s.rule(forward, meta(iifname), equal(deviceKey("lan0")...), to(expr.VerdictJump, "forward_lan"))
	s.rule(forward, to(expr.VerdictJump, "handle_reject"))

	srcnatWAN = s.chain(fw4, "srcnat_wan")
	s.rule(srcnatWAN, append([]expr.Any{meta(expr.MetaKeyNFPROTO), equal(unix.NFPROTO_IPV4)}, append(masq, &expr.Masq{})...)...)
	srcnatLAN := s.chain(fw4, "srcnat_lan") // the LAN's own way to a forwarded port
	s.rule(srcnatLAN, meta(expr.MetaKeyNFPROTO), equal(unix.NFPROTO_IPV4),
		&expr.Immediate{Register: 1, Data: []byte{10, 0, 0, 1}},
		&expr.NAT{Type: expr.NATTypeSourceNAT, Family: unix.NFPROTO_IPV4, RegAddrMin: 1})
	srcnat := s.base(fw4, "srcnat", nftables.ChainTypeNAT, nftables.ChainHookPostrouting, 100, nftables.ChainPolicyAccept)
	s.rule(srcnat, meta(oifname), equal(deviceKey("lan0")...), to(expr.VerdictJump, "srcnat_lan"))
	s.rule(srcnat, append(wans(fw4), to(expr.VerdictJump, "srcnat_wan"))...)
	s.flush()
	return srcnatWAN, forward
}

func TestReadNAT(t *testing.T) {
	source := []expr.Any{&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseNetworkHeader, Offset: 12, Len: 3}, equal(10, 0, 0)}
	for _, lookup := range []string{"one", "set", "wildcards"} {
		nstest.Enter(t)
		nstest.TUN(t, "wan0")
		s := newStranger(t)
		want := func(what, dev string, want Translation) {
			t.Helper()
			if got, err := ReadNAT(dev); err != nil || got != want {
				t.Errorf("%s, %s: got %+v, %v, want %+v", lookup, what, got, err, want)
			}
		}
		want("nothing", "wan0", Translation{})
		wans := func(table *nftables.Table) []expr.Any {
			switch lookup {
			case "one":
				return []expr.Any{meta(oifname), equal(deviceKey("wan0")...)}
			case "set":
				return []expr.Any{meta(oifname), s.set(table, nftables.TypeIFName, false,
					nftables.SetElement{Key: deviceKey("wan0")}, nftables.SetElement{Key: deviceKey("pppoe-wan")})}
			}
			return []expr.Any{meta(oifname), s.set(table, nftables.TypeIFName, false,
				nftables.SetElement{Key: deviceKey("wan")}, nftables.SetElement{Key: deviceKey("wao"), IntervalEnd: true},
				nftables.SetElement{Key: deviceKey("ppp")}, nftables.SetElement{Key: deviceKey("ppq"), IntervalEnd: true})}
		}
		srcnatWAN, _ := s.firewall4(wans)
		want("firewall4", "wan0", Translation{V4: Masqueraded})
		want("another device", "wg0", Translation{})
		want("the LAN", "lan0", Translation{V4: Custom, Why4: "inet fw4 srcnat_lan: snat to 10.0.0.1"})

		docker := s.AddTable(&nftables.Table{Family: nftables.TableFamilyIPv4, Name: "nat"})
		nat4 := s.base(docker, "POSTROUTING", nftables.ChainTypeNAT, nftables.ChainHookPostrouting, 100, nftables.ChainPolicyAccept)
		s.rule(nat4, append(source, meta(oifname), unequal(deviceKey("docker0")...), &expr.Counter{}, &expr.Masq{})...)
		s.flush()
		want("beside docker", "wan0", Translation{V4: Masqueraded})
		want("docker alone", "wg0", Translation{V4: Custom, Why4: "ip nat POSTROUTING: masquerade for some sources only"})

		c := mustOpen(t) // our own does not count
		mustApply(t, c, mustPlan(t, behindNAT), "wan0")
		want("beside b4", "wan0", Translation{V4: Masqueraded})

		s.InsertRule(&nftables.Rule{Table: srcnatWAN.Table, Chain: srcnatWAN, Exprs: append(append([]expr.Any{
			meta(expr.MetaKeyNFPROTO), equal(unix.NFPROTO_IPV4)}, source...), to(expr.VerdictReturn, ""))})
		s.flush()
		want("some are left out", "wan0", Translation{V4: Custom, Why4: "inet fw4 srcnat_wan: return for some sources only"})
		s.DelTable(srcnatWAN.Table)
		s.DelTable(docker)
		s.flush()
		want("firewall stopped", "wan0", Translation{})
	}
}

// The kernel hands long lists over in parts.
func TestReadLongNAT(t *testing.T) {
	t.Parallel()
	nstest.Enter(t)
	s := newStranger(t)
	srcnatWAN, _ := s.firewall4(func(*nftables.Table) []expr.Any { return []expr.Any{meta(oifname), equal(deviceKey("wan0")...)} })
	chains := 3000
	if os.Getenv("B4_SLOW") != "" { // an emulated machine; these are several parts too
		chains = 600
	}
	for i := range chains {
		c := s.chain(srcnatWAN.Table, fmt.Sprint("more", i))
		s.rule(c, meta(oifname), equal(deviceKey(fmt.Sprint("eth", i))...), &expr.Counter{}, to(expr.VerdictAccept, ""))
		if i%50 == 0 {
			s.flush()
		}
	}
	s.flush()
	if got, err := ReadNAT("wan0"); err != nil || got.V4 != Masqueraded {
		t.Errorf("got %+v, %v", got, err)
	}
}

func TestAcceptsForward(t *testing.T) {
	nstest.Enter(t)
	s := newStranger(t)
	want := func(what, why string) {
		t.Helper()
		if ok, got, err := AcceptsForward(tunName); err != nil || got != why || ok != (why == "") {
			t.Errorf("%s: got %v, %q, %v, want %q", what, ok, got, err, why)
		}
	}
	want("nothing", "")
	_, forward := s.firewall4(func(*nftables.Table) []expr.Any { return []expr.Any{meta(oifname), equal(deviceKey("wan0")...)} })
	want("firewall4", "inet fw4 handle_reject: reject")
	include := func(dev []byte) {
		s.InsertRule(&nftables.Rule{Table: forward.Table, Chain: forward, Exprs: []expr.Any{
			meta(iifname), equal(dev...), to(expr.VerdictAccept, "")}})
		s.flush()
	}
	include(deviceKey("tun9"))
	want("another's include", "inet fw4 handle_reject: reject")
	include(deviceKey(tunName))
	want("our include", "")
	other := s.AddTable(&nftables.Table{Family: nftables.TableFamilyIPv6, Name: "filter"})
	s.base(other, "FORWARD", nftables.ChainTypeFilter, nftables.ChainHookForward, 0, nftables.ChainPolicyDrop)
	s.flush()
	want("a policy", "ip6 filter FORWARD: policy drop")
}

// What the verdict says is what the kernel does.
func TestAcceptsForwardIsTrue(t *testing.T) {
	nstest.Enter(t)
	h := newHouse(t, true, true)
	if ok, why, err := AcceptsForward(tunName); ok || why != "inet fw4 forward: drop" || err != nil {
		t.Errorf("without the include: %v, %q, %v", ok, why, err)
	}
	acceptTUN(t)
	if ok, why, err := AcceptsForward(tunName); !ok || err != nil {
		t.Errorf("with the include: %q, %v", why, err)
	}
	h.serve()
	if got, err := ReadNAT("wan0"); err != nil || got != (Translation{V4: Masqueraded, V6: Masqueraded}) {
		t.Errorf("%+v, %v", got, err)
	}
}

// A firewall's reload is one change: whoever reads meanwhile sees the old rules
// or the new ones.
func TestReadNATDuringReload(t *testing.T) {
	t.Parallel()
	nstest.Enter(t)
	c, err := nftables.New(nftables.AsLasting()) // one socket, of this namespace
	if err != nil {
		t.Fatal(err)
	}
	table := &nftables.Table{Family: nftables.TableFamilyINet, Name: "fw4"}
	s := stranger{t, c}
	reload := func(i int) error {
		s.AddTable(table)
		s.DelTable(table)
		s.AddTable(table)
		wan := s.chain(table, fmt.Sprint("srcnat_wan", i%2))
		s.rule(wan, &expr.Masq{})
		srcnat := s.base(table, "srcnat", nftables.ChainTypeNAT, nftables.ChainHookPostrouting, 100, nftables.ChainPolicyAccept)
		for range 50 { // a list of several parts
			s.rule(srcnat, meta(oifname), equal(deviceKey("wan1")...), &expr.Counter{}, &expr.Masq{})
		}
		// The kernel names both sets, by their order: what one reload calls
		// WAN's the next calls the LAN's.
		zones := []struct{ dev, chain string }{{"wan0", wan.Name}, {"lan0", s.chain(table, "srcnat_lan").Name}}
		for j := range zones {
			z := zones[(i+j)%2]
			set := &nftables.Set{Table: table, Anonymous: true, Constant: true, KeyType: nftables.TypeIFName}
			if err := s.AddSet(set, []nftables.SetElement{{Key: deviceKey(z.dev)}}); err != nil {
				return err
			}
			s.rule(srcnat, meta(oifname), &expr.Lookup{SourceRegister: 1, SetName: set.Name, SetID: set.ID}, to(expr.VerdictJump, z.chain))
		}
		return s.Flush()
	}
	if err := reload(0); err != nil {
		t.Fatal(err)
	}
	var read atomic.Int64
	var stop atomic.Bool
	defer stop.Store(true)
	const spoilTwo = 10 // reloads: a reading gives up after five
	stopped := make(chan error, 1)
	go func() {
		var err error
		for i := 1; err == nil && !stop.Load(); i++ {
			err = reload(i)
			time.Sleep(2 * time.Millisecond)
			for before := read.Load(); i%spoilTwo == 0 && read.Load() == before && !stop.Load(); {
				time.Sleep(time.Millisecond)
			}
		}
		stopped <- err
	}()
	readings := 300
	if os.Getenv("B4_SLOW") != "" { // an emulated machine
		readings = 100
	}
	for range readings {
		got, err := ReadNAT("wan0")
		if err == nil && got != (Translation{V4: Masqueraded, V6: Masqueraded}) {
			t.Fatalf("after %d: got %+v", read.Load(), got)
		}
		if err == nil {
			read.Add(1)
		} else if !errors.Is(err, errChanged) {
			t.Fatal(err)
		}
	}
	stop.Store(true)
	if err := <-stopped; err != nil {
		t.Fatal(err)
	}
	if n := read.Load(); n < int64(readings/3) {
		t.Errorf("only %d of %d readings succeeded", n, readings)
	}
	t.Logf("%d of %d readings succeeded", read.Load(), readings)
}

// To wait for a change is none.
func TestWaitTurn(t *testing.T) {
	nstest.Enter(t)
	s, err := dial()
	if err != nil {
		t.Fatal(err)
	}
	defer s.close()
	var ids [2]uint32
	for i := range ids {
		if ids[i], err = s.generation(); err != nil {
			t.Fatal(err)
		}
		if err := s.waitTurn(); err != nil {
			t.Fatal(err)
		}
	}
	if ids[0] != ids[1] {
		t.Errorf("generation %d, then %d", ids[0], ids[1])
	}
}
