package pipeline

import (
	"bytes"

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
	h.Shift(ccs)
	m.hello = h
	return status(st)
}

// begins is parse for the first bytes of a connection. A CCS alone begins nothing.
func (m *message) begins(payload []byte) status {
	st := m.parse(payload)
	if st == msgPart && tlshello.SkipCCS(payload) == len(payload) {
		return msgNone
	}
	return st
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

// bodyless reports whether what follows a message in stream b is another one for
// certain, and not the rest of this one: the request has no body.
func (m *message) bodyless(b []byte) bool {
	r := &m.request
	method := b[min(r.Method, len(b)):min(r.MethodEnd, len(b))]
	return m.proto == desync.HTTP && (bytes.Equal(method, []byte("GET")) || bytes.Equal(method, []byte("HEAD")))
}

// fill hands m, which is in stream b, to a strategy.
func (m *message) fill(to *desync.Message, b []byte) {
	*to = desync.Message{Proto: m.proto, Bytes: b, Hello: m.hello, Request: m.request}
}
