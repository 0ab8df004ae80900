package tlshello

import (
	"bytes"
	"crypto/tls"
	"encoding/binary"
	"fmt"
	"net"
	"strings"
	"testing"
)

// capture returns the ClientHello of crypto/tls.
func capture(t testing.TB, name string, protos ...string) []byte {
	t.Helper()
	c, s := net.Pipe()
	defer s.Close()
	go func() {
		tls.Client(c, &tls.Config{ServerName: name, InsecureSkipVerify: true, NextProtos: protos}).Handshake()
		c.Close()
	}()
	head := make([]byte, recordHeaderLen)
	if _, err := s.Read(head); err != nil {
		t.Fatal(err)
	}
	body := make([]byte, binary.BigEndian.Uint16(head[3:]))
	for n := 0; n < len(body); {
		k, err := s.Read(body[n:])
		if err != nil {
			t.Fatal(err)
		}
		n += k
	}
	return append(head, body...)
}

// records cuts the one record of b into records of n bytes.
func records(b []byte, n int) []byte {
	var out []byte
	for p := b[recordHeaderLen:]; len(p) > 0; {
		k := min(n, len(p))
		out = append(out, b[0], b[1], b[2], byte(k>>8), byte(k))
		out = append(out, p[:k]...)
		p = p[k:]
	}
	return out
}

func TestParse(t *testing.T) {
	const name = "www.blocked.example"
	b := capture(t, name, "h2", "http/1.1")
	h, st := Parse(b)
	if st != Complete || h.Len != len(b) || h.Handshake != recordHeaderLen {
		t.Fatalf("status %d, %+v", st, h)
	}
	if got := string(b[h.Host:h.HostEnd]); got != name {
		t.Errorf("host %q", got)
	}
	if h.Host != bytes.Index(b, []byte(name)) || h.SNI != h.Host-9 {
		t.Errorf("host at %d, extension at %d", h.Host, h.SNI)
	}
	if got := string(b[h.ALPN:h.ALPNEnd]); got != "\x00\x0c\x02h2\x08http/1.1" {
		t.Errorf("alpn %q", got)
	}
	if more, st := Parse(append(bytes.Clone(b), 1, 2, 3)); st != Complete || more != h {
		t.Errorf("with bytes behind: status %d, %+v", st, more)
	}
}

// Every prefix of a hello is partial, and what is known stays as it is. So it
// does however the hello is cut into records.
func TestParsePrefixes(t *testing.T) {
	const name = "www.blocked.example"
	one := capture(t, name, "h2")
	for _, size := range []int{1, 2, 7, 64, 200, len(one)} {
		b := records(one, size)
		whole, st := Parse(b)
		if st != Complete || whole.Len != len(b) {
			t.Fatalf("records of %d: status %d, %+v", size, st, whole)
		}
		if got := string(whole.AppendName(nil, b)); got != name {
			t.Errorf("records of %d: name %q", size, got)
		}
		for n := range len(b) {
			h, st := Parse(b[:n:n])
			if st != Partial {
				t.Fatalf("records of %d, first %d bytes: status %d", size, n, st)
			}
			for _, f := range [][2]int{{h.Host, whole.Host}, {h.HostEnd, whole.HostEnd}, {h.SNI, whole.SNI}, {h.ALPN, whole.ALPN}, {h.Extensions, whole.Extensions}} {
				if f[0] != 0 && f[0] != f[1] {
					t.Fatalf("records of %d, first %d bytes: %+v, later %+v", size, n, h, whole)
				}
			}
			if named := n >= whole.HostEnd; named != h.Named() {
				t.Fatalf("records of %d, first %d bytes: named %v", size, n, h.Named())
			}
		}
	}
}

func edit(b []byte, mut func([]byte)) []byte {
	b = bytes.Clone(b)
	mut(b)
	return b
}

func TestParseRefuses(t *testing.T) {
	b := capture(t, "example.org")
	h, _ := Parse(b)
	tests := []struct {
		name string
		in   []byte
	}{
		{"application data", []byte{23, 3, 3, 0, 9}},
		{"http", []byte("GET / HTTP/1.1\r\n")},
		{"ssl 2", []byte{22, 2}},
		{"empty record", []byte{22, 3, 1, 0, 0}},
		{"huge record", []byte{22, 3, 1, 0xff, 0xff}},
		{"server hello", edit(b, func(b []byte) { b[5] = 2 })},
		{"hello too short", edit(b, func(b []byte) { b[7], b[8] = 0, 10 })},
		{"hello too short, as far as it is there", []byte{22, 3, 1, 0, 39, 1, 0, 0, 35}},
		{"session id past the end, as far as it is there", append([]byte{22, 3, 1, 0, 40, 1, 0, 0, 36}, append(make([]byte, 34), 2)...)},
		{"hello too long, as far as it is there", []byte{22, 3, 1, 0x40, 0, 1, 0, 0x40, 1}},
		{"hello too long", edit(b, func(b []byte) { b[6] = 1 })},
		{"session id past the end", edit(b, func(b []byte) { b[7], b[8] = 0, 40 })},
		{"extensions past the end", edit(b, func(b []byte) { b[h.Extensions-2] = 0xff })},
		{"extension past the block", edit(b, func(b []byte) { b[h.SNI+2] = 0x7f })},
		{"extension past the block, inside the hello", edit(append(bytes.Clone(b), make([]byte, 100)...), func(b []byte) {
			setLengths(b)
			binary.BigEndian.PutUint16(b[h.SNI+2:], uint16(len(b)-100-h.SNI))
		})},
		{"second record of another type", edit(records(b, 60), func(b []byte) { b[65] = 23 })},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if h, st := Parse(tt.in); st != NotHello || h != (Hello{}) {
				t.Errorf("status %d, %+v", st, h)
			}
		})
	}
}

