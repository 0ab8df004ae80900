package desync

import (
	"errors"
	"strings"
	"testing"
)

func TestParse(t *testing.T) {
	tests := []struct{ in, want string }{
		{"", ""},
		{"  ", ""},
		{"split(midsld)disorder", "split(midsld) disorder"},
		{"split( 1 ,\thost+0, -3,sld-1, +7 )", "split(1, host, -3, sld-1, 7)"},
		{"disorder()", ""},
		{"fake (badsum)", "fake(sni=www.w3.org, badsum)"},
		{"fake(ttl = 3, sni = WWW.Example.org)", "fake(sni=www.example.org, ttl=3)"},
		{"fake(md5, clone, badsum, repeat=1)", "fake(clone, badsum, md5)"},
		{"split(1) ipid(rnd)", "split(1) ipid(rnd)"},
	}
	for _, tt := range tests {
		s, err := Parse(tt.in)
		if tt.in == "disorder()" { // an empty list is a missing value
			if err == nil {
				t.Errorf("%q: no error", tt.in)
			}
			continue
		}
		if err != nil || s.String() != tt.want {
			t.Errorf("%q: %v, %v, want %q", tt.in, s, err, tt.want)
		}
	}
}

func TestParseErrors(t *testing.T) {
	tests := []struct {
		in   string
		pos  int
		want string
	}{
		{"spilt(1)", 0, `unknown step "spilt", want one of split, disorder, fake, ipid`},
		{"split(1) )", 9, `unexpected ")"`},
		{"split", 5, "needs a position"},
		{"split(0)", 6, "position 0"},
		{"split(1, middle)", 9, `"middle" is no position`},
		{"split(host+x)", 10, "is not a number"},
		{"split(99999)", 6, "is not a number from -16384 to 16384"},
		{"split(at=1)", 9, "want a position, not at="},
		{"split(=5)", 6, "want a name before '='"},
		{"split(1", 7, "want ',' or ')'"},
		{"split(1,)", 8, "want a value"},
		{"split(1) disorder(2)", 18, "takes no arguments"},
		{"fake", 4, "without one the server reads the decoy"},
		{"fake(ttl=0)", 9, "from 1 to 255"},
		{"fake(ttl=auto)", 9, "does not measure"},
		{"fake(sni=a_b, badsum)", 9, "is not a host name"},
		{"fake(gone)", 5, `unknown word "gone"`},
		{"fake(gone=1)", 10, `unknown parameter "gone"`},
		{"fake(badsum, repeat=11)", 20, "from 1 to 10"},
		{"tlsrec(midsld)", 0, "pre-paid handshake"},
		{"split(1) oob", 9, "pre-paid handshake"},
		{"ipid(rnd) split(1)", 10, "must stand before"},
		{"ipid", 4, "seq or rnd"},
		{"ipid(one)", 5, "seq or rnd"},
		{strings.Repeat("disorder ", 17), 144, "more than 16 steps"},
		{"split(" + strings.Repeat("1, ", 16) + "1)", 0, "more than 16 arguments"},
		{strings.Repeat("x", 2000), 1024, "longer than 1024 bytes"},
	}
	for _, tt := range tests {
		s, err := Parse(tt.in)
		var e *Error
		if !errors.As(err, &e) || s != nil {
			t.Errorf("%q: %v, %v", tt.in, s, err)
			continue
		}
		if !strings.Contains(e.Msg, tt.want) || tt.pos != 0 && e.Pos != tt.pos {
			t.Errorf("%q: position %d: %s; want %d: %s", tt.in, e.Pos, e.Msg, tt.pos, tt.want)
		}
	}
}

func TestHarm(t *testing.T) {
	for text, want := range map[string]Harm{"": Nothing, "split(1) disorder": Segments, "split(1) fake(ttl=1)": Decoys} {
		if s := mustParse(t, text); s.Harm() != want || s.Need() != (Need{}) {
			t.Errorf("%q: harm %v, need %+v", text, s.Harm(), s.Need())
		}
	}
}

// Whatever parses has a canonical text that parses to itself.
func FuzzParse(f *testing.F) {
	for _, s := range strategies {
		f.Add(s)
	}
	f.Add("fake(clone, sni=a.b, ttl=9, badsum, md5, repeat=3) split(-1, midsld+2) ipid(seq)")
	f.Fuzz(func(t *testing.T, text string) {
		s, err := Parse(text)
		if err != nil {
			var e *Error
			if !errors.As(err, &e) || e.Pos < 0 || e.Pos > len(text) {
				t.Fatalf("%q: %v", text, err)
			}
			return
		}
		again, err := Parse(s.String())
		if err != nil || again.String() != s.String() {
			t.Fatalf("%q: canonical %q gives %v, %v", text, s, again, err)
		}
	})
}

// Whatever runs lets the server read what the client wrote. Decoys that reach
// the server by the user's own order (a high ttl as the only fooling) are not
// ours to answer for.
func FuzzPlan(f *testing.F) {
	for i, s := range strategies {
		f.Add(s, uint16(517+100*i), uint16(1500), i%2 == 0)
	}
	f.Fuzz(func(t *testing.T, text string, size, mtu uint16, v6 bool) {
		s, err := Parse(text)
		if err != nil {
			return
		}
		for _, st := range s.stream {
			if d, ok := st.(*fake); ok && d.fool == 0 && d.ttl >= 10 {
				return
			}
		}
		e := env(t, v6, min(int(size), 4000))
		e.Conn.MTU = max(int(mtu), 576)
		check(t, s, e)
	})
}
