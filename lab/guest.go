package lab

import (
	"fmt"
	"net"

	"github.com/vishvananda/netlink"
)

// RouterGuest is the router's device of the guests' network: a VLAN of the LAN's, by
// its name.
const RouterGuest = RouterLAN + ".20"

// The guests' networks.
const (
	guestNet4 = "192.168.2.0/24"
	guestNet6 = "2001:db8:4::/64"
)

// NewGuest joins another client to the router, behind RouterGuest. Who calls closes
// it, ahead of the lab.
func (l *Lab) NewGuest() (_ *Host, err error) {
	h, err := NewHost("guest")
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			h.Close()
		}
	}()
	if err := l.settle(h); err != nil {
		return nil, err
	}
	p := pair{h, "eth0", l.Router, RouterGuest, "192.168.2.2/24", "192.168.2.1/24", "2001:db8:4::2/64", "2001:db8:4::1/64"}
	if err := l.lay(p); err != nil {
		return nil, err
	}
	if err := l.Censor.route(guestNet6, "2001:db8:f::2/64", "access"); err != nil {
		return nil, err
	}
	return h, nil
}

// MAC is that of a device.
func (h *Host) MAC(dev string) (mac net.HardwareAddr, err error) {
	err = h.Do(func() error {
		link, err := netlink.LinkByName(dev)
		if err != nil {
			return fmt.Errorf("find %s in %s: %w", dev, h.Name, err)
		}
		mac = link.Attrs().HardwareAddr
		return nil
	})
	return mac, err
}
