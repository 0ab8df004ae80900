package tlshello

import "encoding/binary"

// decoySize is how long a made hello is: browsers without a post-quantum key
// share pad theirs to 512 bytes plus the record header (RFC 7685 section 3).
const decoySize = 517

// AppendDecoy appends a ClientHello for name, which looks like a browser's and
// means nothing, to dst. Equal seeds give equal bytes.
func AppendDecoy(dst []byte, name string, seed uint64) []byte {
	start := len(dst)
	dst = append(dst, recordHandshake, 3, 1, 0, 0, helloType, 0, 0, 0, 3, 3)
	dst = appendRandom(dst, 32, &seed)
	dst = append(dst, 32) // session id
	dst = appendRandom(dst, 32, &seed)
	dst = appendUint16s(append(dst, 0, 12), 0x1301, 0x1302, 0x1303, 0xc02b, 0xc02f, 0xcca9)
	dst = append(dst, 1, 0) // null compression
	exts := len(dst)
	dst = append(dst, 0, 0)
	dst = appendName(dst, name)
	dst = appendUint16s(dst, 23, 0)                    // extended_master_secret
	dst = appendUint16s(dst, 10, 6, 4, 0x001d, 0x0017) // supported_groups
	dst = append(dst, 0, 11, 0, 2, 1, 0)               // ec_point_formats
	dst = append(dst, 0, extALPN, 0, 14, 0, 12, 2, 'h', '2', 8, 'h', 't', 't', 'p', '/', '1', '.', '1')
	dst = appendKeyShare(dst, &seed)
	dst = append(dst, 0, 43, 0, 5, 4, 3, 4, 3, 3) // supported_versions
	if pad := decoySize - (len(dst) - start) - 4; pad >= 0 {
		dst = appendUint16s(dst, 21, uint16(pad))
		dst = append(dst, make([]byte, pad)...)
	}
	finish(dst[start:], exts-start)
	return dst
}

// AppendQUICDecoy appends to dst a ClientHello for name as clients of HTTP/3 send
// it (RFC 9001 section 8), in one TLS record, which QUIC does without. Equal seeds
// give equal bytes.
//
// Its transport parameters name a source connection id of no length. A server that
// gets it in a packet with another closes the connection at once and forgets it
// (RFC 9000 section 7.3), and answers with a datagram or two that concern nobody.
func AppendQUICDecoy(dst []byte, name string, seed uint64) []byte {
	start := len(dst)
	dst = append(dst, recordHandshake, 3, 1, 0, 0, helloType, 0, 0, 0, 3, 3)
	dst = appendRandom(dst, 32, &seed)
	dst = appendUint16s(append(dst, 0, 0, 6), 0x1301, 0x1302, 0x1303) // no session id, cipher suites
	dst = append(dst, 1, 0)
	exts := len(dst)
	dst = append(dst, 0, 0)
	dst = appendName(dst, name)
	dst = appendUint16s(dst, 10, 6, 4, 0x001d, 0x0017) // supported_groups
	dst = append(dst, 0, extALPN, 0, 5, 0, 3, 2, 'h', '3')
	dst = appendKeyShare(dst, &seed)
	dst = append(dst, 0, 43, 0, 3, 2, 3, 4) // supported_versions
	dst = appendUint16s(dst, 57, uint16(len(transportParams)))
	dst = append(dst, transportParams...)
	finish(dst[start:], exts-start)
	return dst
}

// transportParams are those of a browser, roughly (RFC 9000 section 18.2).
const transportParams = "\x01\x04\x80\x00\x75\x30" + // max_idle_timeout, 30 s
	"\x03\x02\x45\xc0" + // max_udp_payload_size, 1472
	"\x04\x04\x80\xf0\x00\x00" + // initial_max_data
	"\x05\x04\x80\x60\x00\x00" + "\x06\x04\x80\x60\x00\x00" + "\x07\x04\x80\x60\x00\x00" + // and per stream
	"\x08\x02\x40\x64" + "\x09\x02\x40\x67" + // initial_max_streams
	"\x0f\x00" // initial_source_connection_id

