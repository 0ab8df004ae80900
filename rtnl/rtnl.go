// Package rtnl speaks rtnetlink: dumps, acknowledged requests and events. What
// the messages mean is the affair of its users.
//
// It is written by hand because the library for it (vishvananda/netlink) adds
// 460 kB to b4d on MIPS, package route on top of this one 65 kB.
package rtnl

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// limit bounds the wait for an answer. The kernel answers at once, within the
	// write itself; the limit is for the day it does not.
	limit = 2 * time.Second
	// dumpTries bounds the dumps thrown away because something changed
	// meanwhile (NLM_F_DUMP_INTR).
	dumpTries = 8
	// bufferSize holds the largest message batch: the kernel fills at most
	// 32 KiB at a time (netlink_dump in net/netlink/af_netlink.c).
	bufferSize = 32 << 10
)

var (
	errInterrupted = errors.New("the kernel's tables kept changing")
	errCut         = errors.New("message is cut short")
)

// A Conn asks the kernel about one network namespace. One goroutine may use it
// at a time.
type Conn struct {
	f   *os.File
	seq uint32
	buf []byte
}

// Dial opens a socket in the calling thread's network namespace.
func Dial() (*Conn, error) {
	f, err := dial()
	if err != nil {
		return nil, err
	}
	c := newConn(f)
	if err := c.set(); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return c, nil
}

func newConn(f *os.File) *Conn { return &Conn{f: f, buf: make([]byte, bufferSize)} }

// dial opens a socket. The runtime's poller waits for it, so reads end on
// deadlines and on Close.
func dial() (*os.File, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.NETLINK_ROUTE)
	if err != nil {
		return nil, fmt.Errorf("open rtnetlink socket: %w", err)
	}
	if err := unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("bind rtnetlink socket: %w", err)
	}
	return os.NewFile(uintptr(fd), "rtnetlink"), nil
}

// set asks for the kernel's own words with each error, for no copy of the
// request (both are in Linux since 4.12), and for dumps of what the head of the
// request asks for only (since 4.20; without it they are of everything).
func (c *Conn) set() error {
	raw, err := c.f.SyscallConn()
	if err != nil {
		return fmt.Errorf("reach rtnetlink socket: %w", err)
	}
	var words, short error
	err = raw.Control(func(fd uintptr) {
		words = unix.SetsockoptInt(int(fd), unix.SOL_NETLINK, unix.NETLINK_EXT_ACK, 1)
		short = unix.SetsockoptInt(int(fd), unix.SOL_NETLINK, unix.NETLINK_CAP_ACK, 1)
		unix.SetsockoptInt(int(fd), unix.SOL_NETLINK, unix.NETLINK_GET_STRICT_CHK, 1)
	})
	if err := errors.Join(err, words, short); err != nil {
		return fmt.Errorf("ask rtnetlink for explanations: %w", err)
	}
	return nil
}

// Close ends the connection.
func (c *Conn) Close() error { return c.f.Close() }

// Dump asks for all objects of one kind: RTM_GETLINK, RTM_GETADDR, RTM_GETROUTE
// or RTM_GETRULE; again where the answer is inconsistent. parse appends what it
// understands to its first argument and keeps no bytes of the message. A kernel
// without a family answers some requests for it with every family it has: parse
// looks for itself.
func Dump[T any](c *Conn, typ uint16, family uint8, parse func([]T, Message) []T) ([]T, error) {
	// The kernel wants the head of the kind, and nothing behind it: struct
	// ifinfomsg, struct ifaddrmsg, and struct rtmsg or fib_rule_hdr.
	var head [unix.SizeofIfInfomsg]byte
	head[0] = family
	size := unix.SizeofRtMsg
	switch typ {
	case unix.RTM_GETLINK:
		size = unix.SizeofIfInfomsg
	case unix.RTM_GETADDR:
		size = unix.SizeofIfAddrmsg
	}
	return dump(c, typ, head[:size], parse)
}

// DumpRoutes is Dump for the routes of one family that are of one protocol: the
// kernel picks them out, a quarter of the work or less than to tell of them all.
// Before Linux 4.20 it does not, so parse looks for itself.
func DumpRoutes[T any](c *Conn, family, protocol uint8, parse func([]T, Message) []T) ([]T, error) {
	return dump(c, unix.RTM_GETROUTE, Route{Family: family, Protocol: protocol}.Append(nil), parse)
}

func dump[T any](c *Conn, typ uint16, head []byte, parse func([]T, Message) []T) ([]T, error) {
	for range dumpTries {
		var all []T
		err := c.ask(typ, unix.NLM_F_DUMP, head, func(m Message) { all = parse(all, m) })
		if !errors.Is(err, errInterrupted) {
			return all, err
		}
	}
	return nil, errInterrupted
}

