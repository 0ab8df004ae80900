package fw

import (
	"errors"
	"os"
	"reflect"
	"testing"
	"time"

	"b4/nstest"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// offloading is what firewall4 makes of flow_offloading: first of all, what is
// forwarded goes into the flowtable. What is behind it comes next.
func offloading(t testing.TB, table string, next ...expr.Any) {
	t.Helper()
	s := newStranger(t)
	fw4 := s.AddTable(&nftables.Table{Family: nftables.TableFamilyINet, Name: table})
	s.AddFlowtable(&nftables.Flowtable{
		Table: fw4, Name: "ft", Hooknum: nftables.FlowtableHookIngress, Priority: nftables.FlowtablePriorityRef(0),
		Devices: []string{"lan0", "wan0"},
	})
	forward := s.base(fw4, "forward", nftables.ChainTypeFilter, nftables.ChainHookForward, 0, nftables.ChainPolicyAccept)
	protocols := s.set(fw4, nftables.TypeInetProto, false,
		nftables.SetElement{Key: []byte{unix.IPPROTO_TCP}}, nftables.SetElement{Key: []byte{unix.IPPROTO_UDP}})
	s.rule(forward, meta(expr.MetaKeyL4PROTO), protocols, &expr.FlowOffload{Name: "ft"})
	s.rule(forward, next...)
	if err := s.Flush(); errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.ENOENT) {
		t.Skipf("no flowtables in this kernel: %v", err)
	} else if err != nil {
		t.Fatal(err)
	}
}

// offloaded sends p through the router and reports whether it passed the firewall by.
func (r *router) offloaded(from, to *os.File, p []byte) bool {
	r.t.Helper()
	if _, err := from.Write(p); err != nil {
		r.t.Fatal(err)
	}
	got, ok := r.receive(to, 5*time.Second)
	if !ok {
		r.t.Fatalf("a packet did not pass the router: %x", p)
	}
	if protocol(got) == unix.IPPROTO_TCP && got[ipLen(got)+flagsAt] != p[ipLen(p)+flagsAt] || protocol(got) != protocol(p) {
		r.t.Errorf("left as it was hidden: %x", got)
	}
	return got[1] != sawHidden
}

// A real flowtable, and as the counter-check what it does where nothing is hidden.
func TestOffload(t *testing.T) {
	nstest.Enter(t)
	r, c := newRouter(t), mustOpen(t)
	offloading(t, "fw4", &expr.Immediate{Register: 1, Data: []byte{sawHidden}}, // a sign on what has passed by here
		&expr.Payload{OperationType: expr.PayloadWrite, SourceRegister: 1, Base: expr.PayloadBaseNetworkHeader, Offset: 1, Len: 1})
	found, err := ReadOffload([]string{"wan0"}, []uint16{443})
	want := Offloading{Hide: Offload{TCP: true, UDP: true}}
	if err != nil || found != want {
		t.Errorf("read %+v, %v, want %+v", found, err, want)
	}
	port := uint16(40000)
	for _, hide := range []bool{false, true} {
		mustApply(t, c, mustPlan(t, func(c *Config) {
			c.UDP = []uint16{443}
			if hide {
				c.Offload = found.Hide
			}
		}), "wan0")
		for _, v6 := range []bool{false, true} {
			before := r.counters(c)
			f, u := newFlow(v6, port, 443), newFlow(v6, port, 443)
			port++
			r.shake(f)
			hello := r.offloaded(r.lan, r.wan, f.out(psh|ack, 500))
			answer := r.offloaded(r.wan, r.lan, f.back(psh|ack, 500))
			var datagrams [4]bool
			for i := range datagrams {
				datagrams[i] = r.offloaded(r.lan, r.wan, u.datagram(false, 0xc3, 0, 0, 0, 1))
			}
			n := r.counters(c).minus(before)
			if hello == hide || answer == hide || (n.Queued == 1) != hide {
				t.Errorf("hide %v, v6 %v: hello offloaded %v, its answer %v, %+v", hide, v6, hello, answer, n)
			}
			if datagrams[3] == hide || (n.QUIC == 4) != hide {
				t.Errorf("hide %v, v6 %v: datagrams offloaded %v, %+v", hide, v6, datagrams, n)
			}
			if !hide {
				continue
			}
			for range 8 { // and one that makes the entry
				r.offloaded(r.lan, r.wan, f.out(ack, 500))
				r.offloaded(r.lan, r.wan, u.datagram(false, 0x43))
			}
			r.offloaded(r.lan, r.wan, u.datagram(false, 0x43))
			if !r.offloaded(r.lan, r.wan, f.out(ack, 500)) || !r.offloaded(r.wan, r.lan, f.back(ack, 500)) {
				t.Errorf("v6 %v: TCP is not offloaded behind the bound", v6)
			}
			if !r.offloaded(r.lan, r.wan, u.datagram(false, 0x43)) || !r.offloaded(r.wan, r.lan, u.datagram(true, 0x43)) {
				t.Errorf("v6 %v: UDP is not offloaded behind the bound", v6)
			}
		}
	}
}

// A flowtable is told of though nothing else changes.
func TestWatchFlowtables(t *testing.T) {
	nstest.Enter(t)
	nstest.TUN(t, "dsl0")
	nstest.TUN(t, "lan0")
	nstest.TUN(t, "wan0")
	offloading(t, "fw4", &expr.Counter{})
	w, err := Watch()
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	s := newStranger(t)
	more := &nftables.Flowtable{
		Table: &nftables.Table{Family: nftables.TableFamilyINet, Name: "fw4"}, Name: "more", Hooknum: nftables.FlowtableHookIngress,
		Priority: nftables.FlowtablePriorityRef(0), Devices: []string{"dsl0"},
	}
	if !told(t, w, func() error { s.AddFlowtable(more); return s.Flush() }, true) {
		t.Error("not told of a new one")
	}
	if !told(t, w, func() error { s.DelFlowtable(more); return s.Flush() }, true) {
		t.Error("not told that it went")
	}
}

// What is steered to a TUN is forwarded to it.
func TestOffloadToTUN(t *testing.T) {
	nstest.Enter(t)
	h := newHouse(t, true, false)
	offloading(t, "offload", &expr.Counter{})
	h.serve()
	for _, hide := range []bool{false, true} {
		edit := func(c *Config) {
			toTUN(c, wanAddr4.String(), "")
			c.Offload.TCP = hide
		}
		if h.engine == nil {
			h.steer(edit)
		} else {
			h.plan(edit)
		}
		for _, v6 := range []bool{false, true} {
			speak := talk
			if hide {
				speak = h.talkSignalled
			}
			if err := speak(h.client.Do, v6); err != nil {
				t.Fatal(err)
			}
			if got := h.judge.take(); fewPackets(got) != hide || len(got) != 0 && !hide {
				t.Errorf("hide %v, v6 %v: packets %v visited", hide, v6, got)
			}
		}
	}
}

func TestNoOffload(t *testing.T) {
	nstest.Enter(t)
	found, err := ReadOffload([]string{"wan0"}, []uint16{443})
	if err != nil || !reflect.DeepEqual(found, Offloading{}) {
		t.Errorf("read %+v, %v where nothing is", found, err)
	}
}