func appendName(dst []byte, name string) []byte {
	dst = appendUint16s(dst, extSNI, uint16(len(name)+5), uint16(len(name)+3))
	dst = append(dst, 0, byte(len(name)>>8), byte(len(name)))
	return append(dst, name...)
}

// appendKeyShare appends the extensions signature_algorithms, key_share and
// psk_key_exchange_modes.
func appendKeyShare(dst []byte, seed *uint64) []byte {
	dst = appendUint16s(dst, 13, 10, 8, 0x0403, 0x0804, 0x0401, 0x0503)
	dst = appendUint16s(dst, 51, 38, 36, 0x001d, 32) // x25519
	dst = appendRandom(dst, 32, seed)
	return append(dst, 0, 45, 0, 2, 1, 1)
}

// finish writes the lengths of hello h, whose extensions' length stands at exts.
func finish(h []byte, exts int) {
	binary.BigEndian.PutUint16(h[exts:], uint16(len(h)-exts-2))
	setLengths(h)
}

// setLengths writes the record's and the handshake's length of a hello that
// stands in one record.
func setLengths(h []byte) {
	binary.BigEndian.PutUint16(h[3:], uint16(len(h)-recordHeaderLen))
	n := len(h) - recordHeaderLen - handshakeHdrLen
	h[6], h[7], h[8] = byte(n>>16), byte(n>>8), byte(n)
}

// AppendRenamed appends a copy of the complete hello b, positions h, with
// another host name, in one record, to dst. It appends nothing and reports
// false where the hello has no name.
func AppendRenamed(dst, b []byte, h Hello, name string) ([]byte, bool) {
	if !h.Named() || h.Len == 0 {
		return dst, false
	}
	start, first := len(dst), h.Handshake-recordHeaderLen
	dst = append(dst, b[first], b[first+1], b[first+2], 0, 0)
	for r := (reader{b: b[:h.Len], pos: first}); r.more(); r.advance(r.rec) {
		dst = append(dst, b[r.pos:min(r.pos+r.rec, h.Len)]...)
	}
	flat, st := Parse(setLength(dst[start:]))
	if st != Complete {
		return dst[:start], false
	}
	rest := len(dst) - start - flat.HostEnd
	grow := len(name) - (flat.HostEnd - flat.Host)
	if grow > 0 {
		dst = append(dst, make([]byte, grow)...)
	}
	out := dst[start:]
	copy(out[flat.Host+len(name):], out[flat.HostEnd:flat.HostEnd+rest])
	copy(out[flat.Host:], name)
	out = out[:flat.Host+len(name)+rest]
	for _, at := range []int{flat.Extensions - 2, flat.SNI + 2, flat.SNI + 4, flat.Host - 2} {
		binary.BigEndian.PutUint16(out[at:], binary.BigEndian.Uint16(out[at:])+uint16(grow))
	}
	setLengths(out)
	return dst[:start+len(out)], true
}

// setLength writes the length of the one record that b is.
func setLength(b []byte) []byte {
	binary.BigEndian.PutUint16(b[3:], uint16(len(b)-recordHeaderLen))
	return b
}

// appendUint16s appends numbers. Inlined in each line of a made hello, it makes
// packages 1 kB larger.
//
//go:noinline
func appendUint16s(dst []byte, vs ...uint16) []byte {
	for _, v := range vs {
		dst = binary.BigEndian.AppendUint16(dst, v)
	}
	return dst
}

// appendRandom appends n bytes of splitmix64 (Steele, Lea and Flood 2014),
// which is random enough for bytes nobody reads.
func appendRandom(dst []byte, n int, seed *uint64) []byte {
	for n > 0 {
		*seed += 0x9e3779b97f4a7c15
		z := *seed
		z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
		z = (z ^ z>>27) * 0x94d049bb133111eb
		var w [8]byte
		binary.LittleEndian.PutUint64(w[:], z^z>>31)
		k := min(n, len(w))
		dst = append(dst, w[:k]...)
		n -= k
	}
	return dst
}
