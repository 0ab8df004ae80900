// Package inject puts whole IP packets on the wire by raw sockets, marked so
// that b4's own rules leave them alone.
package inject

import (
	"errors"
	"fmt"

	"b4/engine"
	"b4/mark"

	"golang.org/x/sys/unix"
)

// sendBuffer holds a burst of decoys at full size while the device is busy. A
// full buffer is an error at once, as a wait would stall every flow.
const sendBuffer = 1 << 20

// A Sender implements engine.Sender. It is for one goroutine, and so is Close.
type Sender struct {
	marks  mark.Set
	v4, v6 socket
}

// An Error is the errno of a send that failed, for instance EMSGSIZE where the
// packet is longer than the device's MTU, and EAGAIN where the send buffer is
// full. What the device's own queue drops is no error, as for any sender. It
// unwraps to unix.Errno, and making it allocates nothing.
type Error unix.Errno

func (e Error) Error() string { return "send raw packet: " + unix.Errno(e).Error() }
func (e Error) Unwrap() error { return unix.Errno(e) }

var (
	errNoIPv6 = errors.New("send raw packet: this kernel has no IPv6")
	errHeader = errors.New("send raw packet: no IPv4 or IPv6 header")
)

// Open makes the raw sockets. A kernel without IPv6 is no error; sends of IPv6
// packets then are.
func Open(marks mark.Set) (*Sender, error) { return open(marks, dial) }

func open(marks mark.Set, dial func(family int) (int, error)) (*Sender, error) {
	fd4, err := dial(unix.AF_INET)
	if err != nil {
		return nil, explain("IPv4", err)
	}
	fd6, err := dial(unix.AF_INET6)
	if errors.Is(err, unix.EAFNOSUPPORT) {
		fd6 = -1
	} else if err != nil {
		unix.Close(fd4)
		return nil, explain("IPv6", err)
	}
	return &Sender{marks: marks, v4: newSocket(fd4, &ipv4), v6: newSocket(fd6, &ipv6)}, nil
}

func explain(family string, err error) error {
	if errors.Is(err, unix.EPERM) {
		return fmt.Errorf("open raw %s socket: CAP_NET_RAW is missing (run as root): %w", family, err)
	}
	return fmt.Errorf("open raw %s socket: %w", family, err)
}

// dial opens a raw socket that takes packets with their header (IPPROTO_RAW
// implies it in both families) and routes for any source address: packets of
// forwarded connections have sources that are not the router's.
func dial(family int) (int, error) {
	fd, err := unix.Socket(family, unix.SOCK_RAW|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, unix.IPPROTO_RAW)
	if err != nil {
		return -1, err
	}
	level, option := unix.SOL_IP, unix.IP_TRANSPARENT
	if family == unix.AF_INET6 {
		level, option = unix.SOL_IPV6, unix.IPV6_TRANSPARENT
	}
	err = unix.SetsockoptInt(fd, level, option, 1)
	if err == nil && unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_SNDBUFFORCE, sendBuffer) != nil {
		err = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_SNDBUF, sendBuffer)
	}
	if err != nil {
		unix.Close(fd)
		return -1, err
	}
	return fd, nil
}

// Send implements engine.Sender. A packet carries the Injected mark and o.Mark's
// bits that are not b4's, and leaves by o.Out where that is known, else as its mark,
// source and destination are routed. o.After is for who has waited. Send allocates
// nothing. Packets longer than the device's MTU are refused (EMSGSIZE), never cut;
// fragments leave as the fragments they are.
//
// What is Back goes to conntrack instead: there it belongs to the connection,
// which NAT leads to the client, be that behind a masquerade. The connection must
// be one already: its first packet has left the router, whatever by then was in
// it. Neither o.Mark nor o.Out, which lead to the server, count then.
//
// The kernel fills in an IPv4 header's total length and checksum whatever they
// were, and its identification where that is zero and the packet may be
// fragmented (raw_send_hdrinc in net/ipv4/raw.c). An IPv6 packet leaves as it is.
func (s *Sender) Send(outs []engine.Out) (sent int, err error) {
	for sent < len(outs) && err == nil {
		var n int
		n, err = s.sendRun(outs[sent:])
		sent += n
	}
	return sent, err
}

// sendRun sends as many packets as the first system call can: those of one family
// and one device.
func (s *Sender) sendRun(outs []engine.Out) (int, error) {
	by, device, err := s.way(&outs[0])
	if err == nil {
		err = by.bind(device)
	}
	if err != nil {
		return 0, err
	}
	n := 0
	for n < min(len(outs), slots) {
		o := &outs[n]
		if b, d, err := s.way(o); b != by || d != device || err != nil {
			break
		}
		m := s.stamp(o.Mark)
		if o.Back {
			m = 0
		}
		by.fill(n, o.Bytes, m)
		n++
	}
	return by.send(n)
}

// way is what a packet leaves by.
func (s *Sender) way(o *engine.Out) (by *socket, device int32, err error) {
	device = o.Out
	if o.Back {
		device = 0
	}
	switch b := o.Bytes; {
	case len(b) >= 20 && b[0]>>4 == 4:
		return &s.v4, device, nil
	case len(b) >= 40 && b[0]>>4 == 6 && s.v6.fd >= 0:
		return &s.v6, device, nil
	case len(b) >= 40 && b[0]>>4 == 6:
		return nil, 0, errNoIPv6
	}
	return nil, 0, errHeader
}

// stamp replaces b4's bits in a packet's mark by Injected.
func (s *Sender) stamp(m uint32) uint32 { return m&^s.marks.Mask() | s.marks.Injected }

// Close closes the sockets. Later sends fail.
func (s *Sender) Close() error {
	var errs [2]error
	for i, fd := range []*int{&s.v4.fd, &s.v6.fd} {
		if *fd >= 0 {
			errs[i], *fd = unix.Close(*fd), -1
		}
	}
	return errors.Join(errs[:]...)
}
