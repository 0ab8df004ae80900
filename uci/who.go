package uci

import (
	"errors"
	"fmt"
	"net/netip"
	"strconv"
)

// macText is how long a MAC is, written in pairs of digits.
const macText = len("00:11:22:aa:bb:cc")

// ParseMAC reads the MAC of a device as rules name it. The error says what is wrong
// with the text.
func ParseMAC(text string) (mac [6]byte, err error) {
	mac, ok := parseMAC(text)
	if !ok {
		return mac, fmt.Errorf("%s: want %s", quote(text), (&Field{Kind: MAC}).Want())
	}
	return mac, nil
}

// parseMAC reads the MAC of a device, in pairs of hex digits with colons or dashes
// between. That of a group, or of nobody, no device sends by.
func parseMAC(text string) (mac [6]byte, ok bool) {
	if len(text) != macText {
		return mac, false
	}
	for i := range mac {
		at := 3 * i
		if i > 0 && (text[at-1] != text[2] || text[2] != ':' && text[2] != '-') {
			return mac, false
		}
		n, err := strconv.ParseUint(text[at:at+2], 16, 8)
		if err != nil {
			return mac, false
		}
		mac[i] = byte(n)
	}
	const group = 1 // the I/G bit of IEEE 802
	return mac, mac != [6]byte{} && mac[0]&group == 0
}

// ParseNetwork reads an address of either family, or a network, whose bits beyond
// its length count for nothing. The error says what is wrong with the text, which
// it does not name.
func ParseNetwork(text string) (netip.Prefix, error) {
	p, _, err := parseNetwork(text)
	return p, err
}

// parseNetwork is ParseNetwork with a warning of bits that count for nothing.
func parseNetwork(text string) (p netip.Prefix, note string, err error) {
	addr, err := netip.ParseAddr(text)
	bits := addr.BitLen()
	if err != nil {
		if p, err = netip.ParsePrefix(text); err != nil {
			return p, "", errors.New("is neither an address nor a network")
		}
		addr, bits = p.Addr(), p.Bits()
	}
	switch {
	case addr.Is4In6():
		return p, "", errors.New("is an IPv4 address in IPv6 form")
	case addr.Zone() != "":
		return p, "", errors.New("has a zone, leave out the %" + addr.Zone())
	case bits == 0:
		return p, "", errors.New("is all addresses")
	}
	p = netip.PrefixFrom(addr, bits).Masked()
	if p.Addr() != addr {
		note = fmt.Sprintf("taken for the network %s", p)
	}
	return p, note, nil
}
