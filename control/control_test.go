package control

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// patience is far above anything that should happen, for a slow machine.
const patience = 5 * time.Second

// start serves a few methods until the test ends.
func start(t *testing.T, set func(*Server)) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "run", "b4d.sock")
	s, err := Listen(path)
	if err != nil {
		t.Fatal(err)
	}
	s.Handle("echo", func(_ context.Context, p json.RawMessage, _ func(any) error) (any, error) {
		return p, nil
	})
	s.Handle("fail", func(context.Context, json.RawMessage, func(any) error) (any, error) {
		return nil, errors.New("no such thing")
	})
	s.Handle("count", func(_ context.Context, p json.RawMessage, emit func(any) error) (any, error) {
		n := 0
		if err := json.Unmarshal(p, &n); err != nil {
			return nil, err
		}
		for i := range n {
			if err := emit(i); err != nil {
				return nil, err
			}
		}
		return nil, nil
	})
	if set != nil {
		set(s)
	}
	done := make(chan error, 1)
	go func() { done <- s.Serve() }()
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
		select {
		case err := <-done:
			if err != nil {
				t.Errorf("serve: %v", err)
			}
		case <-time.After(patience):
			t.Error("Close did not end Serve")
		}
	})
	return path
}

// talk sends text as it is, closes the sending side, and returns all answers.
func talk(t *testing.T, path, text string) string {
	t.Helper()
	conn, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(patience))
	// A refusal may come before the last byte is taken.
	io.WriteString(conn, text)
	conn.(*net.UnixConn).CloseWrite()
	b, _ := io.ReadAll(conn)
	return string(b)
}

