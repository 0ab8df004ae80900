package daemon

import (
	"log/slog"
	"slices"
	"strings"
	"testing"

	"b4/control"
)

// changes are the lines about changes, without their time and level.
func (l *logbook) changes() (list []string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, line := range strings.Split(l.b.String(), "\n") {
		if _, what, ok := strings.Cut(line, "msg=changed "); ok {
			list = append(list, strings.TrimSpace(what))
		}
	}
	return list
}

// Each change to the system is logged with what it was and why, and nothing is
// logged where nothing changes.
func TestEachChangeIsLogged(t *testing.T) {
	for _, c := range []struct {
		engine string
		want   []string
	}{
		{"nfqueue", []string{
			`what="table inet b4 made" why=start`,
			`what="listener of netfilter queue 537 made" why=start`,
			`what="table inet b4: chains raw_out, ask, decisive, steer, confirm; wan0 watched" why=start`,
			`what="table inet b4: no device is watched" why="asked to"`,
			`what="table inet b4: wan0 watched" why="asked to"`,
			`what="table inet b4: no device is watched" why=stop`,
			`what="listener of netfilter queue 537 removed" why=stop`,
			`what="table inet b4 removed" why=stop`,
		}},
		{"tun", []string{
			`what="table inet b4 made" why=start`,
			`what="device b4tun0 made" why=start`,
			`what="sysctl net.ipv6.conf.b4tun0.disable_ipv6=0" why=start`,
			`what="device b4tun0: MTU 1492" why=start`,
		}},
	} {
		t.Run(c.engine, func(t *testing.T) {
			k, log := newFake(t), &logbook{}
			r := startLogged(t, k, "config b4 'main'\n\toption enabled '1'\n\toption engine '"+c.engine+"'\n", slog.New(slog.NewTextHandler(log, nil)))
			r.tell(func() {}) // of something that concerns nobody
			for _, minutes := range []int{1, 0} {
				if err := control.Call(r.socket, "pause", PauseRequest{minutes}, nil); err != nil {
					t.Fatal(err)
				}
				r.eventually("the pause is seen", func() bool { return (len(r.status().Watched) == 0) == (minutes > 0) })
			}
			if err := r.stop(); err != nil {
				t.Fatal(err)
			}
			all := log.changes()
			if c.engine == "nfqueue" && !slices.Equal(all, c.want) {
				t.Errorf("logged:\n%s\nwant:\n%s", strings.Join(all, "\n"), strings.Join(c.want, "\n"))
			}
			for _, line := range c.want {
				if !slices.Contains(all, line) {
					t.Errorf("no line %s in:\n%s", line, strings.Join(all, "\n"))
				}
			}
			routes := func(l string) bool { return strings.Contains(l, "routes now") && strings.HasSuffix(l, "why=start") }
			if c.engine == "tun" && !slices.ContainsFunc(all, routes) {
				t.Errorf("no line on routes in:\n%s", strings.Join(all, "\n"))
			}
		})
	}
}
