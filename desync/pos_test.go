package desync

import (
	"testing"

	"b4/http1"
	"b4/tlshello"
)

// Positions name places in the client's text, each kind of message its own.
func TestPositions(t *testing.T) {
	hello := env(t, false, 517).Msg
	request := "\r\nGET http://a.example/ HTTP/1.1\r\nHost: www.blocked.example.:80\r\n\r\n"
	r, st := http1.Parse([]byte(request))
	if st != http1.Complete {
		t.Fatal("the test's request is none")
	}
	get := Message{Proto: HTTP, Bytes: []byte(request), Request: r}
	quic := Message{Proto: QUIC, Bytes: make([]byte, 1200), Crypto: hello.Bytes, Hello: hello.Hello}
	bare := Message{Bytes: hello.Bytes[:40]}
	bare.Hello, _ = tlshello.Parse(bare.Bytes)
	const host = 103 // of the hello
	end := host + len(name)
	field := len(request) - len("www.blocked.example.:80\r\n\r\n")
	tests := []struct {
		m    *Message
		text string
		want int // 0: the message has no such place
	}{
		{&hello, "1", 1}, {&hello, "-1", 516}, {&hello, "516", 516}, {&hello, "517", 0}, {&hello, "-517", 0}, {&hello, "-518", 0},
		{&hello, "exts", hello.Hello.Extensions}, {&hello, "sniext", host - 9}, {&hello, "sniext+9", host},
		{&hello, "host", host}, {&hello, "endhost", end}, {&hello, "sld", host + 4}, {&hello, "endsld", host + 11},
		{&hello, "midsld", host + 8}, {&hello, "midsld-200", 0}, {&hello, "host+414", 0},
		{&hello, "alpn", hello.Hello.ALPN}, {&hello, "ech", 0},
		{&bare, "host", 0}, {&bare, "exts", 0}, {&bare, "-3", 37},
		{&get, "method", 2}, {&get, "method-2", 0}, {&get, "method+1", 3}, {&get, "host", field}, {&get, "endhost", field + 20},
		{&get, "sld", field + 4}, {&get, "endsld", field + 11}, {&get, "midsld+1", field + 9}, {&get, "-1", len(request) - 1},
		{&quic, "host", host}, {&quic, "-1", 516}, {&quic, "600", 0}, {&quic, "sniext", host - 9},
	}
	for _, tt := range tests {
		p := &parser{proto: tt.m.Proto, text: tt.text}
		at := p.position(&arg{val: tt.text})
		n, ok := at.in(tt.m)
		if p.err != nil || ok != (tt.want != 0) || ok && n != tt.want || at.String() != tt.text {
			t.Errorf("%s %s: %d, %v, error %v, want %d", tt.m.Proto, tt.text, n, ok, p.err, tt.want)
		}
	}
	for in, want := range map[string]string{
		"www.blocked.example": "blocked", "blocked.example": "blocked", "localhost": "localhost", "a.b.c.d": "c",
		"a.b.": "a", "a.": "a", ".": "", "": "", "a..b": "", ".a": "",
	} {
		if from, to := sld([]byte(in)); in[from:to] != want {
			t.Errorf("sld of %q is %q, want %q", in, in[from:to], want)
		}
	}
}
