package inject

import (
	"bytes"
	"encoding/binary"
	"errors"
	"os"
	"strings"
	"testing"
	"unsafe"

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

// Each slot's message says where the packet goes, and how.
func TestFill(t *testing.T) {
	fd, err := unix.Eventfd(0, unix.EFD_CLOEXEC)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	for _, f := range families {
		how := &ipv6
		if f.header == 20 {
			how = &ipv4
		}
		s := newSocket(fd, how)
		s.device = 0x01020304
		for i := range slots {
			b := f.packet(f.source, 60+i)
			b[f.header-1] = byte(i) // of the destination
			s.fill(i, b, uint32(i))
		}
		for i := range slots {
			h, to := &s.msgs[i].Msg, f.remote.AsSlice()
			to[len(to)-1] = byte(i)
			name := unsafe.Slice(h.Name, h.Namelen)
			if binary.NativeEndian.Uint16(name) != how.number || binary.BigEndian.Uint16(name[2:]) != 0 || !bytes.Equal(name[how.to:][:len(to)], to) {
				t.Errorf("%s: name % x", f.name, name)
			}
			if p := unsafe.Slice(h.Iov.Base, h.Iov.Len); len(p) != 60+i || p[f.header-1] != byte(i) || h.Iovlen != 1 {
				t.Errorf("%s: packet % x", f.name, p)
			}
			msgs, err := unix.ParseSocketControlMessage(unsafe.Slice(h.Control, h.Controllen))
			if err != nil || len(msgs) != 2 {
				t.Fatal(msgs, err)
			}
			info := append(binary.NativeEndian.AppendUint32(nil, 0x01020304), f.source.AsSlice()...)
			if info = append(info, 0, 0, 0, 0); f.header == 40 {
				info = binary.NativeEndian.AppendUint32(f.source.AsSlice(), 0x01020304)
			}
			for j, want := range []unix.SocketControlMessage{
				{Header: unix.Cmsghdr{Level: unix.SOL_SOCKET, Type: unix.SO_MARK}, Data: binary.NativeEndian.AppendUint32(nil, uint32(i))},
				{Header: unix.Cmsghdr{Level: int32(how.level), Type: int32(how.typ)}, Data: info},
			} {
				if m := msgs[j]; m.Header.Level != want.Header.Level || m.Header.Type != want.Header.Type || !bytes.Equal(m.Data, want.Data) {
					t.Errorf("%s: message %d: %+v, want %+v", f.name, j, m, want)
				}
			}
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
	fd, err := unix.Eventfd(0, unix.EFD_CLOEXEC)
	if err != nil {
		t.Fatal(err)
	}
	s = &Sender{v4: newSocket(fd, &ipv4), v6: newSocket(-1, &ipv6)}
	defer s.Close()
	for _, c := range []struct {
		in   []byte
		want error
	}{
		{nil, errHeader},
		{make([]byte, 60), errHeader},
		{append([]byte{0x45}, make([]byte, 18)...), errHeader},
		{append([]byte{0x60}, make([]byte, 38)...), errHeader},
		{append([]byte{0x60}, make([]byte, 39)...), errNoIPv6},
		{append([]byte{0x45}, make([]byte, 19)...), Error(unix.ENOTSOCK)},
	} {
		if n, err := s.Send([]engine.Out{{Bytes: c.in}}); n != 0 || err != c.want {
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