// Do asks for one change and waits for the kernel's word on it: nil, or a
// unix.Errno, wrapped with the kernel's explanation where it gave one. body is
// the family's header and its attributes.
func (c *Conn) Do(typ, flags uint16, body []byte) error {
	return c.ask(typ, flags|unix.NLM_F_ACK, body, func(Message) {})
}

// ask sends one request and hands over the answers that carry its number; what
// an interrupted request still brings carries another.
func (c *Conn) ask(typ, flags uint16, body []byte, each func(Message)) error {
	if err := c.f.SetWriteDeadline(time.Now().Add(limit)); err != nil {
		return fmt.Errorf("set rtnetlink deadline: %w", err)
	}
	c.seq++
	if _, err := c.f.Write(AppendMessage(nil, typ, flags|unix.NLM_F_REQUEST, c.seq, body)); err != nil {
		return fmt.Errorf("ask the kernel: %w", err)
	}
	interrupted := false
	for {
		rest, err := c.read()
		if err != nil {
			return fmt.Errorf("read the kernel's answer: %w", err)
		}
		for len(rest) > 0 {
			var m Message
			var ok bool
			if m, rest, ok = CutMessage(rest); !ok {
				return errCut
			}
			if m.Seq != c.seq {
				continue
			}
			interrupted = interrupted || m.Flags&unix.NLM_F_DUMP_INTR != 0
			if m.Type != unix.NLMSG_DONE && m.Type != unix.NLMSG_ERROR {
				each(m)
				continue
			}
			if err := m.err(); err != nil || !interrupted {
				return err
			}
			return errInterrupted
		}
	}
}

// read reads what the kernel has said; it is valid until the next. The limit begins
// only here: the kernel may have worked for longer than that within the write, or of a
// dump within the read before, where others held its lock. What it has answered then
// is not to be missed, for what succeeded would be taken for failed.
func (c *Conn) read() ([]byte, error) {
	if err := c.f.SetReadDeadline(time.Now().Add(limit)); err != nil {
		return nil, err
	}
	n, err := c.f.Read(c.buf)
	if err != nil {
		return nil, err
	}
	return c.buf[:n], nil
}

// A Message is one netlink message. Body borrows from what it was cut off.
type Message struct {
	Type, Flags uint16
	Seq         uint32
	Body        []byte
}

// CutMessage takes the first message off b (struct nlmsghdr; host byte order).
func CutMessage(b []byte) (m Message, rest []byte, ok bool) {
	if len(b) < unix.SizeofNlMsghdr {
		return m, nil, false
	}
	n := binary.NativeEndian.Uint32(b)
	if n < unix.SizeofNlMsghdr || uint64(n) > uint64(len(b)) {
		return m, nil, false
	}
	m.Type = binary.NativeEndian.Uint16(b[4:])
	m.Flags = binary.NativeEndian.Uint16(b[6:])
	m.Seq = binary.NativeEndian.Uint32(b[8:])
	m.Body = b[unix.SizeofNlMsghdr:n]
	return m, b[min(align4(int(n)), len(b)):], true
}

// AppendMessage appends a whole message to b.
func AppendMessage(b []byte, typ, flags uint16, seq uint32, body []byte) []byte {
	b = binary.NativeEndian.AppendUint32(b, uint32(unix.SizeofNlMsghdr+len(body)))
	b = binary.NativeEndian.AppendUint16(b, typ)
	b = binary.NativeEndian.AppendUint16(b, flags)
	b = binary.NativeEndian.AppendUint32(b, seq)
	b = append(b, 0, 0, 0, 0) // the sender: the kernel fills it in
	return append(b, body...)
}

// err is the error that NLMSG_ERROR or NLMSG_DONE begins with; 0 is none.
func (m Message) err() error {
	if len(m.Body) < 4 {
		return errCut
	}
	e := int32(binary.NativeEndian.Uint32(m.Body))
	if e >= 0 {
		return nil
	}
	if words := m.words(); words != "" {
		return fmt.Errorf("%w (%s)", unix.Errno(-e), words)
	}
	return unix.Errno(-e)
}

// words is the kernel's explanation of an error, if there is one: attributes
// behind the error's number and the head of the request (struct nlmsgerr), or
// behind the number alone at the end of a dump.
func (m Message) words() string {
	head := 4
	if m.Type == unix.NLMSG_ERROR {
		head += unix.SizeofNlMsghdr
	}
	if m.Flags&unix.NLM_F_ACK_TLVS == 0 || len(m.Body) < head {
		return ""
	}
	if m.Type == unix.NLMSG_ERROR && m.Flags&unix.NLM_F_CAPPED == 0 {
		return "" // the request is copied in full, as it was not asked to be
	}
	for b := m.Body[head:]; len(b) > 0; {
		typ, value, rest, ok := CutAttr(b)
		if !ok {
			return ""
		}
		if typ == unix.NLMSGERR_ATTR_MSG {
			return CString(value)
		}
		b = rest
	}
	return ""
}
