package tlshello

import "encoding/binary"

// A Status tells how far a parse came.
type Status uint8

const (
	NotHello Status = iota // these bytes do not begin a ClientHello
	Partial                // so far a ClientHello, more bytes are needed
	Complete               // the whole ClientHello is there
)

// MaxLen bounds a hello b4 looks at, record headers included. Post-quantum
// hellos have 1.5 to 1.8 KB; ten maximum-size segments fit.
const MaxLen = 16 << 10

// A Hello tells where things stand in a ClientHello (RFC 8446 section 4.1.2).
// All positions are offsets into the parsed bytes, which begin with a TLS record;
// a position that was not found, or not reached yet, is 0. A hello may be cut
// into several records: then a range such as the name may have record headers
// inside, which AppendName leaves out.
type Hello struct {
	Len           int // bytes of the hello, with every record header; 0 until known
	Handshake     int // the handshake header
	Extensions    int // the first extension
	SNI           int // the server_name extension's header
	Host, HostEnd int // the name in it
	ALPN, ALPNEnd int // the application_layer_protocol_negotiation extension's body
	ECH           int // the encrypted_client_hello extension's header
}

// Named reports whether the whole host name has been seen.
func (h *Hello) Named() bool { return h.HostEnd > 0 }

// Shift moves every position by n, for a hello that stands n bytes into what its
// positions are to refer to.
func (h *Hello) Shift(n int) {
	for _, p := range []*int{&h.Len, &h.Handshake, &h.Extensions, &h.SNI, &h.Host, &h.HostEnd, &h.ALPN, &h.ALPNEnd, &h.ECH} {
		if *p > 0 {
			*p += n
		}
	}
}

const (
	recordHandshake  = 22
	recordCCS        = 20
	helloType        = 1
	maxRecord        = 1<<14 + 256 // RFC 8446 section 5.2
	extSNI           = 0
	extALPN          = 16
	extECH           = 0xfe0d // draft-ietf-tls-esni, RFC 9849
	recordHeaderLen  = 5
	handshakeHdrLen  = 4
	helloFixedLen    = 2 + 32 // legacy_version, random
	changeCipherSpec = recordHeaderLen + 1
)

// SkipCCS returns how many bytes of change_cipher_spec records stand at the
// beginning of b. A client in middlebox compatibility mode sends one before its
// second hello (RFC 8446 appendix D.4).
func SkipCCS(b []byte) int {
	n := 0
	for len(b)-n >= changeCipherSpec && b[n] == recordCCS && b[n+1] == 3 && b[n+3] == 0 && b[n+4] == 1 {
		n += changeCipherSpec
	}
	return n
}

// Parse finds the positions in b, which begins with a TLS record. With Partial
// the positions reached so far are filled in, and stay right when more comes.
// It allocates nothing and keeps nothing of b.
func Parse(b []byte) (h Hello, st Status) {
	r := reader{b: b}
	if st = parse(&r, &h); st == NotHello {
		h = Hello{}
	}
	return h, st
}

func parse(r *reader, h *Hello) Status {
	if !r.more() {
		return partial(r)
	}
	h.Handshake = r.pos
	if typ, _ := r.u8(); typ != helloType {
		return NotHello
	}
	n, ok := r.uint(3)
	if !ok {
		return partial(r)
	}
	if n < helloFixedLen+2 || n > MaxLen {
		return NotHello
	}
	r.left = n
	if st := body(r, h); r.bad || st == NotHello {
		return NotHello
	}
	if r.left > 0 && !r.skip(r.left) { // what follows the extensions, or is cut off
		return partial(r)
	}
	h.Len = r.pos
	return Complete
}

// partial is the status of a reader that ran out of bytes.
func partial(r *reader) Status {
	if r.bad {
		return NotHello
	}
	return Partial
}

// body reads the ClientHello up to the end of its extensions.
func body(r *reader, h *Hello) Status {
	if !r.skip(helloFixedLen) || !r.skipVector(1) || !r.skipVector(2) || !r.skipVector(1) {
		return partial(r) // session id, cipher suites, compression methods
	}
	if r.left == 0 {
		return Complete // no extensions, no name
	}
	exts, ok := r.uint(2)
	if !ok {
		return partial(r)
	}
	if exts > r.left {
		return NotHello
	}
	if exts == 0 {
		return Complete
	}
	if !r.more() {
		return partial(r)
	}
	h.Extensions = r.pos
	end := r.left - exts
	for r.passOver(end); r.left > end; r.passOver(end) {
		if r.left-end < 4 {
			return NotHello
		}
		if !extension(r, h, end) {
			return partial(r)
		}
	}
	return Complete
}

// passOver steps over the extensions of which no position is kept, as far as they
// lie whole in the record at hand: nearly all do. end is what remains of the hello
// after the block of extensions.
func (r *reader) passOver(end int) {
	b := r.b[r.pos:]
	b = b[:min(len(b), r.rec, r.left-end)]
	n := len(b)
	for len(b) >= 4 {
		typ, size := binary.BigEndian.Uint16(b), 4+int(binary.BigEndian.Uint16(b[2:]))
		if typ == extSNI || typ == extALPN || typ == extECH || size > len(b) {
			break
		}
		b = b[size:]
	}
	r.advance(n - len(b))
}

// extension reads one extension. end is what remains of the hello after the
// block of extensions.
func extension(r *reader, h *Hello, end int) bool {
	if !r.more() {
		return false
	}
	at := r.pos
	typ, ok := r.uint(2)
	if !ok {
		return false
	}
	n, ok := r.uint(2)
	if !ok {
		return false
	}
	if n > r.left-end {
		r.bad = true
		return false
	}
	after := r.left - n
	switch {
	case typ == extSNI && h.SNI == 0: // a second one is an error to every server
		h.SNI = at
		if !serverName(r, h, after) {
			return false
		}
	case typ == extECH:
		h.ECH = at
	case typ == extALPN:
		if n > 0 && r.more() {
			start := r.pos
			if !r.skip(n) {
				return false
			}
			h.ALPN, h.ALPNEnd = start, r.pos
		}
	}
	return r.skip(r.left - after)
}

// serverName reads a ServerNameList (RFC 6066 section 3) up to the first
// host_name. after is what remains of the hello after the extension.
func serverName(r *reader, h *Hello, after int) bool {
	if r.left-after < 5 {
		return true // an empty list: no name
	}
	if !r.skip(2) {
		return false
	}
	typ, ok := r.u8()
	if !ok {
		return false
	}
	n, ok := r.uint(2)
	if !ok {
		return false
	}
	if typ != 0 || n == 0 || n > r.left-after {
		return true
	}
	if !r.more() {
		return false
	}
	start := r.pos
	if !r.skip(n) {
		return false
	}
	h.Host, h.HostEnd = start, r.pos
	return true
}

// AppendName appends the host name, without the record headers that may stand
// inside it, to dst. h's positions are offsets into b.
func (h *Hello) AppendName(dst, b []byte) []byte {
	if !h.Named() {
		return dst
	}
	r := reader{b: b, pos: h.Handshake - recordHeaderLen}
	for r.pos < h.HostEnd && r.more() {
		from, to := max(r.pos, h.Host), min(r.pos+r.rec, h.HostEnd)
		if from < to {
			dst = append(dst, b[from:to]...)
		}
		r.advance(r.rec)
	}
	return dst
}