func TestParseNoName(t *testing.T) {
	h, st := Parse(capture(t, "192.0.2.1"))
	if st != Complete || h.Named() || h.SNI != 0 {
		t.Errorf("status %d, %+v", st, h)
	}
	if h, st := Parse(AppendDecoy(nil, "", 1)); st != Complete || h.Named() || h.SNI == 0 {
		t.Errorf("an empty name: status %d, %+v", st, h)
	}
}

// Of two server_name extensions only the first counts (found by fuzzing: the
// positions were a mixture of both).
func TestParseTwoNames(t *testing.T) {
	b := AppendDecoy(nil, "first.example", 1)
	h, _ := Parse(b)
	second := bytes.Replace(b[h.SNI:h.HostEnd], []byte("first"), []byte("other"), 1)
	twice := append(append(bytes.Clone(b[:h.HostEnd]), second...), b[h.HostEnd:]...)
	binary.BigEndian.PutUint16(twice[h.Extensions-2:], uint16(len(twice)-h.Extensions))
	setLengths(twice)
	got, st := Parse(twice)
	if st != Complete || got.SNI != h.SNI || got.Host != h.Host || got.HostEnd != h.HostEnd {
		t.Errorf("status %d, %+v, want the positions of %+v", st, got, h)
	}
}

// The extensions' positions are those of their headers, the protocols' that of the
// extension's body.
func TestParseECH(t *testing.T) {
	b := AppendDecoy(nil, "example.org", 1)
	h, _ := Parse(b)
	ech := []byte{0xfe, 0x0d, 0, 3, 1, 2, 3}
	with := append(append(bytes.Clone(b[:h.SNI]), ech...), b[h.SNI:]...)
	binary.BigEndian.PutUint16(with[h.Extensions-2:], uint16(len(with)-h.Extensions))
	setLengths(with)
	got, st := Parse(with)
	if st != Complete || h.ECH != 0 || got.ECH != h.SNI || got.SNI != h.SNI+len(ech) || got.ALPN != h.ALPN+len(ech) {
		t.Errorf("status %d, %+v, without %+v", st, got, h)
	}
}

func TestSkipCCS(t *testing.T) {
	ccs := []byte{20, 3, 3, 0, 1, 1}
	tests := []struct {
		in   []byte
		want int
	}{
		{nil, 0}, {ccs[:5], 0}, {ccs, 6}, {append(bytes.Clone(ccs), ccs...), 12},
		{append(bytes.Clone(ccs), 22, 3, 3), 6}, {[]byte{22, 3, 1, 0, 1, 1}, 0}, {[]byte{20, 3, 3, 0, 2, 1}, 0}, {[]byte{20, 3, 3, 1, 1, 1}, 0},
	}
	for _, tt := range tests {
		if got := SkipCCS(tt.in); got != tt.want {
			t.Errorf("%x: %d, want %d", tt.in, got, tt.want)
		}
	}
}

func TestDecoy(t *testing.T) {
	for _, name := range []string{"a", "www.w3.org", strings.Repeat("long.", 50) + "example"} {
		b := AppendDecoy([]byte("x"), name, 7)[1:]
		h, st := Parse(b)
		if st != Complete || h.Len != len(b) || string(b[h.Host:h.HostEnd]) != name || h.ALPN == 0 {
			t.Errorf("%s: status %d, %+v of %d bytes", name, st, h, len(b))
		}
		if len(name) < 200 && len(b) != decoySize {
			t.Errorf("%s: %d bytes", name, len(b))
		}
		if !bytes.Equal(b, AppendDecoy(nil, name, 7)) || bytes.Equal(b, AppendDecoy(nil, name, 8)) {
			t.Errorf("%s: does not follow the seed", name)
		}
	}
}

// A server must read a made hello: it answers with a ServerHello or an alert of
// its own taste, never with a decoding error.
func TestDecoyIsReadByTLS(t *testing.T) {
	c, s := net.Pipe()
	defer c.Close()
	got := make(chan string, 1)
	go func() {
		defer s.Close()
		tls.Server(s, &tls.Config{GetConfigForClient: func(i *tls.ClientHelloInfo) (*tls.Config, error) {
			got <- fmt.Sprintf("%s %v", i.ServerName, i.SupportedProtos)
			return nil, fmt.Errorf("seen")
		}}).Handshake()
		close(got)
	}()
	go func() {
		c.Write(AppendDecoy(nil, "www.w3.org", 1))
		c.Read(make([]byte, 64))
	}()
	if g := <-got; g != "www.w3.org [h2 http/1.1]" {
		t.Errorf("server read %q", g)
	}
}

