package lab

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	"b4/control"

	"github.com/vishvananda/netlink"
)

// Here is what a program sees that Host.Start has started in the client's
// namespace: Get, Open and Download ask from there, and nothing else works.
func Here() *Lab { return &Lab{Client: &Host{Name: "here"}} }

// Serves gives the server another address of each family.
func (l *Lab) Serves(addrs ...string) error { return l.Server.configure("eth0", addrs...) }

// PullWAN pulls the router's WAN cable at the provider's end: the device has no
// carrier, and keeps its addresses and routes.
func (l *Lab) PullWAN() error { return l.Censor.bringDown("access") }

// PlugWAN puts the cable back that PullWAN has pulled.
func (l *Lab) PlugWAN() error {
	p := l.pairs()[1]
	if err := p.b.configure(p.bDev, p.b6); err != nil { // with the carrier IPv6's went
		return err
	}
	return l.Censor.route("2001:db8:1::/64", "2001:db8:f::2/64", "access")
}

// HangUp ends the router's session with its provider: WAN goes down, and its
// routes, its masqueraded connections, and IPv6's addresses go with it.
func (l *Lab) HangUp() error { return l.Router.bringDown(RouterWAN) }

// Redial begins the session anew, with the same addresses and routes.
func (l *Lab) Redial() error {
	p := l.pairs()[1]
	if err := p.a.configure(p.aDev, p.a6); err != nil {
		return err
	}
	return errors.Join(p.a.route("0.0.0.0/0", p.b4, p.aDev), p.a.route("::/0", p.b6, p.aDev))
}

func (h *Host) bringDown(dev string) error {
	return h.Do(func() error {
		link, err := netlink.LinkByName(dev)
		if err != nil {
			return fmt.Errorf("find %s in %s: %w", dev, h.Name, err)
		}
		return netlink.LinkSetDown(link)
	})
}

// Connections is how many of them conntrack knows in a host.
func (h *Host) Connections() (n int, err error) {
	err = h.Do(func() error {
		b, err := os.ReadFile("/proc/sys/net/netfilter/nf_conntrack_count")
		if err == nil {
			n, err = strconv.Atoi(strings.TrimSpace(string(b)))
		}
		return err
	})
	return n, err
}

// ReloadNow is Reload over the control socket, which is much sooner to tell that
// the configuration is in force.
func (d *B4D) ReloadNow(config string) error {
	if err := d.write(config); err != nil {
		return err
	}
	return control.Call(d.Socket, "reload", nil, nil)
}
