package http1

import (
	"bufio"
	"bytes"
	"net/http"
	"strings"
	"testing"
)

const browser = "GET /a?b=c HTTP/1.1\r\n" +
	"Host: www.blocked.example\r\n" +
	"User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0\r\n" +
	"Accept: text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8\r\n" +
	"Accept-Language: en-US,en;q=0.5\r\n" +
	"Accept-Encoding: gzip, deflate\r\n" +
	"Connection: keep-alive\r\n" +
	"Upgrade-Insecure-Requests: 1\r\n" +
	"\r\n"

func TestParse(t *testing.T) {
	b := []byte(browser + "body")
	r, st := Parse(b)
	if st != Complete || r.Len != len(browser) {
		t.Fatalf("status %d, %+v", st, r)
	}
	for _, tt := range []struct {
		what       string
		start, end int
		want       string
	}{
		{"method", r.Method, r.MethodEnd, "GET"},
		{"target", r.Target, r.TargetEnd, "/a?b=c"},
		{"field", r.Field, r.FieldEnd, "Host"},
		{"host", r.Host, r.HostEnd, "www.blocked.example"},
		{"port", r.Port, r.PortEnd, ""},
		{"uri", r.URI, r.URIEnd, ""},
	} {
		if got := string(b[tt.start:tt.end]); got != tt.want {
			t.Errorf("%s %q, want %q", tt.what, got, tt.want)
		}
	}
}

// Heads as clients send them and as they may be sent, and what they say.
var heads = []struct {
	name, in         string
	host, port, said string
}{
	{"curl", "GET / HTTP/1.1\r\nHost: a.example\r\nUser-Agent: curl/8\r\n\r\n", "a.example", "", "a.example"},
	{"small letters", "GET / HTTP/1.1\r\nhost: a.example\r\n\r\n", "a.example", "", "a.example"},
	{"any letters", "GET / HTTP/1.1\r\nhOsT: A.Example\r\n\r\n", "A.Example", "", "a.example"},
	{"last", "POST /x HTTP/1.1\r\nContent-Length: 2\r\nX-Host: b.example\r\nHost: a.example\r\n\r\nok", "a.example", "", "a.example"},
	{"port", "GET / HTTP/1.1\r\nHost: a.example:8080\r\n\r\n", "a.example", "8080", "a.example"},
	{"port of no digits", "GET / HTTP/1.1\r\nHost: a.example:http\r\n\r\n", "a.example", "", "a.example"},
	{"empty port", "GET / HTTP/1.1\r\nHost: a.example:\r\n\r\n", "a.example", "", "a.example"},
	{"no space", "GET / HTTP/1.1\r\nHost:a.example\r\n\r\n", "a.example", "", "a.example"},
	{"much space", "GET / HTTP/1.1\r\nHost: \t  a.example \t\r\n\r\n", "a.example", "", "a.example"},
	{"folded", "GET / HTTP/1.1\r\nHost:\r\n \r\n\ta.example\r\n\r\n", "a.example", "", "a.example"},
	{"fold behind", "GET / HTTP/1.1\r\nHost: a.example\r\n \r\n\r\n", "a.example", "", "a.example"},
	{"a fold that looks like it", "GET / HTTP/1.1\r\nX: y\r\n Host: b.example\r\nHost: a.example\r\n\r\n", "a.example", "", "a.example"},
	{"bare LF", "GET / HTTP/1.1\nHost: a.example\nX: y\n\n", "a.example", "", "a.example"},
	{"mixed line ends", "GET / HTTP/1.1\nHost: a.example\r\nX: y\n\r\n", "a.example", "", "a.example"},
	{"empty lines ahead", "\r\n\n\r\nGET / HTTP/1.1\r\nHost: a.example\r\n\r\n", "a.example", "", "a.example"},
	{"dot", "GET / HTTP/1.1\r\nHost: a.example.\r\n\r\n", "a.example.", "", "a.example"},
	{"two hosts", "GET / HTTP/1.1\r\nHost: a.example\r\nHost: b.example\r\n\r\n", "a.example", "", "a.example"},
	{"IPv4", "GET / HTTP/1.1\r\nHost: 192.0.2.1:81\r\n\r\n", "192.0.2.1", "81", "192.0.2.1"},
	{"IPv6", "GET / HTTP/1.1\r\nHost: [2001:DB8::1]:81\r\n\r\n", "[2001:DB8::1]", "81", "[2001:db8::1]"},
	{"IPv6 without port", "GET / HTTP/1.1\r\nHost: [::1]\r\n\r\n", "[::1]", "", "[::1]"},
	{"no field", "GET / HTTP/1.0\r\n\r\n", "", "", ""},
	{"empty field", "GET / HTTP/1.1\r\nHost:\r\nX: y\r\n\r\n", "", "", ""},
	{"space ahead of the colon", "GET / HTTP/1.1\r\nHost : a.example\r\n\r\n", "", "", ""},
	{"absolute", "GET http://a.example:81/x HTTP/1.1\r\nX: y\r\n\r\n", "", "", "a.example"},
	{"absolute with user", "GET http://u:p@A.example. HTTP/1.1\r\n\r\n", "", "", "a.example"},
	{"absolute IPv6", "GET http://[::1]:81/ HTTP/1.1\r\n\r\n", "", "", "[::1]"},
	{"absolute with query", "GET http://a.example?u=x@y HTTP/1.1\r\n\r\n", "", "", "a.example"},
	{"both", "GET http://b.example/ HTTP/1.1\r\nHost: a.example\r\n\r\n", "a.example", "", "a.example"},
	{"url inside", "GET /?u=http://b.example/ HTTP/1.1\r\n\r\n", "", "", ""},
	{"connect", "CONNECT a.example:443 HTTP/1.1\r\n\r\n", "", "", "a.example"},
	{"asterisk", "OPTIONS * HTTP/1.1\r\nHost: a.example\r\n\r\n", "a.example", "", "a.example"},
	{"own method", "M-SEARCH * HTTP/1.1\r\nHost: 239.255.255.250:1900\r\n\r\n", "239.255.255.250", "1900", "239.255.255.250"},
	{"spaces in the first line", "GET   /  HTTP/1.1  \r\nHost: a.example\r\n\r\n", "a.example", "", "a.example"},
	{"other letters", "GET /\xc3\xa4 HTTP/1.1\r\nHost: b\xc3\xbccher.example\r\n\r\n", "b\xc3\xbccher.example", "", "b\xc3\xbccher.example"},
}

