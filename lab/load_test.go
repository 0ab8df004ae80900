package lab

import (
	"bufio"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"
	"testing"
	"time"
)

// A session is a connection that stays open between its requests.
type session struct {
	conn *tls.Conn
	in   *bufio.Reader
	r    Request
}

// newSession shakes hands, and fetches one page.
func newSession(t *testing.T, l *Lab, r Request) *session {
	t.Helper()
	tcp, err := l.dial(l.from(r), Modern.Addr(r.V6), time.Now().Add(5*time.Second))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { tcp.Close() })
	c := tls.Client(tcp, &tls.Config{ServerName: r.Host, InsecureSkipVerify: true, CurvePreferences: r.Hello.curves()})
	s := &session{c, bufio.NewReader(c), r}
	if err := s.page(); err != nil {
		t.Fatal(err)
	}
	return s
}

// page fetches one more page.
func (s *session) page() error {
	if err := s.conn.SetDeadline(time.Now().Add(5 * time.Second)); err != nil {
		return err
	}
	req, err := s.r.http()
	if err != nil {
		return err
	}
	if err := req.Write(s.conn); err != nil {
		return err
	}
	resp, err := http.ReadResponse(s.in, req)
	if err != nil {
		return err
	}
	n, err := io.Copy(io.Discard, resp.Body)
	if err == nil && n != pageSize {
		err = fmt.Errorf("page of %d bytes", n)
	}
	return errors.Join(err, resp.Body.Close())
}

// A load is a download in each family, which goes on as it is allowed to.
type load struct {
	mu      sync.Mutex
	more    sync.Cond
	allowed int64
	errs    [2]error
	live    sync.WaitGroup
}

// startLoad begins two downloads of size bytes each.
func startLoad(l *Lab, size int64) *load {
	a := &load{}
	a.more.L = &a.mu
	for i, v6 := range []bool{false, true} {
		r := Request{Host: Blocked, V6: v6, Path: fmt.Sprintf("/bytes?n=%d", size), Timeout: 2 * time.Minute, Pace: a.pace}
		a.live.Add(1)
		go func() {
			defer a.live.Done()
			res, err := l.Get(r)
			if err != nil || res.Sum != SumOf(size) {
				a.errs[i] = fmt.Errorf("download under way, v6 %t: %d bytes of %d: %w", v6, res.N, size, errors.Join(err))
			}
		}()
	}
	return a
}

// pace holds a download that is ahead.
func (a *load) pace(n int64) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for n > a.allowed {
		a.more.Wait()
	}
}

// allow lets each download come to n bytes.
func (a *load) allow(n int64) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.allowed = max(a.allowed, n)
	a.more.Broadcast()
}

// wait lets both come to their end, and reports how they ended.
func (a *load) wait() error {
	a.allow(1 << 62)
	a.live.Wait()
	return errors.Join(a.errs[:]...)
}
