package lab

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"os"
	"time"

	"github.com/quic-go/quic-go"
	"github.com/quic-go/quic-go/http3"
	"golang.org/x/sys/unix"
)

// quic-go cuts and shuffles the hello so that no censor that reads it in order
// finds the name. Other clients leave it whole, and what is to be shown of b4 must
// be blocked without it: the variable is read at the beginning of a connection.
func init() {
	if _, set := os.LookupEnv(unscrambled); !set {
		os.Setenv(unscrambled, "true")
	}
	os.Setenv("QUIC_GO_DISABLE_RECEIVE_BUFFER_WARNING", "true")
}

const unscrambled = "QUIC_GO_DISABLE_CLIENTHELLO_SCRAMBLING"

// version is the QUIC that a request is made in.
func (r *Request) version() quic.Version {
	if r.V2 {
		return quic.Version2
	}
	return quic.Version1
}

// quic does one exchange over QUIC.
func (l *Lab) quic(r Request) (res Result, err error) {
	start := time.Now()
	udp, err := l.dialUDP(l.from(r), r.addr())
	if err != nil {
		return res, err
	}
	res.Local = udp.LocalAddr().(*net.UDPAddr).AddrPort()
	err = res.exchangeQUIC(udp, r, l.patience(r.Timeout))
	res.Took = time.Since(start)
	return res, errors.Join(err, udp.Close())
}

// exchangeQUIC is exchange over QUIC, for no longer than limit.
func (res *Result) exchangeQUIC(udp *connected, r Request, limit time.Duration) error {
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	tr := quic.Transport{Conn: udp}
	defer tr.Close()
	conn, err := tr.Dial(ctx, udp.RemoteAddr(), r.tls(http3.NextProtoH3), &quic.Config{
		Versions: []quic.Version{r.version()}, HandshakeIdleTimeout: limit, MaxIdleTimeout: limit, Tracer: r.tracer,
	})
	if err != nil {
		return fmt.Errorf("shake hands: %w", err)
	}
	defer conn.CloseWithError(quic.ApplicationErrorCode(http3.ErrCodeNoError), "")
	req, err := r.http()
	if err != nil {
		return err
	}
	resp, err := new(http3.Transport).NewClientConn(conn).RoundTrip(req.WithContext(ctx))
	if err != nil {
		return fmt.Errorf("send request: %w", err)
	}
	return res.take(resp, r.Pace)
}

// dialUDP makes a socket for one server, from a port not used before.
func (l *Lab) dialUDP(h *Host, to netip.AddrPort) (*connected, error) {
	for {
		var conn net.Conn
		err := h.Do(func() (err error) {
			d := net.Dialer{LocalAddr: &net.UDPAddr{Port: l.ports.take()}}
			conn, err = d.Dial("udp", to.String())
			return err
		})
		if errors.Is(err, unix.EADDRINUSE) {
			continue
		}
		if err != nil {
			return nil, err
		}
		return &connected{conn.(*net.UDPConn)}, nil
	}
}

// connected is a socket that has one peer, as browsers' have: only such a one is
// told of ICMP errors. quic-go names the peer with each datagram, which the
// kernel takes from a socket without one only.
type connected struct{ *net.UDPConn }

func (c *connected) WriteTo(b []byte, _ net.Addr) (int, error) { return c.Write(b) }

func (c *connected) WriteMsgUDP(b, oob []byte, _ *net.UDPAddr) (n, oobn int, err error) {
	return c.UDPConn.WriteMsgUDP(b, oob, nil)
}

// serveQUIC opens a server of HTTP/3 in the calling thread's namespace.
func (w *web) serveQUIC(at netip.AddrPort, conf *tls.Config, handler http.Handler) error {
	udp, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(at))
	if err != nil {
		return err
	}
	w.servers = append(w.servers, udp)
	ln, err := quic.ListenEarly(udp, http3.ConfigureTLSConfig(conf), &quic.Config{
		Versions: []quic.Version{quic.Version1, quic.Version2},
	})
	if err != nil {
		return err
	}
	srv := &http3.Server{Handler: handler}
	w.servers = append(w.servers, srv, ln)
	go srv.ServeListener(ln) // ends with the listener's Close
	return nil
}
