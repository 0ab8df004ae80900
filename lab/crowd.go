package lab

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"time"

	"b4/packet"
	"b4/tlshello"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// A Crowd is connections, in a lab made with Direct, that have said their hello and
// go on no further: conntrack knows them as established, and b4d as undecided. Their
// packets are made by hand at both ends, as sockets would have to be opened twice a
// hundred thousand times. So nobody answers them but we: neither end has their
// addresses.
type Crowd struct {
	lab       *Lab
	near, far int // raw sockets of the client's and the server's
	routed    bool
	n         int // connections so far
	hello     []byte
	packet    []byte
}

// The crowd's addresses, a client's and the first of the servers'. RFC 2544 keeps
// the second's network for such use.
var (
	crowdSource = netip.MustParseAddr("192.168.7.7")
	crowdServer = netip.MustParseAddr("198.18.0.0")
)

// NewCrowd makes an empty one, to which the router knows the way.
func (l *Lab) NewCrowd() (_ *Crowd, err error) {
	c := &Crowd{lab: l, near: -1, far: -1, hello: tlshello.AppendDecoy(nil, Allowed, 1)}
	defer func() {
		if err != nil {
			c.Close()
		}
	}()
	if c.near, err = rawSocket(l.Client); err != nil {
		return nil, err
	}
	if c.far, err = rawSocket(l.Server); err != nil {
		return nil, err
	}
	if err := l.Router.Do(func() error { return netlink.RouteAdd(crowdRoute()) }); err != nil {
		return nil, fmt.Errorf("route the crowd: %w", err)
	}
	c.routed = true
	return c, nil
}

// crowdRoute is the router's way to the crowd's client.
func crowdRoute() *netlink.Route {
	return &netlink.Route{Dst: &net.IPNet{IP: crowdSource.AsSlice(), Mask: net.CIDRMask(32, 32)}, Gw: ClientAddr4.AsSlice()}
}

// rawSocket opens one that takes whole packets.
func rawSocket(h *Host) (fd int, err error) {
	err = h.Do(func() (err error) {
		fd, err = unix.Socket(unix.AF_INET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.IPPROTO_RAW)
		return err
	})
	if err != nil {
		return -1, fmt.Errorf("open a raw socket of the %s: %w", h.Name, err)
	}
	return fd, nil
}

// roomFor makes sure that conntrack takes n connections. Not every kernel lets a
// namespace have a limit of its own.
func roomFor(h *Host, n int) error {
	const limit = "net/netfilter/nf_conntrack_max"
	var have int
	err := h.Do(func() error {
		b, err := os.ReadFile("/proc/sys/" + limit)
		if err == nil {
			have, err = strconv.Atoi(strings.TrimSpace(string(b)))
		}
		return err
	})
	if err == nil && have < n {
		err = h.Sysctl(limit, strconv.Itoa(n))
	}
	if err != nil {
		return fmt.Errorf("make room for %d connections: %w", n, err)
	}
	return nil
}

// Close ends it, and may be called again. What conntrack and b4d know of it stays.
func (c *Crowd) Close() error {
	var errs []error
	if c.routed {
		c.routed = false
		errs = append(errs, c.lab.Router.Do(func() error { return netlink.RouteDel(crowdRoute()) }))
	}
	for _, fd := range []*int{&c.near, &c.far} {
		if *fd >= 0 {
			errs = append(errs, unix.Close(*fd))
			*fd = -1
		}
	}
	return errors.Join(errs...)
}

// Disperse has the router forget the crowd, and all other connections.
func (c *Crowd) Disperse() error {
	c.n = 0
	return c.lab.Router.Do(func() error {
		if err := netlink.ConntrackTableFlush(netlink.ConntrackTable); err != nil {
			return fmt.Errorf("flush conntrack: %w", err)
		}
		return nil
	})
}

const (
	crowdRoom     = 40_000           // connections of others that conntrack has to take beside
	crowdStep     = 256              // connections that are opened at once: a queue and its socket hold as many hellos
	crowdPatience = 10 * time.Second // until they have come to the server
)