func TestHeads(t *testing.T) {
	for _, tt := range heads {
		t.Run(tt.name, func(t *testing.T) {
			b := []byte(tt.in)
			r, st := Parse(b)
			if want := strings.TrimSuffix(tt.in, "ok"); st != Complete || r.Len != len(want) {
				t.Fatalf("status %d, %+v", st, r)
			}
			host, port, said := string(b[r.Host:r.HostEnd]), string(b[r.Port:r.PortEnd]), string(r.AppendName(nil, b))
			if host != tt.host || port != tt.port || said != tt.said || r.Named() != (tt.said != "") {
				t.Errorf("host %q, port %q, name %q: %+v", host, port, said, r)
			}
		})
	}
}

// Every prefix of a head is partial, and what is known stays as it is.
func TestParsePrefixes(t *testing.T) {
	for _, tt := range heads {
		b := []byte(tt.in)
		whole, _ := Parse(b)
		for n := range whole.Len {
			r, st := Parse(b[:n:n])
			if st != Partial {
				t.Fatalf("%s: first %d bytes: status %d", tt.name, n, st)
			}
			had, has := ends(&r), ends(&whole)
			for i := range had {
				if had[i][1] != 0 && had[i] != has[i] {
					t.Fatalf("%s: first %d bytes: %+v, later %+v", tt.name, n, r, whole)
				}
			}
			if known := n > whole.HostEnd && whole.HostEnd > 0; known != (r.HostEnd > 0) {
				t.Fatalf("%s: first %d bytes: %+v", tt.name, n, r)
			}
		}
	}
}

func ends(r *Request) [7][2]int {
	return [...][2]int{{0, r.Len}, {r.Method, r.MethodEnd}, {r.Target, r.TargetEnd}, {r.Field, r.FieldEnd},
		{r.Host, r.HostEnd}, {r.Port, r.PortEnd}, {r.URI, r.URIEnd}}
}

// What begins no request is told from its first bytes: in is one byte more than
// can be one.
func TestParseRefuses(t *testing.T) {
	tests := []struct{ name, in string }{
		{"tls", "\x16"},
		{"bittorrent", "\x13"},
		{"socks 5", "\x05"},
		{"http 2", "PRI * HTTP/2"},
		{"ssh", "SSH-2.0-OpenSSH_10.0\r"},
		{"smtp", "EHLO mail.example\r"},
		{"smtp alone", "QUIT\r"},
		{"rtsp", "DESCRIBE rtsp://a.example/x R"},
		{"sip", "INVITE sip:a@b.example S"},
		{"http 0.9", "GET /\r"},
		{"http 0.9, bare LF", "GET /\n"},
		{"version", "GET / HTTP/1.x"},
		{"version of two digits", "GET / HTTP/1.11"},
		{"behind the version", "GET / HTTP/1.1 x"},
		{"CR alone", "GET / HTTP/1.1\rH"},
		{"space first", " "},
		{"tab for space", "GET\t"},
		{"no method", "("},
		{"target with DEL", "GET /\x7f"},
		{"long method", strings.Repeat("A", maxMethod+1)},
		{"CR first", "\rG"},
		{"many empty lines", strings.Repeat("\r\n", maxEmpty/2+1)},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if r, st := Parse([]byte(tt.in)); st != NotRequest || r != (Request{}) {
				t.Errorf("status %d, %+v", st, r)
			}
			if _, st := Parse([]byte(tt.in[:len(tt.in)-1])); st != Partial {
				t.Errorf("without the last byte: status %d", st)
			}
		})
	}
}

