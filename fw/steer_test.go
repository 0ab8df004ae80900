package fw

import (
	"encoding/binary"
	"os"
	"strings"
	"testing"

	"b4/nstest"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

func (r *router) counters(c *Conn) Counters {
	r.t.Helper()
	n, err := c.Counters()
	if err != nil {
		r.t.Fatal(err)
	}
	return n
}

// checks returns what compares the counters with those wanted by then.
func (r *router) checks(c *Conn, want *Counters) func(what string) {
	return func(what string) {
		r.t.Helper()
		if got := r.counters(c); got != *want {
			r.t.Errorf("%s: got %+v, want %+v", what, got, *want)
		}
	}
}

// Nobody listens on the queue, so every packet passes: the counters tell which
// would have been shown.
func TestSteer(t *testing.T) {
	nstest.Enter(t)
	r, c := newRouter(t), mustOpen(t)
	mustApply(t, c, mustPlan(t, nil), "wan0")
	want := Counters{}
	check := r.checks(c, &want)
	for _, v6 := range []bool{false, true} {
		f := newFlow(v6, 40000, 443)
		r.shake(f)
		want.Opened++
		want.Bare++
		check("handshake")
		r.arrive(r.lan, r.wan, f.out(psh|ack, 1)) // packet 4
		want.Queued++
		check("short with PSH")
		r.arrive(r.lan, r.wan, f.out(ack, 200)) // packet 5
		want.Queued++
		check("long without PSH")
		r.arrive(r.wan, r.lan, f.back(psh|ack, 500)) // packet 6
		check("a reply")
		r.arrive(r.lan, r.wan, f.out(ack, 0)) // packet 7
		want.Bare++
		check("bare ACK")
		for range 5 { // packets 8 to 12
			r.arrive(r.lan, r.wan, f.out(psh|ack, 300))
			want.Queued++
		}
		check("up to the bound")
		r.arrive(r.lan, r.wan, f.out(psh|ack, 300))
		check("after the bound")

		other := newFlow(v6, 40001, 8443)
		r.shake(other)
		r.arrive(r.lan, r.wan, other.out(psh|ack, 300))
		check("another port")
	}
}

func TestSteerOnlyWhatIsAskedFor(t *testing.T) {
	tests := []struct {
		name    string
		edit    func(*Config)
		watched []string
		v6      bool
		want    Counters
	}{
		{"not this device", nil, []string{"lan0", "wan1"}, false, Counters{}},
		{"no device", nil, nil, true, Counters{}},
		{"IPv4 off", func(c *Config) { c.IPv4 = false }, []string{"wan0"}, false, Counters{}},
		{"IPv4 off, IPv6", func(c *Config) { c.IPv4 = false }, []string{"wan0"}, true, Counters{Opened: 1, Bare: 1, Queued: 1}},
		{"IPv6 off", func(c *Config) { c.IPv6 = false }, []string{"wan0"}, true, Counters{}},
		{"two ports", func(c *Config) { c.TCP = []uint16{80, 443} }, []string{"wan0"}, true, Counters{Opened: 1, Bare: 1, Queued: 1}},
		{"bound 3", func(c *Config) { c.Bound = 3 }, []string{"wan0"}, false, Counters{Opened: 1, Bare: 1}},
		{"SYN", func(c *Config) { c.SYN = true }, []string{"wan0"}, false, Counters{Opened: 1, Bare: 1, Queued: 2}},
		{"all", func(c *Config) { c.All, c.Bound = true, 0 }, []string{"wan0"}, false, Counters{Opened: 1, Queued: 2, Replies: 2}},
		{"all of IPv6", func(c *Config) { c.All, c.IPv4 = true, false }, []string{"wan0"}, true, Counters{Opened: 1, Queued: 2, Replies: 2}},
		{"all, IPv4 off", func(c *Config) { c.All, c.IPv4 = true, false }, []string{"wan0"}, false, Counters{}},
		{"all and SYN", func(c *Config) { c.All, c.SYN = true, true }, []string{"wan0"}, true, Counters{Opened: 1, Queued: 3, Replies: 2}},
		{"all, not this device", func(c *Config) { c.All = true }, []string{"lan0"}, true, Counters{}},
		{"plain route", func(c *Config) { c.SkipIPsec = true }, []string{"wan0"}, false, Counters{Opened: 1, Bare: 1, Queued: 1}},
	}
	nstest.Enter(t)
	r, c := newRouter(t), mustOpen(t)
	for i, tt := range tests {
		mustApply(t, c, mustPlan(t, tt.edit), tt.watched...)
		before := r.counters(c)
		f := newFlow(tt.v6, 41000+uint16(i), 443)
		r.shake(f)
		r.arrive(r.lan, r.wan, f.out(psh|ack, 300))
		r.arrive(r.wan, r.lan, f.back(psh|ack, 300))
		if got := r.counters(c).minus(before); got != tt.want {
			t.Errorf("%s: got %+v, want %+v", tt.name, got, tt.want)
		}
	}
}

func (n Counters) minus(o Counters) Counters {
	return Counters{n.Opened - o.Opened, n.Bare - o.Bare, n.Queued - o.Queued, n.QUIC - o.QUIC, n.Blocked - o.Blocked, n.Replies - o.Replies}
}

// A connection that is older than packet accounting counts 0 for ever, which
// matters to nobody who wants all. In a fresh namespace accounting is off until
// a rule asks for it.
func TestOldConnectionIsLeftAlone(t *testing.T) {
	nstest.Enter(t)
	r, c := newRouter(t), mustOpen(t)
	track := &Ruleset{chains: []chain{{"track", &hook{filter, prerouting, -150}, []rule{{direction{}, accept}}}}}
	mustApply(t, c, track)
	f := newFlow(false, 40000, 443)
	r.shake(f)
	mustApply(t, c, mustPlan(t, func(c *Config) { c.HTTP = c.TCP }), "wan0")
	r.arrive(r.lan, r.wan, f.out(psh|ack, 300))
	if got := r.counters(c); got != (Counters{}) {
		t.Errorf("got %+v, want none", got)
	}
	mustApply(t, c, mustPlan(t, func(c *Config) { c.All = true }), "wan0")
	r.arrive(r.lan, r.wan, f.out(ack, 0))
	r.arrive(r.wan, r.lan, f.back(psh|ack, 300))
	if got, want := r.counters(c), (Counters{Queued: 1, Replies: 1}); got != want {
		t.Errorf("of all: got %+v, want %+v", got, want)
	}
}

func TestRouterItself(t *testing.T) {
	nstest.Enter(t)
	r, c := newRouter(t), mustOpen(t)
	for _, own := range []bool{false, true} {
		mustApply(t, c, mustPlan(t, func(c *Config) { c.Router = own }), "wan0")
		before := r.counters(c)
		r.connect(unix.AF_INET, &unix.SockaddrInet4{Port: 443, Addr: [4]byte{192, 0, 2, 2}})
		r.connect(unix.AF_INET6, &unix.SockaddrInet6{Port: 443, Addr: newFlow(true, 1, 1).dst.Addr().As16()})
		want := uint64(0)
		if own {
			want = 2
		}
		if got := r.counters(c).minus(before).Opened; got != want {
			t.Errorf("own connections wanted %v: %d SYNs counted, want %d", own, got, want)
		}
	}
}

// connect has the router send a SYN of its own and waits until it has left.
func (r *router) connect(family int, to unix.Sockaddr) {
	r.t.Helper()
	fd, err := unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		r.t.Fatal(err)
	}
	defer unix.Close(fd)
	if err := unix.Connect(fd, to); err != unix.EINPROGRESS {
		r.t.Fatal(err)
	}
	if _, ok := r.receive(r.wan, soon); !ok {
		r.t.Fatal("no SYN left")
	}
}

