package desync

import (
	"bytes"
	"strings"
	"testing"

	"b4/engine"
	"b4/http1"
	"b4/packet"
	"b4/quic"
	"b4/tlshello"
)

// What a decoy says, as who reads it finds it.
func TestPayloads(t *testing.T) {
	helloName := func(b []byte) string {
		h, st := tlshello.Parse(b)
		if st != tlshello.Complete {
			return "no hello"
		}
		return string(h.AppendName(nil, b))
	}
	requestName := func(b []byte) string {
		r, st := http1.Parse(b)
		if st != http1.Complete {
			return "no request"
		}
		return string(r.AppendName(nil, b))
	}
	quicName := func(b []byte) string {
		var d quic.Decoder
		var c quic.Conn
		if _, err := d.Datagram(&c, b); err != nil {
			return err.Error()
		}
		h, _ := c.Hello()
		return string(c.AppendName(nil, &h))
	}
	raw := func(b []byte) string { return string(bytes.Trim(b, "\x00")) }
	tests := []struct {
		proto Proto
		args  string
		read  func([]byte) string
		want  string
	}{
		{TLS, "", helloName, defaultSNI}, {TLS, "sni=a.b", helloName, "a.b"}, {TLS, "http", requestName, defaultSNI},
		{TLS, "clone, sni=a.b", helloName, "a.b"}, {TLS, "quic, sni=a.b", quicName, "a.b"}, {TLS, "file=/x", raw, "any bytes"},
		{TLS, "zero", raw, ""},
		{HTTP, "", requestName, defaultSNI}, {HTTP, "hello", helloName, defaultSNI}, {HTTP, "clone, sni=a.b", requestName, "a.b"},
		{HTTP, "sni=a.b", requestName, "a.b"}, {HTTP, "quic", quicName, defaultSNI}, {HTTP, "file=/x", raw, "any bytes"},
	}
	for _, tt := range tests {
		e := env(t, false, 600)
		if tt.proto == HTTP {
			e = httpEnv(t, false, browserHead)
		}
		text := "fake(" + strings.TrimPrefix(tt.args+", badsum)", ", ")
		s, err := tt.proto.ParseWith(text, readAny)
		if err != nil {
			t.Errorf("%s %s: %v", tt.proto, text, err)
			continue
		}
		var p Plan
		var out engine.Batch
		run := func() {
			out.Reset()
			if s.Plan(&p, e) == nil {
				p.Emit(&out, engine.Meta{}, e, 0, len(e.Msg.Bytes))
			}
		}
		if n := testing.AllocsPerRun(100, run); n != 0 {
			t.Errorf("%s: %v allocations, want 0", text, n)
		}
		var v packet.View
		v.Decode(out.At(0).Bytes)
		if got := tt.read(v.Payload); got != tt.want {
			t.Errorf("%s %s: says %q, want %q", tt.proto, text, got, tt.want)
		}
	}
}

// A clone without a name of its own says one of the same length, of which only
// the dots are the client's.
func TestCloneOfTheSameLength(t *testing.T) {
	for _, pr := range []Proto{TLS, HTTP} {
		e := env(t, false, 600)
		if pr == HTTP {
			e = httpEnv(t, false, browserHead)
		}
		e.Msg.Proto = pr
		s, err := pr.Parse("fake(clone, badsum)")
		if err != nil {
			t.Fatal(err)
		}
		var p Plan
		if err := s.Plan(&p, e); err != nil {
			t.Fatal(err)
		}
		from, to := e.Msg.name()
		got, was := p.segs[0].Data, e.Msg.Bytes
		if len(got) != len(was) || !bytes.Equal(got[:from], was[:from]) || !bytes.Equal(got[to:], was[to:]) {
			t.Errorf("%s: more than the name differs:\n%q\n%q", pr, got, was)
			continue
		}
		for i := from; i < to; i++ {
			if (got[i] == '.') != (was[i] == '.') {
				t.Errorf("%s: %q for %q", pr, got[from:to], was[from:to])
				break
			}
		}
		if bytes.Equal(got[from:to], was[from:to]) {
			t.Errorf("%s: the same name", pr)
		}
	}
}
