package netif

import (
	"bytes"
	"encoding/binary"
)

// The wire format of libubox: blob.h and blobmsg.h. An attribute is a
// big-endian word (bit 31: a name follows; bits 24-30: type; bits 0-23: length
// with this word), then its contents, padded to four bytes. In a blobmsg a
// name stands ahead of the value: its length in 16 bits, its bytes, a NUL,
// padded likewise.
const (
	blobHead     = 4
	blobLenMask  = 0x00ffffff
	blobNamed    = 0x80000000
	blobIDShift  = 24
	blobIDMask   = 0x7f
	blobNameHead = 2
)

// Types of a blobmsg value.
const (
	blobArray  = 1
	blobTable  = 2
	blobString = 3
	blobBool   = 7
)

// A blob is one attribute; data borrows from the message.
type blob struct {
	id   uint8  // a type within a blobmsg
	name string // within a blobmsg
	data []byte
}

// cutBlob takes the first attribute off b.
func cutBlob(b []byte) (a blob, rest []byte, ok bool) {
	if len(b) < blobHead {
		return blob{}, nil, false
	}
	head := binary.BigEndian.Uint32(b)
	n := int(head & blobLenMask)
	if n < blobHead || align4(n) > len(b) {
		return blob{}, nil, false
	}
	a = blob{id: uint8(head >> blobIDShift & blobIDMask), data: b[blobHead:n]}
	rest = b[align4(n):]
	if head&blobNamed == 0 {
		return a, rest, true
	}
	if len(a.data) < blobNameHead {
		return blob{}, nil, false
	}
	name := int(binary.BigEndian.Uint16(a.data))
	skip := align4(blobNameHead + name + 1)
	if skip > len(a.data) || a.data[blobNameHead+name] != 0 {
		return blob{}, nil, false
	}
	a.name = string(a.data[blobNameHead : blobNameHead+name])
	a.data = a.data[skip:]
	return a, rest, true
}

// eachBlob calls f for the attributes of b, and reports whether all of b was
// well-formed.
func eachBlob(b []byte, f func(blob)) bool {
	for len(b) > 0 {
		a, rest, ok := cutBlob(b)
		if !ok {
			return false
		}
		f(a)
		b = rest
	}
	return true
}

// An iface is one of netifd's interfaces.
type iface struct {
	up           bool
	l3, physical string // netifd's l3_device and device
}

// device is what carries i's packets now; empty where nothing does. An
// interface that is down has none: for PPPoE netifd would still name the
// device beneath.
func (i iface) device() string {
	switch {
	case !i.up:
		return ""
	case i.l3 != "":
		return i.l3
	}
	return i.physical
}

// parseDump reads the answer of `ubus call network.interface dump`
// (netifd_handle_dump in netifd's ubus.c): interface, an array of tables.
func parseDump(b []byte) (map[string]iface, bool) {
	all, whole := map[string]iface{}, true
	ok := eachBlob(b, func(list blob) {
		if list.name != "interface" || list.id != blobArray {
			return
		}
		whole = eachBlob(list.data, func(table blob) {
			if table.id != blobTable {
				return
			}
			name, i, ok := parseIface(table.data)
			whole = whole && ok
			if name != "" {
				all[name] = i
			}
		}) && whole
	})
	if !ok || !whole {
		return nil, false
	}
	return all, true
}

// parseIface reads one interface's table.
func parseIface(b []byte) (name string, i iface, ok bool) {
	ok = eachBlob(b, func(a blob) {
		switch {
		case a.id == blobBool && a.name == "up":
			i.up = len(a.data) > 0 && a.data[0] != 0
		case a.id != blobString:
		case a.name == "interface":
			name = cString(a.data)
		case a.name == "l3_device":
			i.l3 = cString(a.data)
		case a.name == "device":
			i.physical = cString(a.data)
		}
	})
	return name, i, ok
}

// cString is b up to its first NUL.
func cString(b []byte) string {
	s, _, _ := bytes.Cut(b, []byte{0})
	return string(s)
}

// align4 rounds up to the padding that ubus and netlink share.
func align4(n int) int { return (n + 3) &^ 3 }
