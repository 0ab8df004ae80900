package daemon

import (
	"bytes"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"b4/control"
	"b4/fw"
	"b4/netif"
)

// A logbook is a handler that keeps what is logged, a line each.
type logbook struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logbook) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logbook) count(words string) (n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, line := range strings.Split(l.b.String(), "\n") {
		if strings.Contains(line, words) {
			n++
		}
	}
	return n
}

// The log tells once what happens to the uplink, and how weighty it is.
func TestUplinkLog(t *testing.T) {
	t.Parallel()
	k, log := newFake(t), &logbook{}
	k.nat.V6, k.nat.Why6 = fw.Custom, "by hand"
	r := startLogged(t, k, tunEnabled, slog.New(slog.NewTextHandler(log, nil)))
	for range 3 {
		r.tell(func() {}) // nothing new
		r.rounds()
	}
	r.tell(func() { r.wan = netif.WAN{} })
	r.rests("no WAN")
	for range 3 {
		r.tell(func() {})
		r.rounds()
	}
	r.tell(func() { r.wan = netif.WAN{V4: []string{"wan0"}} })
	r.sees("WAN", "snat ip to", "default")
	r.tell(func() { r.fail["links"] = true })
	r.rests("unreadable")
	r.tell(func() { r.fail["links"] = false })
	r.sees("readable", "snat ip to", "default")
	r.rounds() // it logs a moment after that
	for words, n := range map[string]int{
		`level=INFO msg="uplink is wan0, MTU 1492; IPv4 masqueraded as 203.0.113.5; IPv6 left alone"`: 1,
		`level=WARN msg=uplink why="IPv6 is left alone`:                                               1,
		`level=WARN msg="nothing is steered for now"`:                                                 1,
		`level=ERROR msg="not as it should be, trying again" why="broken on purpose"`:                 1,
		`level=INFO msg="as it should be again"`:                                                      2,
		"level=ERROR":                                                                                 1,
	} {
		if got := log.count(words); got != n {
			t.Errorf("%d times %s, want %d", got, words, n)
		}
	}
	if testing.Verbose() {
		t.Log(log.b.String())
	}
}

// rounds waits until the main loop has looked at the last news, and reloads.
func (r *running) rounds() {
	r.t.Helper()
	r.eventually("news are read", func() bool { return len(r.news) == 0 })
	done := make(chan error, 1)
	r.d.reloads <- done
	<-done
}

// Rest in a pause: whatever happens meanwhile is in force after it.
func TestPauseAndChanges(t *testing.T) {
	t.Parallel()
	r := start(t, newFake(t), tunEnabled)
	pause := func(minutes int) {
		if err := control.Call(r.socket, "pause", PauseRequest{minutes}, nil); err != nil {
			t.Fatal(err)
		}
	}
	pause(5)
	r.rests("paused")
	r.tell(func() { r.wan = netif.WAN{V4: []string{"ppp0"}}; r.gone = true })
	r.write(tunEnabled + "\tlist tcp_port '8443'\n\toption max_flows '100'\n")
	r.hangup()
	r.eventually("the new engine runs", func() bool { return !strings.Contains(r.health(), "refused") && r.status().Engine != nil })
	r.rests("still paused")
	r.write(tunEnabled + "\tlist tcp_port '8444'\n\toption max_flows '100'\n")
	r.set(func() { r.gone = true })
	r.hangup()
	r.rounds()
	if h := r.status().Health; len(h) != 1 || !strings.Contains(h[0].Text, "paused") {
		t.Errorf("%q", h)
	}
	pause(0)
	r.sees("all of it", "snat ip to 198.51.100.9", "default")
	r.sees("the port", "8444", "")
	r.well()
}

// The main loop wakes by itself only where something may change unheard.
func TestPatience(t *testing.T) {
	t.Parallel()
	queue, tun := &core{}, &core{tunnel: &tunnel{}}
	down := lookup{wan: netif.WAN{Down: []string{"dsl"}}}
	for _, tt := range []struct {
		name string
		d    *Daemon
		want time.Duration
	}{
		{"off", &Daemon{}, 0},
		{"queue", &Daemon{core: queue}, 0},
		{"TUN", &Daemon{core: tun}, 0},
		{"an interface is down", &Daemon{core: queue, wan: down, tries: 3}, netif.Retry(3)},
		{"netifd is silent", &Daemon{core: queue, wan: lookup{err: errBroken}}, netif.Retry(0)},
		{"the way out is down", &Daemon{core: tun, out: down}, netif.Retry(0)},
		{"something is wrong", &Daemon{core: tun, coreErr: errBroken}, netif.Retry(0)},
		{"pause", &Daemon{core: tun, paused: time.Now().Add(time.Hour)}, time.Hour},
		{"a pause whose end was not seen", &Daemon{core: queue, paused: time.Now().Add(-time.Hour)}, 1},
	} {
		if got := tt.d.patience(); got > tt.want || got < tt.want*9/10 {
			t.Errorf("%s: %v, want %v", tt.name, got, tt.want)
		}
	}
}

// A pause that ends while the main loop looks at something else ends all the same.
func TestPauseEnds(t *testing.T) {
	t.Parallel()
	r := start(t, newFake(t), tunEnabled)
	r.d.mu.Lock()
	r.d.paused = time.Now().Add(time.Hour)
	r.d.mu.Unlock()
	r.tell(func() {})
	r.rests("paused")
	r.d.mu.Lock()
	r.d.paused = time.Now().Add(-time.Nanosecond)
	r.d.mu.Unlock()
	r.rounds() // a reload, which makes the loop ask how long to wait
	r.sees("steered again", "snat", "default")
	r.eventually("nothing is left of it", func() bool {
		r.d.mu.Lock()
		defer r.d.mu.Unlock()
		return r.d.paused.IsZero()
	})
}

// In a pause nothing else is wrong, whatever is before and after it.
func TestPauseWhileWrong(t *testing.T) {
	t.Parallel()
	r := start(t, newFake(t), tunEnabled)
	r.tell(func() { r.wan.V4 = []string{"wan0", "ppp0"} })
	r.complains("name one of them")
	for _, tt := range []struct {
		minutes int
		words   string
	}{{5, "b4 is paused"}, {0, "name one of them"}} {
		if err := control.Call(r.socket, "pause", PauseRequest{tt.minutes}, nil); err != nil {
			t.Fatal(err)
		}
		r.eventually("only "+tt.words, func() bool {
			h := r.status().Health
			return len(h) == 1 && strings.Contains(h[0].Text, tt.words)
		})
	}
}
