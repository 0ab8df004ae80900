package nfq

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"b4/desync"
	"b4/engine"
	"b4/flow"
	"b4/inject"
	"b4/mark"
	"b4/nstest"
	"b4/packet"
	"b4/pipeline"
	"b4/tlshello"

	"golang.org/x/sys/unix"
)

const (
	testCut  = testNum + 1
	testHost = "www.blocked.example"
)

// bigHello is a ClientHello of n bytes for a host.
func bigHello(host string, n int) []byte {
	b := tlshello.AppendDecoy(nil, host, 3)
	more := n - len(b)
	h, _ := tlshello.Parse(b)
	b = append(b, 0xfa, 0xfa, byte((more-4)>>8), byte(more-4))
	b = append(b, make([]byte, more-4)...)
	for _, at := range []int{3, 7, h.Extensions - 2} {
		binary.BigEndian.PutUint16(b[at:], binary.BigEndian.Uint16(b[at:])+uint16(more))
	}
	return b
}

// A watched is a pipeline whose packets are looked at on their way.
type watched struct {
	*pipeline.Pipeline
	largest, packets atomic.Int64 // of what the pipeline saw
	rests            atomic.Int64 // superpackets with which a hello was whole
}

func (w *watched) Handle(now time.Time, p *engine.Packet, out *engine.Batch) engine.Verdict {
	w.largest.Store(max(w.largest.Load(), int64(p.Full)))
	w.packets.Add(1)
	v := w.Pipeline.Handle(now, p, out)
	if v.Act() == engine.Replace && p.Super {
		w.rests.Add(1)
	}
	return v
}

// spy is a Sender that looks for the name.
type spy struct {
	*inject.Sender
	shown, sent *atomic.Int64
}

func (s spy) Send(outs []engine.Out) (int, error) {
	for _, o := range outs {
		s.sent.Add(1)
		if bytes.Contains(o.Bytes, []byte(testHost)) || len(o.Bytes) > 1500 {
			s.shown.Add(1)
		}
	}
	return s.Sender.Send(outs)
}

// deliver sends what is left of msg and returns what the other end reads.
func deliver(t *testing.T, from, to net.Conn, msg string, sent int) string {
	t.Helper()
	if _, err := io.WriteString(from, msg[sent:]); err != nil {
		t.Fatal(err)
	}
	got := make([]byte, len(msg))
	if _, err := io.ReadFull(to, got); err != nil {
		t.Fatal(err)
	}
	return string(got)
}

// segments has TCP make one superpacket of what is written at once, however slow the
// machine; or, for a slow way, several, as where answers take long: tcp_tso_autosize.
func segments(t *testing.T, slow bool) {
	t.Helper()
	const burst = "/proc/sys/net/ipv4/tcp_tso_rtt_log" // more at once where answers come soon, since Linux 5.18
	if !slow {
		nstest.Sysctl(t, "net.ipv4.tcp_congestion_control=reno", "net.ipv4.tcp_min_tso_segs=40")
	} else if _, err := os.Stat(burst); err == nil {
		nstest.Sysctl(t, "net.ipv4.tcp_tso_rtt_log=0")
	}
}

// pace has TCP send a superpacket of two segments each 3 ms.
func pace(t *testing.T, c *net.TCPConn) {
	t.Helper()
	raw, err := c.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	const rate = 1_000_000 // bytes/s
	failed := raw.Control(func(fd uintptr) { err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_MAX_PACING_RATE, rate) })
	if err := errors.Join(failed, err); err != nil {
		t.Fatal(err)
	}
}

