package nfq

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"b4/engine"
	"b4/nstest"

	"golang.org/x/sys/unix"
)

var hosts = []string{"127.0.0.1", "::1"}

func accept(*engine.Packet, *engine.Batch) engine.Verdict { return engine.Accept }

// talk sends msg and returns what the other end reads.
func talk(t *testing.T, from, to net.Conn, msg string) string {
	t.Helper()
	return deliver(t, from, to, msg, 0)
}

func TestKernelAccept(t *testing.T) {
	nstest.Enter(t)
	lo, err := net.InterfaceByName("lo")
	if err != nil {
		t.Fatal(err)
	}
	var seen [2]atomic.Int32
	e := serve(t, Config{}, func(p *engine.Packet, _ *engine.Batch) engine.Verdict {
		seen[p.Dir].Add(1)
		if p.Full != len(p.Bytes) || p.Partial || checksum(p.Bytes) != 0xffff {
			t.Errorf("packet of %d bytes, %d copied, partial %v, sum %#x", p.Full, len(p.Bytes), p.Partial, checksum(p.Bytes))
		}
		out, in := int32(lo.Index), int32(0)
		if p.Dir == engine.Reply {
			out, in = in, out
		}
		if p.Out != out || p.In != in {
			t.Errorf("direction %d: out %d, in %d", p.Dir, p.Out, p.In)
		}
		return engine.Accept
	})
	for _, host := range hosts {
		client, server := connect(t, host)
		if got := talk(t, client, server, "question"); got != "question" {
			t.Errorf("%s: server read %q", host, got)
		}
		if got := talk(t, server, client, "answer"); got != "answer" {
			t.Errorf("%s: client read %q", host, got)
		}
	}
	e.Close() // verdicts are counted after they have taken effect
	n, caps := e.Counters(), e.Capabilities()
	if n.Read < 10 || n.Accepted != n.Read || n.Lost+n.Dropped+n.Replaced != 0 || seen[0].Load() < 6 || seen[1].Load() < 4 {
		t.Errorf("counters %+v, %d original, %d reply", n, seen[0].Load(), seen[1].Load())
	}
	if !caps.FailOpen || caps.GSO || caps.Buffer < wantBuffer {
		t.Errorf("capabilities %+v", caps)
	}
}

func TestKernelReplace(t *testing.T) {
	nstest.Enter(t)
	type place struct {
		version byte
		seq     uint32
	}
	replaced := map[place]uint64{} // how often, as TCP may send a segment again
	e := serve(t, Config{}, func(p *engine.Packet, out *engine.Batch) engine.Verdict {
		if p.Dir == engine.Reply || len(data(p.Bytes)) == 0 {
			return engine.Accept
		}
		replaced[place{p.Bytes[0] >> 4, binary.BigEndian.Uint32(segment(p.Bytes)[4:])}]++
		out.Add(p.Bytes, p.Meta)
		capitals(out.At(0).Bytes)
		return engine.Replace
	})
	for _, host := range hosts {
		client, server := connect(t, host)
		if got := talk(t, client, server, "question"); got != "QUESTION" {
			t.Errorf("%s: server read %q", host, got)
		}
	}
	e.Close()
	total := uint64(0)
	for _, n := range replaced {
		total += n
	}
	if n := e.Counters(); n.Replaced != total || len(replaced) != 2 {
		t.Errorf("counters %+v, %v", n, replaced)
	}
}

// A dropped segment is sent again, and one that leaves with half its payload
// is made up for by TCP: the verdict's length counts, not the packet's.
func TestKernelDrop(t *testing.T) {
	nstest.Enter(t)
	var dropped, cut bool
	e := serve(t, Config{}, func(p *engine.Packet, out *engine.Batch) engine.Verdict {
		d := data(p.Bytes)
		switch {
		case p.Dir == engine.Reply || len(d) == 0:
			return engine.Accept
		case !dropped:
			dropped = true
			return engine.Drop
		case !cut:
			cut = true
			b := out.Grow(len(p.Bytes)-len(d)/2, p.Meta)
			copy(b, p.Bytes)
			binary.BigEndian.PutUint16(b[2:], uint16(len(b)))
			capitals(b)
			sumHeader(b)
			return engine.Replace
		}
		return engine.Accept
	})
	client, server := connect(t, hosts[0])
	if got := talk(t, client, server, "question"); got != "QUEStion" {
		t.Errorf("server read %q", got)
	}
	e.Close()
	if n := e.Counters(); n.Dropped != 1 || n.Replaced != 1 {
		t.Errorf("counters %+v", n)
	}
}

