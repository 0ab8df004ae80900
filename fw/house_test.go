package fw

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"b4/engine"
	"b4/inject"
	"b4/nstest"
	"b4/packet"
	"b4/route"
	"b4/tun"

	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// A house is a router, as newRouter makes it, with a client on the one side and
// a server on the other, each with a network stack of its own, a firewall like
// firewall4, and all that serves a TUN but the judge, which is the test's.
type house struct {
	*router
	client, server *nstest.Space
	masq4, masq6   bool
	rules          *Conn
	engine         *tun.Engine
	paths          *route.Conn
	judge          judge
	signals        atomic.Int64 // that the kernel has acted on
	wan            capture
}

const tunName = "b4tun0"

// newHouse masquerades the families that are asked for. Nothing is steered
// before steer.
func newHouse(t testing.TB, masq4, masq6 bool) *house {
	t.Helper()
	h := &house{router: newRouter(t), masq4: masq4, masq6: masq6}
	awaitAddr(t, wanAddr6)
	var clientEnd, serverEnd *os.File
	h.client, clientEnd = newHost(t, netip.MustParseAddr("10.0.0.2"), netip.MustParseAddr("fd00:a::2"))
	h.server, serverEnd = newHost(t, netip.MustParseAddr("192.0.2.2"), netip.MustParseAddr("fd00:b::2"))
	wire(t, h.router.lan, clientEnd, nil)
	wire(t, h.router.wan, serverEnd, h.wan.see)
	firewall(t, masq4, masq6)
	h.rules = mustOpen(t)
	return h
}

// steer starts the engine and leads to it what edit makes of the usual rules.
func (h *house) steer(edit func(*Config)) { h.t.Helper(); h.serveTUN(tun.Config{Signal: true}, edit) }

// steerAll is steer in a mode that takes all traffic.
func (h *house) steerAll(edit func(*Config)) {
	h.t.Helper()
	acceptTUN(h.t)
	h.serveTUN(tun.Config{Back: true, Whole: func([]byte) bool { return true }}, func(c *Config) {
		c.All, c.Bound = true, 0
		edit(c)
	})
	nstest.Sysctl(h.t, "net.ipv4.conf."+tunName+".accept_local=1", "net.ipv4.conf."+tunName+".rp_filter=0")
}

func (h *house) serveTUN(c tun.Config, edit func(*Config)) {
	h.t.Helper()
	marks := config(h.t, Tun).Marks
	send, err := inject.Open(marks)
	if err != nil {
		h.t.Fatal(err)
	}
	c.Device, c.Out, c.Send = tun.DeviceConfig{Name: tunName, MTU: 1500}, nstest.Index(h.t, "wan0"), send
	c.Open = func() (tun.Link, error) {
		d, err := tun.Open(c.Device)
		if err != nil {
			return nil, err
		}
		return link{d, &h.signals}, nil
	}
	c.Report = func(err error) { h.t.Log(err) } // what a route or the device is missing for, for a moment
	h.engine = tun.New(c)
	if err := h.engine.Start(); errors.Is(err, engine.ErrNotSupported) {
		h.t.Skip(err)
	} else if err != nil {
		h.t.Fatal(err)
	}
	h.judge.alive = h.rules.Answer
	var wg sync.WaitGroup
	wg.Add(1)
	go func() {
		defer wg.Done()
		if err := h.engine.Run(&h.judge); err != nil {
			h.t.Error(err)
		}
	}()
	h.t.Cleanup(func() { h.engine.Close(); wg.Wait(); send.Close() })
	h.lead(route.Config{
		Marks: marks, Table: route.DefaultTable, Device: tunName, IPv4: true, IPv6: true,
		V4: netip.MustParsePrefix("10.255.0.1/30"), V6: netip.MustParsePrefix("fd00:b4::1/64"),
	})
	h.plan(edit)
}

// A link counts what has been written.
type link struct {
	tun.Link
	writes *atomic.Int64
}

func (l link) Write(h tun.Header, p []byte) error {
	err := l.Link.Write(h, p)
	l.writes.Add(1)
	return err
}

func (h *house) lead(c route.Config) {
	h.t.Helper()
	var err error
	if h.paths, err = route.Open(nil); err != nil {
		h.t.Fatal(err)
	}
	h.t.Cleanup(func() { h.paths.Close() })
	links, err := h.paths.Links()
	if err != nil {
		h.t.Fatal(err)
	}
	want, err := route.Plan(c, links)
	if err == nil {
		err = h.paths.Reconcile(want)
	}
	if err != nil {
		h.t.Fatal(err)
	}
}