// Grow opens connections until there are n, with b4d behind or without. It waits
// until the hellos have come to the server, in two pieces by b4d. b4d itself is not
// asked: answers cost it memory, which would count as the crowd's.
func (c *Crowd) Grow(behind bool, n int) error {
	if err := roomFor(c.lab.Router, n+crowdRoom); err != nil {
		return err
	}
	each := uint64(2) // packets a connection, the SYN and
	if behind {
		each++
	}
	for c.n < n {
		step := min(crowdStep, n-c.n)
		before, err := c.arrived()
		if err != nil {
			return err
		}
		for _, flight := range []func(i int) (int, packet.Segment){c.syn, c.synAck, c.hi} {
			for i := c.n; i < c.n+step; i++ {
				if err := c.send(flight(i)); err != nil {
					return err
				}
			}
		}
		if err := c.await(before + each*uint64(step)); err != nil {
			return err
		}
		c.n += step
	}
	if known, err := c.lab.Router.Connections(); err != nil || known < c.n {
		return errors.Join(fmt.Errorf("conntrack knows %d of %d connections", known, c.n), err)
	}
	return nil
}

// arrived is how many packets have come to the server.
func (c *Crowd) arrived() (n uint64, err error) {
	err = c.lab.Server.Do(func() error {
		link, err := netlink.LinkByName("eth0")
		if err == nil {
			n = link.Attrs().Statistics.RxPackets
		}
		return err
	})
	if err != nil {
		return 0, fmt.Errorf("count what came to the server: %w", err)
	}
	return n, nil
}

// await waits until so many have come.
func (c *Crowd) await(want uint64) error {
	for deadline := time.Now().Add(crowdPatience); ; time.Sleep(time.Millisecond) {
		n, err := c.arrived()
		if err != nil || n >= want {
			return err
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("%d packets are missing at the server", want-n)
		}
	}
}

// crowdEnds are those of the i-th connection, as the client has them. They are good
// for 15 million.
func crowdEnds(i int) (src, dst netip.AddrPort) {
	const first, ports = 2000, 60000
	to := crowdServer.As4()
	to[3] += byte(i / ports)
	return netip.AddrPortFrom(crowdSource, uint16(first+i%ports)), netip.AddrPortFrom(netip.AddrFrom4(to), 443)
}

// Where the sequence numbers of the two ends begin.
const nearSeq, farSeq = 1 << 20, 1 << 30

func (c *Crowd) syn(i int) (int, packet.Segment) {
	src, dst := crowdEnds(i)
	return c.near, packet.Segment{Src: src, Dst: dst, Seq: nearSeq, Flags: packet.SYN, Window: 64240}
}

// synAck answers the address that the router has masqueraded the client with. The
// port is the client's own, as no other connection has it.
func (c *Crowd) synAck(i int) (int, packet.Segment) {
	src, dst := crowdEnds(i)
	return c.far, packet.Segment{Src: dst, Dst: netip.AddrPortFrom(WANAddr4, src.Port()),
		Seq: farSeq, Ack: nearSeq + 1, Flags: packet.SYN | packet.ACK, Window: 64240}
}

func (c *Crowd) hi(i int) (int, packet.Segment) {
	src, dst := crowdEnds(i)
	return c.near, packet.Segment{Src: src, Dst: dst,
		Seq: nearSeq + 1, Ack: farSeq + 1, Flags: packet.PSH | packet.ACK, Window: 64240, Payload: c.hello}
}

func (c *Crowd) send(fd int, s packet.Segment) error {
	c.packet = s.Append(c.packet[:0])
	if err := unix.Sendto(fd, c.packet, 0, &unix.SockaddrInet4{Addr: s.Dst.Addr().As4()}); err != nil {
		return fmt.Errorf("send from %v to %v: %w", s.Src, s.Dst, err)
	}
	return nil
}