func TestServe(t *testing.T) {
	path := start(t, nil)
	tests := []struct{ name, in, want string }{
		{"echo", `{"method":"echo","params":{"a":[1,2]}}` + "\n", `{"result":{"a":[1,2]}}` + "\n"},
		{"no newline", `{"method":"echo","params":1}`, `{"result":1}` + "\n"},
		{"CRLF", `{"method":"echo","params":1}` + "\r\n", `{"result":1}` + "\n"},
		{"more keys", `{"method":"echo","params":1,"id":7}` + "\n", `{"result":1}` + "\n"},
		{"method's error", `{"method":"fail"}` + "\n", `{"error":"no such thing"}` + "\n"},
		{"unknown method", `{"method":"stauts"}` + "\n", `{"error":"unknown method \"stauts\"; known are: count, echo, fail"}` + "\n"},
		{"reserved", `{"method":"discover"}` + "\n", `{"error":"method discover is reserved for a later version"}` + "\n"},
		{"reserved stream", `{"method":"events"}` + "\n", `{"error":"method events is reserved for a later version"}` + "\n"},
		{"no method", "{}\n", `{"error":"request has no \"method\""}` + "\n"},
		{"longest", `{"method":"echo","params":1}` + strings.Repeat(" ", maxRequest-29) + "\n", `{"result":1}` + "\n"},
		{"one more", `{"method":"echo","params":1}` + strings.Repeat(" ", maxRequest-28) + "\n", `{"error":"request is longer than 65536 bytes"}` + "\n"},
		{"far too long", strings.Repeat("x", 1<<20), `{"error":"request is longer than 65536 bytes"}` + "\n"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := talk(t, path, tt.in); got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
	deep := func(n int) string { return strings.Repeat("[", n) }
	for _, bad := range []string{deep(maxRequest - 1), `{"method":"echo","params":` + deep(maxRequest-100) + "\n", "{\n", "nonsense\n", "\n", "[1]\n", `{"method":1}` + "\n", `{"method":"echo"}{}` + "\n"} {
		if got := talk(t, path, bad); !strings.HasPrefix(got, `{"error":"request is not JSON of the form`) {
			t.Errorf("%q: got %q", bad, got)
		}
	}
}

func TestCall(t *testing.T) {
	path := start(t, func(s *Server) {
		s.Handle("odd", func(context.Context, json.RawMessage, func(any) error) (any, error) {
			return make(chan int), nil
		})
	})
	got := 0
	if err := Call(path, "echo", 7, &got); err != nil || got != 7 {
		t.Errorf("echo: %d, %v", got, err)
	}
	if err := Call(path, "echo", nil, nil); err != nil {
		t.Errorf("echo of nothing: %v", err)
	}
	var word string
	if err := Call(path, "echo", 7, &word); err == nil {
		t.Error("a number was taken for a word")
	}
	for _, tt := range []struct{ method, want string }{
		{"fail", "no such thing"},
		{"odd", "write the result as JSON: json: unsupported type: chan int"},
	} {
		if err := Call(path, tt.method, nil, nil); err == nil || err.Error() != tt.want {
			t.Errorf("%s: %v, want %q", tt.method, err, tt.want)
		}
	}
	if err := Call(path, "echo", strings.Repeat("x", maxRequest), nil); err == nil || err.Error() != "request is longer than 65536 bytes" {
		t.Errorf("too long: %v", err)
	}
	none := filepath.Join(t.TempDir(), "none")
	want := "b4d is not running (no socket " + none + ")"
	if err := Call(none, "echo", nil, nil); !errors.Is(err, ErrNotRunning) || err.Error() != want {
		t.Errorf("no daemon: %v, want %q", err, want)
	}
}

func TestTwoClients(t *testing.T) {
	path := start(t, nil)
	var wg sync.WaitGroup
	for i := range 2 {
		wg.Add(1)
		go func() {
			defer wg.Done()
			for j := range 50 {
				var got string
				if want := fmt.Sprint(i, j); Call(path, "echo", want, &got) != nil || got != want {
					t.Errorf("got %q, want %q", got, want)
				}
			}
		}()
	}
	wg.Wait()
}

func TestStream(t *testing.T) {
	gone := make(chan struct{})
	path := start(t, func(s *Server) {
		s.Handle("tick", func(ctx context.Context, _ json.RawMessage, emit func(any) error) (any, error) {
			defer close(gone)
			for emit("tick") == nil {
			}
			<-ctx.Done()
			return nil, ctx.Err()
		})
		s.Handle("wait", func(ctx context.Context, _ json.RawMessage, emit func(any) error) (any, error) {
			emit("one")
			<-ctx.Done()
			return nil, ctx.Err()
		})
		s.Handle("last", func(_ context.Context, _ json.RawMessage, emit func(any) error) (any, error) {
			emit("first")
			return "last", nil
		})
		s.Handle("broken", func(_ context.Context, _ json.RawMessage, emit func(any) error) (any, error) {
			emit("first")
			return nil, errors.New("lost the trace")
		})
	})
	collect := func(method string, params any) (string, error) {
		var all []string
		err := Stream(context.Background(), path, method, params, func(m json.RawMessage) error {
			all = append(all, string(m))
			return nil
		})
		return strings.Join(all, " "), err
	}
	for _, tt := range []struct {
		method    string
		params    any
		want, err string
	}{
		{"count", 3, "0 1 2", "<nil>"},
		{"last", nil, `"first" "last"`, "<nil>"},
		{"broken", nil, `"first"`, "lost the trace"},
	} {
		if got, err := collect(tt.method, tt.params); got != tt.want || fmt.Sprint(err) != tt.err {
			t.Errorf("%s: %s, %v; want %s, %s", tt.method, got, err, tt.want, tt.err)
		}
	}

	enough := errors.New("enough")
	if err := Stream(context.Background(), path, "tick", nil, func(json.RawMessage) error { return enough }); err != enough {
		t.Errorf("own error: %v", err)
	}
	select {
	case <-gone:
	case <-time.After(patience):
		t.Error("hanging up did not end the handler")
	}

	ctx, cancel := context.WithCancel(context.Background())
	if err := Stream(ctx, path, "wait", nil, func(json.RawMessage) error { cancel(); return nil }); err != context.Canceled {
		t.Errorf("cancelled: %v", err)
	}
	if err := Stream(ctx, filepath.Join(t.TempDir(), "none"), "wait", nil, nil); !errors.Is(err, ErrNotRunning) {
		t.Errorf("no daemon: %v", err)
	}
}

// Close ends handlers that wait for their client, and their clients' reads.
func TestCloseEndsHandlers(t *testing.T) {
	s, err := Listen(filepath.Join(t.TempDir(), "s"))
	if err != nil {
		t.Fatal(err)
	}
	s.requestLimit = time.Hour // Close is not to wait for a silent client
	s.Handle("wait", func(ctx context.Context, _ json.RawMessage, emit func(any) error) (any, error) {
		emit(nil)
		<-ctx.Done()
		return nil, nil
	})
	served, streamed, begun := make(chan error, 1), make(chan error, 1), make(chan struct{})
	go func() { served <- s.Serve() }()
	go func() {
		streamed <- Stream(context.Background(), s.path, "wait", nil, func(json.RawMessage) error { close(begun); return nil })
	}()
	<-begun
	silent, err := net.Dial("unix", s.path)
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	time.Sleep(10 * time.Millisecond) // let it be accepted
	for range 2 {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}
	for _, done := range []chan error{served, streamed} {
		select {
		case err := <-done:
			if err != nil {
				t.Error(err)
			}
		case <-time.After(patience):
			t.Fatal("still running")
		}
	}
	if err := s.Serve(); err != nil {
		t.Errorf("serve after Close: %v", err)
	}
	if _, err := os.Lstat(s.path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("socket after Close: %v", err)
	}
}

func TestTooManyClients(t *testing.T) {
	path := start(t, nil)
	conns := make([]net.Conn, maxConns)
	for i := range conns {
		var err error
		if conns[i], err = net.Dial("unix", path); err != nil {
			t.Fatal(err)
		}
		defer conns[i].Close()
	}
	want := "b4d has 16 clients already"
	if err := Call(path, "echo", 1, nil); err == nil || err.Error() != want {
		t.Errorf("client 17: %v, want %q", err, want)
	}
	conns[0].Close()
	for end := time.Now().Add(patience); ; time.Sleep(time.Millisecond) {
		if err := Call(path, "echo", 1, nil); err == nil {
			break
		} else if time.Now().After(end) {
			t.Fatalf("after one left: %v", err)
		}
	}
}

// A client that says nothing loses its connection. What one asks for may take longer
// than asking.
func TestSilentClient(t *testing.T) {
	path := start(t, func(s *Server) {
		s.requestLimit = 50 * time.Millisecond
		s.Handle("slow", func(ctx context.Context, _ json.RawMessage, _ func(any) error) (any, error) {
			time.Sleep(3 * s.requestLimit)
			return nil, ctx.Err()
		})
	})
	const refused = "read the request: "
	err := Call(path, "slow", nil, nil)
	for end := time.Now().Add(patience); err != nil && strings.HasPrefix(err.Error(), refused) && time.Now().Before(end); {
		err = Call(path, "slow", nil, nil) // it was not asked in time
	}
	if err != nil {
		t.Errorf("a request that takes longer than asking may: %v", err)
	}
	silent, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	silent.SetDeadline(time.Now().Add(patience))
	if b, err := io.ReadAll(silent); err != nil || !bytes.Contains(b, []byte(`{"error":"`+refused)) {
		t.Errorf("silent client: %q, %v", b, err)
	}
}

// And so does one that reads nothing.
func TestDeafClient(t *testing.T) {
	ended := make(chan error, 1)
	path := start(t, func(s *Server) {
		s.writeLimit = 50 * time.Millisecond
		s.Handle("flood", func(_ context.Context, _ json.RawMessage, emit func(any) error) (any, error) {
			for {
				if err := emit(strings.Repeat("x", 1<<16)); err != nil {
					ended <- err
					return nil, err
				}
			}
		})
	})
	deaf, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer deaf.Close()
	io.WriteString(deaf, `{"method":"flood"}`+"\n")
	select {
	case err := <-ended:
		if !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("deaf client: %v", err)
		}
	case <-time.After(patience):
		t.Error("a client that does not read holds its handler")
	}
}
