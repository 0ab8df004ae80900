package lab

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"b4/censor"
)

// SetCensor puts a censor on the path that has seen nothing yet, so that no
// penalty outlives the verdict it belongs to. It acts on the blocked names.
func (l *Lab) SetCensor(p censor.Profile) {
	l.watched = &watched{c: censor.New(p, []string{Blocked, Hard}, l.opts.Seed)}
	l.SetJudge(l.watched)
}

// CensorStats are those of the last SetCensor's.
func (l *Lab) CensorStats() censor.Stats {
	if l.watched == nil {
		return censor.Stats{}
	}
	return l.watched.stats()
}

// watched is a censor whose counters may be read while it judges.
type watched struct {
	mu sync.Mutex
	c  *censor.Censor
}

func (w *watched) Judge(now time.Time, pkt []byte, fromClient bool) censor.Verdict {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.c.Judge(now, pkt, fromClient)
}

func (w *watched) stats() censor.Stats {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.c.Stats()
}

// verdictLimit is how long a page may take before it counts as blocked. A lab's
// page takes some milliseconds, a lost segment 200 ms.
const verdictLimit = 2 * time.Second

// CheckOpen reports whether the page comes past a fresh censor: nil if it does.
func (l *Lab) CheckOpen(p censor.Profile, r Request) error {
	l.SetCensor(p)
	defer l.SetJudge(nil)
	if err := l.Open(r); err != nil {
		return fmt.Errorf("the page did not come (censor: %+v): %w", l.CensorStats(), err)
	}
	if s := l.CensorStats(); s.Packets == 0 {
		return errors.New("the page came, but not past the censor")
	}
	return nil
}

// Open reports whether a request brings the page of the name it asks for: nil,
// or why not.
func (l *Lab) Open(r Request) error {
	r.Path = "/"
	res, err := l.Get(r)
	if err != nil {
		return err
	}
	return res.page(r.Host)
}

// page reports whether it is a site's page.
func (res *Result) page(host string) error {
	if name, _, _ := strings.Cut(res.Body, "\n"); name != host || res.N != pageSize {
		return fmt.Errorf("page of %q with %d bytes, want %q with %d", name, res.N, host, pageSize)
	}
	return nil
}

// Download fetches n bytes and reports whether they are the right ones.
func (l *Lab) Download(r Request, n int64) error {
	r.Path = fmt.Sprintf("/bytes?n=%d", n)
	res, err := l.Get(r)
	if err != nil {
		return err
	}
	if want := SumOf(n); res.N != n || res.Sum != want {
		return fmt.Errorf("%d bytes with SHA-256 %s, want %d with %s", res.N, res.Sum, n, want)
	}
	return nil
}
