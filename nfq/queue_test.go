package nfq

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"b4/engine"

	"golang.org/x/sys/unix"
)

func TestSettle(t *testing.T) {
	const done = 1 << 26
	q, f := pair(t)
	type step struct {
		mark    uint32
		v       engine.Verdict
		payload string
	}
	for _, c := range []struct {
		name     string
		steps    []step
		want     []ruled
		messages int
	}{
		{"a run in one message", []step{{}, {}, {mark: 1}}, []ruled{{verdict: 1}, {verdict: 1}, {verdict: 1}}, 1},
		{"done changes the mark", []step{{mark: 5, v: engine.Done}}, []ruled{{1, done | 5, ""}}, 1},
		{"already done", []step{{mark: done, v: engine.Done}, {}}, []ruled{{verdict: 1}, {verdict: 1}}, 1},
		{"drop in a run", []step{{}, {v: engine.Drop}, {}}, []ruled{{verdict: 1}, {}, {verdict: 1}}, 3},
		{"replace in a run", []step{{}, {v: engine.Replace, payload: "abc"}, {}}, []ruled{{verdict: 1}, {1, 0, "abc"}, {verdict: 1}}, 3},
		{"replace and done", []step{{mark: 1, v: engine.Replace | engine.Done, payload: "abcd"}}, []ruled{{1, done | 1, "abcd"}}, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			first := q.lanes[0].last + 1
			for i, s := range c.steps {
				f.queue(first+uint32(i), s.mark)
			}
			pkts := read(t, q)
			for i, s := range c.steps {
				if err := q.Settle(&pkts[i], s.v, []byte(s.payload)); err != nil {
					t.Fatal(err)
				}
			}
			if err := errors.Join(q.Flush(), q.Flush()); err != nil {
				t.Fatal(err)
			}
			if n, writes := f.rule(); n != c.messages || writes != 1 {
				t.Errorf("%d messages in %d writes, want %d in one", n, writes, c.messages)
			}
			for i, want := range c.want {
				if got, ok := f.settled[first+uint32(i)]; !ok || got != want {
					t.Errorf("packet %d: got %v (%v), want %v", i, got, ok, want)
				}
			}
		})
	}
}

// Whatever the verdicts, each packet gets its own: a batch verdict never takes
// another packet along, also where the ids wrap and where some are missing.
func TestSettleRandom(t *testing.T) {
	q, f := pair(t)
	next := uint32(1<<32 - 3000)
	q.lanes[0].last = next - 1
	want := map[uint32]ruled{}
	for range 500 {
		n := rand.N(20)
		for range n {
			next += 1 + uint32(rand.N(20)/19) // now and then one is lost
			f.queue(next, 0)
		}
		for _, p := range read(t, q) {
			v := []engine.Verdict{engine.Accept, engine.Accept, engine.Drop, engine.Replace}[rand.N(4)]
			v |= engine.Done * engine.Verdict(rand.N(4)/3)
			w := ruled{verdict: verdictAccept}
			if v&engine.Done != 0 {
				w.mark = 1 << 26
			}
			var b []byte
			switch v.Act() {
			case engine.Drop:
				w.verdict = verdictDrop
			case engine.Replace:
				w.payload = fmt.Sprint("r", p.ID)
				b = []byte(w.payload)
			}
			want[p.ID] = w
			if err := q.Settle(&p, v, b); err != nil {
				t.Fatal(err)
			}
			if rand.N(10) == 0 {
				q.Flush() // as Run does for the sake of order
			}
		}
		q.Flush()
		f.rule()
		if len(f.waiting) > 0 {
			t.Fatalf("packets %v still wait", f.waiting)
		}
	}
	for id, w := range want {
		if f.settled[id] != w {
			t.Errorf("packet %d: got %v, want %v", id, f.settled[id], w)
		}
	}
	if lost, read := q.n.Lost.Load(), q.n.Read.Load(); uint64(next-(1<<32-3001)) != lost+read || lost == 0 {
		t.Errorf("%d read and %d lost of %d", read, lost, next-(1<<32-3001))
	}
}

// A verdict that cannot be given costs no packet.
func TestSettleTooLong(t *testing.T) {
	q, f := pair(t)
	f.queue(1, 0)
	f.queue(2, 0)
	p := read(t, q)
	if err := q.Settle(&p[0], engine.Replace, make([]byte, maxPayload+1)); !errors.Is(err, errTooLong) {
		t.Errorf("settle: %v", err)
	}
	if err := errors.Join(q.Settle(&p[1], engine.Replace, make([]byte, maxPayload)), q.Flush()); err != nil {
		t.Error(err)
	}
	f.rule()
	if f.settled[1] != (ruled{verdict: verdictAccept}) || len(f.settled[2].payload) != maxPayload {
		t.Errorf("settled %v", f.settled)
	}
	if q.n.Accepted.Load() != 1 || q.n.Replaced.Load() != 1 {
		t.Error("wrong counts")
	}
}

