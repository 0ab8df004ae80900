package censor

import (
	"encoding/binary"
	"strings"
)

// A status tells what bytes are to a censor.
type status uint8

const (
	alien   status = iota // no hello, as far as it understands
	partial               // so far a hello, and more must come
	whole                 // a hello, read as far as it cares
)

const (
	recordHeader  = 5
	messageHeader = 4
)

// readHello reads the server name of the ClientHello that b begins with. The
// name is empty where the hello has none; it borrows from b, or from scratch,
// which it may grow.
func (p *Profile) readHello(b []byte, scratch *[]byte) (name []byte, st status) {
	body, more, ok := p.body(b, scratch)
	if !ok {
		return nil, alien
	}
	return p.readMessage(body, more)
}

// readMessage is readHello for the message alone, of which more may come.
func (p *Profile) readMessage(body []byte, more bool) (name []byte, st status) {
	if len(body) > 0 && body[0] != 1 { // not a ClientHello
		return nil, alien
	}
	missing := alien // what it is if bytes are wanting
	if more {
		missing = partial
	}
	if len(body) < messageHeader {
		return nil, missing
	}
	n := messageHeader + int(body[1])<<16 + int(body[2])<<8 + int(body[3])
	switch {
	case n > p.MaxHello:
		return nil, alien
	case len(body) >= n:
		body, missing = body[:n], alien
	case p.WholeHello:
		return nil, missing
	}
	c := cursor{b: body[messageHeader:]}
	if name = c.serverName(); c.short {
		return nil, missing
	}
	return name, whole
}

// body returns the handshake bytes of the first record, or of as many records
// as the message spans, and whether more of them may come.
func (p *Profile) body(b []byte, scratch *[]byte) (body []byte, more, ok bool) {
	joined := (*scratch)[:0]
	for {
		if len(b) < recordHeader {
			return joined, true, len(b) == 0 || b[0] == 22
		}
		n := int(binary.BigEndian.Uint16(b[3:]))
		if b[0] != 22 || b[1] != 3 || n == 0 || n > p.MaxHello {
			return nil, false, false
		}
		b = b[recordHeader:]
		if !p.JoinRecords {
			return b[:min(n, len(b))], len(b) < n, true
		}
		joined = append(joined, b[:min(n, len(b))]...)
		*scratch = joined
		if len(b) < n {
			return joined, true, true
		}
		if len(joined) >= messageHeader &&
			len(joined) >= messageHeader+int(joined[1])<<16+int(joined[2])<<8+int(joined[3]) {
			return joined, false, true
		}
		b = b[n:]
	}
}

// A cursor takes bytes off the front. Past the end it yields zeroes and is
// short from then on.
type cursor struct {
	b     []byte
	short bool
}

func (c *cursor) take(n int) []byte {
	if n > len(c.b) {
		c.b, c.short = nil, true
		return nil
	}
	out := c.b[:n]
	c.b = c.b[n:]
	return out
}

func (c *cursor) u8() int {
	if b := c.take(1); b != nil {
		return int(b[0])
	}
	return 0
}

func (c *cursor) u16() int { return c.u8()<<8 | c.u8() }

// serverName walks a ClientHello's body (RFC 8446 section 4.1.2) to the first
// name. It trusts every length it meets, and looks no further.
func (c *cursor) serverName() []byte {
	c.take(2 + 32) // version, random
	c.take(c.u8()) // session id
	c.take(c.u16())
	c.take(c.u8()) // compression methods
	for left := c.u16(); left > 0 && !c.short; {
		kind, n := c.u16(), c.u16()
		left -= 4 + n
		if kind != 0 {
			c.take(n)
			continue
		}
		c.take(2 + 1) // length of the list, type of the name
		return c.take(c.u16())
	}
	return nil
}

// listed reports whether name is one of the names, or below one.
func (c *Censor) listed(name []byte) bool {
	s := strings.TrimSuffix(string(name), ".")
	for _, n := range c.names {
		cut := len(s) - len(n)
		if cut < 0 || !strings.EqualFold(s[cut:], n) {
			continue
		}
		if cut == 0 || s[cut-1] == '.' {
			return true
		}
	}
	return false
}
