package inject

import (
	"encoding/binary"
	"unsafe"

	"b4/mmsg"

	"golang.org/x/sys/unix"
)

// slots is how many packets one system call sends at most: more than a usual burst
// has, and of decoys without end the call is no longer what costs.
const slots = 64

// A protocol says where in a packet and in what goes with it things stand.
type protocol struct {
	number     uint16 // of sockaddr
	sockaddr   int    // its length
	to         int    // the address in it
	level, typ int    // of the control message PKTINFO
	pktinfo    int    // its length
	ifindex    int    // in it
	from       int    // the source address in it
	source     int    // in the packet's header; the destination is right behind
	address    int    // its length
}

var (
	// struct sockaddr_in, struct in_pktinfo
	ipv4 = protocol{unix.AF_INET, unix.SizeofSockaddrInet4, 4, unix.SOL_IP, unix.IP_PKTINFO, unix.SizeofInet4Pktinfo, 0, 4, 12, 4}
	// struct sockaddr_in6, struct in6_pktinfo
	ipv6 = protocol{unix.AF_INET6, unix.SizeofSockaddrInet6, 8, unix.SOL_IPV6, unix.IPV6_PKTINFO, unix.SizeofInet6Pktinfo, 16, 0, 8, 16}
)

// A socket is a raw socket and the message headers of its next sends.
type socket struct {
	*protocol
	fd     int   // negative where the kernel has not the family
	device int32 // index of the one it is bound to, 0 is none
	msgs   []mmsg.Header
	slots  []slot
}

// A slot is what the message header of one packet points to, besides the packet:
// its destination, and the control messages SO_MARK and IP_PKTINFO or IPV6_PKTINFO.
// These two name the device and the source for the routing decision, which never
// looks into the packet's header. The kernel honours SO_MARK there since Linux 5.5.
type slot struct {
	packet        unix.Iovec
	to            []byte
	mark, pktinfo []byte // the contents of the two
}

// newSocket prepares all that is the same for every packet.
func newSocket(fd int, p *protocol) socket {
	s := socket{protocol: p, fd: fd}
	if fd < 0 {
		return s
	}
	first := unix.CmsgSpace(4)
	size := first + unix.CmsgSpace(p.pktinfo)
	s.msgs, s.slots = make([]mmsg.Header, slots), make([]slot, slots)
	control, names := make([]byte, slots*size), make([]byte, slots*p.sockaddr)
	for i := range s.slots {
		c, to := control[i*size:][:size], names[i*p.sockaddr:][:p.sockaddr]
		binary.NativeEndian.PutUint16(to, p.number)
		s.slots[i] = slot{
			to:      to[p.to:][:p.address],
			mark:    message(c, unix.SOL_SOCKET, unix.SO_MARK, 4),
			pktinfo: message(c[first:], p.level, p.typ, p.pktinfo),
		}
		h := &s.msgs[i].Msg
		h.Name, h.Namelen = &to[0], uint32(p.sockaddr)
		h.Control, h.Iov = &c[0], &s.slots[i].packet
		h.SetControllen(size)
		h.SetIovlen(1)
	}
	return s
}

// message writes the head of a control message to b and returns the place of
// its n bytes.
func message(b []byte, level, typ, n int) []byte {
	h := (*unix.Cmsghdr)(unsafe.Pointer(&b[0]))
	h.Level, h.Type = int32(level), int32(typ)
	h.SetLen(unix.CmsgLen(n))
	return b[unix.CmsgLen(0):unix.CmsgLen(n)]
}

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

// fill makes packet b, with fwmark m, the i-th of the next send.
func (s *socket) fill(i int, b []byte, m uint32) {
	at, source := &s.slots[i], b[s.source:][:s.address]
	at.packet.Base = &b[0]
	at.packet.SetLen(len(b))
	copy(at.to, b[s.source+s.address:])
	binary.NativeEndian.PutUint32(at.mark, m)
	binary.NativeEndian.PutUint32(at.pktinfo[s.ifindex:], uint32(s.device))
	copy(at.pktinfo[s.from:], source)
}

// send sends the first n packets, and returns how many have left. That is fewer
// where one is refused that is not the first: why, the next send of it tells.
func (s *socket) send(n int) (int, error) {
	sent, errno := mmsg.Send(s.fd, s.msgs[:n])
	if errno != 0 {
		return 0, Error(errno)
	}
	return sent, nil
}

func sendError(err error) error {
	if errno, ok := err.(unix.Errno); ok {
		return Error(errno)
	}
	return err
}
