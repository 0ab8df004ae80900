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
	"b4/packet"
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
		{Host: host, Time: time.Unix(1002, 0), Client: netip.MustParseAddr("192.0.2.1"), Proto: "tls", Rule: "video", Strategy: "split(midsld) disorder", Why: "again", Hellos: 1, Again: 1, Answered: 1, Outcome: "opened"},
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

// What becomes of a message that is forgotten by now is not another host's, and what
// nobody has seen is no news.
func TestRecentOutcome(t *testing.T) {
	r := watched(t)
	outcome := func() string {
		r.send(0, hello(host, 0, false), 1)
		r.reply(packet.RST, 52, "")
		return r.p.Recent()[0].Outcome
	}
	if got := outcome(); got != "reset" {
		t.Errorf("%q", got)
	}
	r.port++
	r.send(0, hello(host, 0, false), 1)
	for i := range keptHosts {
		r.p.hosts.note(r.now, &subject{flow: &flow.Key{}}, []byte(fmt.Sprintf("h%d.example", i)), NoRule)
	}
	r.reply(packet.RST, 52, "")
	for _, h := range r.p.Recent() {
		if h.Outcome != "" {
			t.Errorf("%s: %s", h.Host, h.Outcome)
		}
	}
	r.port++
	if got := outcome(); got != "reset" {
		t.Errorf("%q", got)
	}
	r.port++
	r.send(0, hello(host, 0, false), 1)
	r.wait(2 * flow.Idle)
	if h := r.p.Recent()[0]; h.Outcome != "reset" {
		t.Errorf("%+v", h)
	}
}

// A device is asked for until it is told, or twice in vain; it stays until that of
// the next connection is known.
func TestLocate(t *testing.T) {
	r := newRig(t)
	laptop, phone := netip.MustParseAddr("192.168.1.7"), netip.MustParseAddr("192.168.1.9")
	device := func(want netip.Addr, asked bool) {
		t.Helper()
		if got := r.p.Recent()[0].Device; got != want {
			t.Errorf("the device is %v, want %v", got, want)
		}
		if got := r.p.Unlocated(); (len(got) > 0) != asked {
			t.Errorf("asked for: %v", got)
		}
	}
	connect := func() flow.Key {
		r.port++
		r.send(0, hello(host, 0, false), 1)
		client, server := r.ends()
		list := r.p.Unlocated()
		if len(list) != 1 || list[0].Src() != client || list[0].Dst() != server {
			t.Fatalf("unlocated: %v", list)
		}
		return list[0]
	}
	k := connect()
	device(netip.Addr{}, true)
	r.p.Locate(k, laptop)
	device(laptop, false)
	r.send(0, hello(host, 0, false), 1) // sent again
	device(laptop, false)
	k = connect()
	device(laptop, true)
	r.p.Locate(k, netip.Addr{})
	device(laptop, true)
	r.p.Locate(k, phone)
	device(phone, false)
	k = connect()
	for range locateTries {
		device(phone, true)
		r.p.Locate(k, netip.Addr{})
	}
	device(phone, false)
	r.p.Locate(flow.Key{}, laptop)
	device(phone, false)
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
	if size := unsafe.Sizeof(r.p.hosts); size > 26<<10 {
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

// What a connection does counts for its own host, whatever others did meanwhile.
func TestRecentOfSeveral(t *testing.T) {
	r := newRig(t)
	names := []string{"one.example", "two.example"}
	for i, name := range names {
		r.port = 40000 + uint16(i)
		r.send(0, hello(name, 0, false), 1)
	}
	r.port = 40000
	r.send(0, hello(names[0], 0, false), 1)
	r.port = 40001
	r.send(0, hello(names[1], 0, false), 1)
	r.send(0, hello(names[1], 0, false), 1)
	r.port = 40000
	r.send(len(hello(names[0], 0, false)), []byte{23}, 2)
	for _, h := range r.p.Recent() {
		again, answered := uint32(2), uint32(0)
		if h.Host == names[0] {
			again, answered = 1, 1
		}
		if h.Hellos != 1 || h.Again != again || h.Answered != answered {
			t.Errorf("%s: %d hellos, %d again, %d answered", h.Host, h.Hellos, h.Again, h.Answered)
		}
	}
	if n := len(r.p.Recent()); n != len(names) {
		t.Errorf("%d hosts", n)
	}
}

// The place of a host that has made room for another is not counted for.
func TestRecentAnsweredLate(t *testing.T) {
	r := newRig(t)
	r.p = New(2*keptHosts, r.p.config.Load())
	msg := hello(host, 0, false)
	r.send(0, msg, 1)
	for i := range keptHosts {
		r.port = 50000 + uint16(i)
		r.send(0, hello(strings.Repeat("x", 1+i)+".example", 0, false), 1)
	}
	r.port = 40000
	r.send(len(msg), []byte{23}, 2)
	for _, h := range r.p.Recent() {
		if h.Answered != 0 {
			t.Errorf("%s was answered", h.Host)
		}
	}
}
