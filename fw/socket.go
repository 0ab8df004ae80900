package fw

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// A socket speaks to nf_tables. The kernel handles a request, and queues its
// whole answer, before the write returns. What is waited for is at most another
// program's transaction.
type socket struct {
	fd int
	in [8 << 10]byte // the most the kernel puts into one part of a dump (NLMSG_GOODSIZE)
}

// A refusal is the kernel's no to one message of a batch.
type refusal struct {
	seq   uint32
	errno unix.Errno
	text  string // the kernel's words, mostly none
}

func (r *refusal) Error() string {
	if r.text != "" {
		return r.errno.Error() + " (" + r.text + ")"
	}
	return r.errno.Error()
}

func (r *refusal) Unwrap() error { return r.errno }

func dial() (*socket, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.NETLINK_NETFILTER)
	if err != nil {
		return nil, fmt.Errorf("open a netfilter socket (install kmod-nft-core): %w", err)
	}
	s := &socket{fd: fd}
	if err := s.setUp(); err != nil {
		return nil, errors.Join(fmt.Errorf("set up the netfilter socket: %w", err), s.close())
	}
	return s, nil
}

func (s *socket) setUp() error {
	// Answers without a copy of the request, and with words where there are
	// any. One that is lost is missed by its reader, not reported here.
	for _, opt := range []int{unix.NETLINK_CAP_ACK, unix.NETLINK_EXT_ACK, unix.NETLINK_NO_ENOBUFS} {
		if err := unix.SetsockoptInt(s.fd, unix.SOL_NETLINK, opt, 1); err != nil {
			return os.NewSyscallError("setsockopt", err)
		}
	}
	return os.NewSyscallError("bind", unix.Bind(s.fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}))
}

func (s *socket) close() error { return os.NewSyscallError("close", unix.Close(s.fd)) }

// commit sends a batch and returns the kernel's first no, a *refusal, if any.
// It allocates nothing if all goes well.
func (s *socket) commit(batch []byte) error {
	if err := s.send(batch); err != nil {
		return err
	}
	var first *refusal
	done := false
	err := s.answers(func(m message) {
		if m.typ != unix.NLMSG_ERROR {
			return
		}
		if no := m.refusal(); no == nil {
			done = true
		} else if first == nil {
			first = no
		}
	})
	switch {
	case err != nil:
		return err
	case first != nil:
		return first
	case !done:
		return errNoAnswer
	}
	return nil
}

var errNoAnswer = errors.New("nf_tables gave no whole answer")

// dump sends a request and gives f the family and the attributes of each message
// of the answer, which f must not keep.
func (s *socket) dump(request []byte, f func(family uint8, a attrs) error) error {
	if err := s.send(request); err != nil {
		return err
	}
	const genLen = headerLen - unix.NLMSG_HDRLEN
	var first error
	done := false
	err := s.answers(func(m message) {
		var err error
		switch {
		case m.typ == unix.NLMSG_DONE:
			done = true
		case m.typ == unix.NLMSG_ERROR:
			if no := m.refusal(); no != nil {
				err = no
			} else {
				done = true
			}
		case len(m.data) >= genLen:
			err = f(m.data[0], m.data[genLen:])
		}
		if first == nil {
			first = err
		}
	})
	switch {
	case err != nil:
		return err
	case first == nil && !done:
		return errNoAnswer
	}
	return first
}

// send makes room for what is longer than the socket takes by default: a
// transaction is one message.
func (s *socket) send(b []byte) error {
	_, err := unix.Write(s.fd, b)
	if err == unix.EMSGSIZE && unix.SetsockoptInt(s.fd, unix.SOL_SOCKET, unix.SO_SNDBUFFORCE, len(b)) == nil {
		_, err = unix.Write(s.fd, b)
	}
	if err != nil {
		return os.NewSyscallError("send to nf_tables", err)
	}
	return nil
}

// answers gives f all that the kernel has queued. A message is valid until f
// returns.
func (s *socket) answers(f func(message)) error {
	for {
		n, err := unix.Read(s.fd, s.in[:])
		switch err {
		case nil:
		case unix.EINTR:
			continue
		case unix.EAGAIN:
			return nil
		default:
			return os.NewSyscallError("receive from nf_tables", err)
		}
		b := s.in[:n]
		for m, ok := cut(&b); ok; m, ok = cut(&b) {
			f(m)
		}
	}
}

// A message borrows its data from what was received.
type message struct {
	typ, flags uint16
	seq        uint32
	data       []byte
}

// cut takes the first message off b.
func cut(b *[]byte) (m message, ok bool) {
	p := *b
	if len(p) < unix.NLMSG_HDRLEN {
		return message{}, false
	}
	n := binary.NativeEndian.Uint32(p)
	if n < unix.NLMSG_HDRLEN || n > uint32(len(p)) {
		return message{}, false
	}
	*b = p[min(len(p), int(n+3)&^3):]
	return message{
		typ:   binary.NativeEndian.Uint16(p[4:]),
		flags: binary.NativeEndian.Uint16(p[6:]),
		seq:   binary.NativeEndian.Uint32(p[8:]),
		data:  p[unix.NLMSG_HDRLEN:n],
	}, true
}

// refusal reads struct nlmsgerr, and the kernel's words behind it. It returns
// nil for an acknowledgement.
func (m message) refusal() *refusal {
	if len(m.data) < 4 {
		return nil
	}
	errno := -int32(binary.NativeEndian.Uint32(m.data))
	if errno == 0 {
		return nil
	}
	r := &refusal{seq: m.seq, errno: unix.Errno(errno)}
	const errLen = 4 + unix.NLMSG_HDRLEN
	if m.flags&unix.NLM_F_ACK_TLVS == 0 || m.flags&unix.NLM_F_CAPPED == 0 || len(m.data) < errLen {
		return r
	}
	if ad, err := netlink.NewAttributeDecoder(m.data[errLen:]); err == nil {
		for ad.Next() {
			if ad.Type() == unix.NLMSGERR_ATTR_MSG {
				r.text = strings.ToLower(ad.String())
			}
		}
	}
	return r
}
