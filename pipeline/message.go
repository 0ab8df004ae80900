package pipeline

import (
	"bytes"
	"strconv"
	"strings"

	"b4/desync"
	"b4/http1"
	"b4/tlshello"
)

// A message is what a client says to be read by a rule: a ClientHello or the head
// of an HTTP request. Its positions are those in the flow's stream.
type message struct {
	proto   desync.Proto
	hello   tlshello.Hello // of TLS
	request http1.Request  // of HTTP
}

// A status tells how far a message is there.
type status uint8

const (
	msgNone  status = iota // these bytes begin none
	msgPart                // more bytes are needed
	msgWhole               // all of it is there
)

// The first bytes of a ClientHello's record and of what may stand ahead of it; no
// request begins with them.
const (
	recordHandshake = 22
	recordCCS       = 20
)

// parse reads the message that b begins, of whatever kind it is, and reports how
// far it is there. What is reached of a part is filled in.
func (m *message) parse(b []byte) status {
	*m = message{}
	if len(b) > 0 && b[0] != recordHandshake && b[0] != recordCCS {
		r, st := http1.Parse(b)
		m.proto, m.request = desync.HTTP, r
		return status(st)
	}
	ccs := tlshello.SkipCCS(b)
	h, st := tlshello.Parse(b[ccs:])
	if m.hello = h; ccs > 0 {
		m.hello.Shift(ccs)
	}
	return status(st)
}

// begins is parse for the first bytes of a connection. A CCS alone begins nothing,
// and neither does, before its line is whole, a word that is no method in use: it
// may be another protocol's, which must not wait.
func (m *message) begins(payload []byte) status {
	st := m.parse(payload)
	switch {
	case st != msgPart:
		return st
	case tlshello.SkipCCS(payload) == len(payload):
		return msgNone
	case m.proto == desync.HTTP && !m.asks(payload):
		return msgNone
	}
	return msgPart
}

// methods are those of RFC 9110, RFC 5789 and WebDAV (RFC 4918, 3253 and 5323).
var methods = [...]string{
	"GET", "POST", "HEAD", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH",
	"PROPFIND", "PROPPATCH", "MKCOL", "COPY", "MOVE", "LOCK", "UNLOCK", "REPORT", "SEARCH",
}

// asks reports whether b, which m was parsed from, has a whole request line, or
// begins with one of methods or a part of one.
func (m *message) asks(b []byte) bool {
	word, whole := b[m.request.Method:], m.request.MethodEnd > 0
	if whole {
		if bytes.IndexByte(word, '\n') > 0 {
			return true
		}
		word = b[m.request.Method:m.request.MethodEnd]
	}
	for _, method := range methods {
		if string(word) == method || !whole && strings.HasPrefix(method, string(word)) {
			return true
		}
	}
	return false
}

// begins reports whether a segment may begin a message.
func begins(payload []byte) bool {
	var m message
	return m.begins(payload) != msgNone
}

// continues is begins for a segment of a connection under way. There a word is
// no request yet: it may as well be a part of something else.
func continues(payload []byte) bool {
	var m message
	return m.begins(payload) != msgNone && (m.proto == desync.TLS || m.request.MethodEnd > 0)
}

// named reports whether the whole host name is there.
func (m *message) named() bool {
	if m.proto == desync.HTTP {
		return m.request.Named()
	}
	return m.hello.Named()
}

// appendName appends the host name in stream b to dst.
func (m *message) appendName(dst, b []byte) []byte {
	if m.proto == desync.HTTP {
		return m.request.AppendName(dst, b)
	}
	return m.hello.AppendName(dst, b)
}

// more reports whether other messages may follow on the connection, for other
// hosts even.
func (m *message) more() bool { return m.proto == desync.HTTP }

// end is where in stream b the message ends with its body, so that what stands
// there is another one for certain. It is -1 where that is not known (RFC 9112
// section 6.3).
func (m *message) end(b []byte) int {
	n := m.request.Len
	if m.proto != desync.HTTP || n == 0 {
		return -1
	}
	length := 0
	for head := b[:n]; len(head) > 0; {
		line, rest, _ := bytes.Cut(head, newline)
		head = rest
		field, value, _ := bytes.Cut(line, colon)
		switch {
		case bytes.EqualFold(field, transferEncoding):
			return -1
		case bytes.EqualFold(field, contentLength):
			var err error
			if length, err = strconv.Atoi(string(bytes.TrimSpace(value))); err != nil || length < 0 {
				return -1
			}
		}
	}
	return n + length
}

var (
	newline, colon                  = []byte("\n"), []byte(":")
	contentLength, transferEncoding = []byte("Content-Length"), []byte("Transfer-Encoding")
)

// fill hands m, which is in stream b, to a strategy.
func (m *message) fill(to *desync.Message, b []byte) {
	to.Proto, to.Bytes, to.Crypto, to.QUIC = m.proto, b, nil, nil
	to.Hello = m.hello
	to.Request = m.request
}
