package daemon

import (
	"slices"
	"strings"
	"testing"
	"time"

	"b4/control"
	"b4/engine"
	"b4/netif"
)

// deleted starts a daemon whose table another program has deleted.
func deleted(t *testing.T) *running {
	t.Helper()
	r := start(t, newFake(t), enabled)
	r.set(func() { r.gone, r.applied, r.watched = true, "", nil })
	return r
}

// healed waits until the table is there again, and returns what it watches.
func (r *running) healed() []string {
	r.t.Helper()
	r.eventually("the table is there again", func() bool {
		return get(r.fake, func() bool { return !r.gone && r.applied != "" && r.live["table"] == 1 })
	})
	return get(r.fake, func() []string { return r.watched })
}

func TestHeal(t *testing.T) {
	t.Parallel()
	if w := deleted(t).healed(); !slices.Equal(w, []string{"wan0"}) {
		t.Errorf("watched %v", w)
	}
}

// What the kernel tells of its tables is enough to heal by: the packet loop, which
// sees it too, may be slow.
func TestHealByNews(t *testing.T) {
	t.Parallel()
	k := newFake(t)
	k.every = time.Hour
	r := start(t, k, enabled)
	r.set(func() { r.gone, r.applied, r.watched = true, "", nil })
	r.fwNews <- struct{}{}
	if w := r.healed(); !slices.Equal(w, []string{"wan0"}) {
		t.Errorf("watched %v", w)
	}
}

// An interface that netifd calls up only after the kernel's last word is seen all
// the same, and soon: from that word on the main loop looks as often as at first.
func TestLateInterface(t *testing.T) {
	t.Parallel()
	k := newFake(t)
	k.wan = netif.WAN{Down: []string{"dsl"}}
	r := start(t, k, enabled)
	var tries []int // of each look
	r.set(func() { r.look = func() { tries = append(tries, r.d.tries) } })
	looked := func(n int) bool { return get(r.fake, func() bool { return slices.Contains(tries, n) }) }
	r.eventually("it has been down for a while", func() bool { return looked(2) })
	r.tell(func() { tries = nil }) // and now its route comes
	r.eventually("what was tried before counts no more", func() bool { return looked(0) })
	r.set(func() { r.wan = netif.WAN{V4: []string{"ppp0"}} })
	r.eventually("ppp0 is watched", func() bool {
		return slices.Equal(get(r.fake, func() []string { return r.watched }), []string{"ppp0"})
	})
}

// What failed is tried until it succeeds, and status tells meanwhile.
func TestHealFails(t *testing.T) {
	t.Parallel()
	for _, step := range []string{"table", "apply"} {
		t.Run(step, func(t *testing.T) {
			t.Parallel()
			r := start(t, newFake(t), enabled)
			r.set(func() { r.fail[step] = true; r.gone, r.applied = true, "" })
			r.eventually("status tells", func() bool {
				return strings.Contains(strings.Join(sentences(r.status().Health), " "), "broken on purpose")
			})
			r.set(func() { r.fail[step] = false })
			r.healed()
			r.eventually("the complaint is gone", func() bool { return len(r.status().Health) == 0 })
		})
	}
}

// What has changed while the table was gone is in the new one.
func TestHealWithChanges(t *testing.T) {
	t.Parallel()
	r := start(t, newFake(t), enabled)
	r.set(func() { r.gone, r.applied, r.wan = true, "", netif.WAN{V4: []string{"ppp0"}} })
	r.news <- struct{}{}
	r.healed()
	r.eventually("ppp0 is watched", func() bool {
		return slices.Equal(get(r.fake, func() []string { return r.watched }), []string{"ppp0"})
	})
	r.set(func() { r.gone, r.applied = true, "" })
	if err := control.Call(r.socket, "pause", PauseRequest{5}, nil); err != nil {
		t.Fatal(err)
	}
	r.healed()
	r.eventually("nothing is watched in a pause", func() bool { return len(get(r.fake, func() []string { return r.watched })) == 0 })
}

