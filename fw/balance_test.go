package fw

import (
	"fmt"
	"net"
	"net/netip"
	"sync"
	"testing"
	"time"

	"b4/engine"
	"b4/inject"
	"b4/nfq"
	"b4/nstest"
)

// Both directions of a connection come by the same queue, whatever NAT makes of its
// addresses, and connections to several servers by several.
func TestBalance(t *testing.T) {
	const servers, queues = 24, 2
	eachFamily(t, func(t *testing.T, h *house, v6 bool) {
		var addrs []netip.Addr
		for i := range servers {
			a, bits := netip.AddrFrom4([4]byte{192, 0, 2, byte(10 + i)}), 24
			if v6 {
				a, bits = netip.MustParseAddr(fmt.Sprintf("fd00:b::%x", 10+i)), 64
			}
			addrs = append(addrs, a)
			h.server.Do(func() {
				nstest.Addr(t, "eth0", netip.PrefixFrom(a, bits))
				awaitAddr(t, a)
			})
		}
		var mu sync.Mutex
		by := map[netip.AddrPort]map[uint16][2]int{} // of each client's port: packets of each direction, by queue
		h.balance(queues, func(p *engine.Packet, _, _ *engine.Batch) engine.Verdict {
			client, server := addresses(p.Bytes)
			if p.Dir == engine.Reply {
				client, server = server, client
			}
			mu.Lock()
			defer mu.Unlock()
			flow := netip.AddrPortFrom(server.Addr(), client.Port())
			if by[flow] == nil {
				by[flow] = map[uint16][2]int{}
			}
			n := by[flow][p.Queue]
			n[p.Dir]++
			by[flow][p.Queue] = n
			return engine.Accept
		})
		for _, a := range addrs {
			h.exchange(netip.AddrPortFrom(a, 443))
		}
		mu.Lock()
		defer mu.Unlock()
		used := map[uint16]int{}
		for flow, n := range by {
			for num, packets := range n {
				used[num]++
				if len(n) != 1 || packets[0] < 2 || packets[1] < 2 {
					t.Errorf("%v: %v", flow, n)
				}
			}
		}
		if len(by) != servers || len(used) != queues || used[537]+used[538] != servers {
			t.Errorf("%d connections by %v", len(by), used)
		}
	})
}

// balance is queue with several of them, for all traffic.
func (h *house) balance(n int, handle func(p *engine.Packet, out, due *engine.Batch) engine.Verdict) {
	h.t.Helper()
	rules := mustPlan(h.t, func(c *Config) { c.Queues, c.All = n, true })
	marks := config(h.t, Native).Marks
	c := nfq.Config{Num: 537, Len: 1024, Done: marks.Done, Report: func(err error) { h.t.Error(err) }}
	for i := range n {
		send, err := inject.Open(marks)
		if err != nil {
			h.t.Fatal(err)
		}
		h.t.Cleanup(func() { send.Close() })
		if c.Send = send; i > 0 {
			c.More = append(c.More, send)
		}
	}
	e, end := nfq.New(c), make(chan error, 1)
	if err := e.Start(); err != nil {
		h.t.Fatal(err)
	}
	go func() { end <- e.Run(&script{alive: h.rules.Answer, handle: handle}) }()
	h.t.Cleanup(func() {
		e.Close()
		if err := <-end; err != nil {
			h.t.Error(err)
		}
	})
	mustApply(h.t, h.rules, rules, "wan0")
}

// exchange opens a connection to a server and has it return what it got.
func (h *house) exchange(to netip.AddrPort) {
	h.t.Helper()
	var l net.Listener
	var c net.Conn
	var err error
	h.server.Do(func() { l, err = net.Listen("tcp", to.String()) })
	if err != nil {
		h.t.Fatal(err)
	}
	defer l.Close()
	go func() {
		if s, err := l.Accept(); err == nil {
			b := make([]byte, 600)
			n, _ := s.Read(b)
			s.Write(b[:n])
			s.Close()
		}
	}()
	h.client.Do(func() { c, err = net.DialTimeout("tcp", to.String(), 3*soon) })
	if err != nil {
		h.t.Fatal(err)
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(3 * soon))
	c.Write(make([]byte, 600))
	if n, err := c.Read(make([]byte, 600)); n != 600 {
		h.t.Errorf("%v: %d bytes, %v", to, n, err)
	}
}
