package pipeline

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"
	"unsafe"

	"b4/flow"
)

// hostNames are the hosts' names, the newest first.
func hostNames(list []Host) (all []string) {
	for _, h := range list {
		all = append(all, h.Host)
	}
	return all
}

func TestRecent(t *testing.T) {
	r := newRig(t,
		Rule{Name: "bank", Domains: set(t, "bank.example"), Strategy: "default", For: treat(Pass, strategy(t, "split(1)"))},
		Rule{Name: "video", Domains: set(t, "blocked.example"), For: treat(Desync, strategy(t, "split(midsld) disorder"))})
	if got := r.p.Recent(); len(got) != 0 {
		t.Errorf("before anything came: %+v", got)
	}
	connect := func(name string, v6 bool) {
		r.port++
		r.v6, r.now = v6, r.now.Add(time.Second)
		r.send(0, hello(name, 0, false), 1)
	}
	connect("my.bank.example", false)
	connect(host, false)
	r.send(0, hello(host, 0, false), 1)               // sent again
	r.send(len(hello(host, 0, false)), []byte{23}, 2) // and answered
	connect("other.example", true)                    // which no rule matches
	connect("", false)                                // no name, nothing to show
	r.p.Use(&Config{Rules: []Rule{{Name: "all", For: treat(Desync, strategy(t, "split(1)"))}}})
	connect("my.bank.example", true) // known, and treated now

	want := []Host{
		{Host: "my.bank.example", Time: time.Unix(1005, 0), Client: netip.MustParseAddr("2001:db8::1"), Proto: "tls", Rule: "all", Strategy: "split(1)", Why: "treated", Hellos: 2},
		{Host: "other.example", Time: time.Unix(1003, 0), Client: netip.MustParseAddr("2001:db8::1"), Proto: "tls", Why: "no_rule", Hellos: 1},
		{Host: host, Time: time.Unix(1002, 0), Client: netip.MustParseAddr("192.0.2.1"), Proto: "tls", Rule: "video", Strategy: "split(midsld) disorder", Why: "again", Hellos: 1, Again: 1, Answered: 1},
	}
	if got := r.p.Recent(); !slices.Equal(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
}

// A rule that lets pass has a strategy it does not use.
func TestRecentPassed(t *testing.T) {
	r := newRig(t, Rule{Name: "bank", For: treat(Pass, strategy(t, "split(1)"))})
	r.send(0, hello(host, 0, false), 1)
	if got := r.p.Recent(); len(got) != 1 || got[0].Why != "passed" || got[0].Rule != "bank" || got[0].Strategy != "" {
		t.Errorf("%+v", got)
	}
}

func TestRecentBounds(t *testing.T) {
	r := newRig(t)
	for i := range keptHosts + 10 {
		r.port++
		r.send(0, hello(fmt.Sprintf("h%d.example", i), 0, false), 1)
		if i > 0 && i%7 == 0 { // one that stays, since it is seen all the time
			r.port++
			r.send(0, hello("h0.example", 0, false), 1)
		}
	}
	got := hostNames(r.p.Recent())
	if len(got) != keptHosts || got[0] != "h73.example" || !slices.Contains(got, "h0.example") || slices.Contains(got, "h10.example") ||
		!slices.Contains(got, "h11.example") {
		t.Errorf("%d hosts: %v", len(got), got)
	}
	if size := unsafe.Sizeof(r.p.hosts); size > 24<<10 {
		t.Errorf("the arena takes %d bytes", size)
	}
}

// A name comes from the network: it may be anything.
func TestRecentStrangeNames(t *testing.T) {
	s := &subject{flow: &flow.Key{}}
	for _, name := range []string{strings.Repeat("x", 300), "\x00\xff<script>\"\n", strings.Repeat("y", 255)} {
		p := New(4, &Config{})
		p.hosts.note(time.Unix(1, 0), s, []byte(name), NoRule)
		p.hosts.note(time.Unix(1, 0), s, []byte(name), NoRule)
		got := p.Recent()
		if len(got) != 1 || got[0].Host != name[:min(len(name), 255)] || got[0].Hellos != 2 {
			t.Errorf("%q: %+v", name, got)
		}
		if text, err := json.Marshal(got); err != nil || !json.Valid(text) {
			t.Errorf("%q: %v", name, err)
		}
	}
}

// Who asks does not disturb the packet path.
func TestRecentWhileBusy(t *testing.T) {
	r := newRig(t)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for range 200 {
			if n := len(r.p.Recent()); n > keptHosts {
				t.Errorf("%d hosts", n)
			}
		}
	}()
	for i := 0; ; i++ {
		select {
		case <-done:
			return
		default:
		}
		r.port++
		r.out.Reset()
		r.p.Handle(r.now, r.segment(0, hello(fmt.Sprintf("h%d.example", i%100), 0, false), 1), &r.out)
	}
}

func BenchmarkNote(b *testing.B) {
	s := &subject{flow: &flow.Key{}}
	for _, kind := range []string{"known", "new"} {
		b.Run(kind, func(b *testing.B) {
			var h hosts
			name := []byte("r4---sn-5hne6nsy.googlevideo.com")
			b.ReportAllocs()
			for i := range b.N {
				if kind == "new" {
					name[0], name[1], name[2], name[3] = byte(i), byte(i>>8), byte(i>>16), byte(i>>24)
				}
				h.note(time.Time{}, s, name, NoRule)
			}
		})
	}
}