func TestRenamed(t *testing.T) {
	one := capture(t, "www.blocked.example", "h2")
	for _, size := range []int{40, len(one)} {
		b := records(one, size)
		h, _ := Parse(b)
		for _, name := range []string{"a.example", "www.allowed.example", "a.much.longer.name.than.before.example"} {
			out, ok := AppendRenamed([]byte("xy"), b, h, name)
			got, st := Parse(out[2:])
			if n := binary.BigEndian.Uint16(out[2+got.SNI+2:]); binary.BigEndian.Uint16(out[2+got.SNI+4:]) != n-2 {
				t.Errorf("%s: the list of names is not as long as its extension", name)
			}
			if !ok || st != Complete || string(out[2:][got.Host:got.HostEnd]) != name || got.Len != len(out)-2 {
				t.Errorf("records of %d, %s: %v, status %d, %+v", size, name, ok, st, got)
			}
			back, _ := AppendRenamed(nil, out[2:], got, "www.blocked.example")
			if !bytes.Equal(back, one) {
				t.Errorf("records of %d, %s: and back again differs", size, name)
			}
		}
	}
}

func TestParseAllocs(t *testing.T) {
	b := records(capture(t, "example.org"), 100)
	name := make([]byte, 0, 64)
	if n := testing.AllocsPerRun(1000, func() {
		h, _ := Parse(b)
		name = h.AppendName(name[:0], b)
	}); n != 0 {
		t.Errorf("%v allocations per hello, want 0", n)
	}
}

func FuzzParse(f *testing.F) {
	b := capture(f, "example.org", "h2")
	f.Add(b)
	f.Add(records(b, 30))
	f.Add(AppendDecoy(nil, "example.com", 1))
	f.Fuzz(func(t *testing.T, b []byte) {
		h, st := Parse(b)
		SkipCCS(b)
		for _, p := range []int{h.Len, h.Handshake, h.Extensions, h.SNI, h.Host, h.HostEnd, h.ALPN, h.ALPNEnd, h.ECH} {
			if p < 0 || p > len(b) {
				t.Fatalf("position %d of %d bytes: %+v", p, len(b), h)
			}
		}
		name := h.AppendName(nil, b)
		if h.Host > h.HostEnd || (len(name) > 0) != h.Named() || len(name) > h.HostEnd-h.Host {
			t.Fatalf("name %q: %+v", name, h)
		}
		if st != Complete || !h.Named() {
			return
		}
		if b[4] == byte(h.Len-recordHeaderLen) && b[3] == byte((h.Len-recordHeaderLen)>>8) { // in one record
			cut := records(b[:h.Len], 3) // which no extension fits into
			if g, st := Parse(cut); st != Complete || !bytes.Equal(g.AppendName(nil, cut), name) || g.Named() != h.Named() ||
				(g.SNI > 0) != (h.SNI > 0) || (g.ALPN > 0) != (h.ALPN > 0) || (g.ECH > 0) != (h.ECH > 0) {
				t.Fatalf("%+v, and cut into records status %d, %+v", h, st, g)
			}
		}
		if out, ok := AppendRenamed(nil, b, h, "renamed.example"); ok {
			if g, st := Parse(out); st != Complete || string(out[g.Host:g.HostEnd]) != "renamed.example" {
				t.Fatalf("renamed: status %d, %+v", st, g)
			}
		}
	})
}

func BenchmarkParse(bm *testing.B) {
	b := capture(bm, "example.org", "h2")
	bm.ReportAllocs()
	for range bm.N {
		Parse(b)
	}
}

// A decoy for QUIC has the form that RFC 9001 asks for.
func TestQUICDecoy(t *testing.T) {
	for _, name := range []string{"a", "www.w3.org", strings.Repeat("long.", 50)} {
		b := AppendQUICDecoy([]byte("ahead"), name, 5)[5:]
		h, st := Parse(b)
		if st != Complete || h.Len != len(b) || string(b[h.Host:h.HostEnd]) != name {
			t.Errorf("%s: status %d, %+v of %d bytes", name, st, h, len(b))
		}
		if got := string(b[h.ALPN:h.ALPNEnd]); got != "\x00\x03\x02h3" {
			t.Errorf("%s: alpn %q", name, got)
		}
		if session := b[recordHeaderLen+handshakeHdrLen+helloFixedLen]; session != 0 {
			t.Errorf("%s: a session id of %d bytes", name, session)
		}
		if !bytes.HasSuffix(b, append([]byte{0, 57, 0, byte(len(transportParams))}, transportParams...)) {
			t.Errorf("%s: no transport parameters", name)
		}
		if !bytes.Equal(b, AppendQUICDecoy(nil, name, 5)) || bytes.Equal(b, AppendQUICDecoy(nil, name, 6)) {
			t.Errorf("%s: does not follow the seed", name)
		}
	}
}
