package desync

import (
	"strconv"
	"strings"
)

// A pos is a place in a message: a marker and an offset from it.
type pos struct {
	marker string // empty: from the beginning, or from the end if off is negative
	off    int
}

// A marker names a place that messages of some kinds have.
type marker struct {
	name string
	in   protos
	help string
}

// markers are the places in the order they stand in a ClientHello, and in a
// request. Of QUIC they are places in the client's handshake bytes.
var markers = []marker{
	{"method", inHTTP, "the request's method"},
	{"exts", inTLS | inQUIC, "the first extension of the hello"},
	{"sniext", inTLS | inQUIC, "the extension that has the name"},
	{"host", inAll, "the first letter of the name"},
	{"sld", inAll, "the first letter of the name's second-level domain"},
	{"midsld", inAll, "the middle of the second-level domain"},
	{"endsld", inAll, "behind the second-level domain"},
	{"endhost", inAll, "behind the name"},
	{"alpn", inTLS | inQUIC, "the list of protocols of the hello"},
	{"ech", inTLS | inQUIC, "the extension with the encrypted hello"},
}

// markerNames are the places that a message of kind pr has.
func markerNames(pr Proto) (names []string) {
	for _, m := range markers {
		if m.in.has(pr) {
			names = append(names, m.name)
		}
	}
	return names
}

// maxOff bounds the number in a position: no message is longer.
const maxOff = 16 << 10

func (p *parser) position(x *arg) (at pos) {
	name, num := x.val, ""
	if i := strings.IndexAny(x.val, "+-"); i >= 0 {
		name, num = x.val[:i], x.val[i:]
	} else if x.val[0] >= '0' && x.val[0] <= '9' {
		name, num = "", x.val
	}
	at.marker = name
	if num != "" {
		n, err := strconv.Atoi(num)
		if err != nil || n < -maxOff || n > maxOff {
			p.fail(x.pos+len(name), "%q is not a number from %d to %d", num, -maxOff, maxOff)
		}
		at.off = n
	}
	names := markerNames(p.proto)
	switch {
	case name == "" && at.off == 0:
		p.fail(x.pos, "position 0 cuts nothing off")
	case name != "" && index(names, name) < 0:
		p.fail(x.pos, "%q is no position in %s, want a number or one of %s, with +n or -n behind", name, p.proto, list(names))
	}
	return at
}

func (at pos) String() string {
	switch {
	case at.marker == "":
		return strconv.Itoa(at.off)
	case at.off == 0:
		return at.marker
	case at.off > 0:
		return at.marker + "+" + strconv.Itoa(at.off)
	}
	return at.marker + strconv.Itoa(at.off)
}

// in finds the place in m's text. It reports false where m has no such place.
func (at pos) in(m *Message) (int, bool) {
	text, n := m.text(), at.off
	switch {
	case at.marker == "" && at.off < 0:
		n += len(text)
	case at.marker != "":
		base, ok := marked(at.marker, m)
		if !ok {
			return 0, false
		}
		n += base
	}
	return n, n > 0 && n < len(text)
}

// text is what positions are places in.
func (m *Message) text() []byte {
	if m.Proto == QUIC {
		return m.Crypto
	}
	return m.Bytes
}

// name is the range of the host name in m's text, empty where m says none.
func (m *Message) name() (start, end int) {
	if m.Proto == HTTP {
		return m.Request.Name()
	}
	return m.Hello.Host, m.Hello.HostEnd
}

func marked(marker string, m *Message) (int, bool) {
	h := &m.Hello
	switch marker {
	case "method":
		return m.Request.Method, m.Request.MethodEnd > 0
	case "exts":
		return h.Extensions, h.Extensions > 0
	case "sniext":
		return h.SNI, h.SNI > 0
	case "alpn":
		return h.ALPN, h.ALPN > 0
	case "ech":
		return h.ECH, h.ECH > 0
	}
	host, endHost := m.name()
	if endHost <= host {
		return 0, false
	}
	start, end := sld(m.text()[host:endHost]) // in a hello of many records their headers count as letters
	switch marker {
	case "host":
		return host, true
	case "endhost":
		return endHost, true
	case "sld":
		return host + start, true
	case "endsld":
		return host + end, true
	}
	return host + start + (end-start+1)/2, true // midsld: at least one letter on the left
}

// sld is the range of the second-level domain in name, the label before the
// last dot; a name without dots is taken whole. A dot at the end is no dot.
func sld(name []byte) (start, end int) {
	end = len(name)
	if end > 1 && name[end-1] == '.' {
		end--
	}
	dots := 0
	for i := end - 1; i >= 0; i-- {
		if name[i] != '.' {
			continue
		}
		if dots++; dots == 2 {
			return i + 1, end
		}
		end = i
	}
	return 0, end
}