// News of the table before this one does not make a healthy one anew.
func TestHealOnce(t *testing.T) {
	t.Parallel()
	r := start(t, newFake(t), enabled)
	r.d.mu.Lock()
	c := r.d.core
	r.d.mu.Unlock()
	before := c.tab()
	c.lost <- struct{}{}
	r.eventually("the news is read", func() bool { return len(c.lost) == 0 })
	if r.status(); c.tab() != before { // status waits for the main loop
		t.Error("made anew")
	}
}

// Leaving, and a reload that needs a new engine, work without a table too.
func TestStopWithoutTable(t *testing.T) {
	t.Parallel()
	r := deleted(t)
	if err := r.stop(); err != nil {
		t.Errorf("stop: %v", err)
	}
	r = deleted(t)
	r.write(enabled + "\toption queue_num '600'\n")
	r.hangup()
	r.eventually("the new queue is served", func() bool { return get(r.fake, func() uint16 { return r.queueNum }) == 600 })
	r.healed()
	if s := r.status(); s.Engine == nil {
		t.Errorf("no engine: %v", s.Health)
	}
}

// Neither the new engine nor the old one starts: b4d says so and goes on trying.
func TestReloadLosesEngine(t *testing.T) {
	t.Parallel()
	r := start(t, newFake(t), enabled)
	r.set(func() { r.fail["engine"] = true })
	r.write(enabled + "\toption queue_num '600'\n")
	r.hangup()
	r.eventually("status tells", func() bool {
		return strings.Contains(strings.Join(sentences(r.status().Health), " "), "treats nothing")
	})
	r.set(func() { r.fail["engine"] = false })
	r.news <- struct{}{} // sooner than netif.Retry
	r.eventually("the old one is back", func() bool { return r.status().Engine != nil })
	if n := get(r.fake, func() uint16 { return r.queueNum }); n != 537 {
		t.Errorf("queue %d", n)
	}
}

// What ends by itself ends b4d, with an error, so that procd starts it again.
func TestPartDies(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		conf, words string
		kill        func(*running)
	}{
		{enabled, "watch for changes of wan", func(r *running) { close(r.dies["watch"]) }},
		{enabled, "engine nfqueue has ended", func(r *running) { r.queue.Close() }},
		{tunEnabled, "engine tun has ended", func(r *running) { r.tun.Close() }},
		{tunEnabled, "watch for changes of the firewall", func(r *running) { close(r.dies["firewall"]) }},
	} {
		r := start(t, newFake(t), tt.conf)
		tt.kill(r)
		if err := r.wait(); err == nil || !strings.Contains(err.Error(), tt.words) {
			t.Errorf("%s: error %v", tt.words, err)
		}
	}
}

// A segment that waits for the rest of its hello leaves when b4d does.
func TestStopWithSegmentHeld(t *testing.T) {
	t.Parallel()
	r := start(t, newFake(t), enabled)
	q, p := r.queue, hello("www.blocked.example", 5)
	p.Bytes = p.Bytes[:20+20+80]
	p.Bytes[2], p.Bytes[3] = 0, byte(len(p.Bytes))
	if o := q.Push(p); o.Verdict != engine.Drop {
		t.Fatalf("verdict %#x", o.Verdict)
	}
	if err := r.stop(); err != nil {
		t.Fatal(err)
	}
	if late := q.Late(1, time.Second); len(late) != 1 {
		t.Errorf("%d packets left", len(late))
	}
}

// A reload that turns b4 off does so whatever cannot be closed.
func TestOffWithoutTable(t *testing.T) {
	t.Parallel()
	r := deleted(t)
	r.write("config b4 'main'\n")
	r.hangup()
	r.eventually("off", func() bool { s := r.status(); return s.Engine == nil && !s.Enabled })
	if s := r.status(); strings.Contains(strings.Join(sentences(s.Health), " "), "refused") {
		t.Error(s.Health)
	}
}
