package uci

import (
	"errors"
	"net/netip"
	"strings"
)

// The route tables that are the kernel's own (RT_TABLE_* of linux/rtnetlink.h).
const (
	tableCompat = 252
	tableLocal  = 255
)

// systemTables are the tables that nobody may fill with routes of their own.
// 0 is none: a rule that names it leads to main.
var systemTables = map[uint64]string{
	tableCompat: "that the kernel shows for those above 255",
	253:         "default, which the kernel asks after main",
	254:         "main, which has the router's routes",
	tableLocal:  "local, which has the router's addresses",
}

// address reads an address of the field's family, for a Prefix with the length
// of its network; a bare one has the whole length. The error says what the text
// is instead.
func (f *Field) address(text string) (netip.Prefix, error) {
	bare, length, cut := strings.Cut(text, "/")
	addr, err := netip.ParseAddr(bare)
	if err != nil {
		return netip.Prefix{}, errors.New("is no address")
	}
	if err := checkAddr(addr, f.Family); err != nil {
		return netip.Prefix{}, err
	}
	p := netip.PrefixFrom(addr, addr.BitLen())
	switch {
	case cut && f.Kind == Addr:
		return netip.Prefix{}, errors.New("has a prefix length")
	case cut:
		if p, err = netip.ParsePrefix(text); err != nil {
			return netip.Prefix{}, errors.New("has no prefix length " + quote(length))
		}
	}
	return p, nil
}

// checkAddr refuses what no single host of the family can have.
func checkAddr(a netip.Addr, family int) error {
	switch {
	case a.Is4In6():
		return errors.New("is an IPv4 address in IPv6 form")
	case a.Is4() && family != 4:
		return errors.New("is an IPv4 address")
	case a.Is6() && family != 6:
		return errors.New("is an IPv6 address")
	case a.Zone() != "":
		return errors.New("has a zone")
	case a.IsUnspecified():
		return errors.New("is the unspecified address")
	case a.IsLoopback():
		return errors.New("is a loopback address")
	case a.IsMulticast():
		return errors.New("is a multicast address")
	case a == broadcast:
		return errors.New("is the broadcast address")
	}
	return nil
}

var broadcast = netip.AddrFrom4([4]byte{255, 255, 255, 255})

// isDevice tells whether the kernel makes a device of that name: what its
// dev_valid_name refuses (net/core/dev.c) is refused, a % too, which asks it to
// fill in a number, and what is no printable ASCII.
func isDevice(name string) bool {
	return name != "" && name != "." && name != ".." && !strings.ContainsFunc(name, func(r rune) bool {
		return r <= ' ' || r >= 0x7f || strings.ContainsRune("/:%", r)
	})
}