func (h *house) plan(edit func(*Config)) {
	h.t.Helper()
	c := config(h.t, Tun)
	c.Bound = DefaultBound
	edit(&c)
	r, err := Plan(c)
	if err == nil {
		err = h.rules.Apply(r, []string{"wan0"})
	}
	if err != nil {
		h.t.Fatal(err)
	}
}

// A judge lets all packets go, is done with a connection at its second one, and
// shows that it is alive. What a slow machine sends again it does not count.
type judge struct {
	alive func() error
	mu    sync.Mutex
	seen  map[string]map[uint32]bool // sequence numbers, by addresses and ports
	up    int                        // bytes to port 443
	down  int                        // bytes from there
	keep  bool                       // is never done
	told  map[uint32]bool            // marks that data came with, if wanted
	bad   int                        // packets with a wrong checksum, or something in TCP\'s urgent pointer

	refuse bool // resets each connection instead
}

func (j *judge) Handle(_ time.Time, p *engine.Packet, out *engine.Batch) engine.Verdict {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.refuse {
		refuse(p, out)
		return engine.Drop
	}
	key, tcp := string(p.Bytes[12:24]), p.Bytes[20:]
	if p.Bytes[0]>>4 == 6 {
		key, tcp = string(p.Bytes[8:44]), p.Bytes[40:]
	}
	if !p.Partial && !packet.ChecksumOK(p.Bytes) || binary.BigEndian.Uint16(tcp[18:]) != 0 {
		j.bad++
	}
	switch uint16(443) {
	case binary.BigEndian.Uint16(tcp[2:]):
		j.up += len(p.Bytes)
		if j.told != nil && len(p.Bytes) > bareLength {
			j.told[p.Mark] = true
		}
	case binary.BigEndian.Uint16(tcp):
		j.down += len(p.Bytes)
	}
	if j.seen == nil {
		j.seen = map[string]map[uint32]bool{}
	}
	if j.seen[key] == nil {
		j.seen[key] = map[uint32]bool{}
	}
	before := len(j.seen[key])
	j.seen[key][binary.BigEndian.Uint32(tcp[4:])] = true
	if before == 1 && len(j.seen[key]) == 2 && !j.keep {
		return engine.Accept | engine.Done
	}
	return engine.Accept
}

func (j *judge) Tick(time.Time, *engine.Batch) time.Duration {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.alive()
	return AnswerWithin
}

func (j *judge) Drain(*engine.Batch) {}

// take returns how many packets were seen, of each connection, and forgets them.
func (j *judge) take() (counts []int) {
	j.mu.Lock()
	defer j.mu.Unlock()
	for _, numbers := range j.seen {
		counts = append(counts, len(numbers))
	}
	clear(j.seen)
	slices.Sort(counts)
	return counts
}

// A capture counts what leaves by WAN.
type capture struct {
	lan4, lan6 atomic.Uint64 // packets with a source of the LAN
	syns       atomic.Uint64 // those that open a connection

	mu   sync.Mutex
	keep func(p []byte) bool // nil is none
	kept [][]byte
}

// watch keeps copies of the packets that keep wants, instead of earlier ones.
func (c *capture) watch(keep func(p []byte) bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.keep, c.kept = keep, nil
}

func (c *capture) packets() [][]byte {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.kept
}

func (c *capture) see(p []byte) {
	c.mu.Lock()
	if c.keep != nil && c.keep(p) {
		c.kept = append(c.kept, bytes.Clone(p))
	}
	c.mu.Unlock()
	if protocol(p) == unix.IPPROTO_TCP && !isFragment(p) && p[ipLen(p)+flagsAt]&(syn|ack) == syn {
		c.syns.Add(1)
	}
	switch {
	case p[0]>>4 == 4 && bytes.Equal(p[12:15], lanAddr4.AsSlice()[:3]):
		c.lan4.Add(1)
	case p[0]>>4 == 6 && bytes.Equal(p[8:16], lanAddr6.AsSlice()[:8]):
		c.lan6.Add(1)
	}
}

// of returns the count of a family.
func (c *capture) of(v6 bool) uint64 {
	if v6 {
		return c.lan6.Load()
	}
	return c.lan4.Load()
}

// newHost returns a host with one device, and the other end of that.
func newHost(t testing.TB, v4, v6 netip.Addr) (*nstest.Space, *os.File) {
	t.Helper()
	s := nstest.NewSpace(t)
	var end *os.File
	s.Do(func() {
		end = nstest.TUN(t, "eth0")
		setUpLink(t, "eth0", v4, v6)
		awaitAddr(t, v6)
		for _, to := range []string{"0.0.0.0/0", "::/0"} {
			nstest.Route(t, "eth0", netip.MustParsePrefix(to), unix.RT_TABLE_MAIN, 0)
		}
	})
	return s, end
}