// All traffic of a connection comes through the queue, superpackets whole; its
// hello, one superpacket, is cut by the kernel and treated, and the server reads
// the very bytes. Over a slow way TCP sends a tail of it by itself, which must not
// overtake what is cut.
func TestKernelWholeHello(t *testing.T) {
	strategy, err := desync.TLS.Parse("split(midsld) disorder")
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		size  int
		first int // bytes that come ahead of the rest
		slow  bool
	}{{600, 0, false}, {1700, 0, false}, {2200, 0, false}, {3000, 0, false}, {3000, 0, true}, {3000, 200, false}, {4000, 1000, false}} {
		size, more := tt.size, 1<<21
		if tt.slow {
			more = 1 << 16
		}
		unpaused(t, fmt.Sprintf("%d bytes, %d ahead, slow %t", size, tt.first, tt.slow), func(t *testing.T) (paused bool) {
			nstest.Enter(t)
			nstest.SetMTU(t, "lo", 1500)
			segments(t, tt.slow)
			marks, err := mark.New(mark.Base)
			if err != nil {
				t.Fatal(err)
			}
			raw, err := inject.Open(marks)
			if err != nil {
				t.Fatal(err)
			}
			defer raw.Close()
			var shown, sent atomic.Int64
			e := New(Config{Num: testNum, Len: 1024, Send: spy{raw, &shown, &sent}, GSO: true, Whole: pipeline.Whole, Cut: testCut,
				Report: func(err error) { t.Error(err) }})
			if err := e.Start(); err != nil {
				t.Fatal(err)
			}
			rules(t)
			p := pipeline.New(64, &pipeline.Config{All: true, Rules: []pipeline.Rule{{Name: "all", For: [desync.Protos]pipeline.Treatment{{Steps: strategy}}}}})
			w, end := &watched{Pipeline: p}, make(chan error, 1)
			go func() { end <- e.Run(w) }()
			for _, host := range hosts {
				client, server := connect(t, host)
				if tt.slow {
					pace(t, client)
				}
				msg := append(bigHello(testHost, size), bytes.Repeat([]byte("0123456789abcdef"), more/16)...)
				begun := time.Now()
				for _, part := range [][]byte{msg[:tt.first], msg[tt.first:size]} {
					if _, err := client.Write(part); err != nil {
						t.Fatal(err)
					}
				}
				paused = paused || tt.first > 0 && time.Since(begun) > flow.Wait/2
				want := string(msg[:size])
				if got := deliver(t, client, server, want, size); got != want {
					t.Errorf("%s, %d bytes: the server reads something else", host, size)
				}
				talk(t, server, client, "answer")
				go client.Write(msg[size:])
				got := make([]byte, len(msg)-size)
				if _, err := io.ReadFull(server, got); err != nil || !bytes.Equal(got, msg[size:]) {
					t.Errorf("%s: %v, or other bytes", host, err)
				}
			}
			if err := errors.Join(e.Close(), <-end); err != nil {
				t.Error(err)
			}
			if paused {
				return paused // what came ahead may have left untreated, as it should
			}
			n := e.Counters()
			if late := p.Counts()["late"]; late != 0 {
				t.Errorf("%d bytes: %d packets waited in vain", size, late)
			}
			if p.Hellos() != 2 || shown.Load() > 0 || p.MidStream() > 0 || n.Replaced < 2 || n.SendFailed+n.Lost > 0 {
				t.Errorf("%d bytes: %d hellos, %d shown, %d mid-stream, counters %+v, %v", size, p.Hellos(), shown.Load(), p.MidStream(), n, p.Counts())
			}
			if rests := w.rests.Load(); rests != 0 && tt.first == 0 || rests != 2 && tt.first > 0 {
				t.Errorf("%d bytes, %d ahead: %d hellos ended in a superpacket", size, tt.first, rests)
			}
			if !tt.slow && w.largest.Load() < 20_000 {
				t.Errorf("the largest packet had %d bytes", w.largest.Load())
			}
			t.Logf("%d bytes: %d pieces sent, %d packets, %+v", size, sent.Load(), w.packets.Load(), p.Counts())
			return paused
		})
	}
}

// unpaused runs a subtest again where the machine paused in the middle of it.
func unpaused(t *testing.T, name string, run func(t *testing.T) (paused bool)) {
	t.Helper()
	const tries = 10
	for range tries {
		paused := false
		if t.Run(name, func(t *testing.T) { paused = run(t) }); !paused {
			return
		}
	}
	t.Errorf("%s: the machine paused %d times", name, tries)
}

