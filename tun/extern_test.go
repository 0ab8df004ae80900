package tun_test

import (
	"encoding/binary"
	"net/netip"

	"b4/packet"
	"b4/tun"
)

var (
	src4, dst4 = netip.MustParseAddrPort("192.0.2.1:40000"), netip.MustParseAddrPort("198.51.100.7:443")
	src6, dst6 = netip.MustParseAddrPort("[2001:db8::1]:40000"), netip.MustParseAddrPort("[2001:db8:1::7]:443")
)

// superpacket is n bytes of TCP payload under one header, as the kernel hands it
// over: with the pseudo-header's sum in the checksum's place.
func superpacket(v6 bool, n, size int) ([]byte, tun.Header) {
	b := tcp(v6, n)
	h := tun.Header{Flags: 1, GSOType: 1, HdrLen: 3, GSOSize: uint16(size), CsumStart: 20, CsumOffset: 16}
	if v6 {
		h.GSOType, h.CsumStart = 4, 40
	}
	var v packet.View
	v.Decode(b)
	binary.BigEndian.PutUint16(b[v.IPLen+16:], 0x1234) // whatever it is, it is written anew
	return b, h
}
