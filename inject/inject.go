// Package inject puts whole IP packets on the wire by raw sockets, marked so
// that b4's own rules leave them alone.
package inject

import (
	"encoding/binary"
	"errors"
	"fmt"
	"unsafe"

	"b4/engine"
	"b4/mark"

	"golang.org/x/sys/unix"
)

// sendBuffer holds a burst of decoys at full size while the device is busy. A
// full buffer is an error at once, as a wait would stall every flow.
const sendBuffer = 1 << 20

// A Sender implements engine.Sender. It is for one goroutine, and so is Close.
type Sender struct {
	marks mark.Set
	v4    socket
	to4   unix.SockaddrInet4
	v6    socket
	to6   unix.SockaddrInet6
}

// A socket is a raw socket and the control messages of its next send: SO_MARK
// and after it IP_PKTINFO or IPV6_PKTINFO. These two name the device and the
// source for the routing decision, which never looks into the packet's header.
// The kernel honours SO_MARK there since Linux 5.5.
type socket struct {
	fd            int   // negative where the kernel has not the family
	device        int32 // index of the one it is bound to, 0 is none
	control       []byte
	mark, pktinfo []byte // the contents of the two, inside control
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
	return &Sender{
		marks: marks,
		v4:    newSocket(fd4, unix.SOL_IP, unix.IP_PKTINFO, unix.SizeofInet4Pktinfo),
		v6:    newSocket(fd6, unix.SOL_IPV6, unix.IPV6_PKTINFO, unix.SizeofInet6Pktinfo),
	}, nil
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

func newSocket(fd, level, typ, size int) socket {
	first := unix.CmsgSpace(4)
	c := make([]byte, first+unix.CmsgSpace(size))
	return socket{
		fd:      fd,
		control: c,
		mark:    message(c, unix.SOL_SOCKET, unix.SO_MARK, 4),
		pktinfo: message(c[first:], level, typ, size),
	}
}

// message writes the head of a control message to b and returns the place of
// its n bytes.
func message(b []byte, level, typ, n int) []byte {
	h := (*unix.Cmsghdr)(unsafe.Pointer(&b[0]))
	h.Level, h.Type = int32(level), int32(typ)
	h.SetLen(unix.CmsgLen(n))
	return b[unix.CmsgLen(0):unix.CmsgLen(n)]
}

// Send puts o.Bytes on the wire. The packet carries the Injected mark and
// o.Mark's bits that are not b4's, and leaves by o.Out where that is known, else
// as its mark, source and destination are routed. o.After is for who has waited.
// Send allocates nothing. Packets longer than the device's MTU are refused
// (EMSGSIZE), never cut; fragments leave as the fragments they are.
//
// What is Back goes to conntrack instead: there it belongs to the connection,
// which NAT leads to the client, be that behind a masquerade. The connection must
// be one already: its first packet has left the router, whatever by then was in
// it. Neither o.Mark nor o.Out, which lead to the server, count then.
//
// The kernel fills in an IPv4 header's total length and checksum whatever they
// were, and its identification where that is zero and the packet may be
// fragmented (raw_send_hdrinc in net/ipv4/raw.c). An IPv6 packet leaves as it is.
func (s *Sender) Send(o engine.Out) error {
	b, m := o.Bytes, s.stamp(o.Mark)
	if o.Back {
		m, o.Out = 0, 0
	}
	switch {
	case len(b) >= 20 && b[0]>>4 == 4:
		if err := s.v4.bind(o.Out); err != nil {
			return err
		}
		// struct in_pktinfo: device, source, and a field for receivers.
		binary.NativeEndian.PutUint32(s.v4.pktinfo, uint32(o.Out))
		copy(s.v4.pktinfo[4:8], b[12:16])
		s.to4.Addr = [4]byte(b[16:20])
		return s.v4.send(b, m, &s.to4)
	case len(b) >= 40 && b[0]>>4 == 6:
		if s.v6.fd < 0 {
			return errNoIPv6
		}
		if err := s.v6.bind(o.Out); err != nil {
			return err
		}
		// struct in6_pktinfo: source, device.
		copy(s.v6.pktinfo[:16], b[8:24])
		binary.NativeEndian.PutUint32(s.v6.pktinfo[16:], uint32(o.Out))
		s.to6.Addr = [16]byte(b[24:40])
		return s.v6.send(b, m, &s.to6)
	}
	return errHeader
}

// stamp replaces b4's bits in a packet's mark by Injected.
func (s *Sender) stamp(m uint32) uint32 { return m&^s.marks.Mask() | s.marks.Injected }

// bind ties a socket to a device, as PKTINFO's device alone does not hold. With a
// source given, an IPv6 route by another device but of lower metric wins
// (ip6_route_output_flags in net/ipv6/route.c). And where another program's
// chain of type route changes the mark, as mwan3 and pbr do for what the router
// itself sends, the kernel routes again, and asks the socket alone for the device
// (ip_route_me_harder in net/ipv4/netfilter.c). It costs a system call only when
// the uplink changes.
func (s *socket) bind(device int32) error {
	if device == s.device {
		return nil
	}
	if err := unix.SetsockoptInt(s.fd, unix.SOL_SOCKET, unix.SO_BINDTOIFINDEX, int(device)); err != nil {
		return sendError(err)
	}
	s.device = device
	return nil
}

func (s *socket) send(b []byte, m uint32, to unix.Sockaddr) error {
	binary.NativeEndian.PutUint32(s.mark, m)
	_, err := unix.SendmsgN(s.fd, b, s.control, to, 0)
	return sendError(err)
}

func sendError(err error) error {
	if errno, ok := err.(unix.Errno); ok {
		return Error(errno)
	}
	return err
}

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
