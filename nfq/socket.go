package nfq

import (
	"errors"
	"fmt"
	"time"

	"b4/engine"

	"golang.org/x/sys/unix"
)

const (
	// A burst of full-size packets must fit, else FAIL_OPEN lets the tail of
	// a flow overtake its head: 150 000 retransmissions in 3 s were measured
	// with the default buffer and 16 KiB copies.
	wantBuffer = 1 << 20

	// The largest useful copy: a long hello behind the longest headers.
	copyRange = 16<<10 + 128

	// What a buffer below wantBuffer can take: one packet of an Ethernet MTU.
	smallCopyRange = 2048

	// What is copied where superpackets come whole and are told apart by how
	// they begin. It holds the rest of a post-quantum hello, in case that comes
	// in one behind a segment with the beginning.
	wholeCopyRange = 4096

	// The kernel answers a configuration message before the send returns.
	answerWait = time.Second
)

// A socket is a netlink socket connected to the kernel's nfnetlink_queue.
type socket struct {
	fd    int
	stray uint32 // newest packet that came in between answers; 0 is none
}

// dial opens a socket and asks whether there is a subsystem at its other end.
func dial() (*socket, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.NETLINK_NETFILTER)
	if err != nil {
		return nil, explainSubsystem(err)
	}
	s := &socket{fd: fd}
	// Connected, it takes messages from no other process than the kernel.
	err = unix.Connect(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK})
	if err == nil {
		err = s.ask(appendCmd(begin(nil, msgConfig, unix.NLM_F_ACK, 0), cmdPFBind))
	}
	if err != nil {
		s.close()
		return nil, explainSubsystem(err)
	}
	return s, nil
}

func (s *socket) close() error { return unix.Close(s.fd) }

// probe reports whether the kernel has NFQUEUE and lets us use it.
func probe() error {
	s, err := dial()
	if err != nil {
		return err
	}
	return s.close()
}

// explainSubsystem names what is missing where opening or the first message
// failed. nfnetlink_rcv_msg answers EINVAL for an unknown subsystem.
func explainSubsystem(err error) error {
	switch {
	case errors.Is(err, unix.EPERM), errors.Is(err, unix.EACCES):
		return fmt.Errorf("open NFQUEUE: CAP_NET_ADMIN is missing (run as root): %w", err)
	case errors.Is(err, unix.EPROTONOSUPPORT), errors.Is(err, unix.EAFNOSUPPORT), errors.Is(err, unix.EINVAL):
		return fmt.Errorf("NFQUEUE is %w: install kmod-nft-queue (%w)", engine.ErrNotSupported, err)
	}
	return fmt.Errorf("open NFQUEUE: %w", err)
}

// explainBind names who holds the queue: nfqnl_recv_config answers EPERM if
// that is another socket, and EBUSY if it is already bound.
func explainBind(num uint16, err error) error {
	if errors.Is(err, unix.EPERM) || errors.Is(err, unix.EBUSY) {
		return fmt.Errorf("bind queue %d: another program holds it (choose another queue_num): %w", num, err)
	}
	return fmt.Errorf("bind queue %d: %w", num, err)
}

// buffer makes the receive buffer as large as it may be and returns its size.
func (s *socket) buffer() (int, error) {
	if unix.SetsockoptInt(s.fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, wantBuffer) != nil {
		if err := unix.SetsockoptInt(s.fd, unix.SOL_SOCKET, unix.SO_RCVBUF, wantBuffer); err != nil {
			return 0, fmt.Errorf("set receive buffer: %w", err)
		}
	}
	return unix.GetsockoptInt(s.fd, unix.SOL_SOCKET, unix.SO_RCVBUF)
}

// configure binds the queues with copies of at most n bytes and tells what of
// the optional features the kernel has taken. The second comes first: nothing is
// put there before the other is served.
func (s *socket) configure(c Config, n uint32) (caps engine.Capabilities, err error) {
	if c.cuts() {
		if caps, err = s.bind(c.Cut, c.Len, n, false); err != nil {
			return caps, err
		}
		n = min(n, wholeCopyRange)
	}
	if caps, err = s.bind(c.Num, c.Len, n, c.GSO); err != nil {
		return caps, err
	}
	// Else one overrun makes the kernel refuse all until the buffer is empty.
	if err := unix.SetsockoptInt(s.fd, unix.SOL_NETLINK, unix.NETLINK_NO_ENOBUFS, 1); err != nil {
		return caps, fmt.Errorf("set NETLINK_NO_ENOBUFS: %w", err)
	}
	return caps, nil
}

// bind binds queue num. Mode and length go with the bind, because a bound queue
// without a copy mode drops what comes.
func (s *socket) bind(num uint16, length, n uint32, gso bool) (caps engine.Capabilities, err error) {
	m := appendParams(appendCmd(begin(nil, msgConfig, unix.NLM_F_ACK, num), cmdBind), n)
	if length > 0 {
		m = appendNumber(m, attrCfgMaxLen, length)
	}
	if err := s.ask(m); err != nil {
		return caps, explainBind(num, err)
	}
	if caps.FailOpen, err = s.flag(num, flagFailOpen); err != nil {
		return caps, fmt.Errorf("set fail-open on queue %d: %w", num, err)
	}
	if gso {
		if caps.GSO, err = s.flag(num, flagGSO); err != nil {
			return caps, fmt.Errorf("set gso on queue %d: %w", num, err)
		}
	}
	return caps, nil
}

// flag sets one flag and reports whether the kernel knows it. Each goes in a
// message of its own: a set with one unknown flag fails whole.
func (s *socket) flag(num uint16, flag uint32) (bool, error) {
	err := s.ask(appendFlag(begin(nil, msgConfig, unix.NLM_F_ACK, num), flag))
	if errors.Is(err, unix.EOPNOTSUPP) {
		return false, nil
	}
	return err == nil, err
}

// ask sends m and waits for the answer. The queue may be bound and rules may
// point to it already: packets that come in between are remembered in stray.
func (s *socket) ask(m []byte) error {
	if _, err := unix.Write(s.fd, finish(m)); err != nil {
		return err
	}
	var buf [256]byte // an answer, or the head of a packet's message with its id
	var p engine.Packet
	for end := time.Now().Add(answerWait); ; {
		n, err := unix.Read(s.fd, buf[:])
		switch {
		case err == unix.EAGAIN:
			left := time.Until(end)
			if left <= 0 {
				return errors.New("no answer from the kernel")
			}
			fds := [1]unix.PollFd{{Fd: int32(s.fd), Events: unix.POLLIN}}
			if _, err := unix.Poll(fds[:], int(left/time.Millisecond)+1); err != nil && err != unix.EINTR {
				return err
			}
			continue
		case err == unix.EINTR, err == unix.ENOBUFS:
			continue
		case err != nil:
			return err
		}
		switch k, errno := parse(buf[:n], &p); {
		case k == kindPacket:
			s.stray = p.ID
		case k == kindError && errno != 0:
			return errno
		case k == kindError:
			return nil
		}
	}
}
