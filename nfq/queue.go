package nfq

import (
	"errors"
	"fmt"
	"os"
	"sync/atomic"
	"time"
	"unsafe"

	"b4/engine"
	"b4/wait"

	"golang.org/x/sys/unix"
)

// burst is how many messages one system call reads at most. More brings
// nothing, as the kernel's share per message outweighs the call's.
const burst = 64

// overhead is what a message holds besides the payload: its headers and every
// attribute nfqnl_build_packet_message can add, with room for new ones.
const overhead = 512

// A mmsghdr is the kernel's struct mmsghdr. Go pads it as C does: to 64 bytes
// on 64-bit systems, to none on 32-bit ones.
type mmsghdr struct {
	hdr unix.Msghdr
	n   uint32
}

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
	msgs []mmsghdr
	pkts []engine.Packet

	// What attempt has found.
	attempt func(fd uintptr) bool
	got     []engine.Packet
	err     error

	lanes []lane // by number as in Config: Num, and Cut if it is served
	out   []byte // the message being built
}

// A lane is what is kept of one queue number.
type lane struct {
	num  uint16
	last uint32 // the newest packet's id; the kernel counts from 1

	// A run of packets that go on untouched and of which the kernel has not
	// been told. One batch verdict covers all ids up to run, whose packets
	// are all in the run or already settled, as packets are settled in order.
	run     uint32
	running bool
}

// lane is that of a packet.
func (q *queue) lane(p *engine.Packet) *lane {
	for i := range q.lanes {
		if q.lanes[i].num == p.Queue {
			return &q.lanes[i]
		}
	}
	return &q.lanes[0]
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
	q.lanes = append(q.lanes, lane{c.Num, s.stray, s.stray, s.stray != 0})
	if c.cuts() {
		q.lanes = append(q.lanes, lane{num: c.Cut})
	}
	return q, q.Flush()
}

// prepare makes the buffers, points the message headers at them, and the waiter.
func (q *queue) prepare() (err error) {
	q.bufs = make([]byte, burst*q.slot)
	q.msgs = make([]mmsghdr, burst)
	q.pkts = make([]engine.Packet, burst)
	iovs := make([]unix.Iovec, burst)
	for i := range q.msgs {
		iovs[i].Base = &q.bufs[i*q.slot]
		iovs[i].SetLen(q.slot)
		q.msgs[i].hdr.Iov = &iovs[i]
		q.msgs[i].hdr.SetIovlen(1)
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
	n, _, errno := unix.Syscall6(unix.SYS_RECVMMSG, uintptr(q.fd), uintptr(unsafe.Pointer(&q.msgs[0])),
		uintptr(len(q.msgs)), unix.MSG_DONTWAIT, 0, 0)
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
		size := min(int(q.msgs[i].n), q.slot)
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
// with all of it. Where it cannot, the packet is judged as it is. nf_reinject
// (net/netfilter/nfnetlink_queue.c) takes the verdict like that of a rule.
func (q *queue) passOn(p *engine.Packet) bool {
	if !q.c.cuts() || p.Queue != q.c.Num || !p.Super && p.Full == len(p.Bytes) || q.c.Whole(p.Bytes) {
		return false
	}
	m := appendVerdict(begin(q.out, msgVerdict, 0, p.Queue), verdictQueue|uint32(q.c.Cut)<<16, p.ID)
	if err := q.send(m); err != nil {
		q.c.Report(fmt.Errorf("have superpacket cut: %w", err))
		return false
	}
	return true
}

// explainVerdict is for a verdict that came too late. The kernel drops waiting
// packets when their device goes down or any base chain is deleted.
func explainVerdict(errno unix.Errno) error {
	if errno == unix.ENOENT {
		return fmt.Errorf("verdict: the kernel has already dropped the packet: %w", errno)
	}
	return fmt.Errorf("verdict: %w", errno)
}

// Settle implements engine.Sink. Packets must be settled in the order in which
// Read returned them. A packet whose verdict could not be given goes on
// untouched with the next that is. With Drop, Done has no effect: its mark is
// the packet's, which is gone.
func (q *queue) Settle(p *engine.Packet, v engine.Verdict, payload []byte) error {
	mark := p.Mark
	if v&engine.Done != 0 {
		mark |= q.c.Done
	}
	if v.Act() == engine.Accept && mark == p.Mark {
		q.gather(p)
		return nil
	}
	err := q.Flush()
	if e := q.verdict(p, v.Act(), mark, payload); e != nil {
		q.gather(p)
		return errors.Join(err, e)
	}
	return err
}

// gather adds a packet to the run that goes on untouched.
func (q *queue) gather(p *engine.Packet) {
	l := q.lane(p)
	l.run, l.running = p.ID, true
	q.n.Accepted.Add(1)
}

var errTooLong = errors.New("payload is longer than a netlink attribute")

// verdict settles one packet at once.
func (q *queue) verdict(p *engine.Packet, act engine.Verdict, mark uint32, payload []byte) error {
	if len(payload) > maxPayload {
		return errTooLong
	}
	what, count := uint32(verdictAccept), &q.n.Accepted
	switch act {
	case engine.Drop:
		what, count = verdictDrop, &q.n.Dropped
	case engine.Replace:
		count = &q.n.Replaced
	}
	if act == engine.Replace && p.Super {
		// The kernel would go on to cut what it now is by the size it had,
		// and loses what is shorter than that.
		if err := q.c.Send.Send(engine.Out{Bytes: payload, Meta: p.Meta}); err != nil {
			q.n.SendFailed.Add(1)
			return err
		}
		act, what = engine.Drop, verdictDrop
	}
	m := appendVerdict(begin(q.out, msgVerdict, 0, q.lane(p).num), what, p.ID)
	if mark != p.Mark {
		m = appendNumber(m, attrMark, mark)
	}
	if act == engine.Replace {
		m = appendPayload(m, payload)
	}
	if err := q.send(m); err != nil {
		return fmt.Errorf("give verdict: %w", err)
	}
	count.Add(1)
	return nil
}

// Flush implements engine.Sink. A run that could not be told is kept for the
// next Flush.
func (q *queue) Flush() (errs error) {
	for i := range q.lanes {
		l := &q.lanes[i]
		if !l.running {
			continue
		}
		if err := q.accept(l.num, l.run); err != nil {
			errs = errors.Join(errs, fmt.Errorf("give verdicts: %w", err))
			continue
		}
		l.running = false
	}
	return errs
}

// accept lets every packet go that waits in queue num and whose id is not after
// id.
func (q *queue) accept(num uint16, id uint32) error {
	return q.send(appendVerdict(begin(q.out, msgVerdictBatch, 0, num), verdictAccept, id))
}

// send writes m, which was begun in q.out, and keeps its memory. Nothing
// answers but errors, and these come to receive.
func (q *queue) send(m []byte) error {
	q.out = m
	_, err := unix.Write(q.fd, finish(m))
	return err
}

// Send implements engine.Sink.
func (q *queue) Send(o engine.Out) error {
	if err := q.c.Send.Send(o); err != nil {
		q.n.SendFailed.Add(1)
		return err
	}
	q.n.Sent.Add(1)
	return nil
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
		full := appendNumber(begin(q.out, msgConfig, 0, l.num), attrCfgMaxLen, 0)
		errs = errors.Join(errs, q.send(full), q.accept(l.num, l.last+1<<30))
	}
	return errs
}