// What a write that failed was about goes on untouched with the next, and what is
// settled by then gets its own verdict.
func TestSettleAfterFailure(t *testing.T) {
	q, f := pair(t)
	for id := uint32(1); id <= 5; id++ {
		f.queue(id, 0)
	}
	p, fd := slices.Clone(read(t, q)), q.fd
	q.fd = -1
	if err := errors.Join(q.Settle(&p[0], engine.Drop, nil), q.Settle(&p[1], engine.Replace, []byte("piece")), q.Settle(&p[2], engine.Accept|engine.Done, nil)); err != nil {
		t.Error(err)
	}
	for range 2 {
		if q.Flush() == nil {
			t.Error("no error from a bad descriptor")
		}
	}
	q.fd = fd
	if err := errors.Join(q.Settle(&p[3], engine.Drop, nil), q.Settle(&p[4], engine.Accept, nil), q.Flush(), q.Flush()); err != nil {
		t.Error(err)
	}
	f.rule()
	for id, want := range []ruled{{}, {verdict: 1}, {verdict: 1}, {verdict: 1}, {verdict: 0}, {verdict: 1}} {
		if id > 0 && f.settled[uint32(id)] != want {
			t.Errorf("packet %d: %v", id, f.settled[uint32(id)])
		}
	}
	if n := q.n.Counters(); n.Accepted != 4 || n.Dropped != 1 || n.Replaced != 0 || len(f.waiting) > 0 {
		t.Errorf("counters %+v, waiting %v", n, f.waiting)
	}
}

// A burst's verdicts leave in one write, in order, as long as they are not too many
// bytes: then in few, each as long as may be. One that is too long by itself leaves
// by itself.
func TestWrites(t *testing.T) {
	const piece = 500
	perWrite := (writeMost-verdictMost-piece)/(verdictMost-3-8-attrLen+piece) + 1 // without a mark and padding
	for _, c := range []struct {
		sizes  []int // of payloads; 0 is to accept
		writes int
	}{
		{slices.Repeat([]int{0}, burst), 1},
		{slices.Repeat([]int{-1}, burst), 1},
		{[]int{piece, 0, piece, -1, 0}, 1},
		{slices.Repeat([]int{piece}, perWrite), 1},
		{slices.Repeat([]int{piece}, perWrite+1), 2},
		{slices.Repeat([]int{piece}, burst), (burst + perWrite - 1) / perWrite},
		{[]int{piece, 16000, piece, maxPayload, 0}, 4},
	} {
		q, f := pair(t)
		var want []uint32
		for i := range c.sizes {
			f.queue(uint32(i+1), 0)
			want = append(want, uint32(i+1))
		}
		pkts := read(t, q)
		for i, size := range c.sizes {
			v, b := engine.Accept, []byte(nil)
			if size > 0 {
				v, b = engine.Replace, make([]byte, size)
			} else if size < 0 {
				v |= engine.Done
			}
			if err := q.Settle(&pkts[i], v, b); err != nil {
				t.Fatal(err)
			}
		}
		if err := q.Flush(); err != nil {
			t.Fatal(err)
		}
		if _, writes := f.rule(); writes != c.writes || !slices.Equal(f.order, want) {
			t.Errorf("%d: %d writes, want %d; in order %d", c.sizes, writes, c.writes, f.order)
		}
	}
}

func TestSend(t *testing.T) {
	q, _ := pair(t)
	if _, err := q.Send(make([]engine.Out, 1)); err != nil {
		t.Error(err)
	}
	q.c.Send = failing{unix.EMSGSIZE}
	if _, err := q.Send(make([]engine.Out, 1)); !errors.Is(err, unix.EMSGSIZE) {
		t.Error(err)
	}
	if q.n.Sent.Load() != 1 || q.n.SendFailed.Load() != 1 {
		t.Error("wrong counts")
	}
}

// Messages that are no packets are not returned, and a late verdict's error is
// reported in words.
func TestReadOthers(t *testing.T) {
	q, f := pair(t)
	var reported []error
	q.c.Report = func(err error) { reported = append(reported, err) }
	f.put(answer(unix.ENOENT))
	f.put(answer(0))
	f.put([]byte("garbled"))
	f.queue(1, 0)
	f.put(answer(unix.EPERM))
	if p := read(t, q); len(p) != 1 || p[0].ID != 1 {
		t.Errorf("packets %v", p)
	}
	if len(reported) != 2 || !errors.Is(reported[0], unix.ENOENT) || !strings.Contains(reported[0].Error(), "already dropped") || !errors.Is(reported[1], unix.EPERM) {
		t.Errorf("reported %v", reported)
	}
}

