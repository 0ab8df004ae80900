package mmsg

import (
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

func TestSize(t *testing.T) {
	want := uintptr(64)
	if unsafe.Sizeof(uintptr(0)) == 4 {
		want = 32
	}
	if got := unsafe.Sizeof(Header{}); got != want {
		t.Errorf("struct mmsghdr has %d bytes, the kernel's %d", got, want)
	}
}

// What is sent in one call comes in one, each message by itself.
func TestSendRecv(t *testing.T) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fds[0])
	defer unix.Close(fds[1])
	headers := func(bufs ...[]byte) []Header {
		list, iovs := make([]Header, len(bufs)), make([]unix.Iovec, len(bufs))
		for i, b := range bufs {
			iovs[i].Base = &b[0]
			iovs[i].SetLen(len(b))
			list[i].Msg.Iov = &iovs[i]
			list[i].Msg.SetIovlen(1)
		}
		return list
	}
	out := headers([]byte("one"), []byte("other"))
	bufs := [][]byte{make([]byte, 9), make([]byte, 9), make([]byte, 9)}
	in := headers(bufs...)
	if n, errno := Recv(fds[1], in); n != 0 || errno != unix.EAGAIN {
		t.Errorf("%d of nothing: %v", n, errno)
	}
	if n, errno := Send(fds[0], out); n != 2 || errno != 0 {
		t.Fatalf("%d sent: %v", n, errno)
	}
	if n, errno := Recv(fds[1], in); n != 2 || errno != 0 || string(bufs[0][:in[0].N]) != "one" || string(bufs[1][:in[1].N]) != "other" {
		t.Errorf("%d received: %v, %q", n, errno, bufs)
	}
	if err := Write(fds[0], []byte("all")); err != nil {
		t.Fatal(err)
	}
	if n, errno := Recv(fds[1], in); n != 1 || errno != 0 || string(bufs[0][:in[0].N]) != "all" {
		t.Errorf("%d received: %v, %q", n, errno, bufs)
	}
	message := []byte("all")
	if n := testing.AllocsPerRun(10, func() {
		Send(fds[0], out)
		Write(fds[0], message)
		Recv(fds[1], in)
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
	for i := 0; ; i++ { // whoever waited would wait for ever
		if n, errno := Send(fds[0], out); errno == unix.EAGAIN {
			break
		} else if errno != 0 || i > 1<<20 {
			t.Fatalf("%d sent: %v, try %d", n, errno, i)
		}
	}
	if err := Write(-1, message); err != unix.EBADF {
		t.Errorf("write to nothing: %v", err)
	}
}
