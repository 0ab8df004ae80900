package lab

import (
	"bufio"
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"strings"
	"testing"
	"time"
)

// mirror is a server that says what it has read: by TLS and QUIC on port 443, by
// plain HTTP on port 80. Wrong bytes of a hello fail the handshake, whose keys and
// Finished cover all of it (RFC 8446 section 4.4.1); wrong bytes behind it show in
// the answer.
var mirror = Site{netip.MustParseAddr("203.0.113.5"), netip.MustParseAddr("2001:db8:3::5"), func(*tls.Config) {}}

// newMirror starts the servers. They end with the test.
func newMirror(t *testing.T, l *Lab) {
	t.Helper()
	must(t, l.Server.configure("eth0", mirror.V4.String()+"/24", mirror.V6.String()+"/64"))
	cert, err := certificate()
	must(t, err)
	conf := &tls.Config{Certificates: []tls.Certificate{cert}, NextProtos: []string{"http/1.1"}, MinVersion: tls.VersionTLS12}
	mux := http.NewServeMux()
	mux.HandleFunc("/", reflect)
	mux.HandleFunc("/many", func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, manyPage) })
	srv := &http.Server{Handler: mux, ErrorLog: log.New(io.Discard, "", 0), ReadHeaderTimeout: time.Minute}
	t.Cleanup(func() { srv.Close() })
	h3 := &web{}
	t.Cleanup(func() { h3.close() })
	for _, v6 := range []bool{false, true} {
		secure := mirror.Addr(v6)
		ln := listenOn(t, l, secure)
		go srv.Serve(tls.NewListener(ln, conf)) // ends with srv
		must(t, l.Server.Do(func() error { return h3.serveQUIC(secure, conf, mux) }))
		go answerPlain(listenOn(t, l, netip.AddrPortFrom(secure.Addr(), 80)))
	}
}

func listenOn(t *testing.T, l *Lab, a netip.AddrPort) net.Listener {
	t.Helper()
	var ln net.Listener
	must(t, l.Server.Do(func() (err error) {
		ln, err = net.Listen("tcp", a.String())
		return err
	}))
	t.Cleanup(func() { ln.Close() })
	return ln
}

// digest is what the mirror says of a request: the names it was asked for, the
// first line, and the body.
func digest(names, line string, body []byte) string {
	sum := sha256.Sum256([]byte(names + "\n" + line + "\n" + string(body)))
	return hex.EncodeToString(sum[:])
}

func reflect(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	w.Header().Set("Access-Control-Allow-Origin", "*") // for a page of another name
	io.WriteString(w, digest(r.TLS.ServerName+" "+r.Host, r.Method+" "+r.RequestURI, body))
}

// answerPlain serves plain HTTP until ln is closed. It takes what the steps for
// HTTP make of a request, as no server alone does: empty lines ahead of it, lines
// that end in LF, names in any case and with a dot at their end.
func answerPlain(ln net.Listener) {
	for {
		c, err := ln.Accept()
		if err != nil {
			return
		}
		go func() {
			defer c.Close()
			c.SetDeadline(time.Now().Add(time.Minute))
			said, err := readPlain(bufio.NewReader(c))
			if err != nil {
				said = err.Error()
			}
			fmt.Fprintf(c, "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%s", len(said), said)
		}()
	}
}

func readPlain(r *bufio.Reader) (string, error) {
	var line, host string
	size := 0
	for {
		text, err := r.ReadString('\n')
		if err != nil {
			return "", fmt.Errorf("%q: %w", text, err)
		}
		text = strings.TrimRight(text, "\r\n")
		name, value, _ := strings.Cut(text, ":")
		value = strings.Trim(value, " \t")
		switch {
		case line == "":
			line = text
			continue
		case text == "":
			body := make([]byte, size)
			if _, err := io.ReadFull(r, body); err != nil {
				return "", err
			}
			method, _, _ := strings.Cut(line, " HTTP/1.")
			return digest(host, method, body), nil
		case strings.EqualFold(name, "Host"):
			host = strings.TrimSuffix(strings.ToLower(value), ".")
		case strings.EqualFold(name, "Content-Length"):
			if size, err = strconv.Atoi(value); err != nil || size > 1<<20 {
				return "", errors.New("bad length")
			}
		}
	}
}

// errWrong says that the server has read something else than the client wrote.
var errWrong = errors.New("the server has read something else")

// uploaded is more than the segments of a hello, and few enough for many tries.
const uploaded = 5000

var body = func() []byte {
	var b strings.Builder
	writeBytes(&b, uploaded) // a builder takes everything
	return []byte(b.String())
}()

// ask does one exchange with the mirror.
func ask(l *Lab, r Request) error {
	r.Site = mirror
	if r.Proto == HTTP {
		return askPlain(l, r)
	}
	want := digest(r.Host+" "+r.Host, "POST /sink", body)
	if r.Hello == Curl {
		// curl writes its request, so long, behind the hello at once.
		r.Path = "/" + strings.Repeat(r.Host+"/", 100)
		want = digest(r.Host+" "+r.Host, "GET "+r.Path, nil)
	} else {
		r.Upload = uploaded
	}
	res, err := l.Get(r)
	if err == nil && res.Body != want {
		err = fmt.Errorf("%w: it says %q, and should say %q", errWrong, res.Body, want)
	}
	return err
}

// askPlain does the same by plain HTTP.
func askPlain(l *Lab, r Request) error {
	deadline := time.Now().Add(l.patience(r.Timeout))
	conn, err := l.dial(l.from(r), r.addr(), deadline)
	if err != nil {
		return err
	}
	defer conn.Close()
	conn.SetLinger(0)
	conn.SetDeadline(deadline)
	head := fmt.Sprintf("POST /%s HTTP/1.1\r\nUser-Agent: lab\r\nHost: %s\r\nContent-Length: %d\r\n", strings.Repeat("a", 50), r.Host, len(body))
	if r.Hello == PostQuantum { // as long as a hello of that kind
		head += "Cookie: " + strings.Repeat("c", 1600) + "\r\n"
	}
	if _, err := io.WriteString(conn, head+"\r\n"+string(body)); err != nil {
		return fmt.Errorf("send request: %w", err)
	}
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		return fmt.Errorf("read response: %w", err)
	}
	defer resp.Body.Close()
	said, err := io.ReadAll(resp.Body)
	want := digest(r.Host, "POST /"+strings.Repeat("a", 50), body)
	if err == nil && string(said) != want {
		err = fmt.Errorf("%w: it says %q, and should say %q", errWrong, said, want)
	}
	return err
}