func TestReplies(t *testing.T) {
	tests := []struct {
		name    string
		replies Replies
		want    uint64
	}{
		{"none", Replies{}, 0},
		{"SYN,ACK", Replies{SYNACK: true}, 1},
		{"first two", Replies{First: 2}, 2},
		{"both", Replies{SYNACK: true, First: 2}, 2},
		{"end", Replies{End: true}, 2}, // the invalid RST, the FIN
		{"all", Replies{SYNACK: true, First: 3, End: true}, 5},
	}
	nstest.Enter(t)
	r, c := newRouter(t), mustOpen(t)
	for i, tt := range tests {
		for _, v6 := range []bool{false, true} {
			mustApply(t, c, mustPlan(t, func(c *Config) { c.Replies = tt.replies }), "wan0")
			before := r.counters(c)
			f := newFlow(v6, 42000+uint16(i), 443)
			r.shake(f)
			r.arrive(r.lan, r.wan, f.out(psh|ack, 300))
			r.arrive(r.wan, r.lan, f.back(ack, 0))
			r.arrive(r.wan, r.lan, f.back(ack, 1000))
			forged := segment(f.dst, f.src, f.ack+1<<30, 0, rst, 0) // far out of the window
			r.arrive(r.wan, r.lan, forged)
			r.arrive(r.wan, r.lan, f.back(ack, 1000))
			r.arrive(r.wan, r.lan, f.back(fin|ack, 0))
			if got := r.counters(c).minus(before).Replies; got != tt.want {
				t.Errorf("%s: v6 %v: %d replies queued, want %d", tt.name, v6, got, tt.want)
			}
		}
	}
}

