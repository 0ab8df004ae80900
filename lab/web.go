package lab

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"
)

// The names. Every server answers for each.
const (
	Blocked = "blocked.example" // to the lab's censors
	Hard    = "hard.example"    // blocked too, for use with another strategy
	Allowed = "allowed.example"
)

// pageSize is more than the few packets that some censors still let pass: who
// has the page has it in spite of the censor, not before it acts.
const pageSize = 64 << 10

// Bytes of the download come in blocks that begin with their number.
const block = 16 << 10

// A Site is one of the servers. They speak TLS on port 443, plain HTTP on port
// 80, and QUIC, where they have TLS 1.3, on port 443 of UDP.
type Site struct {
	V4, V6 netip.Addr
	tune   func(*tls.Config)
}

// The sites by how they speak TLS.
var (
	// Modern speaks TLS 1.3 and takes any key share.
	Modern = Site{netip.MustParseAddr("203.0.113.2"), netip.MustParseAddr("2001:db8:3::2"), func(*tls.Config) {}}
	// Retry answers a hello that has no P-256 key share by HelloRetryRequest,
	// so that the client sends the name a second time.
	Retry = Site{netip.MustParseAddr("203.0.113.3"), netip.MustParseAddr("2001:db8:3::3"), func(c *tls.Config) {
		c.CurvePreferences = []tls.CurveID{tls.CurveP256, tls.CurveP384}
	}}
	// Old speaks TLS 1.2 only. Its certificate, which travels in clear, names
	// none of the sites: a censor that matches on it would fake verdicts.
	Old = Site{netip.MustParseAddr("203.0.113.4"), netip.MustParseAddr("2001:db8:3::4"), func(c *tls.Config) {
		c.MaxVersion = tls.VersionTLS12
	}}
)

const httpPort = 80

// Addr is the site's address in one family, for TLS and QUIC.
func (s Site) Addr(v6 bool) netip.AddrPort {
	if v6 {
		return netip.AddrPortFrom(s.V6, 443)
	}
	return netip.AddrPortFrom(s.V4, 443)
}

// web is the running servers.
type web struct {
	servers []io.Closer
	key     string // SHA-256 of the certificate's public key, in base 64
}

func newWeb(h *Host) (_ *web, err error) {
	cert, err := certificate()
	if err != nil {
		return nil, fmt.Errorf("make certificate: %w", err)
	}
	sum := sha256.Sum256(cert.Leaf.RawSubjectPublicKeyInfo)
	w := &web{key: base64.StdEncoding.EncodeToString(sum[:])}
	err = h.Do(func() error { return w.serve(cert) })
	if err != nil {
		return nil, errors.Join(err, w.close())
	}
	return w, nil
}

// serve opens all servers in the calling thread's namespace.
func (w *web) serve(cert tls.Certificate) error {
	mux := http.NewServeMux()
	mux.HandleFunc("/", page)
	mux.HandleFunc("/bytes", download)
	mux.HandleFunc("/sink", upload)
	mux.HandleFunc("/digest", func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, digestPage) })
	srv := &http.Server{Handler: mux, ErrorLog: log.New(io.Discard, "", 0), ReadHeaderTimeout: time.Minute}
	w.servers = append(w.servers, srv)
	for _, s := range []Site{Modern, Retry, Old} {
		conf := &tls.Config{Certificates: []tls.Certificate{cert}, NextProtos: []string{"http/1.1"}, MinVersion: tls.VersionTLS12}
		s.tune(conf)
		for _, v6 := range []bool{false, true} {
			at := s.Addr(v6)
			ln, err := listen(at)
			if err != nil {
				return fmt.Errorf("serve TLS: %w", err)
			}
			go srv.Serve(tls.NewListener(ln, conf)) // ends with the server's Close
			ln, err = listen(netip.AddrPortFrom(at.Addr(), httpPort))
			if err != nil {
				return fmt.Errorf("serve HTTP: %w", err)
			}
			go srv.Serve(lenient{ln})
			if conf.MaxVersion == tls.VersionTLS12 {
				continue
			}
			if err := w.serveQUIC(at, conf, mux); err != nil {
				return fmt.Errorf("serve QUIC: %w", err)
			}
		}
	}
	return nil
}