// A method is bounded too where all of it comes at once.
func TestParseMethodBound(t *testing.T) {
	for n, want := range map[int]Status{maxMethod: Complete, maxMethod + 1: NotRequest} {
		if _, st := Parse([]byte(strings.Repeat("A", n) + " / HTTP/1.1\r\n\r\n")); st != want {
			t.Errorf("%d letters: status %d", n, st)
		}
	}
}

// A head may be as long as MaxLen and no longer.
func TestParseBound(t *testing.T) {
	const first, last = "GET / HTTP/1.1\r\nHost: a.example\r\nCookie: ", "\r\n\r\n"
	for more, want := range map[int]Status{0: Complete, 1: NotRequest} {
		b := []byte(first + strings.Repeat("c", MaxLen-len(first)-len(last)+more) + last)
		if _, st := Parse(append(b, "body"...)); st != want {
			t.Errorf("%d bytes: status %d", len(b), st)
		}
		if _, st := Parse(b[:MaxLen-1]); st != Partial {
			t.Errorf("first %d of %d bytes: status %d", MaxLen-1, len(b), st)
		}
	}
}

// Requests on one connection are parsed one by one.
func TestSecondRequest(t *testing.T) {
	b := []byte(heads[0].in + browser)
	first, _ := Parse(b)
	second, st := Parse(b[first.Len:])
	if st != Complete || second.Len != len(browser) || string(second.AppendName(nil, b[first.Len:])) != "www.blocked.example" {
		t.Errorf("status %d, %+v", st, second)
	}
}

func TestParseAllocs(t *testing.T) {
	b, name := []byte(browser), make([]byte, 0, 64)
	if n := testing.AllocsPerRun(1000, func() {
		r, _ := Parse(b)
		name = r.AppendName(name[:0], b)
	}); n != 0 {
		t.Errorf("%v allocations per request, want 0", n)
	}
}

// Positions are in order, stay as they are when more comes, and name the host
// that net/http reads.
func FuzzParse(f *testing.F) {
	f.Add([]byte(browser), 40)
	for _, tt := range heads {
		f.Add([]byte(tt.in), len(tt.in)/2)
	}
	f.Fuzz(func(t *testing.T, b []byte, cut int) {
		r, st := Parse(b)
		for _, p := range ends(&r) {
			if p[0] < 0 || p[1] > len(b) || p[1] != 0 && p[0] >= p[1] {
				t.Fatalf("status %d, %+v of %d bytes", st, r, len(b))
			}
		}
		if st == NotRequest && r != (Request{}) || st == Complete && r.Len == 0 {
			t.Fatalf("status %d, %+v", st, r)
		}
		if cut < 0 || cut > len(b) {
			return
		}
		had, was := Parse(b[:cut])
		if was != Partial && (was != st || had != r) {
			t.Fatalf("first %d bytes: status %d, %+v, later %d, %+v", cut, was, had, st, r)
		}
		for i, p := range ends(&had) {
			if now := ends(&r)[i]; st != NotRequest && p[1] != 0 && p != now {
				t.Fatalf("first %d bytes: %+v, later %+v", cut, had, r)
			}
		}
		sameAsNetHTTP(t, b, &r, st)
	})
}

// sameAsNetHTTP asks net/http what host a complete head says. It knows no empty
// lines ahead, wants one space where more are taken here, and does not join a
// host that is folded in its middle.
func sameAsNetHTTP(t *testing.T, b []byte, r *Request, st Status) {
	req, err := http.ReadRequest(bufio.NewReader(bytes.NewReader(b[r.Method:])))
	if st != Complete || err != nil || r.HostEnd == 0 || r.URIEnd > 0 {
		return
	}
	host, ok := strings.CutPrefix(req.Host, string(b[r.Host:r.HostEnd]))
	if !ok || host != "" && host[0] != ':' && host[0] != ' ' && host[0] != '\t' {
		t.Fatalf("net/http reads %q: %+v", req.Host, r)
	}
}

func BenchmarkParse(bm *testing.B) {
	b := []byte(browser)
	bm.ReportAllocs()
	for range bm.N {
		Parse(b)
	}
}
