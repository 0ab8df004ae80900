package luci

import (
	"context"
	"fmt"
	"sync"
	"time"

	"b4/censor"
	"b4/lab"
)

// Hostile is a name that would run as a script where a page took it for HTML.
const Hostile = `<img src=x onerror="document.title='PWNED'">`

// SetCensor puts a censor on the line that blocks the lab's blocked names, and
// remembers none of those who asked for them.
func SetCensor(l *lab.Lab) error {
	p, err := censor.Lookup("gfw-2022")
	if err != nil {
		return err
	}
	p.Action.Delay = [2]time.Duration{}
	p.Residual = censor.Residual{}
	l.SetCensor(p)
	return nil
}

// hosts are what the client asks for, again and again.
var hosts = []string{
	lab.Blocked, "www." + lab.Blocked, lab.Allowed, "video.example", "rr4---sn-5hne6nsy.video.example", "online.bank.example",
	"chat.example", "mail.example", "weather.example", "cdn.assets.news.example", "a-name-that-goes-on-and-on-and-does-not-end-for-a-long-time.cdn-of-some-kind.example",
	Hostile, "xn--e1afmkfd.xn--p1ai", "updates.example",
}

// Browse has the lab's client open a connection each time that an interval has
// passed, until ctx ends, and returns when all have ended. What fails, fails: the censor blocks some.
func Browse(ctx context.Context, l *lab.Lab, each time.Duration) {
	tick := time.NewTicker(each)
	defer tick.Stop()
	var live sync.WaitGroup
	defer live.Wait()
	for i := 0; ; i++ {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		r := lab.Request{Host: hosts[i*5%len(hosts)], V6: i%3 == 1, Timeout: 2 * time.Second}
		switch {
		case i%7 == 3:
			r.Proto = lab.HTTP
		case i%2 == 0:
			r.Hello = lab.PostQuantum
		}
		live.Add(1)
		go func() { defer live.Done(); l.Get(r) }()
	}
}

// Opens tells whether the client gets the page of a blocked name: nil if it does.
func Opens(l *lab.Lab, host string) error {
	if err := l.Open(lab.Request{Host: host, Timeout: 3 * time.Second}); err != nil {
		return fmt.Errorf("%s does not open: %w", host, err)
	}
	return nil
}