// awaitAddr waits until a new address can be used: the kernel takes one of IPv6 for
// tentative at first, even where it looks for no duplicates, and then has no route to
// it for a moment more, in which it forwards what comes for it.
func awaitAddr(t testing.TB, a netip.Addr) {
	t.Helper()
	route := fmt.Sprintf("%x 80 ", a.AsSlice()) // its length is hexadecimal too
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(time.Millisecond) {
		c, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.AddrPortFrom(a, 0)))
		if err == nil {
			c.Close()
			var routes []byte
			if routes, err = os.ReadFile("/proc/thread-self/net/ipv6_route"); a.Is4() || err == nil && bytes.Contains(routes, []byte(route)) {
				return
			}
			err = errors.Join(err, fmt.Errorf("no route to %v", a))
		}
		if time.Now().After(end) {
			t.Fatal(err)
		}
	}
}

// wire joins two devices until the test ends. see is given what leaves the first.
func wire(t testing.TB, a, b *os.File, see func([]byte)) {
	var wg sync.WaitGroup
	carry := func(from, to *os.File, see func([]byte)) {
		defer wg.Done()
		for buf := make([]byte, 2048); ; {
			n, err := from.Read(buf)
			if errors.Is(err, os.ErrDeadlineExceeded) {
				return
			}
			if err != nil {
				t.Error(err)
				return
			}
			if see != nil {
				see(buf[:n])
			}
			if _, err := to.Write(buf[:n]); err != nil && !errors.Is(err, unix.EIO) {
				t.Error(err)
			}
		}
	}
	wg.Add(2)
	go carry(a, b, see)
	go carry(b, a, nil)
	t.Cleanup(func() {
		now := time.Now()
		a.SetReadDeadline(now)
		b.SetReadDeadline(now)
		wg.Wait()
	})
}

// firewall does what firewall4 does with a lan and a wan zone.
func firewall(t testing.TB, masq4, masq6 bool) {
	t.Helper()
	srcnat := chain{"srcnat", &hook{nat, postrouting, 100}, nil}
	for family, want := range map[nfproto]bool{4: masq4, 6: masq6} {
		if want {
			srcnat.rules = append(srcnat.rules, rule{isDevice{oifname, "wan0"}, family, masquerade{}})
		}
	}
	onward := chain{"forward", &hook{filter, forward, 0}, []rule{
		{established{}, accept},
		{isDevice{iifname, "lan0"}, isDevice{oifname, "wan0"}, accept},
		{drop},
	}}
	stranger := chain{"stranger", &hook{filter, postrouting, 300}, []rule{
		{bits{metaMark, config(t, Tun).Marks.Steer, true}, drop}, // a mark that should be gone
	}}
	table(t, "fw4", srcnat, onward, stranger)
}

// table makes a table as another program would.
func table(t testing.TB, name string, chains ...chain) {
	t.Helper()
	b := newBatch(name)
	b.addTable(0)
	b.replaceRules(&Ruleset{}, &Ruleset{chains: chains})
	s, err := dial()
	if err == nil {
		err = errors.Join(s.run(b), s.close())
	}
	if err != nil {
		t.Fatal(err)
	}
}

type masquerade struct{}

func (masquerade) String() string { return "masquerade" }
func (masquerade) code(c *coder)  { c.put(&expr.Masq{}) }

type established struct{}

func (established) String() string { return "ct state established,related" }
func (established) code(c *coder) {
	c.put(
		&expr.Ct{Key: expr.CtKeySTATE, Register: reg},
		bitwise(expr.CtStateBitESTABLISHED|expr.CtStateBitRELATED, 0),
		&expr.Cmp{Op: expr.CmpOpNeq, Register: reg, Data: make([]byte, 4)})
}

// enterHouse runs f in a house, in a namespace of the calling test.
func enterHouse(t *testing.T, f func(h *house), masq4, masq6 bool) {
	t.Helper()
	nstest.Enter(t)
	f(newHouse(t, masq4, masq6))
}

// dropInvalid does what firewall4 does with option drop_invalid, for what the
// router itself sends.
func dropInvalid(t testing.TB) {
	t.Helper()
	table(t, "strict", chain{"output", &hook{filter, output, 0}, []rule{{invalid{}, drop}}})
}
