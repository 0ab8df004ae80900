package nfq

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"b4/engine"
	"b4/nstest"

	"golang.org/x/sys/unix"
)

// A tape writes down what leaves, in order, and counts system calls.
type tape struct {
	f             *fake
	log           []string
	sends, writes int // calls
}

func (tp *tape) Send(outs []engine.Out) (int, error) {
	tp.verdicts()
	tp.sends++
	for _, o := range outs {
		tp.log = append(tp.log, string(o.Bytes))
	}
	return len(outs), nil
}

// verdicts writes down what left by verdicts.
func (tp *tape) verdicts() {
	since := len(tp.f.order)
	_, writes := tp.f.rule()
	tp.writes += writes
	for _, id := range tp.f.order[since:] {
		tp.log = append(tp.log, fmt.Sprintf("%d=%s", id, tp.f.settled[id].payload))
	}
}

// segment4 is an IPv4 packet of a flow.
func segment4(flow byte) []byte {
	b := make([]byte, 40)
	b[0], b[9] = 0x45, unix.IPPROTO_TCP
	b[21], b[39] = flow&^0x20, flow // small letters are of the capitals' flows
	return b
}

// A connection is a hello that leaves in two pieces, a and b, and a packet that ends
// it. Of many in a burst all is sent in one call and settled in another; a flow whose
// packets come in one burst keeps its order.
func TestRunCalls(t *testing.T) {
	for _, c := range []struct {
		flows         string // a letter for each packet, a capital where it is a hello
		want          string
		sends, writes int
	}{
		{"A", "a1 1=b1", 1, 1},
		{"ABCD", "a1 a2 a3 a4 1=b1 2=b2 3=b3 4=b4", 1, 1},
		{"AaBbCcd", "a1 a3 a5 1=b1 2= 3=b3 4= 5=b5 6= 7=", 1, 1},
		{"aABb", "1= a2 a3 2=b2 3=b3 4=", 1, 2},
		{"ABAC", "a1 a2 1=b1 2=b2 a3 a4 3=b3 4=b4", 2, 2}, // one is sent again
	} {
		q, f := pair(t)
		tp := &tape{f: f}
		q.c.Send = tp
		for i, flow := range c.flows {
			f.queuePacket(uint32(i+1), segment4(byte(flow)))
		}
		q.Close()
		h := judge(func(p *engine.Packet, out *engine.Batch) engine.Verdict {
			if p.Bytes[39] >= 'a' {
				return engine.Accept | engine.Done
			}
			out.Add(fmt.Appendf(nil, "a%d", p.ID), p.Meta)
			out.Add(fmt.Appendf(nil, "b%d", p.ID), p.Meta)
			return engine.Replace
		})
		if err := engine.Run(&burstOf{q, len(c.flows)}, h, q, func(err error) { t.Error(err) }); err != nil {
			t.Fatal(err)
		}
		tp.verdicts()
		if log := strings.Join(tp.log, " "); log != c.want || tp.sends != c.sends || tp.writes != c.writes {
			t.Errorf("%s: %d sends, %d writes of %q; want %d, %d, %q", c.flows, tp.sends, tp.writes, log, c.sends, c.writes, c.want)
		}
	}
}

// burstOf is a closed queue from which one more burst is read, of so many packets.
type burstOf struct {
	*queue
	n int
}

func (b *burstOf) Read(time.Duration) ([]engine.Packet, error) {
	pkts, err := b.receive()
	if err == unix.EAGAIN {
		return nil, os.ErrClosed
	}
	if len(pkts) != b.n {
		return nil, fmt.Errorf("%d packets in a burst", len(pkts))
	}
	return pkts, err
}

// In a write of many verdicts one that comes too late is reported, and the others
// take effect.
func TestKernelLateVerdict(t *testing.T) {
	nstest.Enter(t)
	var reported []error
	e := New(Config{Num: testNum, Report: func(err error) { reported = append(reported, err) }})
	if err := e.Start(); err != nil {
		t.Fatal(err)
	}
	rules(t)
	from, to := udpPair(t)
	for i := range 3 {
		unix.Write(from, []byte{'a' + byte(i)})
	}
	q := queueOf(e)
	pkts, err := q.Read(soon)
	if len(pkts) != 3 || err != nil {
		t.Fatal(len(pkts), err)
	}
	for i := range pkts {
		if i == 1 {
			pkts[i].ID += 1000
		}
		capital := bytes.Clone(pkts[i].Bytes)
		capital[28] -= 'a' - 'A'
		capital[26], capital[27] = 0, 0 // no checksum of UDP
		if err := q.Settle(&pkts[i], engine.Replace, capital); err != nil {
			t.Fatal(err)
		}
	}
	if err := q.Flush(); err != nil {
		t.Fatal(err)
	}
	var b [10]byte
	for _, want := range "AC" {
		if n, err := unix.Read(to, b[:]); n != 1 || b[0] != byte(want) {
			t.Errorf("read %q, %v; want %q", b[:max(n, 0)], err, want)
		}
	}
	if pkts, err := q.Read(10 * time.Millisecond); len(pkts) != 0 || err != nil {
		t.Error(pkts, err)
	}
	if len(reported) != 1 || !errors.Is(reported[0], unix.ENOENT) {
		t.Errorf("reported %v", reported)
	}
	if err := e.Close(); err != nil {
		t.Error(err)
	}
	if n, err := unix.Read(to, b[:]); n != 1 || b[0] != 'b' {
		t.Errorf("the one whose verdict was another's: %q, %v", b[:max(n, 0)], err)
	}
}