// Done reaches the connection by way of the packet's mark, with an untouched
// packet and with a replaced one.
func TestKernelDone(t *testing.T) {
	nstest.Enter(t)
	e := serve(t, Config{}, func(p *engine.Packet, out *engine.Batch) engine.Verdict {
		switch {
		case p.Dir == engine.Reply || len(data(p.Bytes)) == 0:
			return engine.Accept
		case p.Bytes[0]>>4 == 6:
			out.Add(p.Bytes, p.Meta)
			return engine.Replace | engine.Done
		}
		return engine.Accept | engine.Done
	})
	for _, host := range hosts {
		client, server := connect(t, host)
		talk(t, client, server, "first")
		before := e.Counters().Read
		talk(t, client, server, "second")
		talk(t, server, client, "third")
		if n := e.Counters(); n.Read != before {
			t.Errorf("%s: %d packets of a connection that is done", host, n.Read-before)
		}
	}
}

// Superpackets arrive cut, with full checksums, unless asked for whole.
func TestKernelGSO(t *testing.T) {
	const mtu = 1500
	for _, gso := range []bool{false, true} {
		t.Run(fmt.Sprint("gso ", gso), func(t *testing.T) {
			nstest.Enter(t)
			nstest.SetMTU(t, "lo", mtu)
			var longest, partial atomic.Int32
			e := serve(t, Config{GSO: gso}, func(p *engine.Packet, _ *engine.Batch) engine.Verdict {
				longest.Store(max(longest.Load(), int32(p.Full)))
				if p.Partial {
					partial.Add(1)
				} else if checksum(p.Bytes) != 0xffff {
					t.Errorf("sum %#x", checksum(p.Bytes))
				}
				return engine.Accept
			})
			client, server := connect(t, hosts[0])
			msg := bytes.Repeat([]byte("0123456789abcdef"), 1<<14)
			go client.Write(msg)
			got := make([]byte, len(msg))
			if _, err := io.ReadFull(server, got); err != nil || !bytes.Equal(got, msg) {
				t.Errorf("gso %v: %v, intact %v", gso, err, bytes.Equal(got, msg))
			}
			if whole := longest.Load() > mtu; whole != gso || e.Capabilities().GSO != gso || partial.Load() > 0 != gso {
				t.Errorf("gso %v: longest packet %d, %d partial, %+v", gso, longest.Load(), partial.Load(), e.Capabilities())
			}
		})
	}
}

// ticks is a Handler that tells of its Ticks.
type ticks chan struct{}

func (ticks) Handle(time.Time, *engine.Packet, *engine.Batch) engine.Verdict { return engine.Accept }
func (ticks) Drain(*engine.Batch)                                            {}
func (c ticks) Tick(time.Time, *engine.Batch) time.Duration {
	select {
	case c <- struct{}{}:
	default:
	}
	return time.Minute
}

func TestKernelStartTwice(t *testing.T) {
	nstest.Enter(t)
	e, begun := New(Config{Num: testNum}), make(ticks, 1)
	if err := e.Start(); err != nil {
		t.Fatal(err)
	}
	go e.Run(begun)
	if err := e.Start(); err != engine.ErrStarted {
		t.Errorf("second start: %v", err)
	}
	other := New(Config{Num: testNum})
	if err := other.Start(); err == nil || !strings.Contains(err.Error(), "bind queue 537: another program holds it") {
		t.Errorf("start on a taken queue: %v", err)
	}
	<-begun
	if err := e.Run(judge(accept)); !errors.Is(err, engine.ErrBusy) {
		t.Errorf("second run: %v", err)
	}
	if err := e.Close(); err != nil {
		t.Error(err)
	}
	if err := other.Start(); err != nil {
		t.Errorf("start after the other's close: %v", err)
	}
	if err := errors.Join(e.Run(judge(accept)), other.Close(), other.Close()); err != nil {
		t.Error(err)
	}
}

// udpPair returns a connected socket whose packets pass the queue, and the one
// that receives them.
func udpPair(t *testing.T) (from, to int) {
	t.Helper()
	addr := &unix.SockaddrInet4{Port: testPort, Addr: [4]byte{127, 0, 0, 1}}
	for _, fd := range []*int{&from, &to} {
		var err error
		if *fd, err = unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { unix.Close(*fd) })
		unix.SetsockoptTimeval(*fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Sec: 10})
	}
	if err := errors.Join(unix.Bind(to, addr), unix.Connect(from, addr)); err != nil {
		t.Fatal(err)
	}
	return from, to
}

// What waits in the queue when the engine closes goes on, read or not.
func TestKernelCloseLetsGo(t *testing.T) {
	nstest.Enter(t)
	e := New(Config{Num: testNum})
	if err := e.Start(); err != nil {
		t.Fatal(err)
	}
	rules(t)
	from, to := udpPair(t)
	unix.Write(from, []byte("a"))
	if p, err := queueOf(e).Read(soon); len(p) != 1 || err != nil {
		t.Fatal(p, err)
	}
	unix.Write(from, []byte("b"))
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	var got [8]byte
	for _, want := range "ab" {
		if n, err := unix.Read(to, got[:]); n != 1 || rune(got[0]) != want {
			t.Errorf("received %q, %v", got[:max(n, 0)], err)
		}
	}
}

