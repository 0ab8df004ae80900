package lab

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"slices"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// The addresses of the lab, all from the documentation ranges (RFC 5737,
// RFC 3849) but the LAN's IPv4, which is behind NAT.
var (
	hopNet4 = netip.MustParsePrefix("192.0.2.0/24")
	hopNet6 = netip.MustParsePrefix("2001:db8:2::/64")

	ClientAddr4 = netip.MustParseAddr("192.168.1.2")
	ClientAddr6 = netip.MustParseAddr("2001:db8:1::2")
	WANAddr4    = netip.MustParseAddr("198.51.100.2") // what the router masquerades to
)

// RouterWAN and RouterLAN are the router's devices.
const (
	RouterWAN = "wan"
	RouterLAN = "br-lan"
)

// hopAddr is the address of virtual hop i, counted from 0 at the client's side.
func hopAddr(net netip.Prefix, i int) netip.Addr {
	a := net.Addr().AsSlice()
	a[len(a)-1] = byte(i + 1)
	addr, _ := netip.AddrFromSlice(a)
	return addr
}

// Options describe a lab. The zero value is a fast line with one virtual hop
// before the censor, two behind it, and no censor.
type Options struct {
	HopsBefore, HopsAfter int // virtual hops around the censor; both 0 is 1 and 2
	PathMTU               int // bytes, of the link behind the last virtual hop; 0 is 1500
	Seed                  uint64
	ToServer, ToClient    Impairment
	Pcap                  string    // directory for recordings of both sides; empty is none
	Slow                  bool      // the machine is emulated: wait longer for everything
	Firewall              *Firewall // nil is House

	// Direct joins the router straight to the server, for measurements: no
	// packet leaves the kernel on its way, and the devices keep their offloads.
	// Censor and Core are nil, what looks at packets on the path must not be
	// called, and there are no servers: who measures brings its own.
	Direct bool
}

// A Lab is the small internet. Packets of one Lab never leave it.
type Lab struct {
	Client, Router, Censor, Core, Server *Host

	opts    Options
	forward *forwarder
	web     *web
	watched *watched
	ports   ports
}

// New builds a lab with its servers running. It wraps unix.EPERM where this
// process may not make namespaces: see Enter.
func New(o Options) (_ *Lab, err error) {
	if o.HopsBefore == 0 && o.HopsAfter == 0 {
		o.HopsBefore, o.HopsAfter = 1, 2
	}
	l := &Lab{opts: o}
	defer func() {
		if err != nil {
			l.Close()
		}
	}()
	for _, h := range []struct {
		host **Host
		name string
		path bool
	}{{&l.Client, "client", false}, {&l.Router, "router", false}, {&l.Censor, "censor", true}, {&l.Core, "core", true}, {&l.Server, "server", false}} {
		if h.path && o.Direct {
			continue
		}
		if *h.host, err = NewHost(h.name); err != nil {
			return nil, err
		}
	}
	if err := l.wire(); err != nil {
		return nil, err
	}
	fire := House
	if o.Firewall != nil {
		fire = *o.Firewall
	}
	if err := l.SetFirewall(fire); err != nil {
		return nil, err
	}
	if o.Direct {
		return l, nil
	}
	if l.web, err = newWeb(l.Server); err != nil {
		return nil, err
	}
	return l, nil
}

// Close takes the lab apart. It is idempotent, and safe on a half-built one.
func (l *Lab) Close() error {
	var errs []error
	if l.web != nil {
		errs = append(errs, l.web.close())
	}
	if l.forward != nil {
		errs = append(errs, l.forward.close())
	}
	for _, h := range l.hosts() {
		errs = append(errs, h.Close())
	}
	return errors.Join(errs...)
}

// hosts are those that there are.
func (l *Lab) hosts() []*Host {
	all := []*Host{l.Client, l.Router, l.Censor, l.Core, l.Server}
	return slices.DeleteFunc(all, func(h *Host) bool { return h == nil })
}

// SetFilter has f look at each packet that enters the path; nil ends that.
func (l *Lab) SetFilter(f Filter) {
	if f == nil {
		l.forward.path.filter.Store(nil)
		return
	}
	l.forward.path.filter.Store(&f)
}

// SetJudge puts a censor on the path; nil takes it away.
func (l *Lab) SetJudge(j Judge) {
	if j == nil {
		l.forward.path.judge.Store(nil)
		return
	}
	l.forward.path.judge.Store(&j)
}

// Counters tells what happened to the packets of one direction.
func (l *Lab) Counters(d Direction) Counters { return l.forward.path.lines[d].n.snapshot() }

// Hops returns the addresses of the virtual hops from the client's side.
func (l *Lab) Hops() (v4, v6 []netip.Addr) {
	for _, h := range l.forward.path.hops {
		v4, v6 = append(v4, h.v4), append(v6, h.v6)
	}
	return v4, v6
}

// DecoyTTL is a TTL with which a packet sent by the router reaches the censor
// and dies on the hop behind it.
func (l *Lab) DecoyTTL() int { return 1 + l.opts.HopsBefore + 1 }

