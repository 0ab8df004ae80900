package desync

import (
	"strings"
	"testing"
)

func TestQUICParse(t *testing.T) {
	for in, want := range map[string]string{
		"fake":                           "fake(sni=www.w3.org)",
		"fake(quic)":                     "fake(sni=www.w3.org)",
		"fake( quic , sni=A.b,repeat=6)": "fake(sni=a.b, repeat=6)",
		"fake(file=/x, badsum)":          "fake(file=/x, badsum)",
		"split( midsld,1)  disorder":     "split(midsld, 1) disorder",
		"pad(1200) udplen(240) dup(1)":   "pad(1200) udplen(240) dup(1)",
	} {
		s, err := QUIC.ParseWith(in, noFile)
		if err != nil || s.String() != want {
			t.Errorf("%q: %v, %v", in, s, err)
			continue
		}
		if again, err := QUIC.ParseWith(want, noFile); err != nil || again.String() != want {
			t.Errorf("%q: %v, %v", want, again, err)
		}
	}
}

func TestQUICParseRefuses(t *testing.T) {
	tests := []struct {
		in   string
		pos  int
		what string
	}{
		{"fake(md5)", 5, "does not keep the server from it"},
		{"fake(badseq)", 5, "does not keep the server from it"},
		{"fake(quic, zero)", 11, "one payload"},
		{"fake(zero, sni=a)", 15, "says no name"},
		{"fake(file=/x)", 10, "no file may be named"},
		{"fake(http)", 5, "unknown word"},
		{"fake(place=each)", 11, "no place"},
		{"pad(1199)", 4, "not a number from 1200 to 1452"},
		{"pad", 3, "bytes of the datagram"},
		{"pad(1200) pad(1300)", 10, "stands twice"},
		{"udplen(0)", 7, "not a number from 1 to 240"},
		{"split", 5, "wants a position"},
		{"split(0)", 6, "cuts nothing off"},
		{"disorder(1)", 9, "no arguments"},
		{"ipfrag(12)", 7, "multiple of 8"},
		{"ipfrag(8) split(1)", 10, "must stand before"},
		{"seqovl(1)", 0, "seqovl"},
		{"rst(badsum)", 0, "rst"},
	}
	for _, tt := range tests {
		_, err := QUIC.Parse(tt.in)
		e, ok := err.(*Error)
		if !ok || e.Pos != tt.pos || !strings.Contains(e.Msg, tt.what) {
			t.Errorf("%q: %v, want %q at %d", tt.in, err, tt.what, tt.pos+1)
		}
	}
	for _, b := range [][]byte{nil, make([]byte, maxPad+1)} {
		read := func(string) ([]byte, error) { return b, nil }
		if _, err := QUIC.ParseWith("fake(file=/x)", read); err == nil {
			t.Errorf("takes a file of %d bytes", len(b))
		}
	}
}
