package desync

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"reflect"
	"slices"
	"strings"
	"testing"

	"b4/engine"
	"b4/http1"
	"b4/packet"
)

const (
	curlHead    = "GET / HTTP/1.1\r\nHost: www.blocked.example\r\nUser-Agent: curl/8.14.1\r\nAccept: */*\r\n\r\n"
	browserHead = "GET /a?b=c HTTP/1.1\r\nHost: www.blocked.example:8080\r\nConnection: keep-alive\r\n" +
		"Upgrade-Insecure-Requests: 1\r\nUser-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36\r\n" +
		"Accept: text/html,*/*;q=0.8\r\nCookie: a=b; c=d\r\n\r\n"
	postHead = "POST /form HTTP/1.1\r\nContent-Length: 9\r\nhost:www.blocked.example\r\nAccept:*/*\r\nX-Empty: \r\n\r\na=b\r\n\r\nc="
)

// requests are heads, and bodies, that steps for HTTP are tried on.
var requests = []string{
	curlHead,
	browserHead,
	postHead,
	"GET / HTTP/1.1\r\nHost: www.blocked.example\r\n\r\n",
	"GET http://www.blocked.example/ HTTP/1.1\r\nHost: www.blocked.example\r\nProxy-Connection: close\r\n\r\n",
	"GET / HTTP/1.1\nhost:  www.blocked.example.\nAccept: \t*/*\n\n",
	"GET / HTTP/1.1\r\nAccept: */*\r\nHost: 192.0.2.1\r\n\r\n",
	"GET / HTTP/1.1\r\nAccept: */*\r\nHost: [2001:db8::1]:81\r\n\r\n",
	"GET / HTTP/1.0\r\nAccept: */*\r\n\r\n",
	"GET / HTTP/1.0\r\n\r\n",
	"GET / HTTP/1.1\r\nHost:\r\n \r\n\twww.blocked.example\r\nX: a\r\n b\r\n\r\n",
	"GET / HTTP/1.1\r\nHost: \r\n www.blocked.example\r\n\r\n",
	"GET / HTTP/1.1\r\nHost: \r\n\r\n",
	"\r\nGET / HTTP/1.1\r\nX-Long: 1\r\nHost: a.example \r\n\r\nGET / HTTP/1.1\r\nHost: b.example\r\n\r\n",
}

var httpStrategies = []string{
	"hostcase",
	"hostspell(HOST)",
	"domcase",
	"hostdot",
	"hostnospace",
	"methodeol",
	"unixeol",
	"hostcase domcase hostdot hostnospace methodeol unixeol",
	"unixeol methodeol hostnospace hostdot domcase hostspell(hOsT)",
	"hostnospace hostdot split(1) disorder",
	"split(20) methodeol disorder dup(1)",
}

func httpEnv(t testing.TB, v6 bool, request string) *Env {
	t.Helper()
	e := env(t, v6, 0)
	b := []byte(request)
	r, _ := http1.Parse(b)
	e.Msg = Message{Proto: HTTP, Bytes: b, Request: r}
	return e
}

