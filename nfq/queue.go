package nfq

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"sync/atomic"
	"time"

	"b4/engine"
	"b4/mmsg"
	"b4/packet"
	"b4/wait"

	"golang.org/x/sys/unix"
)

// burst is how many messages one system call reads at most. More brings
// nothing, as the kernel's share per message outweighs the call's.
const burst = 64

// overhead is what a message holds besides the payload: its headers and every
// attribute nfqnl_build_packet_message can add, with room for new ones.
const overhead = 512

// A queue is one bound NFQUEUE, or two: Source and Sink. All but Close is for the
// one goroutine that reads; release is for whoever knows that it reads no more.
type queue struct {
	*socket
	await  *wait.Waiter
	c      Config
	n      *engine.Tally
	caps   engine.Capabilities
	closed atomic.Bool

	slot int // bytes of bufs per message
	bufs []byte
	msgs []mmsg.Header
	pkts []engine.Packet

	// What attempt has found.
	attempt func(fd uintptr) bool
	got     []engine.Packet
	err     error

	verdicts
	cutting ends // of what was passed on last, as long as its segments have not come

	one   [1]engine.Out
	small [64]byte // a message that leaves at once
}

// open binds c.Num. It is all or nothing.
func open(c Config, n *engine.Tally) (*queue, error) {
	s, err := dial()
	if err != nil {
		return nil, err
	}
	q, err := bind(s, c, n)
	if err != nil {
		s.close()
		return nil, err
	}
	if err := q.prepare(); err != nil {
		s.close()
		return nil, err
	}
	return q, nil
}

// bind configures the queue and lets go what came meanwhile.
func bind(s *socket, c Config, n *engine.Tally) (*queue, error) {
	size, err := s.buffer()
	if err != nil {
		return nil, err
	}
	length := copyRange
	if size < wantBuffer {
		length = smallCopyRange
	}
	caps, err := s.configure(c, uint32(length))
	if err != nil {
		return nil, err
	}
	caps.Buffer = size
	q := &queue{socket: s, c: c, n: n, caps: caps, slot: length + overhead}
	q.lanes = append(q.lanes, lane{num: c.Num, last: s.stray, settled: s.stray, open: s.stray != 0})
	if c.cuts() {
		q.lanes = append(q.lanes, lane{num: c.Cut})
	}
	return q, q.Flush()
}

// prepare makes the buffers, points the message headers at them, and the waiter.
func (q *queue) prepare() (err error) {
	q.bufs = make([]byte, burst*q.slot)
	q.msgs = make([]mmsg.Header, burst)
	q.pkts = make([]engine.Packet, burst)
	iovs := make([]unix.Iovec, burst)
	for i := range q.msgs {
		iovs[i].Base = &q.bufs[i*q.slot]
		iovs[i].SetLen(q.slot)
		q.msgs[i].Msg.Iov = &iovs[i]
		q.msgs[i].Msg.SetIovlen(1)
	}
	q.attempt = func(uintptr) bool {
		q.got, q.err = q.receive()
		return q.err != unix.EAGAIN || q.await.Rung()
	}
	q.await, err = wait.New(q.fd)
	return err
}

// Read implements engine.Source. It may return early with nothing.
func (q *queue) Read(d time.Duration) ([]engine.Packet, error) {
	if err := q.await.Wait(d, q.attempt); err != nil {
		if q.closed.Load() {
			return nil, os.ErrClosed
		}
		return nil, fmt.Errorf("wait for packets: %w", err)
	}
	if q.err == unix.EAGAIN {
		return nil, nil
	}
	return q.got, q.err
}

// receive takes what is there. EAGAIN means nothing is.
func (q *queue) receive() ([]engine.Packet, error) {
	n, errno := mmsg.Recv(q.fd, q.msgs)
	switch errno {
	case 0:
	case unix.EAGAIN, unix.EINTR:
		return nil, unix.EAGAIN
	case unix.ENOBUFS: // the gap in the ids tells how many were lost
		return nil, nil
	default:
		return nil, fmt.Errorf("receive: %w", errno)
	}
	got := 0
	for i := range q.msgs[:n] {
		size := min(int(q.msgs[i].N), q.slot)
		switch k, errno := parse(q.bufs[i*q.slot:][:size], &q.pkts[got]); {
		case k == kindPacket:
			if q.number(&q.pkts[got]); !q.passOn(&q.pkts[got]) {
				got++
			}
		case k == kindError && errno != 0:
			q.c.Report(explainVerdict(errno))
		}
	}
	q.n.Read.Add(uint64(got))
	return q.pkts[:got], nil
}

