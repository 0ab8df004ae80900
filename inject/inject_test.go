package inject

import (
	"errors"
	"os"
	"strings"
	"testing"

	"b4/engine"
	"b4/mark"

	"golang.org/x/sys/unix"
)

func testMarks(t testing.TB) mark.Set {
	m, err := mark.New(mark.Base)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func TestControlSize(t *testing.T) {
	s := newSocket(-1, unix.SOL_IPV6, unix.IPV6_PKTINFO, unix.SizeofInet6Pktinfo)
	copy(s.mark, "mark")
	copy(s.pktinfo, "0123456789abcdefIFIX")
	msgs, err := unix.ParseSocketControlMessage(s.control)
	if err != nil || len(msgs) != 2 {
		t.Fatal(msgs, err)
	}
	for i, want := range []unix.SocketControlMessage{
		{Header: unix.Cmsghdr{Level: unix.SOL_SOCKET, Type: unix.SO_MARK}, Data: []byte("mark")},
		{Header: unix.Cmsghdr{Level: unix.SOL_IPV6, Type: unix.IPV6_PKTINFO}, Data: []byte("0123456789abcdefIFIX")},
	} {
		m := msgs[i]
		if m.Header.Level != want.Header.Level || m.Header.Type != want.Header.Type || string(m.Data) != string(want.Data) {
			t.Errorf("message %d: %+v", i, m)
		}
	}
}

func TestOpen(t *testing.T) {
	for _, c := range []struct {
		name   string
		v4, v6 error
		words  string // of Open's error
	}{
		{name: "both"},
		{name: "no v6", v6: unix.EAFNOSUPPORT},
		{name: "first fails", v4: unix.EPERM, words: "CAP_NET_RAW"},
		{name: "second fails", v6: unix.ENFILE, words: "raw IPv6 socket"},
	} {
		t.Run(c.name, func(t *testing.T) {
			opened := map[int]bool{}
			s, err := open(testMarks(t), func(family int) (int, error) {
				fail := c.v4
				if family == unix.AF_INET6 {
					fail = c.v6
				}
				if fail != nil {
					return -1, fail
				}
				fd, err := unix.Eventfd(0, unix.EFD_CLOEXEC)
				opened[fd] = true
				return fd, err
			})
			if c.words == "" {
				if err != nil {
					t.Fatal(err)
				}
				if err := errors.Join(s.Close(), s.Close()); err != nil {
					t.Error(err)
				}
			} else if err == nil || !strings.Contains(err.Error(), c.words) {
				t.Errorf("open: %v", err)
			}
			for fd := range opened {
				if _, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0); err != unix.EBADF {
					t.Errorf("descriptor %d is left open", fd)
				}
			}
		})
	}
}

func TestSendWithoutHeader(t *testing.T) {
	s, err := open(testMarks(t), func(int) (int, error) { return -1, unix.EAFNOSUPPORT })
	if s != nil || !errors.Is(err, unix.EAFNOSUPPORT) {
		t.Fatalf("no family at all: %v", err)
	}
	s = &Sender{v4: newSocket(-1, 0, 0, 12), v6: newSocket(-1, 0, 0, 20)}
	for _, c := range []struct {
		in   []byte
		want error
	}{
		{nil, errHeader},
		{make([]byte, 60), errHeader},
		{append([]byte{0x45}, make([]byte, 18)...), errHeader},
		{append([]byte{0x60}, make([]byte, 38)...), errHeader},
		{append([]byte{0x60}, make([]byte, 39)...), errNoIPv6},
		{append([]byte{0x45}, make([]byte, 19)...), Error(unix.EBADF)},
	} {
		if err := s.Send(engine.Out{Bytes: c.in}); err != c.want {
			t.Errorf("%d bytes: %v, want %v", len(c.in), err, c.want)
		}
	}
}

func TestError(t *testing.T) {
	var err error = Error(unix.EPERM)
	if !errors.Is(err, unix.EPERM) || !errors.Is(err, os.ErrPermission) || errors.Is(err, unix.ENOBUFS) {
		t.Errorf("%v", err)
	}
	if n := testing.AllocsPerRun(100, func() { err = Error(unix.ENOBUFS) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestStamp(t *testing.T) {
	s := Sender{marks: testMarks(t)}
	if got, want := s.stamp(0xff00ff12), uint32(0xf800ff12); got != want {
		t.Errorf("got %#x, want %#x", got, want)
	}
}
