package daemon

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"b4/control"
	"b4/engine"
	"b4/pipeline"
)

// Lines as Linux writes them: masqueraded, with accounting, a mark and no answer yet;
// offloaded, with zones; IPv6, which is not translated; the router's own; ICMP.
const (
	masqueraded = "ipv4     2 tcp      6 431999 ESTABLISHED src=192.168.1.7 dst=203.0.113.80 sport=40001 dport=443 packets=5 bytes=1200 " +
		"src=203.0.113.80 dst=198.51.100.2 sport=443 dport=61234 packets=4 bytes=900 [ASSURED] mark=1073741824 zone=0 use=2\n"
	unanswered = "ipv4     2 udp      17 29 src=192.168.1.9 dst=203.0.113.81 sport=50000 dport=443 packets=1 bytes=1280 [UNREPLIED] " +
		"src=203.0.113.81 dst=198.51.100.2 sport=443 dport=50000 packets=0 bytes=0 mark=0 zone=0 use=2\n"
	offloaded = "ipv4     2 tcp      6 src=192.168.1.8 dst=203.0.113.80 sport=40002 dport=443 zone-orig=3 packets=5 bytes=1 " +
		"src=203.0.113.80 dst=198.51.100.2 sport=443 dport=40002 zone-reply=4 packets=4 bytes=1 [OFFLOAD] mark=0 secctx=a:b use=3\n"
	routed = "ipv6     10 tcp      6 60 SYN_SENT src=2001:0db8:0001:0000:0000:0000:0000:0007 dst=2001:0db8:0002:0000:0000:0000:0000:0080 sport=40003 dport=443 [UNREPLIED] " +
		"src=2001:0db8:0002:0000:0000:0000:0000:0080 dst=2001:0db8:0001:0000:0000:0000:0000:0007 sport=443 dport=40003 mark=0 zone=0 use=2\n"
	ping = "ipv4     2 icmp     1 29 src=192.168.1.7 dst=203.0.113.80 type=8 code=0 id=7 src=203.0.113.80 dst=198.51.100.2 type=0 code=0 id=7 mark=0 use=2\n"
)

func TestParseTracked(t *testing.T) {
	for _, tt := range []struct{ line, want string }{
		{masqueraded, "6 192.168.1.7: 198.51.100.2:61234 203.0.113.80:443"},
		{unanswered, "17 192.168.1.9: 198.51.100.2:50000 203.0.113.81:443"},
		{offloaded, "6 192.168.1.8: 198.51.100.2:40002 203.0.113.80:443"},
		{routed, "6 2001:0db8:0001:0000:0000:0000:0000:0007: 2001:0db8:0001:0000:0000:0000:0000:0007:40003 2001:0db8:0002:0000:0000:0000:0000:0080:443"},
		{ping, ""},
		{"", ""},
		{"\n", ""},
		{masqueraded[:strings.LastIndex(masqueraded, "dport=")], ""}, // cut off
		{masqueraded[strings.Index(masqueraded, " src"):], ""},       // without its head
	} {
		var c tracked
		got := ""
		if c.parse([]byte(tt.line)) {
			got = fmt.Sprintf("%d %s: %s:%d %s:%d", c.proto, c.source, c.client, c.clientPort, c.server, c.serverPort)
		}
		if got != tt.want {
			t.Errorf("%q:\ngot  %s\nwant %s", tt.line, got, tt.want)
		}
	}
}

func FuzzTracked(f *testing.F) {
	for _, line := range []string{masqueraded, unanswered, offloaded, routed, ping} {
		f.Add([]byte(line))
	}
	f.Fuzz(func(t *testing.T, line []byte) {
		var c tracked
		if !c.parse(line) {
			return
		}
		if n := len(c.source) + len(c.client) + len(c.server); n > len(line) {
			t.Errorf("%d bytes of %d", n, len(line))
		}
		if k := c.flow(); k.Src().Port() != c.clientPort {
			t.Errorf("%v of %+v", k, c)
		}
	})
}

// pipes is a pipeline that has seen a connection from each of some ports.
func pipes(t testing.TB, ports ...uint16) *pipeline.Pipeline {
	t.Helper()
	p := pipeline.New(len(ports), &pipeline.Config{})
	var out engine.Batch
	for _, port := range ports {
		pkt := hello(fmt.Sprintf("h%d.example", port), port)
		p.Handle(time.Now(), &pkt, &out)
	}
	if n := len(p.Unlocated()); n != len(ports) {
		t.Fatalf("%d flows are to be found of %d", n, len(ports))
	}
	return p
}

