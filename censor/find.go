package censor

import (
	"encoding/binary"
	"net/netip"
	"slices"
	"time"
)

// A find is what a packet has given away.
type find uint8

const (
	foundNothing find = iota
	foundHello        // a reason to act, in a hello or in what should be one
	foundRequest      // a listed name in a plain request
)

// read reads the packet in c.view, sent by h, if it is one to read.
func (c *Censor) read(now time.Time, f *flow, h *half, fromClient bool) find {
	if !c.reads(f, h, fromClient) {
		return foundNothing
	}
	if c.stranger(h) {
		c.finish(h)
		return foundHello
	}
	return c.find(now, h)
}

// find looks for a reason to act in what h has sent.
func (c *Censor) find(now time.Time, h *half) find {
	text, joins := c.view.Payload, c.p.TCP.Mode != None
	if joins {
		if text = c.join(h, &c.view); len(text) == 0 {
			if c.short() { // what it is part of comes later
				return foundHello
			}
			return foundNothing
		}
	}
	found, st := c.examine(now, text, h)
	if joins && (st != partial || h.stream.exhausted(&c.p.TCP, c.limit())) {
		c.finish(h)
	}
	if st != whole && c.p.Garbage > 0 && len(c.view.Payload) >= c.p.Garbage {
		c.finish(h)
	}
	return found
}

// examine reads text as a hello or a request.
func (c *Censor) examine(now time.Time, text []byte, h *half) (find, status) {
	if host, st := c.p.HTTP.host(text); st != alien {
		if st == whole && c.listed(host) && c.tooMany(now, host) {
			return foundRequest, st
		}
		return foundNothing, st
	}
	if c.p.NoTLS {
		return foundNothing, alien
	}
	name, st := c.p.readHello(text, &c.scratch)
	if st == whole {
		c.stats.Hellos++
	}
	switch {
	case st == whole && (c.listed(name) || c.hidden(name, text)) && c.tooMany(now, name):
		return foundHello, st
	case c.p.Nameless && st != partial && len(name) == 0 && wholeRecord(text),
		st == partial && isHello(text) && c.short(),
		st == whole && c.p.Fragment > 0 && inRecords(text):
		return foundHello, st
	}
	return foundNothing, st
}

// short reports whether the packet in c.view is too short to be but a part of a
// hello.
func (c *Censor) short() bool { return len(c.view.Payload) < c.p.Fragment }

// hidden reports whether the hello in text, whose outer name is name, offers
// Encrypted Client Hello (RFC 9849) where that is not allowed.
func (c *Censor) hidden(name, text []byte) bool {
	if len(c.p.ECH) == 0 || !slices.Contains(c.p.ECH, string(name)) {
		return false
	}
	body, _, _ := c.p.body(text, &c.scratch)
	return offersECH(body)
}

// offersECH reports whether a hello's message has the extension.
func offersECH(body []byte) bool {
	if len(body) < messageHeader {
		return false
	}
	c := cursor{b: body[messageHeader:]}
	c.take(2 + 32)
	c.take(c.u8())
	c.take(c.u16())
	c.take(c.u8())
	for left := c.u16(); left > 0 && !c.short; {
		kind, n := c.u16(), c.u16()
		if kind == 0xfe0d {
			return true
		}
		c.take(n)
		left -= 4 + n
	}
	return false
}

// isHello reports whether text begins as a record with a ClientHello does.
func isHello(text []byte) bool {
	return len(text) > 0 && text[0] == 22 && (len(text) <= recordHeader || text[recordHeader] == 1)
}

// wholeRecord reports whether the first record of a hello is all there.
func wholeRecord(text []byte) bool {
	return len(text) > recordHeader && isHello(text) &&
		len(text) >= recordHeader+int(binary.BigEndian.Uint16(text[3:]))
}

// inRecords reports whether the hello in text goes on behind its first record.
func inRecords(text []byte) bool {
	return len(text) >= recordHeader+messageHeader &&
		int(binary.BigEndian.Uint16(text[3:])) < messageHeader+int(text[6])<<16+int(text[7])<<8+int(text[8])
}

// stranger reports whether the packet in c.view, counted already, shows that the
// connection speaks none of the Protocols.
func (c *Censor) stranger(h *half) bool {
	pr := &c.p.Protocols
	if h.packets > pr.Packets {
		return false
	}
	known := familiar(c.view.Payload)
	h.familiar = h.familiar || known
	if pr.Any {
		return h.packets == pr.Packets && !h.familiar
	}
	return !known
}

// familiar reports whether a packet looks like TLS, HTTP or DNS over TCP.
func familiar(b []byte) bool {
	switch {
	case len(b) >= recordHeader && b[0] >= 20 && b[0] <= 23 && b[1] == 3 && b[2] <= 4:
		return true
	case len(b) >= 14 && int(binary.BigEndian.Uint16(b)) == len(b)-2: // RFC 1035 section 4.2.2
		return true
	}
	_, ok := method(b)
	return ok
}

// A handshake is what Police counts by.
type handshake struct {
	server netip.AddrPort
	name   string
}

// tooMany counts a hello with a listed name and reports whether that is one too
// many.
func (c *Censor) tooMany(now time.Time, name []byte) bool {
	p := &c.p.Police
	if p.Hellos == 0 {
		return true
	}
	k := handshake{c.view.Dst, string(name)}
	times := c.policed.get(k)
	if times == nil {
		if last, _, ok := c.policed.oldest(); ok && c.policed.full() {
			c.policed.remove(last)
		}
		times = c.policed.put(k, nil)
	}
	*times = slices.DeleteFunc(*times, func(t time.Time) bool { return now.Sub(t) > p.Within })
	*times = append(*times, now)
	if len(*times) > p.Hellos+1 {
		*times = (*times)[1:]
	}
	return len(*times) > p.Hellos
}
