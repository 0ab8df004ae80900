package uci

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// The route tables that are the kernel's own (RT_TABLE_COMPAT to RT_TABLE_LOCAL
// of linux/rtnetlink.h).
const (
	tableCompat = 252
	tableLocal  = 255
)

var systemTables = map[uint64]string{
	tableCompat: "that the kernel shows for those above 255",
	253:         "default, which the kernel asks after main",
	254:         "main, which has the router's routes",
	tableLocal:  "local, which has the router's addresses",
}

var broadcast = netip.AddrFrom4([4]byte{255, 255, 255, 255})

// firewallPrefix is how the devices begin that procd/b4.nft lets through.
const firewallPrefix = "b4tun"

// checkTun looks at what no option tells alone.
func (d *decoder) checkTun() {
	m, t := &d.cfg.Main, &d.cfg.Tun
	if t.Out == t.Device {
		d.fail(d.cfg.places["tun.out"], "tun.out: %s is the TUN itself: want the device that packets leave by", quote(t.Out))
	}
	if slices.Contains(m.WAN, t.Device) {
		d.fail(d.cfg.places["main.wan"], "main.wan: %s is the TUN itself: want the device that packets leave by", quote(t.Device))
	}
	if m.Steer == "all" && m.Engine != "nfqueue" && !strings.HasPrefix(t.Device, firewallPrefix) {
		d.warn(d.cfg.places["tun.device"], "tun.device: %s: the firewall forwards what comes in by %s* only, and with main.steer all everything does",
			quote(t.Device), firewallPrefix)
	}
}

// address reads an address of the field's family, for a Prefix with the length
// of its network; a bare one has all its bits. The error says what the text is
// instead.
func (f *Field) address(text string) (netip.Prefix, error) {
	bare, _, cut := strings.Cut(text, "/")
	addr, err := netip.ParseAddr(bare)
	if err != nil {
		return netip.Prefix{}, errors.New("is no address")
	}
	if err := checkAddr(addr, f.Family); err != nil {
		return netip.Prefix{}, err
	}
	if !cut {
		return netip.PrefixFrom(addr, addr.BitLen()), nil
	}
	if f.Kind == Addr {
		return netip.Prefix{}, errors.New("has a prefix length")
	}
	p, err := netip.ParsePrefix(text)
	if err != nil {
		return netip.Prefix{}, fmt.Errorf("has a prefix length other than 0 to %d", addr.BitLen())
	}
	return p, nil
}

// checkAddr refuses what no single host of the family can have, and a zone: the
// device is given elsewhere.
func checkAddr(a netip.Addr, family int) error {
	switch {
	case a.Is4In6():
		return errors.New("is an IPv4 address in IPv6 form")
	case a.Is4() && family != 4:
		return errors.New("is an IPv4 address")
	case a.Is6() && family != 6:
		return errors.New("is an IPv6 address")
	case a.Zone() != "":
		return errors.New("has a zone, leave out the %" + a.Zone())
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

// isDevice tells whether the kernel makes a device of that name: what its
// dev_valid_name refuses (net/core/dev.c) is refused, a % too, which asks it to
// fill in a number, and what is not printable ASCII.
func isDevice(name string) bool {
	return name != "" && name != "." && name != ".." && !strings.ContainsFunc(name, func(r rune) bool {
		return r <= ' ' || r >= 0x7f || strings.ContainsRune("/:%", r)
	})
}
