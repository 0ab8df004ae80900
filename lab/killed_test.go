package lab

import (
	"fmt"
	"testing"
	"time"
)

// fewKills is what there is time for in each test run; make chaos has more.
const fewKills = 25

// Whenever b4d is killed, no connection waits for more than one retransmission,
// and the next b4d finds nothing of the one before.
func TestKilledAnyTime(t *testing.T) {
	t.Parallel()
	path, err := program()
	if err != nil {
		t.Fatal(err)
	}
	engines(t, func(t *testing.T, engine string) {
		t.Parallel()
		l := build(t, Options{Firewall: &Firewall{Masq4: true, Masq6: true}})
		r, err := l.Chaos(Chaos{B4D: path, Engine: engine, Kills: fewKills, Seed: uint64(time.Now().UnixNano())})
		if err != nil {
			t.Fatal(err)
		}
		t.Log(r)
		for _, p := range r.Problems {
			t.Error(p)
		}
	})
}

// What was lost, and how long it was waited for, is told from what was sent
// twice for nothing.
func TestStream(t *testing.T) {
	at := func(ms int, from, to uint32) span { return span{from, to, time.UnixMilli(int64(ms))} }
	hello := at(0, 1, 300)
	for _, c := range []struct {
		name        string
		in, out     []span
		lost, waits int
	}{
		{"nothing", nil, nil, 0, 0},
		{"through", []span{hello}, []span{hello}, 0, 0},
		{"in pieces, last first", []span{hello}, []span{at(0, 100, 300), at(0, 1, 100)}, 0, 0},
		{"half", []span{hello}, []span{at(0, 1, 100)}, 1, 0},
		{"sent again for nothing", []span{hello, at(201, 1, 300), at(601, 1, 300)}, []span{hello, hello, hello}, 0, 0},
		{"lost and sent again", []span{at(0, 0, 1), hello, at(200, 1, 300)}, []span{at(0, 0, 1), hello}, 1, 1},
		{"a probe was lost too", []span{hello, at(10, 200, 300), at(201, 1, 300)}, []span{hello}, 2, 1},
		{"once lost, twice sent again", []span{hello, at(200, 1, 300), at(600, 1, 300)}, []span{hello, hello}, 1, 1},
		{"two segments lost", []span{at(0, 1, 200), at(0, 200, 300), at(200, 1, 200), at(203, 200, 300)}, []span{hello}, 1, 1},
		{"two segments lost, and a slow answer", []span{at(0, 1, 200), at(0, 200, 300), at(200, 1, 200), at(450, 200, 300)}, []span{hello}, 1, 1},
		{"and lost again", []span{at(0, 1, 200), at(0, 200, 300), at(200, 1, 200), at(450, 200, 300), at(900, 200, 300)}, []span{hello}, 2, 2},
		{"and sent again for nothing", []span{at(0, 1, 200), at(0, 200, 300), at(200, 1, 200), at(450, 200, 300), at(900, 200, 300)}, []span{hello, at(901, 200, 300)}, 1, 1},
		{"a late probe", []span{at(0, 1, 200), at(0, 200, 300), at(195, 200, 300), at(520, 1, 200)}, []span{hello}, 1, 1},
		{"one lost after the other", []span{hello, at(200, 1, 300), at(300, 300, 400), at(500, 300, 400)}, []span{hello, at(500, 300, 400)}, 1, 2},
		{"two segments that are sent again as one", []span{at(0, 1, 200), at(0, 200, 300), at(250, 1, 300)}, []span{hello}, 1, 1},
		{"lost twice", []span{hello, at(200, 200, 300), at(600, 200, 300)}, []span{at(0, 1, 200), hello}, 2, 2},
		{"others, long after", []span{hello, at(500, 300, 310), at(900, 310, 320)}, []span{hello, at(500, 300, 320)}, 0, 0},
	} {
		f := flow{ToServer: {in: c.in, out: c.out}}
		if lost, waits := f.lost(), f.waits(); lost != c.lost || waits != c.waits {
			t.Errorf("%s: lost %d times, want %d; %d waits, want %d", c.name, lost, c.lost, waits, c.waits)
		}
	}
}

// clients open one connection after the other, in both families.
type clients struct{ *crowd }

func startClients(l *Lab) clients {
	var kinds []Request
	for _, r := range []Request{{V6: false}, {V6: true}, {V6: true, Hello: PostQuantum}} {
		r.Host, r.Path, r.Timeout = Blocked, "/", 20*time.Second
		kinds = append(kinds, r)
	}
	return clients{startCrowd(l, kinds, nil)}
}

// stop tells how many have been opened, and of the first that failed.
func (c clients) stop() (opened int, err error) {
	fates := c.crowd.stop()
	for i, f := range fates {
		if f.err != nil && err == nil {
			err = fmt.Errorf("connection %d, v6 %t, %v hello, after %v: %w", i, f.request.V6, f.request.Hello, f.took, f.err)
		}
	}
	return len(fates), err
}
