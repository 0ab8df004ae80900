package lab

import (
	"bufio"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
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

// fetchLimit is how long a page may take, the first with the handshake. It is for
// what hangs: b4d may be kept from answering meanwhile, and the machine be busy.
const fetchLimit = 20 * time.Second

// fetch fetches what has size bytes.
func (s *session) fetch(path string, size int64) error {
	if err := s.conn.SetDeadline(time.Now().Add(fetchLimit)); err != nil {
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