func listen(a netip.AddrPort) (net.Listener, error) { return net.Listen("tcp", a.String()) }

func (w *web) close() error {
	var errs []error
	for _, s := range slices.Backward(w.servers) {
		errs = append(errs, s.Close())
	}
	w.servers = nil // a lab may be closed twice
	return errors.Join(errs...)
}

// lenient listens for connections on which an empty line ahead of a request is
// passed over, as RFC 9112 section 2.2 wants it, and nginx and Apache do.
type lenient struct{ net.Listener }

func (l lenient) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return &lenientConn{Conn: c}, nil
}

// lenientConn takes what comes first, and first after an answer, for the
// beginning of a request.
type lenientConn struct {
	net.Conn
	inside atomic.Bool // a request has begun
}

func (c *lenientConn) Read(b []byte) (int, error) {
	for {
		n, err := c.Conn.Read(b)
		if c.inside.Load() || n == 0 {
			return n, err
		}
		if rest := bytes.TrimLeft(b[:n], "\r\n"); len(rest) > 0 || err != nil {
			c.inside.Store(len(rest) > 0)
			return copy(b, rest), err
		}
	}
}

func (c *lenientConn) Write(b []byte) (int, error) {
	c.inside.Store(false)
	return c.Conn.Write(b)
}

// asked is the name a client asks for: that of the TLS handshake or, without
// one, the Host field's, in small letters and without a dot at its end.
func asked(r *http.Request) string {
	if r.TLS != nil {
		return r.TLS.ServerName
	}
	return strings.ToLower(strings.TrimSuffix(r.Host, "."))
}

// page shows the name that was asked for, and some length.
func page(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path != "/" {
		http.NotFound(w, r)
		return
	}
	name := asked(r) + "\n"
	w.Header().Set("Content-Length", strconv.Itoa(pageSize))
	io.WriteString(w, name)
	w.Write(bytes.Repeat([]byte{'.'}, pageSize-len(name)))
}

func download(w http.ResponseWriter, r *http.Request) {
	n, err := strconv.ParseInt(r.URL.Query().Get("n"), 10, 64)
	if err != nil || n < 0 {
		http.Error(w, "n: want a number of bytes", http.StatusBadRequest)
		return
	}
	w.Header().Set("Content-Length", strconv.FormatInt(n, 10))
	writeBytes(w, n)
}

// upload answers with the SHA-256 of what was sent.
func upload(w http.ResponseWriter, r *http.Request) {
	sum := sha256.New()
	if _, err := io.Copy(sum, r.Body); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	io.WriteString(w, hex.EncodeToString(sum.Sum(nil)))
}

// writeBytes writes the first n bytes of the one endless download.
func writeBytes(w io.Writer, n int64) error {
	b := make([]byte, block)
	for i := range b {
		b[i] = byte(i * 7)
	}
	for number := uint64(0); n > 0; number++ {
		binary.BigEndian.PutUint64(b, number)
		m, err := w.Write(b[:min(n, block)])
		if err != nil {
			return err
		}
		n -= int64(m)
	}
	return nil
}

// SumOf is the SHA-256 of a download of n bytes, in hex.
func SumOf(n int64) string {
	sum := sha256.New()
	writeBytes(sum, n) // a hash takes everything
	return hex.EncodeToString(sum.Sum(nil))
}

// certificate makes a self-signed one that names neither site.
func certificate() (tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return tls.Certificate{}, err
	}
	t := &x509.Certificate{
		SerialNumber: big.NewInt(1),
		Subject:      pkix.Name{CommonName: "lab"},
		NotBefore:    time.Unix(0, 0), // an emulated router has no clock
		NotAfter:     time.Date(2200, 1, 1, 0, 0, 0, 0, time.UTC),
		DNSNames:     []string{"lab"},
	}
	der, err := x509.CreateCertificate(rand.Reader, t, t, &key.PublicKey, key)
	if err != nil {
		return tls.Certificate{}, err
	}
	leaf, err := x509.ParseCertificate(der)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}, err
}