// Under traffic neither Start nor Close loses a packet: those between bind and
// start are let go, and those after Close's last verdict find a full queue.
func TestKernelStartCloseUnderTraffic(t *testing.T) {
	nstest.Enter(t)
	rules(t)
	from, to := udpPair(t)
	if err := unix.SetsockoptInt(to, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 256<<20); err != nil {
		t.Fatal(err)
	}
	var stop atomic.Bool
	sent := make(chan int)
	go func() {
		n := 0
		for ; !stop.Load(); n++ {
			unix.Write(from, []byte("datagram"))
		}
		sent <- n
	}()
	const cycles = 30
	for range cycles {
		e, end := New(Config{Num: testNum}), make(chan error, 1)
		if err := e.Start(); err != nil {
			t.Fatal(err)
		}
		go func() { end <- e.Run(judge(accept)) }()
		time.Sleep(time.Millisecond)
		if err := errors.Join(e.Close(), <-end); err != nil {
			t.Error(err)
		}
	}
	stop.Store(true)
	missing := <-sent
	for b := make([]byte, 64); ; missing-- {
		if _, _, err := unix.Recvfrom(to, b, unix.MSG_DONTWAIT); err != nil {
			break
		}
	}
	// Between creating the queue and setting its mode, within one message,
	// the kernel can still drop one.
	if missing > cycles/10 {
		t.Errorf("%d packets missing", missing)
	}
}

// Packets for which the receive buffer has no room pass, and are counted; and so
// where the kernel says so by ENOBUFS, which ends nothing.
func TestKernelLost(t *testing.T) {
	for _, told := range []bool{false, true} {
		t.Run(fmt.Sprintf("told %t", told), func(t *testing.T) { loses(t, told) })
	}
}

func loses(t *testing.T, told bool) {
	nstest.Enter(t)
	e := New(Config{Num: testNum, Len: 4096})
	if err := e.Start(); err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	rules(t)
	q := queueOf(e)
	err := unix.SetsockoptInt(q.fd, unix.SOL_SOCKET, unix.SO_RCVBUF, 1<<14)
	if told {
		err = errors.Join(err, unix.SetsockoptInt(q.fd, unix.SOL_NETLINK, unix.NETLINK_NO_ENOBUFS, 0))
	}
	if err != nil {
		t.Fatal(err)
	}
	from, to := udpPair(t)
	if err := unix.SetsockoptInt(to, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 1<<20); err != nil {
		t.Fatal(err)
	}
	const total = 200
	for range total {
		unix.Write(from, make([]byte, 1000))
	}
	for quiet := 0; quiet < 2; { // the first time may be ENOBUFS
		p, err := q.Read(10 * time.Millisecond)
		if err != nil {
			t.Fatal(err)
		}
		if len(p) == 0 {
			quiet++
		}
		for i := range p {
			q.Settle(&p[i], engine.Accept, nil)
		}
		q.Flush()
	}
	unix.Write(from, []byte("the id that tells of the gap"))
	if p, err := q.Read(soon); len(p) != 1 || err != nil {
		t.Fatal(p, err)
	}
	if n := e.Counters(); n.Lost == 0 || n.Lost+n.Read != total+1 {
		t.Errorf("counters %+v", n)
	}
	var b [2000]byte
	for i := range total {
		if _, err := unix.Read(to, b[:]); err != nil {
			t.Fatalf("packet %d: %v", i, err)
		}
	}
}

func TestKernelAllocs(t *testing.T) {
	nstest.Enter(t)
	e := New(Config{Num: testNum})
	if err := e.Start(); err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	rules(t)
	from, to := udpPair(t)
	msg, buf := make([]byte, 1200), make([]byte, 2000)
	n := testing.AllocsPerRun(500, func() {
		unix.Write(from, msg)
		p, err := queueOf(e).Read(soon)
		if err != nil || len(p) != 1 {
			t.Fatal(len(p), err)
		}
		queueOf(e).Settle(&p[0], engine.Accept, nil)
		queueOf(e).Flush()
		if n, err := unix.Read(to, buf); n != len(msg) {
			t.Fatal(n, err)
		}
	})
	if n != 0 {
		t.Errorf("%v allocations a packet", n)
	}
}

func TestKernelWithoutCapability(t *testing.T) {
	nstest.Enter(t)
	hdr := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var none [2]unix.CapUserData
	if err := unix.Capset(&hdr, &none[0]); err != nil {
		t.Fatal(err)
	}
	e := New(Config{Num: testNum})
	for _, err := range []error{e.Supported(), e.Start()} {
		if err == nil || !strings.Contains(err.Error(), "CAP_NET_ADMIN") || errors.Is(err, engine.ErrNotSupported) {
			t.Errorf("without capabilities: %v", err)
		}
	}
	if err := e.Close(); err != nil {
		t.Error(err)
	}
	if err := e.Start(); err != os.ErrClosed {
		t.Error(err)
	}
}
