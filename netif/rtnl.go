package netif

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// dumpLimit bounds one dump. The kernel answers at once; the limit is for
	// the day it does not.
	dumpLimit = 2 * time.Second
	// dumpTries bounds the dumps thrown away because something changed
	// meanwhile (NLM_F_DUMP_INTR).
	dumpTries = 8
	// dumpBuffer holds the largest message batch: the kernel fills at most
	// 32 KiB at a time (netlink_dump in net/netlink/af_netlink.c).
	dumpBuffer = 32 << 10
	// attrTypeMask leaves out NLA_F_NESTED and NLA_F_NET_BYTEORDER.
	attrTypeMask = 0x3fff
)

var (
	errInterrupted = errors.New("the kernel's tables kept changing")
	errCut         = errors.New("message is cut short")
)

// dial opens an rtnetlink socket of the calling thread's network namespace. The
// runtime's poller waits for it, so reads end on deadlines and on Close.
func dial(groups uint32) (*os.File, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.NETLINK_ROUTE)
	if err != nil {
		return nil, fmt.Errorf("open rtnetlink socket: %w", err)
	}
	if err := unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK, Groups: groups}); err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("bind rtnetlink socket: %w", err)
	}
	return os.NewFile(uintptr(fd), "rtnetlink"), nil
}

// readKernel asks for the links and for the default routes of both families.
func readKernel() (k kernel, err error) {
	f, err := dial(0)
	if err != nil {
		return k, err
	}
	defer f.Close()
	if err := f.SetDeadline(time.Now().Add(dumpLimit)); err != nil {
		return k, fmt.Errorf("set rtnetlink deadline: %w", err)
	}
	if k.links, err = dump(f, unix.RTM_GETLINK, unix.AF_UNSPEC, parseLink); err != nil {
		return k, fmt.Errorf("list devices: %w", err)
	}
	for _, family := range []uint8{unix.AF_INET, unix.AF_INET6} {
		// A kernel without IPv6 answers with every family it has, so routes
		// may stand here twice.
		routes, err := dump(f, unix.RTM_GETROUTE, family, parseRoute)
		if err != nil {
			return k, fmt.Errorf("list routes: %w", err)
		}
		k.routes = append(k.routes, routes...)
	}
	return k, nil
}

// dump asks for all objects of one kind, again where the answer is inconsistent.
// parse appends what it understands and keeps no bytes.
func dump[T any](f *os.File, typ uint16, family uint8, parse func([]T, message) []T) ([]T, error) {
	b := make([]byte, dumpBuffer)
	for try := uint32(1); try <= dumpTries; try++ {
		var all []T
		err := ask(f, b, typ, family, uint32(typ)<<16|uint32(family)<<8|try, func(m message) { all = parse(all, m) })
		if !errors.Is(err, errInterrupted) {
			return all, err
		}
	}
	return nil, errInterrupted
}

// ask sends one dump request and hands over the answers that carry seq; what an
// interrupted request still brings carries another.
func ask(f *os.File, b []byte, typ uint16, family uint8, seq uint32, each func(message)) error {
	// The body is the largest family header asked with: struct rtmsg has 12
	// bytes, struct ifinfomsg 16, and the kernel lets zeros follow.
	var req [unix.SizeofNlMsghdr + unix.SizeofIfInfomsg]byte
	binary.NativeEndian.PutUint32(req[0:], uint32(len(req)))
	binary.NativeEndian.PutUint16(req[4:], typ)
	binary.NativeEndian.PutUint16(req[6:], unix.NLM_F_REQUEST|unix.NLM_F_DUMP)
	binary.NativeEndian.PutUint32(req[8:], seq)
	req[unix.SizeofNlMsghdr] = family
	if _, err := f.Write(req[:]); err != nil {
		return fmt.Errorf("ask the kernel: %w", err)
	}
	interrupted := false
	for {
		n, err := f.Read(b)
		if err != nil {
			return fmt.Errorf("read the kernel's answer: %w", err)
		}
		for rest := b[:n]; len(rest) > 0; {
			var m message
			var ok bool
			if m, rest, ok = cutMessage(rest); !ok {
				return errCut
			}
			if m.seq != seq {
				continue
			}
			interrupted = interrupted || m.flags&unix.NLM_F_DUMP_INTR != 0
			if m.typ != unix.NLMSG_DONE && m.typ != unix.NLMSG_ERROR {
				each(m)
				continue
			}
			if err := m.errno(); err != nil || !interrupted {
				return err
			}
			return errInterrupted
		}
	}
}

// A message is one netlink message; body borrows from the datagram.
type message struct {
	typ, flags uint16
	seq        uint32
	body       []byte
}

// cutMessage takes the first message off b (struct nlmsghdr; host byte order).
func cutMessage(b []byte) (m message, rest []byte, ok bool) {
	if len(b) < unix.SizeofNlMsghdr {
		return m, nil, false
	}
	n := binary.NativeEndian.Uint32(b)
	if n < unix.SizeofNlMsghdr || uint64(n) > uint64(len(b)) {
		return m, nil, false
	}
	m.typ = binary.NativeEndian.Uint16(b[4:])
	m.flags = binary.NativeEndian.Uint16(b[6:])
	m.seq = binary.NativeEndian.Uint32(b[8:])
	m.body = b[unix.SizeofNlMsghdr:n]
	return m, b[min(align4(int(n)), len(b)):], true
}

// errno is the error that NLMSG_ERROR or NLMSG_DONE begins with; 0 is none.
func (m message) errno() error {
	if len(m.body) < 4 {
		return errCut
	}
	if e := int32(binary.NativeEndian.Uint32(m.body)); e < 0 {
		return unix.Errno(-e)
	}
	return nil
}

// cutAttr takes the first attribute off b (struct nlattr; host byte order).
func cutAttr(b []byte) (typ uint16, value, rest []byte, ok bool) {
	if len(b) < unix.SizeofNlAttr {
		return 0, nil, nil, false
	}
	n := int(binary.NativeEndian.Uint16(b))
	if n < unix.SizeofNlAttr || n > len(b) {
		return 0, nil, nil, false
	}
	typ = binary.NativeEndian.Uint16(b[2:]) & attrTypeMask
	return typ, b[unix.SizeofNlAttr:n], b[min(align4(n), len(b)):], true
}

// align4 rounds up to the padding that netlink and ubus share.
func align4(n int) int { return (n + 3) &^ 3 }
