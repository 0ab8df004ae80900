package lab

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// A Hello is a kind of ClientHello.
type Hello int

const (
	Small       Hello = iota // one segment, about 250 bytes
	PostQuantum              // two segments: a key share of X25519MLKEM768
	Curl                     // the curl program's: see Hellos
	Chromium                 // the browser's: two segments, extensions in random order
)

func (h Hello) String() string {
	return [...]string{"small", "post-quantum", "curl", "chromium"}[h]
}

// x25519MLKEM768 is tls.X25519MLKEM768, which Go has by name since 1.24.
const x25519MLKEM768 tls.CurveID = 4588

func (h Hello) curves() []tls.CurveID {
	if h == PostQuantum {
		return []tls.CurveID{x25519MLKEM768, tls.X25519, tls.CurveP256}
	}
	return []tls.CurveID{tls.X25519, tls.CurveP256}
}

// A go.mod line of 1.23 makes newer toolchains leave the post-quantum share out
// even where CurvePreferences asks for it. The runtime reads this variable
// again whenever it is set, and older toolchains ignore the unknown setting.
func init() {
	const want = "tlsmlkem=1"
	if s := os.Getenv("GODEBUG"); s != "" {
		os.Setenv("GODEBUG", s+","+want)
	} else {
		os.Setenv("GODEBUG", want)
	}
}

// A Request is one connection with one HTTP exchange.
type Request struct {
	Host    string // the name in the hello
	Site    Site   // the zero value is Modern
	V6      bool
	Router  bool // the router asks, not the client
	Hello   Hello
	Path    string        // empty is "/"
	Upload  int64         // bytes to send to /sink
	Timeout time.Duration // for all of it; 0 is 20 s
	Pace    func(n int64) // called after each read with the bytes so far
}

// A Result is what came back.
type Result struct {
	Body  string // its first 200 bytes
	N     int64  // bytes of the body
	Sum   string // SHA-256 of the body, in hex
	Local netip.AddrPort
	Took  time.Duration
}

// Get makes a new connection, from a port not used before, and does one
// exchange on it. The result is what came even where err is not nil. What
// failed leaves nothing behind: the socket is reset, not closed.
func (l *Lab) Get(r Request) (Result, error) {
	if r.Site.tune == nil {
		r.Site = Modern
	}
	if r.Timeout == 0 {
		r.Timeout = 20 * time.Second
	}
	if r.Path == "" {
		r.Path = "/"
	}
	switch r.Hello {
	case Curl:
		return l.curl(r)
	case Chromium:
		return l.chromium(r)
	}
	start := time.Now()
	deadline := start.Add(l.patience(r.Timeout))
	conn, err := l.dial(l.from(r), r.Site.Addr(r.V6), deadline)
	if err != nil {
		return Result{Took: time.Since(start)}, err
	}
	conn.SetLinger(0)
	conn.SetDeadline(deadline)
	res := Result{Local: conn.LocalAddr().(*net.TCPAddr).AddrPort()}
	if err = res.exchange(conn, r); err == nil {
		conn.SetLinger(-1)
	}
	res.Took = time.Since(start)
	return res, errors.Join(err, conn.Close())
}

func (res *Result) exchange(conn net.Conn, r Request) error {
	c := tls.Client(conn, &tls.Config{
		ServerName:         r.Host,
		InsecureSkipVerify: true, // the certificate names no site on purpose
		MinVersion:         tls.VersionTLS12,
		CurvePreferences:   r.Hello.curves(),
		NextProtos:         []string{"http/1.1"},
	})
	if err := c.Handshake(); err != nil {
		return fmt.Errorf("shake hands: %w", err)
	}
	req, err := r.http()
	if err != nil {
		return err
	}
	if err := req.Write(c); err != nil {
		return fmt.Errorf("send request: %w", err)
	}
	resp, err := http.ReadResponse(bufio.NewReader(c), req)
	if err != nil {
		return fmt.Errorf("read response: %w", err)
	}
	defer resp.Body.Close()
	if err := res.read(resp.Body, r.Pace); err != nil {
		return fmt.Errorf("read body after %d bytes: %w", res.N, err)
	}
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("server says %s", resp.Status)
	}
	return nil
}

func (r *Request) http() (*http.Request, error) {
	if r.Upload == 0 {
		return http.NewRequest(http.MethodGet, "https://"+r.Host+r.Path, nil)
	}
	body, w := io.Pipe()
	go func() { w.CloseWithError(writeBytes(w, r.Upload)) }()
	req, err := http.NewRequest(http.MethodPost, "https://"+r.Host+"/sink", body)
	if err == nil {
		req.ContentLength = r.Upload
	}
	return req, err
}

// ports hands out client ports, each once: no connection meets what a censor,
// conntrack or the server remember of another.
type ports struct{ next atomic.Uint32 }

func (p *ports) take() int {
	const first, count = 10000, 20000 // below those the kernel gives to others
	return first + int(p.next.Add(1)%count)
}

// from is the host that asks.
func (l *Lab) from(r Request) *Host {
	if r.Router {
		return l.Router
	}
	return l.Client
}

// dial connects from inside a host's namespace.
func (l *Lab) dial(h *Host, to netip.AddrPort, deadline time.Time) (*net.TCPConn, error) {
	ctx, cancel := context.WithDeadline(context.Background(), deadline)
	defer cancel()
	for {
		var conn net.Conn
		err := h.Do(func() (err error) {
			d := net.Dialer{LocalAddr: &net.TCPAddr{Port: l.ports.take()}}
			conn, err = d.DialContext(ctx, "tcp", to.String())
			return err
		})
		if errors.Is(err, unix.EADDRINUSE) {
			continue
		}
		if err != nil {
			return nil, err
		}
		return conn.(*net.TCPConn), nil
	}
}
