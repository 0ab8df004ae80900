package control

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"b4/unixsock"

	"golang.org/x/sys/unix"
)

func TestListen(t *testing.T) {
	defer unix.Umask(unix.Umask(0)) // whoever starts b4d may have any
	path := filepath.Join(t.TempDir(), "run", "b4d.sock")
	first, err := Listen(path)
	if err != nil {
		t.Fatal(err)
	}
	if info, err := os.Lstat(path); err != nil || info.Mode() != os.ModeSocket|0o600 {
		t.Errorf("socket is %v, %v", info.Mode(), err)
	}
	if info, err := os.Lstat(filepath.Dir(path)); err != nil || info.Mode() != os.ModeDir|0o755 {
		t.Errorf("its directory is %v, %v", info.Mode(), err)
	}
	if all, err := os.ReadDir(filepath.Dir(path)); err != nil || len(all) != 1 {
		t.Errorf("beside the socket: %v, %v", all, err)
	}
	want := "b4d is already running (socket " + path + ")"
	if _, err := Listen(path); !errors.Is(err, ErrRunning) || err.Error() != want {
		t.Errorf("second daemon: %v, want %q", err, want)
	}
	first.l.Close() // as if killed: the name stays
	second, err := Listen(path)
	if err != nil {
		t.Fatalf("after a crash: %v", err)
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	third, err := Listen(path)
	if err != nil {
		t.Fatalf("after someone removed the socket: %v", err)
	}
	if err := second.Close(); err != nil {
		t.Error(err)
	}
	if _, err := os.Lstat(path); err != nil {
		t.Errorf("another daemon's socket: %v", err)
	}
	if err := third.Close(); err != nil {
		t.Error(err)
	}

	if err := os.WriteFile(path, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Listen(path); err == nil || !strings.Contains(err.Error(), "something else of that name") {
		t.Errorf("a file in the way: %v", err)
	}
	link := filepath.Join(filepath.Dir(path), "link")
	for _, to := range []string{path, filepath.Join(filepath.Dir(path), "new")} {
		if err := os.Symlink(to, link); err != nil {
			t.Fatal(err)
		}
		if _, err := Listen(link); err == nil || !strings.Contains(err.Error(), "something else of that name") {
			t.Errorf("a link to %s in the way: %v", to, err)
		}
		if err := os.Remove(link); err != nil {
			t.Errorf("the link is not left alone: %v", err)
		}
	}
	if _, err := Listen(filepath.Join(path, "s")); err == nil {
		t.Error("listening below a file")
	}
}

// asNobody runs f on a thread that is another user's, which ends with it.
func asNobody(t *testing.T, f func()) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root, to be somebody else")
	}
	const nobody, same = 65534, ^uintptr(0)
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // and never unlocks it
		if _, _, errno := unix.RawSyscall(unix.SYS_SETRESUID, same, nobody, same); errno != 0 {
			done <- errno
			return
		}
		f()
		done <- nil
	}()
	if err := <-done; err != nil { // a user namespace may have no other
		t.Skip("become somebody else: ", err)
	}
}

// Others cannot connect. Where the socket's mode lets them, or its name leads to
// a socket of theirs, nothing is told.
func TestOnlyRoot(t *testing.T) {
	dir, err := os.MkdirTemp("", "b4control") // t.TempDir's are below one of root's
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	if err := os.Chmod(dir, 0o777); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "s")
	s, err := Listen(path)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	called := false
	s.Handle("echo", func(context.Context, json.RawMessage, func(any) error) (any, error) { called = true; return nil, nil })
	go s.Serve()
	var theirs net.Listener
	asNobody(t, func() {
		if err := Call(path, "echo", nil, nil); !errors.Is(err, os.ErrPermission) || !strings.Contains(err.Error(), "only root may") {
			t.Errorf("the socket lets nobody in: %v", err)
		}
		if err := os.Chmod(path, 0o666); err == nil {
			t.Error("nobody can change the socket's mode")
		}
		theirs, err = net.Listen("unix", filepath.Join(dir, "theirs"))
	})
	if err := errors.Join(err, os.Chmod(path, 0o666)); err != nil {
		t.Fatal(err)
	}
	defer theirs.Close()
	asNobody(t, func() {
		if got := talk(t, path, `{"method":"echo"}`+"\n"); got != `{"error":"user 65534 is not root"}`+"\n" || called {
			t.Errorf("nobody is told %q", got)
		}
	})
	if err := Call(theirs.Addr().String(), "echo", nil, nil); err == nil || !strings.Contains(err.Error(), "is not b4d's: user 65534 is not root") {
		t.Errorf("root asks nobody: %v", err)
	}
}

// poor is a listener whose process has too many files open at first.
type poor struct {
	listener
	times int
}

func (p *poor) Accept() (*unixsock.Conn, error) {
	if p.times--; p.times >= 0 {
		return nil, fmt.Errorf("accept: %w", unix.EMFILE)
	}
	return p.listener.Accept()
}

// A shortage passes, and b4d can be talked to again.
func TestShortage(t *testing.T) {
	path := start(t, func(s *Server) { s.l = &poor{s.l, 2} })
	if err := Call(path, "echo", 1, nil); err != nil {
		t.Error(err)
	}
}

func FuzzRequest(f *testing.F) {
	f.Add([]byte(`{"method":"status","params":` + strings.Repeat("[", 11000)))
	f.Add([]byte(strings.Repeat(`{"params":`, 9000) + "1" + strings.Repeat("}", 9000)))
	f.Add([]byte(`{"method":"status","params":{"a":1}}`))
	f.Add([]byte(`{"method":"status","params":null}`))
	f.Add([]byte(`{"Method":"x","method":"y"}`))
	f.Add([]byte(`{"method":"` + "\xff" + `"}`))
	f.Add([]byte(`{"method":"collect","params":{"host":"a.example","seconds":30}}`))
	f.Add([]byte(`{"method":"test_host","params":{"host":"\u2028\n\u0000"}}`))
	f.Add([]byte(`{"method":"pause","params":{"minutes":1e99}} {}`))
	s := &Server{handlers: map[string]Handler{"status": nil}}
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := parseRequest(b)
		refusal := err
		if refusal == nil {
			_, refusal = s.handler(r.Method)
		}
		var back reply
		if line := encode(r.Params, refusal); bytes.IndexByte(line, '\n') != len(line)-1 || json.Unmarshal(line, &back) != nil ||
			(back.Error == "") != (refusal == nil) || len(back.Error) > 1000+len(b) {
			t.Errorf("answered by %q", line)
		}
		if err != nil {
			if r.Method != "" || r.Params != nil {
				t.Errorf("refused, and yet %+v", r)
			}
			return
		}
		again, err := json.Marshal(r)
		if err != nil {
			t.Fatalf("%+v: %v", r, err)
		}
		r2, err := parseRequest(again)
		if err != nil || r2.Method != r.Method || (r2.Params == nil) != (r.Params == nil) {
			t.Errorf("%+v became %+v, %v", r, r2, err)
		}
	})
}
