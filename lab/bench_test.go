package lab

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"testing"
	"time"

	"b4/censor"
	"b4/desync"
	"b4/lab/matrix"
)

// A bench is a lab for many tries at once, each with a judge of its own.
type bench struct {
	*Lab
	panel *panel
	seats chan struct{} // one a try under way
}

// benchSeats is how many tries there are at once: most of them wait.
const benchSeats = 48

// stretched is a site for hellos of the kind matrix.Late.
var stretched = Site{netip.MustParseAddr("203.0.113.9"), netip.MustParseAddr("2001:db8:3::9"), func(*tls.Config) {}}

func newBench(t *testing.T, o Options) *bench {
	b := &bench{build(t, o), &panel{judges: map[uint16]Judge{}, parts: map[string]Judge{}, early: map[string][]byte{}}, make(chan struct{}, benchSeats)}
	b.SetJudge(b.panel)
	if err := b.Server.configure("eth0", stretched.V4.String()+"/24", stretched.V6.String()+"/64"); err != nil {
		t.Fatal(err)
	}
	cert, err := certificate()
	if err != nil {
		t.Fatal(err)
	}
	srv := &http.Server{Handler: http.HandlerFunc(page), ErrorLog: log.New(io.Discard, "", 0)}
	t.Cleanup(func() { srv.Close() })
	for _, v6 := range []bool{false, true} {
		var ln net.Listener
		err := b.Server.Do(func() (err error) {
			ln, err = listen(stretched.Addr(v6))
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		go srv.Serve(tls.NewListener(shrinking{ln}, &tls.Config{Certificates: []tls.Certificate{cert}, NextProtos: []string{"http/1.1"}}))
	}
	return b
}

// errNotCensor is that a site did not open though the censor has not acted.
var errNotCensor = errors.New("not for the censor")

// call asks for a site past a new censor, as many times at once as it takes for
// those that count, and tells what befell any of these connections.
func (b *bench) call(s *matrix.Sample, label, domain string) error {
	names := []string{listed}
	if s.Profile.AllowList {
		names[0] = let
	}
	c := censor.New(here(s.Profile), names, 1)
	b.seats <- struct{}{}
	defer func() { <-b.seats }()
	errs := make([]error, s.Profile.Police.Hellos+1)
	var live sync.WaitGroup
	for i := range errs {
		live.Add(1)
		go func() { defer live.Done(); errs[i] = b.through(c, s, label, domain) }()
	}
	live.Wait()
	err := errors.Join(errs...)
	if err != nil && !b.panel.acted(c) {
		return fmt.Errorf("%w: %w", errNotCensor, err)
	}
	return err
}

// through asks for a site past j, by a message of the sample's kind.
func (b *bench) through(j Judge, s *matrix.Sample, label, domain string) error {
	port := b.ports.take()
	b.panel.enter(uint16(port), j)
	r := Request{Host: label + "." + domain, Site: stretched, V6: s.V6, Path: "/"}
	if s.Kind == matrix.PostQuantum || s.Kind == matrix.Initials {
		r.Hello = PostQuantum
	}
	var res Result
	var err error
	switch s.Kind.Proto() {
	case desync.HTTP:
		r.Site, r.Proto = Modern, HTTP
		err = b.tcp(&res, r, port, func(c net.Conn) net.Conn { return c })
	case desync.QUIC:
		r.Site, r.Proto = Modern, QUIC
		err = b.udp(&res, r, port)
	default:
		err = b.tcp(&res, r, port, func(c net.Conn) net.Conn { return &stretching{Conn: c, kind: s.Kind} })
	}
	if err != nil {
		return err
	}
	return res.page(r.Host)
}

// tcp does an exchange from a port, over what wrap makes of the connection.
func (b *bench) tcp(res *Result, r Request, port int, wrap func(net.Conn) net.Conn) error {
	conn, err := b.dialFrom(&net.TCPAddr{Port: port}, r.addr())
	if err != nil {
		return err
	}
	defer conn.Close()
	conn.(*net.TCPConn).SetLinger(0)
	return res.exchange(wrap(conn), r)
}

// udp does an exchange over QUIC from a port.
func (b *bench) udp(res *Result, r Request, port int) error {
	conn, err := b.dialFrom(&net.UDPAddr{Port: port}, r.addr())
	if err != nil {
		return err
	}
	defer conn.Close()
	return res.exchangeQUIC(&connected{conn.(*net.UDPConn)}, r, verdictLimit)
}

// dialFrom connects the client from a port for no longer than verdictLimit.
func (b *bench) dialFrom(local net.Addr, to netip.AddrPort) (conn net.Conn, err error) {
	err = b.Client.Do(func() (err error) {
		d := net.Dialer{LocalAddr: local, Timeout: verdictLimit}
		conn, err = d.Dial(local.Network(), to.String())
		return err
	})
	if err != nil {
		return nil, err
	}
	return conn, conn.SetDeadline(time.Now().Add(verdictLimit))
}
