package lab

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"os"
	"slices"
	"sync"
	"syscall"
	"time"

	"b4/packet"

	"golang.org/x/sys/unix"
)

// flows is what each end of each TCP connection has sent, and what of that came
// through the router. A socket on the router's LAN device sees what the client
// sends before b4 does, and what leaves for it; a filter on the path sees the
// other side. So it is known of every byte how often it was lost in the router,
// whatever timers the two ends have.
type flows struct {
	mu     sync.Mutex
	closed bool
	open   map[flowKey]*flow // for who has closed it

	lab  *Lab
	file *os.File
	raw  syscall.RawConn
	done chan struct{}
}

type flowKey struct {
	port uint16 // the client's
	v6   bool
}

// flow is one connection: the two directions of it.
type flow [2]stream

// stream is what one end sends.
type stream struct {
	first   uint32 // sequence number of the SYN
	known   bool
	in, out []span // as it entered the router, and as it left it
}

// span is a range of sequence numbers, counted from the SYN, and when it was seen.
type span struct {
	from, to uint32
	at       time.Time
}

// tapBuffer holds what comes while the process does something else.
const tapBuffer = 64 << 20

// watchFlows begins to watch. It takes the path's filter.
func (l *Lab) watchFlows() (*flows, error) {
	s := &flows{open: map[flowKey]*flow{}, lab: l, done: make(chan struct{})}
	err := l.Router.Do(func() error {
		all := binary.NativeEndian.Uint16(binary.BigEndian.AppendUint16(nil, unix.ETH_P_ALL))
		fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_DGRAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return err
		}
		s.file = os.NewFile(uintptr(fd), "tap")
		if unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, tapBuffer) != nil {
			err = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, tapBuffer)
		}
		var index int
		if err == nil {
			index, err = linkIndex(RouterLAN)
		}
		if err == nil {
			err = unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: all, Ifindex: index})
		}
		if err == nil {
			s.raw, err = s.file.SyscallConn()
		}
		if err != nil {
			s.file.Close()
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("watch %s: %w", RouterLAN, err)
	}
	l.SetFilter(func(d Direction, pkt []byte) bool {
		s.note(d, d == ToServer, pkt)
		return true
	})
	go s.read()
	return s, nil
}

// read reads the tap until it is closed.
func (s *flows) read() {
	defer close(s.done)
	buf := make([]byte, maxPacket)
	for {
		var n int
		var from unix.Sockaddr
		var err error
		if s.raw.Read(func(fd uintptr) bool {
			n, from, err = unix.Recvfrom(int(fd), buf, 0)
			return err != unix.EAGAIN
		}) != nil {
			return // closed
		}
		if at, ok := from.(*unix.SockaddrLinklayer); ok && err == nil {
			d := ToServer
			if at.Pkttype == unix.PACKET_OUTGOING {
				d = ToClient
			}
			s.note(d, d == ToClient, buf[:n])
		}
	}
}

// lastWords is how long packets under way may take, and the ends of the last
// connections to say good-bye, which nobody waits for.
const lastWords = 500 * time.Millisecond

// close ends watching. It is an error if the tap has missed packets.
func (s *flows) close() error {
	time.Sleep(lastWords)
	s.lab.SetFilter(nil)
	var missed int
	err := s.raw.Control(func(fd uintptr) {
		if st, err := unix.GetsockoptTpacketStats(int(fd), unix.SOL_PACKET, unix.PACKET_STATISTICS); err == nil {
			missed = int(st.Drops)
		}
	})
	s.file.Close()
	<-s.done
	s.mu.Lock()
	s.closed = true // the path may still be calling the filter
	s.mu.Unlock()
	if err == nil && missed > 0 {
		err = fmt.Errorf("watch %s: %d packets were missed", RouterLAN, missed)
	}
	return err
}