func mustHTTP(t testing.TB, text string) *Strategy {
	t.Helper()
	s, err := HTTP.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// sent is what the server's application reads of e's message after s, in every
// order of arrival, and the packets it came in.
func sent(t testing.TB, s *Strategy, e *Env) ([]byte, *engine.Batch, error) {
	t.Helper()
	var p Plan
	var out engine.Batch
	if err := s.Plan(&p, e); err != nil {
		if !p.Whole() || p.text != nil {
			t.Fatalf("%s: %v, and something is planned", s, err)
		}
		return e.Msg.Bytes, &out, err
	}
	was := bytes.Clone(e.Msg.Bytes)
	p.Emit(&out, engine.Meta{}, e, 0, len(e.Msg.Bytes))
	if !bytes.Equal(was, e.Msg.Bytes) {
		t.Fatalf("%s: changes the caller's bytes", s)
	}
	var stream []byte
	for i, order := range orders(out.Len(), e.Rand) {
		r := read(e, &out, order, i == 1)
		if r.next != r.size || stream != nil && !bytes.Equal(stream, r.stream) {
			t.Fatalf("%s: order %d: %d of %d bytes: %q, and %q", s, i, r.next, r.size, r.stream, stream)
		}
		stream = r.stream
	}
	return stream, &out, nil
}

// What the steps make of requests, kept as text.
func TestHTTPWire(t *testing.T) {
	var b strings.Builder
	for _, text := range httpStrategies {
		for i, request := range requests {
			fmt.Fprintf(&b, "== %q of %q\n", text, request)
			e := httpEnv(t, i%2 == 1, request)
			stream, out, err := sent(t, mustHTTP(t, text), e)
			if err != nil {
				fmt.Fprintf(&b, "error: %v\n", err)
				continue
			}
			fmt.Fprintf(&b, "   %q\n", stream)
			e.Msg.Bytes = stream
			for i := range out.Len() {
				b.WriteString(line(t, out.At(i).Bytes, e))
			}
		}
	}
	golden(t, "http.txt", b.String())
}

// A retransmission of a part brings the bytes that went before.
func TestHTTPEmitPart(t *testing.T) {
	s := mustHTTP(t, "methodeol hostdot unixeol split(host)")
	e := httpEnv(t, false, browserHead)
	stream, _, err := sent(t, s, e)
	if err != nil {
		t.Fatal(err)
	}
	for from := range len(stream) {
		var p Plan
		var out engine.Batch
		s.Plan(&p, e)
		p.Emit(&out, engine.Meta{}, e, from, min(from+30, len(stream)))
		for i := range out.Len() {
			var v packet.View
			v.Decode(out.At(i).Bytes)
			if at := int(v.Seq - e.Conn.Base); !bytes.HasPrefix(stream[at:], v.Payload) {
				t.Fatalf("from %d: %q at %d", from, v.Payload, at)
			}
		}
	}
}

func TestHTTPRefuses(t *testing.T) {
	const tight = "GET / HTTP/1.1\r\nHost:www.blocked.example\r\n\r\n"
	tests := []struct {
		text, request string
		want          error
	}{
		{"hostdot", tight, errSpace},
		{"methodeol", tight, errSpace},
		{"methodeol", "GET / HTTP/1.1\r\nHost: a.example\r\n\r\n", errSpace}, // one byte is there, two are not
		{"hostnospace", tight, nil},
		{"unixeol", tight, nil},
		{"unixeol", "GET / HTTP/1.0\r\n\r\n", errField},
		{"hostdot", browserHead[:30], errHead}, // no host yet
		{"hostdot", browserHead[:120], errHead},
		{"hostnospace", browserHead[:120], errHead},
		{"methodeol", browserHead[:120], errHead},
		{"unixeol", browserHead[:120], errHead},
		{"hostcase domcase", browserHead[:120], nil},
	}
	for _, tt := range tests {
		if _, _, err := sent(t, mustHTTP(t, tt.text), httpEnv(t, false, tt.request)); err != tt.want {
			t.Errorf("%s of %q: %v, want %v", tt.text, tt.request, err, tt.want)
		}
	}
}

// What may be part of a body is cut, and not written another way.
func TestHTTPBody(t *testing.T) {
	e := httpEnv(t, false, browserHead)
	e.Msg.Body = true
	got, out, err := sent(t, mustHTTP(t, "hostcase methodeol split(3)"), e)
	if err != nil || string(got) != browserHead || out.Len() != 2 {
		t.Errorf("%v, %d packets, %q", err, out.Len(), got)
	}
}

// Where a step cannot be done for the packet at hand, the request is written as it
// always is, in one piece and alone; without steps that write it, it goes as it came.
func TestHTTPWrittenTheSame(t *testing.T) {
	for text, want := range map[string]error{
		"split(1) fake(ttl=auto) hostcase methodeol": nil, "hostcase split(1) methodeol rst(ttl=auto) disorder": nil,
		"split(1) fake(ttl=auto)": errUnfooled, "methodeol fake(ttl=auto) hostcase": nil,
	} {
		e := httpEnv(t, false, browserHead)
		e.Conn.Hops = 0
		got, out, err := sent(t, mustHTTP(t, text), e)
		if err != want || err == nil && (out.Len() != 1 || !bytes.HasPrefix(got, []byte("\r\nGET")) || !bytes.Contains(got, []byte("hoSt:"))) {
			t.Errorf("%s: %v, %d packets, %q", text, err, out.Len(), got)
		}
	}
}

// A CR that ends no line is part of a value, and stays the one ahead of the end.
func TestUnixEOLKeepsBareCR(t *testing.T) {
	e := httpEnv(t, false, "GET / HTTP/1.1\r\nX: y\r\r\nHost: a.example\r\n\r\n")
	if got, _, err := sent(t, mustHTTP(t, "unixeol"), e); err != nil || !bytes.Contains(got, []byte("y\r\r\nHost")) {
		t.Errorf("%q, %v", got, err)
	}
}

// Where some of a request has left as it came, its letters may change and its
// bytes may not move.
func TestHTTPBegun(t *testing.T) {
	for text, want := range map[string]error{
		"hostcase": nil, "hostspell(HOST)": nil, "domcase": nil,
		"hostdot": errBegun, "hostnospace": errBegun, "methodeol": errBegun, "unixeol": errBegun,
	} {
		e := httpEnv(t, false, browserHead)
		e.Msg.Begun = true
		if _, _, err := sent(t, mustHTTP(t, text), e); err != want {
			t.Errorf("%s: %v, want %v", text, err, want)
		}
	}
}

func TestHTTPParseErrors(t *testing.T) {
	for text, want := range map[string]string{
		"hostcase(x)":              "takes no arguments",
		"hostspell":                "wants host, hosT, ",
		"hostspell(hots)":          `unknown word "hots"`,
		"hostspell(a=host)":        `unknown parameter "a"`,
		"hostspell(host, host)":    "has one name",
		"hostdot split(1) hostdot": "hostdot stands twice",
		"dup(1) hostcase":          "must stand before",
	} {
		s, err := HTTP.Parse(text)
		var e *Error
		if !errors.As(err, &e) || !strings.Contains(e.Msg, want) {
			t.Errorf("%q: %v, %v, want %s", text, s, err, want)
		}
	}
}

// asServer reads requests as net/http does. RFC 9112 section 2.2 has servers
// skip empty lines ahead of one, which net/http does not.
func asServer(b []byte) (reqs []*http.Request, err error) {
	in := bufio.NewReader(bytes.NewReader(bytes.TrimLeft(b, "\r\n")))
	for {
		req, err := http.ReadRequest(in)
		if err == io.EOF && len(reqs) > 0 {
			return reqs, nil
		}
		if err != nil {
			return reqs, err
		}
		body, _ := io.ReadAll(req.Body)
		req.Body = io.NopCloser(bytes.NewReader(body))
		reqs = append(reqs, req)
	}
}

// same reports whether a server reads the same request: the host's letters and
// the dot behind it make no difference.
func same(a, b *http.Request) bool {
	textA, _ := io.ReadAll(a.Body)
	textB, _ := io.ReadAll(b.Body)
	return a.Method == b.Method && a.Proto == b.Proto && bytes.Equal(textA, textB) &&
		host(a.Host) == host(b.Host) && a.URL.RequestURI() == b.URL.RequestURI() &&
		reflect.DeepEqual(a.Header, b.Header) && slices.Equal(a.TransferEncoding, b.TransferEncoding) && a.ContentLength == b.ContentLength
}

func host(s string) string {
	name, port, _ := strings.Cut(strings.ToLower(s), ":")
	return strings.TrimSuffix(name, ".") + ":" + port
}

// checkHTTP asserts the invariant: as many bytes, and the same requests.
func checkHTTP(t *testing.T, s *Strategy, e *Env) {
	t.Helper()
	want, err := asServer(e.Msg.Bytes)
	if err != nil || strings.ContainsAny(want[0].Host, " \t") {
		return // no request, or a host that is none, which net/http does not look at
	}
	stream, _, _ := sent(t, s, e)
	got, err := asServer(stream)
	if err != nil || len(got) != len(want) || len(stream) != len(e.Msg.Bytes) {
		t.Fatalf("%s of %q: %v, %d requests of %d: %q", s, e.Msg.Bytes, err, len(got), len(want), stream)
	}
	for i := range got {
		if !same(got[i], want[i]) {
			t.Fatalf("%s of %q: the server reads %+v, not %+v", s, e.Msg.Bytes, got[i], want[i])
		}
	}
}

func TestServerReadsTheSameRequest(t *testing.T) {
	for _, request := range requests {
		for _, text := range httpStrategies {
			checkHTTP(t, mustHTTP(t, text), httpEnv(t, false, request))
		}
	}
}

// net/http's server answers what the steps make of a request, but for the empty
// line ahead of it.
func TestNetHTTPServer(t *testing.T) {
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, host(r.Host), r.UserAgent(), r.Header["Accept"])
	}))
	defer srv.Close()
	const want = "www.blocked.example:curl/8.14.1[*/*]"
	for _, text := range httpStrategies {
		status, body := ask(t, srv.Listener.Addr().String(), text)
		if strings.Contains(text, "methodeol") {
			if status != http.StatusBadRequest {
				t.Errorf("%s: status %d", text, status)
			}
		} else if status != http.StatusOK || body != want {
			t.Errorf("%s: status %d, %q", text, status, body)
		}
	}
}

