package matrix

import (
	"bytes"
	"encoding/binary"
	"slices"

	"b4/desync"
	"b4/http1"
	"b4/quic"
	"b4/tlshello"
)

// The names that clients ask for. Censors act on what lies below Listed; those
// with a list of allowed names know Allowed alone, which decoys say too. The
// names are of one length, so that nothing else tells them apart.
const (
	Listed  = "blocked.example"
	Blocked = "www.blocked.example"
	Allowed = "www.allowed.example"
	Other   = "www.another.example" // nobody acts on it
)

// A Kind is a kind of first message.
type Kind uint8

const (
	Small       Kind = iota // a ClientHello shorter than decoys are
	PostQuantum             // one of two packets, the name in the first
	Late                    // one of two packets, the name in the second
	Request                 // a plain HTTP/1 request
	Initial                 // a ClientHello in one QUIC datagram
	Initials                // a post-quantum one in two, the name in the first
	Kinds
)

func (k Kind) String() string {
	return [...]string{"hello", "post-quantum", "name late", "http", "quic", "quic post-quantum"}[k]
}

// Proto is what strategies for k are of.
func (k Kind) Proto() desync.Proto {
	switch k {
	case Request:
		return desync.HTTP
	case Initial, Initials:
		return desync.QUIC
	}
	return desync.TLS
}

// port is where servers listen for k.
func (k Kind) port() uint16 {
	if k == Request {
		return 80
	}
	return 443
}

// The lengths of hellos in bytes, record header included: decoys have 517, and
// browsers' with a post-quantum key share about as many as here.
const (
	smallSize       = 400
	postQuantumSize = 1750
)

// Filler is the extension that brings a hello to its length, a value of RFC 8701
// that servers do not know and pass over.
const Filler = 0xfafa

// datagrams returns what a client says to name first, by QUIC.
func (k Kind) datagrams(name string) [][]byte {
	hello, at := Small.message(name), 0
	if k == Initials {
		hello = PostQuantum.message(name)
	}
	const fits = 1100 // handshake bytes beside headers and tag
	var out [][]byte
	for rest := hello[5:]; len(rest) > 0; {
		n := min(len(rest), fits)
		var s quic.Sealer
		b, err := s.Append(nil, &quic.Packet{
			Version: quic.V1, DCID: []byte("8 bytes."), SCID: []byte("its own."),
			Number: uint32(len(out)), Offset: at, Crypto: rest[:n],
		}, quic.MinDatagram)
		if err != nil {
			panic(err) // all of it is constant
		}
		out, at, rest = append(out, b), at+n, rest[n:]
	}
	return out
}

// message returns what a client says to name first, by TCP.
func (k Kind) message(name string) []byte {
	if k == Request {
		return []byte("GET / HTTP/1.1\r\nHost: " + name + "\r\nUser-Agent: Mozilla/5.0\r\nAccept: */*\r\n\r\n")
	}
	return k.Stretch(unpadded(tlshello.AppendDecoy(nil, name, 3)))
}

// unpadded takes the padding from the end of hello h (RFC 7685).
func unpadded(h []byte) []byte {
	pos, _ := tlshello.Parse(h)
	for at := pos.Extensions; ; at += 4 + int(binary.BigEndian.Uint16(h[at+2:])) {
		if binary.BigEndian.Uint16(h[at:]) == 21 {
			lengthen(h, pos, at-len(h))
			return h[:at]
		}
	}
}

// Stretch makes a hello of one record one of kind k, by an extension ahead of the
// others or behind them. It takes h over, which must be shorter than hellos of k.
func (k Kind) Stretch(h []byte) []byte {
	pos, _ := tlshello.Parse(h)
	at, size := len(h), postQuantumSize
	switch k {
	case Small:
		size = smallSize
	case Late:
		at = pos.Extensions
	}
	n := size - len(h)
	ext := append([]byte{Filler >> 8, Filler & 0xff, byte((n - 4) >> 8), byte(n - 4)}, make([]byte, n-4)...)
	h = slices.Insert(h, at, ext...)
	lengthen(h, pos, n)
	return h
}

// lengthen adds n to the lengths in hello h.
func lengthen(h []byte, pos tlshello.Hello, n int) {
	for _, at := range []int{3, 7, pos.Extensions - 2} { // record, handshake, extensions
		binary.BigEndian.PutUint16(h[at:], binary.BigEndian.Uint16(h[at:])+uint16(n))
	}
}

// read is b as strategies take it. By QUIC, conn has read what came before.
func (k Kind) read(b []byte, conn *quic.Conn) desync.Message {
	m := desync.Message{Proto: k.Proto(), Bytes: b}
	switch m.Proto {
	case desync.TLS:
		m.Hello, _ = tlshello.Parse(b)
	case desync.HTTP:
		m.Request, _ = http1.Parse(b)
	case desync.QUIC:
		var d quic.Decoder
		m.QUIC = conn
		if _, err := d.Datagram(m.QUIC, b); err == nil {
			m.Crypto = m.QUIC.Message()
			m.Hello, _ = m.QUIC.Hello()
		}
	}
	return m
}

// same reports whether got is to a server what the client wrote, want: the same
// bytes, or of HTTP a request for the same name in as many.
func (k Kind) same(got, want []byte) bool {
	if k != Request {
		return bytes.Equal(got, want)
	}
	g, st := http1.Parse(got)
	w, _ := http1.Parse(want)
	return st == http1.Complete && len(got) == len(want) &&
		bytes.EqualFold(bytes.TrimSuffix(g.AppendName(nil, got), []byte(".")), w.AppendName(nil, want))
}
