package nfq

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"slices"
	"testing"

	"b4/engine"

	"golang.org/x/sys/unix"
)

// A fake stands at the kernel's end of a socket pair.
type fake struct {
	t       testing.TB
	fd      int
	waiting []uint32         // ids in the queue, in order
	settled map[uint32]ruled // by id
	order   []uint32         // in which they left
	buf     [1 << 17]byte
}

type ruled struct {
	verdict uint32
	mark    uint32
	payload string
}

func (r ruled) String() string {
	return fmt.Sprintf("verdict %d mark %#x payload %.20q", r.verdict, r.mark, r.payload)
}

type failing struct{ err error }

func (f failing) Send(outs []engine.Out) (int, error) {
	if f.err != nil {
		return 0, f.err
	}
	return len(outs), nil
}

// pair joins a queue to a fake kernel.
func pair(t testing.TB) (*queue, *fake) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	q := &queue{
		socket: &socket{fd: fds[0]}, n: new(engine.Tally), slot: copyRange + overhead,
		c: Config{Num: 537, Done: 1 << 26, Send: failing{}, Report: func(err error) { t.Error(err) }},

		verdicts: verdicts{lanes: []lane{{num: 537}}},
	}
	if err := q.prepare(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		q.release()
		unix.Close(fds[1])
	})
	return q, &fake{t: t, fd: fds[1], settled: map[uint32]ruled{}}
}

func (f *fake) put(m []byte) {
	if _, err := unix.Write(f.fd, m); err != nil {
		f.t.Fatal(err)
	}
}

// queue puts a packet into the kernel's queue and shows it to the reader.
func (f *fake) queue(id, mark uint32) {
	f.queuePacket(id, []byte("0123456789"), number(attrMark, mark))
}

func (f *fake) queuePacket(id uint32, b []byte, more ...func([]byte) []byte) {
	f.waiting = append(f.waiting, id)
	f.put(message(id, unix.NF_INET_POST_ROUTING, append(more, payload(b))...))
}

// writes are the messages that have come, of each write.
func (f *fake) writes() (list [][][]byte) {
	for {
		n, err := unix.Read(f.fd, f.buf[:])
		if err == unix.EAGAIN {
			return list
		} else if err != nil {
			f.t.Fatal(err)
		}
		var messages [][]byte
		for b := bytes.Clone(f.buf[:n]); len(b) > 0; {
			n := binary.NativeEndian.Uint32(b) // a multiple of 4
			messages, b = append(messages, b[:n]), b[n:]
		}
		list = append(list, messages)
	}
}

// rule does with the verdicts that have come what nfnetlink_queue.c does, and
// returns how many there were, and in how many writes.
func (f *fake) rule() (count, writes int) {
	list := f.writes()
	for _, m := range slices.Concat(list...) {
		count++
		id, r := readVerdict(f.t, m)
		keep := f.waiting[:0]
		for _, w := range f.waiting {
			batch := binary.NativeEndian.Uint16(m[4:]) == msgVerdictBatch
			if w == id || batch && int32(w-id) <= 0 {
				f.settled[w] = r
				f.order = append(f.order, w)
			} else {
				keep = append(keep, w)
			}
		}
		f.waiting = keep
	}
	return count, len(list)
}

func readVerdict(t testing.TB, m []byte) (id uint32, r ruled) {
	if int(binary.NativeEndian.Uint32(m)) != len(m) || binary.BigEndian.Uint16(m[18:]) != 537 {
		t.Fatalf("message % x", m)
	}
	for b := m[headerLen:]; len(b) > 0; {
		n := int(binary.NativeEndian.Uint16(b))
		v := b[attrLen:n]
		switch binary.NativeEndian.Uint16(b[2:]) {
		case attrVerdictHdr:
			r.verdict, id = binary.BigEndian.Uint32(v), binary.BigEndian.Uint32(v[4:])
		case attrMark:
			r.mark = binary.BigEndian.Uint32(v)
		case attrPayload:
			r.payload = string(v)
		}
		b = b[align(n):]
	}
	return id, r
}

// verdicts are those that have come, of all queues, in words.
func (f *fake) verdicts() (list []string) {
	for _, m := range slices.Concat(f.writes()...) {
		num := binary.BigEndian.Uint16(m[headerLen-2:])
		v, id := binary.BigEndian.Uint32(m[headerLen+attrLen:]), binary.BigEndian.Uint32(m[headerLen+attrLen+4:])
		words := fmt.Sprintf("%d: verdict %d on %d", num, v&0xff, id)
		if v>>16 != 0 {
			words += fmt.Sprintf(" for %d, bypass %v", v>>16, v&(1<<15) != 0)
		}
		if binary.NativeEndian.Uint16(m[4:]) == msgVerdictBatch {
			words = fmt.Sprintf("%d: up to %d", num, id)
		}
		if rest := m[headerLen+attrLen+8:]; len(rest) > attrLen {
			words += " " + string(rest[attrLen:binary.NativeEndian.Uint16(rest)])
		}
		list = append(list, words)
	}
	return list
}

func read(t testing.TB, q *queue) []engine.Packet {
	t.Helper()
	pkts, err := q.Read(0)
	if err != nil {
		t.Fatal(err)
	}
	return pkts
}

// queueOf is the queue of a started engine that nobody runs.
func queueOf(e *Engine) (q *queue) {
	e.life.Run(func(qs *queues) error { q = (*qs)[0]; return nil })
	return q
}
