package main

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"b4/censor"
	"b4/lab"
)

// delay is that of the line, each way: without any, a client is through with its
// request before b4d's first verdict, which no real one is.
const delay = 5 * time.Millisecond

// A row is one kind of connection, past one censor, without b4d or with an engine.
type row struct {
	censor  string
	request lab.Request
	masq6   bool
}

// rows are those that are shown with an engine.
func rows(engine string) []row {
	var all []row
	for _, v6 := range []bool{false, true} {
		add := func(censor string, r lab.Request) {
			r.Host, r.V6 = lab.Blocked, v6
			all = append(all, row{censor: censor, request: r})
		}
		add("gfw-2022", lab.Request{})
		add("gfw-2022", lab.Request{Hello: lab.PostQuantum})
		add("tr-2024", lab.Request{Proto: lab.HTTP})
		if engine == queueEngine {
			add("gfw-quic", lab.Request{Proto: lab.QUIC})
			add("gfw-quic", lab.Request{Proto: lab.QUIC, Hello: lab.PostQuantum})
		}
	}
	return append(all, row{censor: "gfw-2022", request: lab.Request{Host: lab.Blocked, V6: true}, masq6: true})
}

func (r *row) String() string {
	family, hello := "v4", r.request.Hello.String()
	if r.request.V6 {
		family = "v6"
	}
	if r.masq6 {
		family = "v6 nat"
	}
	if r.request.Proto == lab.HTTP {
		hello = ""
	}
	return strings.TrimSpace(fmt.Sprintf("%s %v %s", family, r.request.Proto, hello))
}

// opens shows that sites open and that downloads are offloaded.
func (s *show) opens() error {
	line := lab.Impairment{Delay: delay}
	l, err := lab.New(lab.Options{Slow: s.small, ToServer: line, ToClient: line, Firewall: behind(false)})
	if err != nil {
		return err
	}
	defer l.Close()
	fmt.Printf("Downloads are of %d KiB, uploads by HTTP four times that. Packets are those of one that the rules\n", s.size>>10)
	fmt.Printf("of the firewall see, without b4d and with it.\n")
	for _, engine := range s.engines {
		for _, r := range rows(engine) {
			if err := l.SetFirewall(*behind(r.masq6)); err != nil {
				return err
			}
			s.open(l, engine, r)
		}
	}
	return nil
}

// open shows one row: blocked without b4d, open with it, and much in the
// flowtable either way.
func (s *show) open(l *lab.Lab, engine string, r row) {
	what := fmt.Sprintf("%-7s %-22v %s", engine, &r, r.censor)
	profile, err := censor.Lookup(r.censor)
	if err != nil {
		s.check(what, err)
		return
	}
	profile.Action.Delay = [2]time.Duration{} // what it does, it does before the page is there
	blocked := l.CheckBlocked(profile, r.request)
	request, more := s.bulk(r.request)
	plain, err := s.move(l, request)
	if err = errors.Join(blocked, err); err != nil {
		s.check(what+" without b4d", err)
		return
	}
	b, err := l.StartB4D(s.b4d, s.config(engine))
	if err != nil {
		s.check(what, err)
		return
	}
	st, err := b.Status()
	if err == nil && st.Engine.Name != engine {
		err = fmt.Errorf("b4d has engine %s (%s)", st.Engine.Name, st.Engine.Why)
	}
	err = errors.Join(err, l.CheckOpen(profile, r.request))
	with, intact := s.move(l, request)
	if intact == nil && with > plain+more {
		intact = fmt.Errorf("the rules saw %d packets of much, without b4d %d: want at most %d more", with, plain, more)
	}
	err = errors.Join(err, intact, b.Stop())
	if s.verbose {
		fmt.Print(b.Log())
	}
	s.check(fmt.Sprintf("%s: open; %d and %d packets", what, plain, with), err)
}

// slowPackets is how many packets of a connection b4 may keep from the flowtable:
// as many as it may want to see, and some on which that is known. To a port of
// HTTP each request decides anew, so it is what carries 256 KiB from the client
// and is acknowledged one by one.
const (
	slowPackets     = 40 + 10
	slowPacketsHTTP = slowPackets + 2*(256<<10)/1200
)

// bulk is the request that moves many bytes, and how many packets more of it may
// meet the rules than without b4d. What HTTP moves much of is an upload.
func (s *show) bulk(r lab.Request) (lab.Request, uint64) {
	if r.Proto == lab.HTTP {
		r.Upload = 4 * s.size
		return r, slowPacketsHTTP
	}
	r.Path = fmt.Sprintf("/bytes?n=%d", s.size)
	return r, slowPackets
}

// move moves bytes, and returns how many packets of that the firewall's rules saw.
// It is an error if they are not the right ones, or did not come by the flowtable:
// half way of a download, or with the answer to an upload, the connection must be
// there.
func (s *show) move(l *lab.Lab, r lab.Request) (slow uint64, err error) {
	first, err := l.Passed()
	if err != nil {
		return 0, err
	}
	var then []lab.Tracked
	var thenErr error
	r.Pace = func(n int64) {
		if then == nil && thenErr == nil && (n > s.size/2 || r.Upload > 0) {
			then, thenErr = l.Router.Tracked()
		}
	}
	res, err := l.Get(r)
	if err == nil && r.Upload == 0 && res.Sum != lab.SumOf(s.size) || err == nil && r.Upload > 0 && res.Body != lab.SumOf(r.Upload) {
		err = errors.New("what came is not what was sent")
	}
	last, lastErr := l.Passed()
	slow = last.Since(first).Packets
	if err := errors.Join(err, thenErr, lastErr); err != nil {
		return slow, err
	}
	for _, t := range then {
		if t.Client.Port() == res.Local.Port() && t.Offloaded {
			return slow, nil
		}
	}
	return slow, fmt.Errorf("the connection is not in the flowtable: the rules saw %d packets", slow)
}