// What waits in the second queue when the engine closes goes on, read or not.
func TestKernelCloseLetsCutGo(t *testing.T) {
	nstest.Enter(t)
	nstest.SetMTU(t, "lo", 1500)
	e := New(Config{Num: testNum, GSO: true, Cut: testCut, Whole: func([]byte) bool { return false }})
	if err := e.Start(); err != nil {
		t.Fatal(err)
	}
	rules(t)
	from, to := udpPair(t)
	var got [2000]byte
	unix.Write(from, []byte("first")) // confirms the connection: of one that is not the kernel drops segments
	if p, err := queueOf(e).Read(soon); len(p) != 1 || queueOf(e).Settle(&p[0], engine.Accept, nil) != nil || queueOf(e).Flush() != nil {
		t.Fatal(p, err)
	}
	if n, err := unix.Read(to, got[:]); n != 5 {
		t.Fatal(n, err)
	}
	if err := unix.SetsockoptInt(from, unix.SOL_UDP, unix.UDP_SEGMENT, 1000); err != nil {
		t.Skip("no USO in this kernel")
	}
	for range 2 {
		unix.Write(from, make([]byte, 3000))
		for seen := 0; seen == 0; { // what is passed on comes with the next read, or one after
			p, err := queueOf(e).Read(soon)
			if err != nil {
				t.Fatal(err)
			}
			for i := range p {
				if p[i].Queue != testCut || p[i].Super || p[i].Full != 1028 {
					t.Errorf("%+v", p[i])
				}
			}
			seen += len(p)
		}
	}
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	for i := range 6 {
		if n, err := unix.Read(to, got[:]); n != 1000 {
			t.Fatalf("datagram %d: %d bytes, %v", i, n, err)
		}
	}
}

// A superpacket that may not come whole is passed on, at once and by itself, and
// what comes of the second queue is settled there.
func TestPassOn(t *testing.T) {
	q, f := pair(t)
	q.c.GSO, q.c.Cut, q.c.Whole = true, testCut, func(b []byte) bool { return b[0] != 'h' }
	q.lanes = append(q.lanes, lane{num: testCut})
	put := func(num uint16, id uint32, b string, more ...func([]byte) []byte) {
		m := message(id, unix.NF_INET_POST_ROUTING, append(more, payload([]byte(b)))...)
		m[headerLen-2], m[headerLen-1] = byte(num>>8), byte(num)
		f.put(m)
	}
	super := number(attrSkbInfo, skbGSO|skbCsumNotReady)
	put(testNum, 1, "data", super)
	put(testNum, 2, "hello", super)
	put(testNum, 3, "hello")                           // small
	put(testNum, 4, "hello", number(attrCapLen, 3000)) // longer than was copied
	put(testCut, 1, "hello", number(attrCapLen, 30_000))
	put(testCut, 2, "h2")
	pkts := read(t, q)
	var ids []uint32
	for i := range pkts {
		ids = append(ids, uint32(pkts[i].Queue)<<16|pkts[i].ID)
	}
	if want := []uint32{testNum<<16 | 1, testNum<<16 | 3, testCut<<16 | 1, testCut<<16 | 2}; !slices.Equal(ids, want) {
		t.Fatalf("came %x, want %x", ids, want)
	}
	if !pkts[0].Super || !pkts[0].Partial || pkts[1].Super {
		t.Errorf("%+v", pkts)
	}
	for i, v := range []engine.Verdict{engine.Accept, engine.Accept, engine.Accept, engine.Replace} {
		if err := q.Settle(&pkts[i], v, []byte("piece")); err != nil {
			t.Fatal(err)
		}
	}
	want := []string{
		"537: verdict 3 on 2 for 538, bypass true", "537: verdict 3 on 4 for 538, bypass true", // at once, whatever is not settled
		"537: up to 3", "538: up to 1", "538: verdict 1 on 2 piece",
	}
	if err := q.Flush(); err != nil {
		t.Fatal(err)
	}
	if got := f.verdicts(); !slices.Equal(got, want) {
		t.Errorf("verdicts %q, want %q", got, want)
	}
	if n := q.n.Counters(); n.Read != 4 || n.Accepted != 3 || n.Replaced != 1 || n.Lost != 0 {
		t.Errorf("counters %+v", n)
	}
}

