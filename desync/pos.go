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

// markers are the places of a TLS ClientHello a position may name, in the order
// they stand in it.
var markers = []string{"sniext", "host", "sld", "midsld", "endsld", "endhost"}

// maxOff bounds the number in a position: no message is longer.
const maxOff = 16 << 10

func (p *parser) position(a arg) (at pos) {
	if a.key != "" {
		p.fail(a.pos, "want a position, not %s=", a.key)
		return at
	}
	name, num := a.val, ""
	if i := strings.IndexAny(a.val, "+-"); i >= 0 {
		name, num = a.val[:i], a.val[i:]
	} else if a.val[0] >= '0' && a.val[0] <= '9' {
		name, num = "", a.val
	}
	at.marker = name
	if num != "" {
		n, err := strconv.Atoi(num)
		if err != nil || n < -maxOff || n > maxOff {
			p.fail(a.pos+len(name), "%q is not a number from %d to %d", num, -maxOff, maxOff)
		}
		at.off = n
	}
	switch {
	case name == "" && at.off == 0:
		p.fail(a.pos, "position 0 cuts nothing off")
	case name != "" && index(markers, name) < 0:
		p.fail(a.pos, "%q is no position, want a number or one of %s, with +n or -n behind", name, strings.Join(markers, ", "))
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

// in finds the place in m. It reports false where m has no such place.
func (at pos) in(m *Message) (int, bool) {
	n := at.off
	switch {
	case at.marker == "" && at.off < 0:
		n += len(m.Bytes)
	case at.marker != "":
		base, ok := marked(at.marker, m)
		if !ok {
			return 0, false
		}
		n += base
	}
	return n, n > 0 && n < len(m.Bytes)
}

func marked(marker string, m *Message) (int, bool) {
	h := &m.Hello
	if marker == "sniext" {
		return h.SNI, h.SNI > 0
	}
	if !h.Named() {
		return 0, false
	}
	name := m.Bytes[h.Host:h.HostEnd] // in a hello of many records their headers count as letters
	start, end := sld(name)
	switch marker {
	case "host":
		return h.Host, true
	case "endhost":
		return h.HostEnd, true
	case "sld":
		return h.Host + start, true
	case "endsld":
		return h.Host + end, true
	}
	return h.Host + start + (end-start+1)/2, true // midsld: at least one letter on the left
}

// sld is the range of the second-level domain in name, the label before the
// last dot; a name without dots is taken whole.
func sld(name []byte) (start, end int) {
	end = len(name)
	for i := len(name) - 1; i >= 0; i-- {
		if name[i] != '.' {
			continue
		}
		if end < len(name) {
			return i + 1, end
		}
		end = i
	}
	return 0, end
}