func TestHTTPAllocs(t *testing.T) {
	e := httpEnv(t, false, browserHead)
	s := mustHTTP(t, httpStrategies[7]+" split(1) disorder")
	var p Plan
	var out engine.Batch
	if n := testing.AllocsPerRun(100, func() {
		out.Reset()
		if err := s.Plan(&p, e); err != nil {
			t.Fatal(err)
		}
		p.Emit(&out, engine.Meta{}, e, 0, len(e.Msg.Bytes))
	}); n != 0 {
		t.Errorf("%v allocations, want 0", n)
	}
}

// Whatever runs lets a server read the request that the client wrote.
func FuzzHTTP(f *testing.F) {
	for i, request := range requests {
		f.Add(httpStrategies[i%len(httpStrategies)], request)
		f.Add(httpStrategies[7], request)
	}
	f.Fuzz(func(t *testing.T, text, request string) {
		s, err := HTTP.Parse(text)
		if err != nil || s.Harm() > Segments || len(request) > 4000 {
			return
		}
		checkHTTP(t, s, httpEnv(t, false, request))
	})
}

func BenchmarkHTTP(bm *testing.B) {
	benchmark(bm, mustHTTP(bm, "hostcase domcase hostnospace split(1)"), httpEnv(bm, false, browserHead))
}
