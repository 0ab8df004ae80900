package desync

import (
	"errors"
	"slices"
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
		{"fake(noack, ts, badack, badseq, destopt, hopbyhop, md5, badsum)", "fake(sni=www.w3.org, badsum, md5, badseq, badack, ts, noack, hopbyhop, destopt)"},
		{"fake(place=before, badseq, http)", "fake(http, sni=www.w3.org, badseq)"},
		{"fake(repeat=2, place=around, ts, zero)", "fake(zero, ts, place=around, repeat=2)"},
		{"fake(random, ttl=3, place=each)", "fake(random, ttl=3, place=each)"},
		{"rst(place=after, repeat=2, badseq, ttl=9)", "rst(ttl=9, badseq, place=after, repeat=2)"},
		{"rst(hopbyhop)", "rst(hopbyhop)"},
		{"rst(ttl=auto-3)", "rst(ttl=auto-3)"},
		{"fake(ttl=auto, hello)", "fake(sni=www.w3.org, ttl=auto)"},
		{"fake(badsum, ttl=auto+20, quic)", "fake(quic, sni=www.w3.org, ttl=auto+20, badsum)"},
		{"fake(ttl=auto+0)", "fake(sni=www.w3.org, ttl=auto)"},
		{"syndata(hello, sni=www.w3.org) synfake(synack, ttl=auto, md5)", "syndata(sni=www.w3.org) synfake(synack, ttl=auto, md5)"},
		{"syndata wsize(40) split(exts, alpn+2, ech) delay(7)", "syndata(sni=www.w3.org) wsize(40) split(exts, alpn+2, ech) delay(7)"},
		{"synfake(syn, badsum, repeat=2)ipid(zero)", "synfake(badsum, repeat=2) ipid(zero)"},
		{"seqovl(9)", "seqovl(9, zero)"},
		{"seqovl(9,random) disorder", "seqovl(9, random) disorder"},
		{"seqovl(600, sni=A.example)", "seqovl(600, sni=a.example)"},
		{"dup(2)ipfrag( 32 )", "dup(2) ipfrag(32)"},
	}
	for _, tt := range tests {
		s, err := TLS.Parse(tt.in)
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
		{"spilt(1)", 0, `unknown step "spilt", want one of syndata, synfake, wsize, split, disorder, seqovl, fake, rst, ipid, ipfrag, dup, delay`},
		{"split(1) )", 9, `unexpected ")"`},
		{"split", 5, "split wants a position: where to cut"},
		{"split(0)", 6, "position 0"},
		{"split(1, middle)", 9, `"middle" is no position`},
		{"split(host+x)", 10, "is not a number"},
		{"split(99999)", 6, "is not a number from -16384 to 16384"},
		{"split(at=1)", 6, `unknown parameter "at" in split, want a position`},
		{"split(=5)", 6, "want a name before '='"},
		{"split(1", 7, "want ',' or ')'"},
		{"split(1,)", 8, "want a value"},
		{"split(1) disorder(2)", 18, "takes no arguments"},
		{"fake", 4, "without one the server takes it"},
		{"fake(ttl=0)", 9, "from 1 to 255"},
		{"fake(ttl=auto+1)", 9, "a decoy with ttl=auto+1 gets to the server: add one of badsum"},
		{"fake(ttl=auto1, badsum)", 9, "from 1 to 255, or auto with +n or -n"},
		{"fake(ttl=auto+21, badsum)", 9, "from 1 to 255, or auto with +n or -n"},
		{"fake(ttl=256, badsum)", 9, "from 1 to 255"},
		{"fake(ttl=3, ttl=4)", 16, `fake has one ttl, and "4" is the second`},
		{"fake(badsum, file=/x)", 18, "no file may be named here"},
		{"fake(zero, badsum, file=/x)", 24, "no file may be named here"},
		{"fake(sni=a_b, badsum)", 9, "is not a host name"},
		{"fake(gone)", 5, `unknown word "gone"`},
		{"fake( gone = 1)", 6, `unknown parameter "gone"`},
		{"fake(badsum, repeat=11)", 20, "from 1 to 10"},
		{"split(1) syndata", 9, "syndata is a step for the syn and must stand before those for the message"},
		{"dup(1) split(1)", 7, "split is a step for the message and must stand before those for the packet"},
		{"syndata(clone)", 8, `unknown word "clone" in syndata`},
		{"syndata syndata(zero)", 8, "syndata stands twice"},
		{"synfake", 7, "synfake needs ttl= or one of badsum, md5, hopbyhop, destopt"},
		{"synfake(badseq)", 8, "badseq does not keep the server from it"},
		{"wsize(0)", 6, "from 1 to 65535"},
		{"wsize(1) wsize(2)", 9, "wsize stands twice"},
		{"delay(201)", 6, "from 1 to 200"},
		{"delay(1) delay(1)", 9, "delay stands twice"},
		{"hostcase", 0, "hostcase is for http, and this strategy is for tls"},
		{"split(1) pad(1200)", 9, "pad is for quic"},
		{"split(method)", 6, `"method" is no position in tls`},
		{"tlsrec(midsld)", 0, "pre-paid handshake"},
		{"split(1) oob", 12, "oob wants a position"},
		{"split(1) oob(host)", 9, "pre-paid handshake"},
		{"ipid(rnd) split(1)", 10, "must stand before"},
		{"ipid", 4, "ipid wants zero, seq, rnd"},
		{"ipid(one)", 5, `unknown word "one" in ipid, want zero, seq, rnd`},
		{"fake(http, zero, md5)", 11, `fake has one payload, and "zero" is the second`},
		{"fake(random, md5, sni=a.b)", 22, "random says no name"},
		{"fake(badsum, place=inside)", 19, `"inside" is no place, want before, after, each, around`},
		{"rst", 3, "without one the server takes it"},
		{"rst(repeat=2)", 13, "without one the server takes it"},
		{"rst(badseq, ts)", 12, "ts does not keep the server from it"},
		{"rst(noack)", 4, "noack does not keep the server from it"},
		{"rst(badack)", 4, "badack does not keep the server from it"},
		{"rst(ttl=auto+2)", 8, "gets to the server"},
		{"rst(badsum, place=each)", 18, `"each" is no place, want before, after`},
		{"rst(clone)", 4, `unknown word "clone" in rst`},
		{"seqovl", 6, "seqovl wants a number from 1 to 1200: bytes ahead"},
		{"seqovl(zero)", 12, "seqovl wants a number from 1 to 1200"},
		{"seqovl(5, 6)", 10, `unknown word "6" in seqovl`},
		{"seqovl(5, zero, sni=a.b)", 20, "zero says no name"},
		{"seqovl(0)", 7, "is not a number from 1 to 1200"},
		{"seqovl(5, ones)", 10, `unknown word "ones" in seqovl`},
		{"seqovl(5, sni=_)", 14, "is not a host name"},
		{"seqovl(1) split(2) seqovl(1)", 19, "seqovl stands twice"},
		{"dup", 3, "dup wants a number from 1 to 5: copies"},
		{"dup(6)", 4, "from 1 to 5"},
		{"dup(1) ipid(rnd) dup(1)", 17, "dup stands twice"},
		{"dup(1) split(1)", 7, "must stand before"},
		{"ipfrag", 6, "ipfrag wants a number from 24 to 1480, a multiple of 8: bytes"},
		{"ipfrag(16)", 7, "from 24 to 1480"},
		{"ipfrag(30)", 7, "a multiple of 8"},
		{"ipfrag(32) ipfrag(64)", 11, "ipfrag stands twice"},
		{strings.Repeat("disorder ", 17), 144, "more than 16 steps"},
		{"split(" + strings.Repeat("1, ", 16) + "1)", 0, "more than 16 arguments"},
		{strings.Repeat("x", 2000), 1024, "longer than 1024 bytes"},
	}
	for _, tt := range tests {
		s, err := TLS.Parse(tt.in)
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

// People count from 1.
func TestErrorText(t *testing.T) {
	_, err := QUIC.Parse("udplen(1) fakes")
	if want := `strategy "udplen(1) fakes", position 11: unknown step "fakes", want one of `; !strings.HasPrefix(err.Error(), want) {
		t.Errorf("%v, want %s", err, want)
	}
}

func TestParseBounds(t *testing.T) {
	name := strings.Repeat("a.", 126) + "a"
	for text, size := range map[string]int{"fake(badsum, file=/x)": maxFile, "fake(badsum, sni=" + name + ")": 1} {
		for more := range 2 {
			read := func(string) ([]byte, error) { return make([]byte, size+more), nil }
			if strings.Contains(text, "sni=") {
				text = strings.Replace(text, ")", strings.Repeat("a", more)+")", 1)
			}
			if _, err := TLS.ParseWith(text, read); (err == nil) != (more == 0) {
				t.Errorf("%s, %d more: %v", text, more, err)
			}
		}
	}
}

func TestHarmAndNeed(t *testing.T) {
	tests := []struct {
		text string
		harm Harm
		need Need
	}{
		{"", Nothing, Need{}},
		{"split(1) disorder", Segments, Need{}},
		{"split(1) fake(ttl=1)", Decoys, Need{}},
		{"rst(badsum) split(1)", Decoys, Need{}},
		{"seqovl(1)", Decoys, Need{}},
		{"dup(1)", Segments, Need{}},
		{"split(1) ipfrag(24)", Segments, Need{}},
		{"fake(ttl=auto-1)", Decoys, Need{Hops: true}},
		{"rst(ttl=auto, badsum)", Decoys, Need{Hops: true}},
		{"syndata", Decoys, Need{Phases: SYN}},
		{"synfake(badsum)", Decoys, Need{Phases: SYN}},
		{"synfake(ttl=auto) wsize(9) delay(9)", Decoys, Need{Phases: SYN | SYNACK, Hops: true}},
		{"wsize(9)", Segments, Need{Phases: SYNACK}},
		{"delay(9)", Segments, Need{}},
		{"ipid(zero)", Segments, Need{}},
	}
	for _, tt := range tests {
		if s := mustParse(t, tt.text); s.Harm() != tt.harm || s.Need() != tt.need {
			t.Errorf("%q: harm %v, need %+v", tt.text, s.Harm(), s.Need())
		}
	}
}

// Whatever parses, for whatever kind of message, has a canonical text that parses
// to itself, and what does not says where.
func FuzzParse(f *testing.F) {
	for _, s := range append(slices.Clone(strategies), synStrategies...) {
		f.Add(s, uint8(TLS))
	}
	f.Add("seqovl(9, sni=a.b) fake(http, sni=a.b, badack, noack, place=each, repeat=3) rst(badseq, place=after) ipfrag(32) dup(5)", uint8(HTTP))
	f.Add("fake(file=/x, sni=a.b, ttl=auto-9, badsum, md5, repeat=3) split(-1, midsld+2) ipid(seq)", uint8(TLS))
	f.Add("hostcase hostspell(HOST) domcase methodeol split(method+2)", uint8(HTTP))
	f.Add("fake(clone, place=after) split(sniext) disorder pad(1300) udplen(9) ipfrag(8) delay(3)", uint8(QUIC))
	f.Fuzz(func(t *testing.T, text string, proto uint8) {
		pr := Proto(proto) % Protos
		s, err := pr.ParseWith(text, readAny)
		if err != nil {
			var e *Error
			if !errors.As(err, &e) || e.Pos < 0 || e.Pos > len(text) {
				t.Fatalf("%q: %v", text, err)
			}
			return
		}
		again, err := pr.ParseWith(s.String(), readAny)
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
		s, err := TLS.Parse(text)
		if err != nil {
			return
		}
		for _, st := range s.stream {
			d := &decoy{}
			switch st := st.(type) {
			case *fake:
				d = &st.decoy
			case *rst:
				d = &st.decoy
			}
			if d.fool == 0 && !d.ttl.auto && d.ttl.n >= reach {
				return
			}
		}
		e := env(t, v6, min(int(size), 4000))
		e.Conn.MTU = max(int(mtu), 576)
		check(t, s, e)
	})
}
