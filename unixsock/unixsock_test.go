package unixsock

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// pair is both ends of a connection.
func pair(t *testing.T) (client, server *Conn) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "s")
	l, err := Listen(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	if client, err = Dial(path); err != nil {
		t.Fatal(err)
	}
	if server, err = l.Accept(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { client.Close(); server.Close() })
	return client, server
}

func TestTalk(t *testing.T) {
	for i := range 2 {
		from, to := pair(t)
		if i > 0 {
			from, to = to, from
		}
		peer, err := from.Peer()
		if err != nil || int(peer.Uid) != os.Geteuid() || int(peer.Pid) != os.Getpid() {
			t.Errorf("the other end is %+v, %v", peer, err)
		}
		if _, err := io.WriteString(from, "word"); err != nil {
			t.Fatal(err)
		}
		from.Close()
		if b, err := io.ReadAll(to); string(b) != "word" || err != nil {
			t.Errorf("%q, %v", b, err)
		}
		if _, err := io.WriteString(to, "word"); !errors.Is(err, unix.EPIPE) {
			t.Errorf("to nobody: %v", err)
		}
	}
}

// Whoever waits is let go by the time, and by Close.
func TestWait(t *testing.T) {
	client, _ := pair(t)
	client.SetReadDeadline(time.Now().Add(time.Millisecond))
	if _, err := client.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("read: %v", err)
	}
	l, err := Listen(filepath.Join(t.TempDir(), "s"))
	if err != nil {
		t.Fatal(err)
	}
	time.AfterFunc(10*time.Millisecond, func() { l.Close() })
	if _, err := l.Accept(); err == nil {
		t.Error("accepted nobody")
	}
}

func TestDialErrors(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	if _, err := Dial(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("none: %v", err)
	}
	l, err := Listen(path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Listen(path); !errors.Is(err, unix.EADDRINUSE) {
		t.Errorf("twice: %v", err)
	}
	for range unix.SOMAXCONN + 2 { // one more than the backlog, as the kernel counts
		var c *Conn
		if c, err = Dial(path); err != nil {
			break
		}
		defer c.Close()
	}
	if !errors.Is(err, unix.EAGAIN) {
		t.Errorf("the backlog is full: %v", err)
	}
	l.Close()
	if _, err := Dial(path); !errors.Is(err, unix.ECONNREFUSED) {
		t.Errorf("nobody serves it: %v", err)
	}
	if _, err := Listen(filepath.Join(path, "s")); !errors.Is(err, unix.ENOTDIR) {
		t.Errorf("no directory: %v", err)
	}
}
