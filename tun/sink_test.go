package tun

import (
	"errors"
	"slices"
	"strconv"
	"testing"
	"time"

	"b4/engine"
	"b4/packet"
)

// A counter is a belt that notes what is asked of it, and a wire beside it.
type counter struct {
	belt
	reads int
	log   []string
	fail  int // the packet whose sending fails, from 1
	sends int
}

var errWire = errors.New("broken on purpose")

func (c *counter) Read(d time.Duration, h *Header, p []byte) (int, error) {
	c.reads++
	return c.belt.Read(d, h, p)
}

func (c *counter) Write(_ Header, p []byte) error {
	c.log = append(c.log, "write "+strconv.Itoa(len(p)))
	return nil
}

// Send notes the lengths of what it is given.
func (c *counter) Send(outs []engine.Out) (int, error) {
	c.log = append(c.log, "send")
	for i, o := range outs {
		if c.sends++; c.sends == c.fail {
			return i, errWire
		}
		c.log = append(c.log, strconv.Itoa(len(o.Bytes)))
	}
	return len(outs), nil
}

// newCounter returns one with n packets on it, a family in turn, each a byte longer
// than the one before, and a stream over it.
func newCounter(n int, conf Config) (*counter, *stream) {
	c := &counter{}
	for i := range n {
		c.add(sample([]string{"v4", "v6"}[i%2], packet.TCP, 100+i), 0)
	}
	conf.Send = c
	return c, newStream(New(conf), c)
}

// What a burst leaves as leaves at once and in order, and what is to be told of it
// after that. What cannot be sent costs nobody else anything.
func TestFlush(t *testing.T) {
	const done = engine.Done
	example, _ := newCounter(2, Config{})
	v4, v6, str := len(example.pkts[0]), len(example.pkts[1]), strconv.Itoa
	for _, tt := range []struct {
		name     string
		verdicts []engine.Verdict
		back     bool
		fail     int
		log      []string
		n        engine.Counters
	}{
		{"accepted", []engine.Verdict{0, 0}, false, 0, []string{"send", str(v4), str(v6)}, engine.Counters{Accepted: 2}},
		{"all kinds", []engine.Verdict{engine.Drop, engine.Replace, 0}, false, 0,
			[]string{"send", "3", str(v4 + 2)}, engine.Counters{Dropped: 1, Replaced: 1, Accepted: 1}},
		{"done", []engine.Verdict{done, engine.Replace | done, 0}, false, 0,
			[]string{"send", str(v4), "3", str(v4 + 2), "write 56", "write 96"}, engine.Counters{Replaced: 1, Accepted: 2}},
		{"the first fails", []engine.Verdict{done, 0}, false, 1,
			[]string{"send", "send", str(v6)}, engine.Counters{Accepted: 1, SendFailed: 1}},
		{"a replaced one fails", []engine.Verdict{done, engine.Replace, 0}, false, 2,
			[]string{"send", str(v4), "write 56", "send", str(v6), "send", str(v4 + 2)}, engine.Counters{Accepted: 3, SendFailed: 1}},
		{"back behind what left", []engine.Verdict{engine.Replace, 0, engine.Replace}, true, 0,
			[]string{"send", "3", "write " + str(v6), "send", "3"}, engine.Counters{Replaced: 2, Accepted: 1}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c, s := newCounter(len(tt.verdicts), Config{Signal: true, Back: tt.back})
			c.limit, c.fail = len(tt.verdicts), tt.fail
			pkts, err := s.Read(time.Second)
			if err != nil || len(pkts) != len(tt.verdicts) {
				t.Fatalf("%d packets, %v", len(pkts), err)
			}
			for i := range pkts {
				err = errors.Join(err, s.Settle(&pkts[i], tt.verdicts[i], []byte("abc")))
			}
			err = errors.Join(err, s.Flush(), s.Flush()) // the second has nothing to do
			if tt.fail > 0 != errors.Is(err, errWire) {
				t.Errorf("error %v", err)
			}
			if !slices.Equal(c.log, tt.log) {
				t.Errorf("left %q, want %q", c.log, tt.log)
			}
			tt.n.Read = uint64(len(pkts))
			if n := s.e.n.Counters(); n != tt.n {
				t.Errorf("counters %+v, want %+v", n, tt.n)
			}
		})
	}
}

// A packet alone costs one read, and now and then a second that finds no more; a
// burst is read to its end.
func TestAlone(t *testing.T) {
	const alone, crowd = 8 * (trust + 1), 10
	c, s := newCounter(1, Config{})
	read := func(want int) {
		t.Helper()
		if pkts, err := s.Read(time.Second); len(pkts) != want || err != nil {
			t.Fatalf("%d packets, want %d, %v", len(pkts), want, err)
		}
	}
	for range alone {
		c.limit++
		read(1)
	}
	if want := alone + alone/(trust+1); c.reads != want {
		t.Errorf("%d reads of %d packets, want %d", c.reads, alone, want)
	}
	c.limit += 1 + trust // more come at once than before: it is noticed soon
	read(1 + trust)
	c.limit++
	read(1)
	c.limit += trust
	for range trust {
		read(1)
	}
	for range 3 {
		c.reads, c.limit = 0, c.limit+crowd
		read(crowd)
		if c.reads != crowd+1 {
			t.Errorf("%d reads of %d packets", c.reads, crowd)
		}
	}
}