// wire joins the hosts.
func (l *Lab) wire() error {
	for _, h := range l.hosts() {
		if err := l.settle(h); err != nil {
			return err
		}
	}
	for _, p := range l.pairs() {
		if err := l.lay(p); err != nil {
			return err
		}
	}
	sites := []Site{Retry, Old}
	if l.opts.Direct {
		sites = append(sites, Modern)
	}
	for _, s := range sites {
		if err := l.Server.configure("eth0", s.V4.String()+"/24", s.V6.String()+"/64"); err != nil {
			return err
		}
	}
	if l.opts.Direct {
		return l.Server.route("2001:db8:1::/64", "2001:db8:f::2/64", "eth0")
	}
	return l.join()
}

// settle gives a host its loopback and its kernel settings.
func (l *Lab) settle(h *Host) error {
	settings := [][2]string{
		{"net/ipv6/conf/default/accept_dad", "0"}, // addresses work at once
		{"net/ipv6/conf/default/accept_ra", "0"},
		{"net/ipv4/conf/default/rp_filter", "0"},
		{"net/ipv4/conf/all/rp_filter", "0"},
		{"net/ipv4/icmp_ratelimit", "0"}, // a traceroute needs each answer
		{"net/ipv6/icmp/ratelimit", "0"},
		// A blocked client's last segment must not haunt the next test.
		{"net/ipv4/tcp_orphan_retries", "1"},
	}
	if h != l.Client && h != l.Server {
		settings = append(settings, [2]string{"net/ipv4/ip_forward", "1"}, [2]string{"net/ipv6/conf/all/forwarding", "1"})
	}
	for _, s := range settings {
		if err := h.Sysctl(s[0], s[1]); err != nil {
			return fmt.Errorf("set up %s: %w", h.Name, err)
		}
	}
	return h.Do(func() error {
		lo, err := netlink.LinkByName("lo")
		if err != nil {
			return err
		}
		return netlink.LinkSetUp(lo)
	})
}

// join puts the forwarder between the censor's and the core's namespaces.
func (l *Lab) join() error {
	var devs [2]io.ReadWriteCloser
	for i, h := range []*Host{l.Censor, l.Core} {
		err := h.Do(func() (err error) {
			devs[i], err = openTUN("path")
			return err
		})
		if err != nil {
			return errors.Join(err, closeAll(devs[:]))
		}
	}
	f, err := newForwarder(devs[0], devs[1], l.opts)
	if err != nil {
		return errors.Join(err, closeAll(devs[:]))
	}
	l.forward = f
	f.start()
	for _, c := range []struct {
		h      *Host
		v4, v6 string
		routes []string
	}{
		{l.Censor, "192.0.2.254/32", "2001:db8:2::fe/128", []string{"192.0.2.0/24", "203.0.113.0/24", "2001:db8:2::/64", "2001:db8:3::/64"}},
		{l.Core, "192.0.2.253/32", "2001:db8:2::fd/128", []string{"0.0.0.0/0", "::/0"}},
	} {
		if err := c.h.configure("path", c.v4, c.v6); err != nil {
			return err
		}
		for _, r := range c.routes {
			if err := c.h.route(r, "", "path"); err != nil {
				return err
			}
		}
	}
	return l.Censor.route("2001:db8:1::/64", "2001:db8:f::2/64", "access")
}

func closeAll(files []io.ReadWriteCloser) error {
	var errs []error
	for _, f := range files {
		if f != nil {
			errs = append(errs, f.Close())
		}
	}
	return errors.Join(errs...)
}

// tunQueue is long enough for a full TCP window: only the Impairment loses.
const tunQueue = 10000

// configure addresses a device and brings it up.
func (h *Host) configure(dev string, addrs ...string) error {
	return h.Do(func() error {
		link, err := netlink.LinkByName(dev)
		if err != nil {
			return fmt.Errorf("find %s in %s: %w", dev, h.Name, err)
		}
		if err := netlink.LinkSetTxQLen(link, tunQueue); err != nil {
			return fmt.Errorf("lengthen the queue of %s: %w", dev, err)
		}
		if err := netlink.LinkSetUp(link); err != nil {
			return fmt.Errorf("bring %s up in %s: %w", dev, h.Name, err)
		}
		for _, s := range addrs {
			if err := addAddr(link, s); err != nil {
				return fmt.Errorf("address %s in %s: %w", dev, h.Name, err)
			}
		}
		return nil
	})
}

func addAddr(link netlink.Link, prefix string) error {
	a, err := netlink.ParseAddr(prefix)
	if err != nil {
		return err
	}
	if a.IP.To4() == nil {
		a.Flags = unix.IFA_F_NODAD
	}
	return netlink.AddrAdd(link, a)
}

// route sends a prefix to a gateway, given with its mask, or straight to dev.
func (h *Host) route(prefix, via, dev string) error {
	return h.Do(func() error {
		link, err := netlink.LinkByName(dev)
		if err != nil {
			return err
		}
		_, dst, err := net.ParseCIDR(prefix)
		if err != nil {
			return err
		}
		r := netlink.Route{LinkIndex: link.Attrs().Index, Dst: dst}
		if via != "" {
			if r.Gw, _, err = net.ParseCIDR(via); err != nil {
				return err
			}
		}
		if err := netlink.RouteAdd(&r); err != nil {
			return fmt.Errorf("route %s by %s in %s: %w", prefix, dev, h.Name, err)
		}
		return nil
	})
}

// patience stretches a wait where the machine is slow.
func (l *Lab) patience(d time.Duration) time.Duration {
	if l.opts.Slow {
		return 4 * d
	}
	return d
}
