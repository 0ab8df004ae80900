package lab

import (
	"bufio"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"testing"
	"time"
)

// A session is a connection that stays open between its requests.
type session struct {
	conn net.Conn
	in   *bufio.Reader
	r    Request
}

// newSession shakes hands, and fetches one page.
func newSession(t *testing.T, l *Lab, r Request) *session {
	t.Helper()
	s := openSession(t, l, r)
	if err := s.page(); err != nil {
		t.Fatal(err)
	}
	return s
}

// openSession is newSession without the page.
func openSession(t *testing.T, l *Lab, r Request) *session {
	t.Helper()
	r.Site = Modern
	conn, err := l.dial(l.from(r), r.addr(), time.Now().Add(5*time.Second))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	s := &session{conn: conn, r: r}
	if r.Proto == TLS {
		s.conn = tls.Client(conn, r.tls("http/1.1"))
	}
	s.in = bufio.NewReader(s.conn)
	return s
}

// page fetches one more page.
func (s *session) page() error { return s.fetch("/", pageSize) }

// fetch fetches what has size bytes.
func (s *session) fetch(path string, size int64) error {
	if err := s.conn.SetDeadline(time.Now().Add(5 * time.Second)); err != nil {
		return err
	}
	s.r.Path = path
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
	if err == nil && n != size {
		err = fmt.Errorf("%s has %d bytes, want %d", path, n, size)
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
