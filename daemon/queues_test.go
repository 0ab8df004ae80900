package daemon

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"b4/engine"
)

// Each queue has a sender of its own, and the rules lead to all of them; there are no
// more than processors.
func TestQueues(t *testing.T) {
	t.Parallel()
	cores := min(8, runtime.GOMAXPROCS(0))
	for _, tt := range []struct {
		conf    string
		senders int
		rules   string
	}{
		{enabled, 1, "bypass to 537\n"},
		{enabled + "\toption queues '8'\n", cores, fmt.Sprintf("bypass to 537-%d\n", 536+cores)},
		{tunEnabled + "config b4 'main'\n\toption queues '8'\n", 1, ""},
	} {
		r := start(t, newFake(t), tt.conf)
		r.eventually("rules are there", func() bool { return r.rules() != "" })
		if n := get(r.fake, func() int { return r.live["sender"] }); n != tt.senders {
			t.Errorf("%q: %d senders", tt.conf, n)
		}
		if cores > 1 && !strings.Contains(r.rules(), tt.rules) {
			t.Errorf("%q: rules\n%s", tt.conf, r.rules())
		}
	}
}

// Those for what is cut come behind the others.
func TestQueueNumbers(t *testing.T) {
	t.Parallel()
	for n, cut := range map[int]uint16{1: 538, 4: 541} {
		c := configured(t, enabled+"\toption steer 'all'\n").queue(make([]engine.Sender, n), nil)
		if c.Num != 537 || c.Cut != cut || len(c.More) != n-1 {
			t.Errorf("%d queues: number %d, cut at %d, %d more", n, c.Num, c.Cut, len(c.More))
		}
		e := audited{kernel: newFake(t)}.newQueue(c).(*auditedEngine)
		if want := map[int]string{1: "queue 537", 4: "queue 537-540"}[n]; !strings.HasSuffix(e.what, want) {
			t.Errorf("%d queues are called %s", n, e.what)
		}
	}
	one := configured(t, enabled)
	two := *one
	if two.conf.Main.Queues = 2; serves(engineQueue, one, &two) || !serves(engineTun, one, &two) {
		t.Error("a queue more is no matter to engine nfqueue, or one to engine tun")
	}
	path := filepath.Join(t.TempDir(), "b4")
	for _, tt := range []struct{ queues, want string }{
		{"1", ""}, {"2", "main.queues: the last would have a number beyond 65535"},
	} {
		if err := os.WriteFile(path, []byte(enabled+"\toption queue_num '65535'\n\toption queues '"+tt.queues+"'\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, _, err := load(path, nil); (err != nil) != (tt.want != "") || err != nil && !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s queues from 65535 on: %v", tt.queues, err)
		}
	}
}