func TestReadBurst(t *testing.T) {
	q, f := pair(t)
	for id := uint32(1); id <= burst+1; id++ {
		f.queue(id, id)
	}
	a := slices.Clone(read(t, q))
	if b := read(t, q); len(a) != burst || len(b) != 1 || b[0].ID != burst+1 {
		t.Errorf("read %d packets, then %d", len(a), len(b))
	}
	for i, p := range a {
		if p.ID != uint32(i+1) || p.Mark != p.ID {
			t.Errorf("packet %d: %+v", i, p)
		}
	}
}

func TestReadWait(t *testing.T) {
	q, f := pair(t)
	const wait = 30 * time.Millisecond
	start := time.Now()
	if p, err := q.Read(wait); len(p) > 0 || err != nil {
		t.Errorf("packets %v, %v", p, err)
	}
	if d := time.Since(start); d < wait || d > 10*time.Second {
		t.Errorf("waited %v", d)
	}
	time.AfterFunc(wait, func() { f.queue(1, 0) })
	start = time.Now()
	if p, err := q.Read(time.Minute); len(p) != 1 || err != nil || time.Since(start) > 10*time.Second {
		t.Errorf("packets %v, %v", p, err)
	}
}

func TestReadClose(t *testing.T) {
	q, f := pair(t)
	time.AfterFunc(20*time.Millisecond, func() {
		if err := errors.Join(q.Close(), q.Close()); err != nil {
			t.Error(err)
		}
	})
	if _, err := q.Read(time.Minute); err != os.ErrClosed {
		t.Errorf("blocked read: %v", err)
	}
	f.queue(1, 0)
	if _, err := q.Read(time.Minute); err != os.ErrClosed {
		t.Errorf("later read: %v", err)
	}
}

func TestReadError(t *testing.T) {
	q, _ := pair(t)
	fd := q.fd
	q.fd = -1
	defer func() { q.fd = fd }()
	if _, err := q.Read(0); !errors.Is(err, unix.EBADF) {
		t.Error(err)
	}
}

func TestQueueAllocs(t *testing.T) {
	q, f := pair(t)
	var next uint32
	m := message(1, unix.NF_INET_POST_ROUTING, number(attrMark, 1), payload(make([]byte, 1400)))
	piece, outs := make([]byte, 700), make([]engine.Out, 1)
	for _, c := range []struct {
		name    string
		verdict engine.Verdict
		payload []byte
	}{{"accept", engine.Accept, nil}, {"done", engine.Accept | engine.Done, nil}, {"drop", engine.Drop, nil}, {"replace", engine.Replace, piece}} {
		n := testing.AllocsPerRun(200, func() {
			for range 3 {
				next++
				binary.BigEndian.PutUint32(m[headerLen+attrLen:], next)
				f.put(m)
			}
			pkts, err := q.Read(time.Second)
			if err != nil || len(pkts) != 3 {
				t.Fatal(len(pkts), err)
			}
			for i := range pkts {
				if err := q.Settle(&pkts[i], c.verdict, c.payload); err != nil {
					t.Fatal(err)
				}
			}
			_, err = q.Send(outs)
			if err := errors.Join(q.Flush(), err); err != nil {
				t.Fatal(err)
			}
			for {
				if _, err := unix.Read(f.fd, f.buf[:]); err == unix.EAGAIN {
					break
				}
			}
		})
		if n != 0 {
			t.Errorf("%s: %v allocations a burst", c.name, n)
		}
	}
}

func TestExplain(t *testing.T) {
	for _, c := range []struct {
		err       error
		words     string
		supported bool
	}{
		{explainSubsystem(unix.EPERM), "CAP_NET_ADMIN", true},
		{explainSubsystem(unix.EINVAL), "kmod-nft-queue", false},
		{explainSubsystem(unix.EPROTONOSUPPORT), "kmod-nft-queue", false},
		{explainSubsystem(unix.ENOMEM), "open NFQUEUE: cannot", true},
		{explainBind(537, unix.EPERM), "bind queue 537: another program holds it", true},
		{explainBind(537, unix.EBUSY), "bind queue 537: another program holds it", true},
		{explainBind(537, unix.ENOMEM), "bind queue 537: cannot", true},
	} {
		if !strings.Contains(c.err.Error(), c.words) || errors.Is(c.err, engine.ErrNotSupported) == c.supported {
			t.Errorf("%v", c.err)
		}
		t.Log(c.err)
	}
}

func TestNotStarted(t *testing.T) {
	e := New(Config{})
	if err := e.Run(nil); err == nil {
		t.Error("run without start")
	}
	if e.Name() != "nfqueue" || e.Capabilities() != (engine.Capabilities{}) || e.Counters() != (engine.Counters{}) {
		t.Error("not zero")
	}
	if err := errors.Join(e.Close(), e.Close(), e.Run(nil)); err != nil {
		t.Error(err)
	}
	if err := e.Start(); err != os.ErrClosed {
		t.Errorf("start after close: %v", err)
	}
}