// outside puts the ends that hello has, and a port, into a line.
func outside(line string, port int) string {
	return strings.NewReplacer("61234", fmt.Sprint(port), "203.0.113.80", "198.51.100.7", "198.51.100.2", "192.0.2.1").Replace(line)
}

// What is of no flow costs no allocation, however many there are.
func TestFindAllocs(t *testing.T) {
	k := newFake(t)
	p := pipes(t, 1)
	find1 := func(lines int) float64 {
		k.files[connectionsPath] = strings.Repeat(masqueraded+ping+routed, lines)
		flows := p.Unlocated()
		return testing.AllocsPerRun(10, func() { find(k, flows, time.Now().Add(time.Hour), p) })
	}
	if few, many := find1(1), find1(1000); many > few {
		t.Errorf("%v allocations of one line, %v of a thousand", few, many)
	}
}

func TestFind(t *testing.T) {
	long := "ipv4     2 tcp      6 src=192.168.1.66 " + strings.Repeat("x", 9000) + outside(masqueraded, 7)[strings.Index(masqueraded, " dst"):]
	udp := strings.Replace(outside(masqueraded, 7), "tcp      6", "udp      17", 1)
	elsewhere := strings.ReplaceAll(outside(masqueraded, 7), "198.51.100.7", "198.51.100.8")
	for _, tt := range []struct {
		name, text string
		until      time.Duration
		want       string // device of the connection from port 7
		whole      bool
	}{
		{"there", outside(masqueraded, 9) + ping + unanswered + routed + outside(masqueraded, 7) + ping, time.Hour, "192.168.1.7", true},
		{"gone", outside(masqueraded, 9), time.Hour, "invalid IP", true},
		{"others of the port", udp + elsewhere, time.Hour, "invalid IP", true},
		{"after a long line", long + outside(masqueraded, 7), time.Hour, "192.168.1.7", true},
		{"no time", ping + unanswered + outside(masqueraded, 7), -time.Hour, "invalid IP", false},
		{"no text", "", time.Hour, "invalid IP", true},
	} {
		k, p := newFake(t), pipes(t, 7)
		k.files[connectionsPath] = tt.text
		whole := find(k, p.Unlocated(), time.Now().Add(tt.until), p)
		if got := p.Recent()[0].Device.String(); got != tt.want || whole != tt.whole {
			t.Errorf("%s: the device is %s, whole %v", tt.name, got, whole)
		}
	}
}

// recent tells the devices behind NAT, and asks the kernel no more than it has to.
func TestRecentDevices(t *testing.T) {
	t.Parallel()
	k := newFake(t)
	r := start(t, k, enabled)
	device := func(host string, reads int) string {
		t.Helper()
		var q Recent
		if err := control.Call(r.socket, "recent", nil, &q); err != nil {
			t.Fatal(err)
		}
		if got := get(k, func() int { return k.opened[connectionsPath] }); got != reads {
			t.Errorf("%s: read %d times, want %d", host, got, reads)
		}
		if len(q.Hosts) == 0 || q.Hosts[0].Host != host {
			t.Fatalf("%+v", q.Hosts)
		}
		if d := q.Hosts[0].Device; d.IsValid() {
			return d.String()
		}
		return ""
	}
	again := func() { // as if time had passed
		r.d.clients.mu.Lock()
		r.d.clients.next = time.Time{}
		r.d.clients.mu.Unlock()
	}
	push(r, "a.example", 1)
	if got := device("a.example", 1); got != "" {
		t.Errorf("nobody knows, and it is %s", got)
	}
	k.set(func() { k.files[connectionsPath] = outside(masqueraded, 1) })
	device("a.example", 1) // too soon
	again()
	if got := device("a.example", 2); got != "192.168.1.7" {
		t.Errorf("the device is %q", got)
	}
	again()
	device("a.example", 2) // it is known
	for reads := range 3 { // a connection that is gone is looked for twice
		push(r, "b.example", 2)
		again()
		if got := device("b.example", min(3+reads, 4)); got != "" {
			t.Errorf("nobody knows, and it is %s", got)
		}
	}
}

// The price of a connection that is none of those looked for, of which there are as
// many as there can be.
func BenchmarkFind(b *testing.B) {
	k := newFake(nil)
	k.files[connectionsPath] = strings.Repeat(masqueraded, 1000)
	var ports []uint16
	for i := range uint16(64) {
		ports = append(ports, 1+i)
	}
	p := pipes(b, ports...)
	flows := p.Unlocated()
	b.ReportAllocs()
	for n := 0; n < b.N; n += 1000 {
		find(k, flows, time.Now().Add(time.Hour), p)
	}
}
