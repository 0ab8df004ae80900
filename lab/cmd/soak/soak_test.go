package main

import (
	"bytes"
	"math/rand/v2"
	"net"
	"testing"
	"time"

	"b4/lab"

	"golang.org/x/sys/unix"
)

// In each minute the WAN goes once and b4d is killed once, and reloads come at
// every half.
func TestPlan(t *testing.T) {
	s := &soak{length: 30 * time.Minute, rand: rand.New(rand.NewPCG(1, 0))}
	var n [happenings]int
	last := time.Duration(0)
	for _, e := range s.plan() {
		if n[e.what]++; e.at < last || e.at > s.length {
			t.Errorf("%v at %v, behind %v", e.what, e.at, last)
		}
		last = e.at
	}
	if n[pull]+n[hangUp] != 30 || n[kill] != 30 || n[reload] != 60 || n[reload]*train < 1000 {
		t.Errorf("%v", n)
	}
}

// What is excused is what b4 can do nothing about, and nothing else.
func TestFaults(t *testing.T) {
	at := func(s int) time.Time { return time.Unix(int64(s), 0) }
	h := &house{hungUp: []span{{at(10), at(12)}}, pulled: []span{{at(20), at(22)}}, shut: []span{{at(30), at(32)}}}
	for _, tt := range []struct {
		kind          string
		begun, ended  int
		unreached     bool
		last          bool
		failed, again int
	}{
		{"tls", 1, 2, false, false, 0, 1},
		{"tls", 1, 11, false, false, 0, 0},
		{"tls", 11, 19, false, false, 0, 0},
		{"tls", 11, 19, false, true, 1, 0},
		{"tls", 13, 14, false, false, 0, 1},
		{"tls", 19, 21, false, false, 0, 1},
		{"tls", 19, 21, true, false, 0, 0},
		{"tls", 31, 31, false, false, 0, 1},
		{blockedKind, 31, 31, false, false, 0, 0},
		{blockedKind, 33, 34, false, false, 0, 1},
	} {
		h.report.Failed = []try{
			{Kind: tt.kind, Begun: at(tt.begun), Ended: at(tt.ended), Unreached: tt.unreached, Last: tt.last},
			{Kind: "another", Begun: at(1), Ended: at(2), Last: true},
		}
		s := &soak{}
		if failed, again := s.faults(h, tt.kind); failed != tt.failed || again != tt.again {
			t.Errorf("%+v: %d failed, %d again", tt, failed, again)
		}
	}
}

// A b4d that grows is noticed, one that has a large moment is not blamed.
func TestGrows(t *testing.T) {
	for _, tt := range []struct {
		rss   func(i int) int64
		grows bool
	}{
		{func(int) int64 { return 14 << 20 }, false},
		{func(i int) int64 { return 14<<20 + int64(i%7)<<20 }, false},
		{func(i int) int64 { return 14<<20 + int64(i)<<18 }, true},
		{func(int) int64 { return 0 }, true}, // nobody looked
	} {
		s := &soak{length: 3 * time.Minute, kept: &house{}}
		for i := range 36 {
			s.kept.samples = append(s.kept.samples, sample{at: time.Duration(i) * 5 * time.Second, rss: tt.rss(i)})
		}
		if s.grows(); (len(s.lost) > 0) != tt.grows {
			t.Errorf("%q", s.lost)
		}
	}
}

// The server of names answers over both protocols, and nothing that is no question.
func TestServers(t *testing.T) {
	udp, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer udp.Close()
	go answerDatagrams(udp)
	tcp, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer tcp.Close()
	go accept(tcp, answerDNS)
	q := question(rand.New(rand.NewPCG(1, 0)))
	for network, addr := range map[string]net.Addr{"udp": udp.LocalAddr(), "tcp": tcp.Addr()} {
		c, err := dial(network, addr.String())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		if a, err := lookUpBy(c, network, q); err != nil || len(a) != len(q)+16 || !bytes.Equal(a, resolve(q)) {
			t.Errorf("%s: %x %v", network, a, err)
		}
	}
	for _, q := range [][]byte{nil, make([]byte, 12), append(make([]byte, 12), 63, 'x'), append(make([]byte, 12), 0, 0, 1, 0)} {
		if a := resolve(q); a != nil {
			t.Errorf("%x is answered with %x", q, a)
		}
	}
}

// What an error is, is told from inside those that carry it.
func TestUnreached(t *testing.T) {
	a := &asker{lab: lab.Here(), report: report{Kinds: map[string]*tally{"x": {}}}, pause: time.Millisecond}
	a.live.Add(1)
	a.ask("x", func() error { return &net.OpError{Op: "dial", Err: unix.EHOSTUNREACH} })
	if len(a.Failed) != tries || !a.Failed[0].Unreached || a.Failed[0].Last || !a.Failed[tries-1].Last || a.Kinds["x"].N != 1 {
		t.Errorf("%+v", a.Failed)
	}
}