// What a flow had in the buffer behind a superpacket that is passed on stays behind
// it; others' packets do not wait, nor does what comes behind the segments.
func TestPassOnFlow(t *testing.T) {
	q, f := pair(t)
	q.c.GSO, q.c.Cut, q.c.Whole = true, testCut, pipeline.Whole
	q.lanes = append(q.lanes, lane{num: testCut})
	put := func(num uint16, id uint32, port uint16, data []byte, more ...func([]byte) []byte) {
		s := packet.Segment{Src: netip.AddrPortFrom(netip.MustParseAddr("192.0.2.1"), port), Dst: netip.MustParseAddrPort("192.0.2.2:443"), Flags: packet.ACK, Payload: data}
		m := message(id, unix.NF_INET_POST_ROUTING, append(more, payload(s.Append(nil)))...)
		m[headerLen-2], m[headerLen-1] = byte(num>>8), byte(num)
		f.put(m)
	}
	tail := []byte("tail")
	put(testNum, 1, 40000, tail)
	put(testNum, 2, 40000, bigHello(testHost, 3000), number(attrSkbInfo, skbGSO|skbCsumNotReady))
	put(testNum, 3, 40000, tail) // behind
	put(testNum, 4, 40001, tail) // another flow's
	put(testCut, 1, 40000, tail)
	put(testNum, 5, 40000, tail)
	var ids []uint32
	for _, p := range read(t, q) {
		ids = append(ids, uint32(p.Queue)<<16|p.ID)
	}
	if want := []uint32{testNum<<16 | 1, testNum<<16 | 4, testCut<<16 | 1, testNum<<16 | 5}; !slices.Equal(ids, want) {
		t.Errorf("came %x, want %x", ids, want)
	}
	if got, want := f.verdicts(), []string{"537: verdict 3 on 2 for 538, bypass true", "537: verdict 3 on 3 for 538, bypass true"}; !slices.Equal(got, want) {
		t.Errorf("verdicts %q, want %q", got, want)
	}
}

// A superpacket that is replaced: all pieces are sent, and it is dropped. Where
// the last cannot be, it goes on as it came.
func TestReplaceSuper(t *testing.T) {
	for _, broken := range []error{nil, unix.EMSGSIZE} {
		q, f := pair(t)
		var sent []string
		q.c.Send = sendFunc(func(o engine.Out) error {
			sent = append(sent, string(o.Bytes))
			return broken
		})
		f.queue(1, 7)
		pkts := read(t, q)
		pkts[0].Super = true
		if err := q.Settle(&pkts[0], engine.Replace, []byte("piece")); !errors.Is(err, broken) {
			t.Errorf("settle: %v", err)
		}
		q.Flush()
		f.rule()
		want, n := ruled{verdict: verdictDrop}, engine.Counters{Read: 1, Replaced: 1}
		if broken != nil {
			want, n = ruled{verdict: verdictAccept}, engine.Counters{Read: 1, Accepted: 1, SendFailed: 1}
		}
		if f.settled[1] != want || q.n.Counters() != n || len(sent) != 1 || sent[0] != "piece" {
			t.Errorf("settled %v, sent %q, counters %+v", f.settled[1], sent, q.n.Counters())
		}
	}
}

// What a superpacket becomes leaves behind the packets before it, though by itself.
func TestReplaceSuperOrder(t *testing.T) {
	q, f := pair(t)
	tp := &tape{f: f}
	q.c.Send = tp
	for id := uint32(1); id <= 3; id++ {
		f.queue(id, 0)
	}
	pkts := read(t, q)
	pkts[2].Super = true
	err := errors.Join(q.Settle(&pkts[0], engine.Accept|engine.Done, nil), q.Settle(&pkts[1], engine.Accept, nil),
		q.Settle(&pkts[2], engine.Replace, []byte("piece")), q.Flush())
	if tp.verdicts(); err != nil || !slices.Equal(tp.log, []string{"1=", "2=", "piece", "3="}) {
		t.Errorf("%v, %q", err, tp.log)
	}
}

type sendFunc func(engine.Out) error

func (f sendFunc) Send(outs []engine.Out) (int, error) {
	for i, o := range outs {
		if err := f(o); err != nil {
			return i, err
		}
	}
	return len(outs), nil
}

// What is cut to the copy's range is still told apart by Whole.
func TestWholeOfCopy(t *testing.T) {
	s := packet.Segment{Src: netip.MustParseAddrPort("192.0.2.1:40000"), Dst: netip.MustParseAddrPort("192.0.2.2:443"), Flags: packet.ACK, Payload: bigHello(testHost, 12_000)}
	if b := s.Append(nil)[:smallCopyRange]; pipeline.Whole(b) {
		t.Error("the beginning of a hello may come whole")
	}
}
