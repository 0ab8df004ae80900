package fw

import (
	"bytes"
	"encoding/binary"

	"golang.org/x/sys/unix"
)

// attrs is a list of netlink attributes as nf_tables writes it: numbers are in
// network byte order. What is cut short or missing reads as nothing.
type attrs []byte

// next takes the first attribute off the list. Its value is borrowed.
func (a *attrs) next() (typ uint16, value attrs, ok bool) {
	p := *a
	if len(p) < unix.SizeofNlAttr {
		return 0, nil, false
	}
	n := int(binary.NativeEndian.Uint16(p))
	if n < unix.SizeofNlAttr || n > len(p) {
		return 0, nil, false
	}
	const flags = unix.NLA_F_NESTED | unix.NLA_F_NET_BYTEORDER
	*a = p[min(len(p), (n+3)&^3):]
	return binary.NativeEndian.Uint16(p[2:]) &^ flags, p[unix.SizeofNlAttr:n], true
}

// get returns the value of the first attribute of a type, nil if there is none.
func (a attrs) get(typ uint16) attrs {
	for t, v, ok := a.next(); ok; t, v, ok = a.next() {
		if t == typ {
			return v
		}
	}
	return nil
}

func (a attrs) has(typ uint16) bool { return a.get(typ) != nil }

// num returns a 32-bit number, 0 if there is none.
func (a attrs) num(typ uint16) uint32 {
	if v := a.get(typ); len(v) == 4 {
		return binary.BigEndian.Uint32(v)
	}
	return 0
}

func (a attrs) text(typ uint16) string { return text(a.get(typ)) }

// text is what stands ahead of the first 0.
func text(b []byte) string {
	b, _, _ = bytes.Cut(b, []byte{0})
	return string(b)
}

// value returns the bytes of a nested NFTA_DATA_VALUE.
func (a attrs) value(typ uint16) []byte { return a.get(typ).get(unix.NFTA_DATA_VALUE) }