// What b4 sends itself goes past conntrack and past the queue.
func TestInjectedPasses(t *testing.T) {
	nstest.Enter(t)
	r, c := newRouter(t), mustOpen(t)
	mustApply(t, c, mustPlan(t, func(c *Config) { c.Router = true }), "wan0")
	marks := config(t, Native).Marks
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.IPPROTO_RAW)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	tracked := func() string {
		b, err := os.ReadFile("/proc/sys/net/netfilter/nf_conntrack_count")
		if err != nil {
			t.Fatal(err)
		}
		return strings.TrimSpace(string(b))
	}
	for _, tt := range []struct {
		mark    uint32
		sport   uint16
		tracked string
		queued  uint64
	}{
		{marks.Injected | 1, 43000, "0", 0},
		{1, 43001, "1", 0}, // conntrack picks it up, as packet 1 with PSH
	} {
		if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_MARK, int(tt.mark)); err != nil {
			t.Fatal(err)
		}
		f := newFlow(false, tt.sport, 443)
		to := &unix.SockaddrInet4{Addr: f.dst.Addr().As4()}
		if err := unix.Sendto(fd, f.out(psh|ack, 300), 0, to); err != nil {
			t.Fatal(err)
		}
		if _, ok := r.receive(r.wan, soon); !ok {
			t.Fatalf("mark %#x: the packet did not leave", tt.mark)
		}
		if got := tracked(); got != tt.tracked {
			t.Errorf("mark %#x: %s connections are tracked, want %s", tt.mark, got, tt.tracked)
		}
		if tt.mark&marks.Injected != 0 && r.counters(c).Queued != 0 {
			t.Errorf("mark %#x: queued", tt.mark)
		}
	}
	if got := r.counters(c).Queued; got != 1 {
		t.Errorf("%d packets queued, want the one without our mark", got)
	}
}

// Of linux/netfilter/nfnetlink_queue.h.
const (
	nfqnlMsgVerdict = 1
	nfqnlMsgConfig  = 2

	nfqaCfgCmd    = 1
	nfqaCfgParams = 2

	nfqaVerdictHdr = 2
	nfqaMark       = 3
)

// listen binds queue 537 and returns a socket that packets come to.
func listen(t testing.TB) *socket {
	t.Helper()
	s, err := dial()
	if err != nil {
		t.Fatal(err)
	}
	const bind, copyPacket = 1, 2
	tell(t, s, nfqnlMsgConfig, nfqaCfgCmd, []byte{bind, 0, 0, 0})
	tell(t, s, nfqnlMsgConfig, nfqaCfgParams, []byte{0, 0, 0xff, 0xff, copyPacket})
	return s
}