// note writes a packet of direction d down, out where it has left the router.
func (s *flows) note(d Direction, out bool, pkt []byte) {
	var v packet.View
	if !v.Decode(pkt) || v.Proto != packet.TCP || v.Flags&packet.RST != 0 {
		return
	}
	n, syn := uint32(len(v.Payload)), v.Flags&packet.SYN != 0
	if syn {
		n++
	}
	if v.Flags&packet.FIN != 0 {
		n++
	}
	if n == 0 {
		return
	}
	key := flowKey{v.Src.Port(), v.Src.Addr().Is6()}
	if d == ToClient {
		key.port = v.Dst.Port()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return
	}
	f := s.open[key]
	if d == ToServer && syn && (f == nil || f[d].first != v.Seq) { // the port may have been another's
		f = &flow{}
		s.open[key] = f
	}
	if f == nil {
		return
	}
	t := &f[d]
	if syn && !t.known {
		t.first, t.known = v.Seq, true
	}
	if !t.known {
		return
	}
	list := &t.in
	if out {
		list = &t.out
	}
	*list = append(*list, span{v.Seq - t.first, v.Seq - t.first + n, time.Now()})
}

// of is the newest connection from a port.
func (s *flows) of(port int, v6 bool) *flow {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.open[flowKey{uint16(port), v6}]
}

// lost is how often the unluckiest byte of a connection was lost in the router.
func (f *flow) lost() int { return max(f[ToServer].lost(), f[ToClient].lost()) }

// waits is how many timeouts a connection needed for what was lost. What both ends
// waited for at the same time, and several segments of one end, count once.
func (f *flow) waits() (n int) {
	ends := append(f[ToServer].waits(), f[ToClient].waits()...)
	slices.SortFunc(ends, time.Time.Compare)
	var last time.Time
	for _, at := range ends {
		if at.Sub(last) >= minRTO {
			n, last = n+1, at
		}
	}
	return n
}

func (t *stream) lost() int {
	type edge struct {
		at uint32
		n  int
	}
	var edges []edge
	for _, s := range t.in {
		edges = append(edges, edge{s.from, 1}, edge{s.to, -1})
	}
	for _, s := range t.out {
		edges = append(edges, edge{s.from, -1}, edge{s.to, 1})
	}
	slices.SortFunc(edges, func(a, b edge) int { return cmp.Compare(a.at, b.at) })
	most, now := 0, 0
	for i, e := range edges {
		now += e.n
		if i+1 == len(edges) || edges[i+1].at != e.at {
			most = max(most, now)
		}
	}
	return most
}

// minRTO is the shortest timeout for retransmission that Linux has, for a segment
// or, as a tail loss probe, for one alone (TCP_RTO_MIN, 200 ms), less what a
// kernel's tick makes of it. What is sent again sooner is a probe or answers the
// other end, and costs nobody a timeout.
const minRTO = 190 * time.Millisecond

// waits lists when something was sent again that had been lost, and waited for. What
// was lost ahead of a timeout and is sent again behind it comes as the other end
// answers, however late, or has come as a probe.
func (t *stream) waits() (ends []time.Time) {
	var newest uint32
	var timeout int                 // the last, by its place in t.in
	depth := make([]int, len(t.in)) // timeouts up to each
	for i, s := range t.in {
		if s.from < newest { // sent before, at least in part
			j := i - 1
			for j >= 0 && (t.in[j].from >= s.to || t.in[j].to <= s.from) {
				j--
			}
			if j >= 0 {
				o := t.in[j]
				depth[i] = depth[j]
				lost := max(t.lostAt(max(s.from, o.from)), t.lostAt(min(s.to, o.to)-1))
				if s.at.Sub(o.at) >= minRTO && depth[j] < lost {
					depth[i]++
					if j >= timeout {
						ends, timeout = append(ends, s.at), i
					}
				}
			}
		}
		newest = max(newest, s.to)
	}
	return ends
}

// lostAt is how often one byte was lost.
func (t *stream) lostAt(n uint32) (lost int) {
	for _, s := range t.in {
		if s.from <= n && n < s.to {
			lost++
		}
	}
	for _, s := range t.out {
		if s.from <= n && n < s.to {
			lost--
		}
	}
	return lost
}