// number takes note of a packet's id, and of those the kernel had no room for:
// it counts up before it finds the receive buffer full.
func (q *queue) number(p *engine.Packet) {
	l := q.lane(p)
	if gap := int32(p.ID - l.last - 1); gap > 0 {
		q.n.Lost.Add(uint64(gap))
	}
	l.last = p.ID
}

// passOn gives a packet that may not be judged in one piece to the second queue,
// from which it comes again as segments, and one that was too long to be copied
// with all of it. What its flow had in the socket's buffer behind it goes the same
// way, and so stays behind it. Where it cannot, the packet is judged as it is.
// nf_reinject (net/netfilter/nfnetlink_queue.c) takes the verdict like that of a rule.
func (q *queue) passOn(p *engine.Packet) bool {
	switch {
	case !q.c.cuts():
		return false
	case p.Queue != q.c.Num:
		q.cutting = ends{} // what was in the buffer has been read
		return false
	case (p.Super || p.Full > len(p.Bytes)) && !q.c.Whole(p.Bytes):
	case q.cutting == ends{} || q.cutting != endsOf(p):
		return false
	}
	m := appendVerdict(begin(q.small[:], msgVerdict, 0, p.Queue), verdictQueue|uint32(q.c.Cut)<<16, p.ID)
	if err := q.send(m); err != nil {
		q.c.Report(fmt.Errorf("have superpacket cut: %w", err))
		return false
	}
	q.cutting = endsOf(p)
	return true
}

// ends are those of a flow, one way.
type ends struct{ src, dst netip.AddrPort }

// endsOf is the zero ends for what is no whole beginning of a packet.
func endsOf(p *engine.Packet) ends {
	var v packet.View
	v.DecodeStart(p.Bytes)
	return ends{v.Src, v.Dst}
}

// explainVerdict is for a verdict that came too late. The kernel drops waiting
// packets when their device goes down or any base chain is deleted.
func explainVerdict(errno unix.Errno) error {
	if errno == unix.ENOENT {
		return fmt.Errorf("verdict: the kernel has already dropped the packet: %w", errno)
	}
	return fmt.Errorf("verdict: %w", errno)
}

// Send implements engine.Sink.
func (q *queue) Send(outs []engine.Out) (sent int, err error) {
	sent, err = q.c.Send.Send(outs)
	q.n.Sent.Add(uint64(sent))
	if err != nil {
		q.n.SendFailed.Add(1)
	}
	return sent, err
}

// Close makes Read return os.ErrClosed, now or when it is next called.
func (q *queue) Close() error {
	if q.closed.Swap(true) {
		return nil
	}
	return q.await.Wake()
}

// release lets go all that waits, read or not, and closes the descriptors.
// Closing alone would drop it.
func (q *queue) release() error {
	return errors.Join(q.letGo(), q.await.Close(), q.socket.close())
}

// letGo first makes a queue one that is always full, so that by fail-open
// what comes from now on passes. Of the ids, half are "not after" any given one
// (nfq_id_after compares modulo 2^32): as many before the last one read, which
// may not all be settled, as behind it, and more than can wait.
func (q *queue) letGo() (errs error) {
	for _, l := range q.lanes {
		errs = errors.Join(errs,
			q.send(appendNumber(begin(q.small[:], msgConfig, 0, l.num), attrCfgMaxLen, 0)),
			q.send(appendVerdict(begin(q.small[:], msgVerdictBatch, 0, l.num), verdictAccept, l.last+1<<30)))
	}
	return errs
}

// send writes m at once. Nothing answers but errors, and these come to receive.
func (q *queue) send(m []byte) error {
	return mmsg.Write(q.fd, finish(m))
}