// tell sends pairs of an attribute's number and its contents.
func tell(t testing.TB, s *socket, typ uint16, pairs ...any) {
	t.Helper()
	ae := netlink.NewAttributeEncoder()
	for i := 0; i < len(pairs); i += 2 {
		ae.Bytes(uint16(pairs[i].(int)), pairs[i+1].([]byte))
	}
	attrs, err := ae.Encode()
	if err != nil {
		t.Fatal(err)
	}
	var b batch
	b.append(unix.NFNL_SUBSYS_QUEUE<<8|typ, unix.NLM_F_ACK, unix.AF_UNSPEC, 537, attrs)
	if err := s.commit(b.buf); err != nil {
		t.Fatalf("tell queue 537: %v", err)
	}
}

// settle accepts the next packet of the queue and gives it a mark.
func settle(t testing.TB, s *socket, mark uint32) {
	t.Helper()
	fds := []unix.PollFd{{Fd: int32(s.fd), Events: unix.POLLIN}}
	if n, err := unix.Poll(fds, int(soon.Milliseconds())); err != nil || n == 0 {
		t.Fatalf("no packet came to the queue: %v", err)
	}
	verdict := []byte{0, 0, 0, 1} // NF_ACCEPT
	err := s.answers(func(m message) {
		verdict = append(verdict, m.data[8:12]...) // the number, in struct nfqnl_msg_packet_hdr, the first attribute
	})
	if err != nil || len(verdict) != 8 {
		t.Fatalf("want one packet: %x, %v", verdict, err)
	}
	tell(t, s, nfqnlMsgVerdict, nfqaVerdictHdr, verdict, nfqaMark, binary.BigEndian.AppendUint32(nil, mark))
}

// Verdicts with each mark, and what the kernel makes of them. Two chains of the
// test watch our manners: other bits survive, ours leave the packet.
func TestVerdictMarks(t *testing.T) {
	nstest.Enter(t)
	r, c := newRouter(t), mustOpen(t)
	m := config(t, Native).Marks
	const foreign = 0x10
	rules := mustPlan(t, nil)
	rules.chains = append(rules.chains,
		chain{"before", &hook{filter, prerouting, -140}, []rule{{setBits{ctMark, foreign}}}},
		chain{"after", &hook{filter, postrouting, 103}, []rule{
			{bits{metaMark, m.Done, true}, counter{"replies"}}, // must not happen
			{bits{metaMark, m.Steer, true}, bits{ctMark, m.Done, true}, bits{ctMark, foreign, true}, counter{"replies"}},
		}})
	mustApply(t, c, rules, "wan0")
	q := listen(t)
	defer q.close()
	tests := []struct {
		name       string
		mark       uint32
		queueAgain bool
		kept       uint64
	}{
		{"accept", 0, true, 0},
		{"done", m.Done | m.Steer, false, 1}, // Steer stands for bits that are not ours
		{"another bit", m.Hide, true, 0},
	}
	for i, tt := range tests {
		for _, v6 := range []bool{false, true} {
			before := r.counters(c)
			f := newFlow(v6, 44000+uint16(i), 443)
			r.shake(f)
			if _, err := r.lan.Write(f.out(psh|ack, 300)); err != nil {
				t.Fatal(err)
			}
			settle(t, q, tt.mark)
			if _, ok := r.receive(r.wan, soon); !ok {
				t.Errorf("%s: v6 %v: did not pass", tt.name, v6)
			}
			if _, err := r.lan.Write(f.out(psh|ack, 301)); err != nil {
				t.Fatal(err)
			}
			if tt.queueAgain {
				settle(t, q, 0)
			}
			if _, ok := r.receive(r.wan, soon); !ok {
				t.Errorf("%s: v6 %v: the next packet did not pass", tt.name, v6)
			}
			if got := r.counters(c).minus(before).Replies; got != tt.kept {
				t.Errorf("%s: v6 %v: marks kept %d times, want %d", tt.name, v6, got, tt.kept)
			}
		}
	}
}
