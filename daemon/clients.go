package daemon

import (
	"bufio"
	"bytes"
	"net/netip"
	"slices"
	"strconv"
	"sync"
	"time"

	"b4/flow"
	"b4/packet"
	"b4/pipeline"

	"golang.org/x/sys/unix"
)

const (
	// locateEvery is how often devices are looked for at most, and locateShare that it
	// takes no more than one part in so many of the time: the kernel spends 5 µs of a
	// fast processor on each connection, and older kernels more the more there are.
	locateEvery = 5 * time.Second
	locateShare = 200
	// locateLimit bounds one look: rpcd waits for the answer.
	locateLimit = 300 * time.Millisecond
)

// A locator finds out which devices of the network are behind the connections that
// b4 sees behind NAT.
type locator struct {
	mu   sync.Mutex
	next time.Time // not to be asked before
}

// locate tells p the devices it does not know. Where somebody else is asking, or
// has lately, it does nothing.
func (l *locator) locate(k kernel, p *pipeline.Pipeline) {
	if !l.mu.TryLock() {
		return
	}
	defer l.mu.Unlock()
	began := time.Now()
	if began.Before(l.next) {
		return
	}
	flows := p.Unlocated()
	if len(flows) == 0 {
		return
	}
	if find(k, flows, began.Add(locateLimit), p) {
		for _, f := range p.Unlocated() {
			p.Locate(f, netip.Addr{}) // gone, or nothing is known of connections at all
		}
	}
	now := time.Now()
	l.next = now.Add(max(locateEvery, locateShare*now.Sub(began)))
}

// find looks for flows among the kernel's connections and tells p who has opened
// those it finds. It reports whether no connection was left out.
func find(k kernel, flows []flow.Key, until time.Time, p *pipeline.Pipeline) (whole bool) {
	ports := make([]uint16, len(flows)) // what nearly all connections differ by
	for i := range flows {
		ports[i] = flows[i].Src().Port()
	}
	var t tracked
	return eachLine(k, connectionsPath, func(line []byte) bool {
		if t.parse(line) && slices.Contains(ports, t.clientPort) {
			source, _ := netip.ParseAddr(string(t.source)) // of the kernel's own making
			p.Locate(t.flow(), source)
		}
		return time.Now().Before(until)
	})
}

// connectionsPath has a line for each connection that the kernel tracks, of the
// calling thread's namespace. OpenWrt's kernels have it (CONFIG_NF_CONNTRACK_PROCFS).
const connectionsPath = "/proc/thread-self/net/nf_conntrack"

// eachLine calls f for each line of a file, which is valid for the call, until it
// returns false. It reports whether it has not. A file that cannot be read has none;
// a line that is too long for the buffer comes in parts.
func eachLine(k kernel, path string, f func(line []byte) bool) (whole bool) {
	file, err := k.open(path)
	if err != nil {
		return true
	}
	defer file.Close()
	for lines := bufio.NewReader(file); ; {
		line, err := lines.ReadSlice('\n')
		switch {
		case len(line) > 0 && !f(line):
			return false
		case err != nil && err != bufio.ErrBufferFull:
			return true
		}
	}
}

// cutWord returns the first word of a line, and what follows it.
func cutWord(line []byte) (word, rest []byte) {
	for len(word) == 0 && len(line) > 0 {
		word, line, _ = bytes.Cut(line, space)
	}
	return word, line
}

// A tracked is a connection over TCP or UDP: who has opened it, and between which
// ends it goes outside, as replies tell: the client there is the source as it was
// translated. All but the numbers is text, borrowed from its line.
type tracked struct {
	proto                  byte
	source, client, server []byte
	clientPort, serverPort uint16
}

// parse reads a line: names and numbers of the protocols, then names of values, the
// tuple of the packets one way, and behind it that of the other (ct_seq_show of
// net/netfilter/nf_conntrack_standalone.c). What else stands there, and there is
// more with zones, marks and accounting, is passed over. It reports false for other
// protocols, and for what is no such line.
func (t *tracked) parse(line []byte) bool {
	*t = tracked{}
	var word []byte
	for range 4 {
		word, line = cutWord(line)
	}
	if t.proto = byte(number(word)); t.proto != unix.IPPROTO_TCP && t.proto != unix.IPPROTO_UDP {
		return false
	}
	tuples := 0
	for len(line) > 0 && tuples < 2 {
		word, line = cutWord(line)
		name, value, _ := bytes.Cut(word, equals)
		switch string(name) {
		case "src":
			t.source, t.server = t.server, value
		case "dst":
			t.client = value
		case "sport":
			t.serverPort = number(value)
		case "dport":
			t.clientPort = number(value)
			tuples++
		}
	}
	return tuples == 2 && len(t.source) > 0
}

var space, equals = []byte(" "), []byte("=")

// number is 0 for what is none.
func number(b []byte) uint16 {
	n, _ := strconv.ParseUint(string(b), 10, 16)
	return uint16(n)
}

// flow is the connection as b4 sees it.
func (t *tracked) flow() flow.Key {
	end := func(text []byte, port uint16) netip.AddrPort {
		a, _ := netip.ParseAddr(string(text))
		return netip.AddrPortFrom(a, port)
	}
	return flow.KeyOf(&packet.View{Proto: t.proto, Src: end(t.client, t.clientPort), Dst: end(t.server, t.serverPort)})
}
