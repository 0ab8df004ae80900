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

	"github.com/quic-go/quic-go"
	"github.com/quic-go/quic-go/logging"
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

// A Proto is what a client and a server speak.
type Proto int

const (
	TLS  Proto = iota // HTTP/1.1 over TLS
	HTTP              // HTTP/1.1, plain
	QUIC              // HTTP/3
)

func (p Proto) String() string { return [...]string{"tls", "http", "quic"}[p] }

// A Request is one connection with one HTTP exchange.
type Request struct {
	Host    string // the name in the hello, or in the plain request
	Site    Site   // the zero value is Modern
	Proto   Proto
	V2      bool // QUIC of version 2 (RFC 9369), not 1
	V6      bool
	Router  bool          // the router asks, not the client
	From    *Host         // or another host does
	Port    uint16        // of the server; 0 is the protocol's own
	Hello   Hello         // of HTTP: Go's client, or which program
	Path    string        // empty is "/"
	Upload  int64         // bytes to send to /sink
	Timeout time.Duration // for all of it; 0 is 20 s
	Pace    func(n int64) // called after each read with the bytes so far

	tracer func(context.Context, logging.Perspective, quic.ConnectionID) *logging.ConnectionTracer // of QUIC
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
	if r.Proto == QUIC {
		return l.quic(r)
	}
	start := time.Now()
	deadline := start.Add(l.patience(r.Timeout))
	conn, err := l.dial(l.from(r), r.addr(), deadline)
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
	if r.Proto == TLS {
		c := tls.Client(conn, r.tls("http/1.1"))
		if err := c.Handshake(); err != nil {
			return fmt.Errorf("shake hands: %w", err)
		}
		conn = c
	}
	req, err := r.http()
	if err != nil {
		return err
	}
	if err := req.Write(conn); err != nil {
		return fmt.Errorf("send request: %w", err)
	}
	resp, err := http.ReadResponse(bufio.NewReader(conn), req)
	if err != nil {
		return fmt.Errorf("read response: %w", err)
	}
	return res.take(resp, r.Pace)
}

// take takes in a response, and says whether it is a good one.
func (res *Result) take(resp *http.Response, pace func(int64)) error {
	defer resp.Body.Close()
	if err := res.read(resp.Body, pace); err != nil {
		return fmt.Errorf("read body after %d bytes: %w", res.N, err)
	}
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("server says %s", resp.Status)
	}
	return nil
}

// tls is Go's hello for a request.
func (r *Request) tls(protocol string) *tls.Config {
	return &tls.Config{
		ServerName:         r.Host,
		InsecureSkipVerify: true, // the certificate names no site on purpose
		MinVersion:         tls.VersionTLS12,
		CurvePreferences:   r.Hello.curves(),
		NextProtos:         []string{protocol},
	}
}

// addr is where the request goes to.
func (r *Request) addr() netip.AddrPort {
	a := r.Site.Addr(r.V6)
	if r.Port != 0 {
		return netip.AddrPortFrom(a.Addr(), r.Port)
	}
	if r.Proto == HTTP {
		return netip.AddrPortFrom(a.Addr(), httpPort)
	}
	return a
}

// origin is the beginning of the URL.
func (r *Request) origin() string {
	if r.Proto == HTTP {
		return "http://" + r.Host
	}
	return "https://" + r.Host
}

func (r *Request) http() (*http.Request, error) {
	if r.Upload == 0 {
		return http.NewRequest(http.MethodGet, r.origin()+r.Path, nil)
	}
	body, w := io.Pipe()
	go func() { w.CloseWithError(writeBytes(w, r.Upload)) }()
	req, err := http.NewRequest(http.MethodPost, r.origin()+"/sink", body)
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
	if r.From != nil {
		return r.From
	}
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
