// Package luciapp has no code: it holds what the package luci-app-b4 installs.
// Its tests run the rpcd plugin against a control socket.
package luciapp

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"b4/control"
	"b4/uci"

	"golang.org/x/sys/unix"
)

const plugin = "root/usr/share/rpcd/ucode/b4.uc"

// call calls a method of the plugin as rpcd does, and returns the ubus status
// and the reply.
func call(t *testing.T, path, method, args string) string {
	t.Helper()
	ucode, err := exec.LookPath("ucode")
	if err != nil {
		t.Skip("no ucode on PATH: the rpcd plugin is not run")
	}
	stubs, err := filepath.Abs("testdata")
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(ucode, "-R", "-L", stubs+"/*.uc", "testdata/rpcd.uc", plugin, method, args)
	cmd.Env = append(os.Environ(), "B4_SOCKET="+path)
	var msg strings.Builder
	cmd.Stderr = &msg
	out, err := cmd.Output()
	if err != nil || msg.Len() > 0 {
		t.Errorf("%s %s: %v: %s%s", method, args, err, out, &msg)
	}
	return string(out)
}

// serve answers every method with what was asked of it, until the test ends.
func serve(t *testing.T, set func(*control.Server)) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "b4") // a socket's path is short
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	path := filepath.Join(dir, "s")
	s, err := control.Listen(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range []string{"status", "counters", "recent", "strategies", "check", "reload", "test_host", "pause", "collect"} {
		s.Handle(m, func(_ context.Context, p json.RawMessage, _ func(any) error) (any, error) {
			return map[string]any{"method": m, "params": p}, nil
		})
	}
	if set != nil {
		set(s)
	}
	done := make(chan error, 1)
	go func() { done <- s.Serve() }()
	t.Cleanup(func() {
		if err := errors.Join(s.Close(), <-done); err != nil {
			t.Error(err)
		}
	})
	return path
}

func TestMethods(t *testing.T) {
	t.Parallel()
	path := serve(t, nil)
	answer := func(method, params string) string {
		return fmt.Sprintf(`0 {"method":%q,"params":%s}`, method, params)
	}
	const refused = "2 null"
	tests := []struct{ method, args, want string }{
		{"status", `{}`, answer("status", "null")},
		{"status", `{"ubus_rpc_session":"00"}`, answer("status", "null")},
		{"counters", `{}`, answer("counters", "null")},
		{"recent", `{}`, answer("recent", "null")},
		{"strategies", `{}`, answer("strategies", "null")},
		{"check", `{}`, answer("check", "null")},
		{"reload", `{}`, answer("reload", "null")},
		{"test_host", `{"host":"a.example","ubus_rpc_session":"00"}`, answer("test_host", `{"host":"a.example"}`)},
		{"test_host", `{"host":"$(reboot)'\"\n"}`, answer("test_host", `{"host":"$(reboot)'\"\n"}`)}, // b4d's to refuse
		{"test_host", `{}`, refused},
		{"test_host", `{"host":""}`, refused},
		{"test_host", `{"host":"` + strings.Repeat("x", 254) + `"}`, refused},
		{"test_host", `{"host":7}`, refused},
		{"test_host", `{"host":"a","more":"b"}`, refused},
		{"pause", `{"minutes":10}`, answer("pause", `{"minutes":10}`)},
		{"pause", `{"minutes":0}`, answer("pause", `{"minutes":0}`)},
		{"pause", `{"minutes":-1}`, refused},
		{"pause", `{}`, refused},
		{"trace", `{}`, answer("collect", "null")},
		{"trace", `{"host":"*","seconds":30}`, answer("collect", `{"host":"*","seconds":30}`)},
		{"trace", `{"host":"a.example"}`, refused},
		{"trace", `{"seconds":30}`, refused},
	}
	for _, tt := range tests {
		got := call(t, path, tt.method, tt.args)
		if !same(got, tt.want) {
			t.Errorf("%s %s: got %s, want %s", tt.method, tt.args, got, tt.want)
		}
	}
}

// same compares a status and JSON.
func same(a, b string) bool {
	statusA, jsonA, _ := strings.Cut(a, " ")
	statusB, jsonB, _ := strings.Cut(b, " ")
	var va, vb any
	return statusA == statusB && json.Unmarshal([]byte(jsonA), &va) == nil && json.Unmarshal([]byte(jsonB), &vb) == nil && reflect.DeepEqual(va, vb)
}

// patient skips a test that waits for as long as the plugin does.
func patient(t *testing.T) {
	t.Helper()
	if testing.Short() {
		t.Skip("takes the seconds that the plugin waits for b4d")
	}
}

// However b4d answers, the plugin says so and ends.
func TestAccidents(t *testing.T) {
	t.Parallel()
	patient(t)
	long := strings.Repeat("x", 400<<10)
	path := serve(t, func(s *control.Server) {
		s.Handle("status", func(context.Context, json.RawMessage, func(any) error) (any, error) {
			return nil, errors.New("pause: want minutes from 0 to 1440")
		})
		s.Handle("counters", func(context.Context, json.RawMessage, func(any) error) (any, error) { return 7, nil })
		s.Handle("recent", func(ctx context.Context, _ json.RawMessage, _ func(any) error) (any, error) {
			<-ctx.Done() // the plugin hangs up
			return nil, ctx.Err()
		})
		s.Handle("check", func(context.Context, json.RawMessage, func(any) error) (any, error) {
			return map[string]string{"text": long}, nil
		})
		s.Handle("reload", func(context.Context, json.RawMessage, func(any) error) (any, error) {
			return map[string]string{"text": long + long}, nil
		})
	})
	for _, tt := range []struct{ method, want string }{
		{"status", `0 {"error":"pause: want minutes from 0 to 1440","running":true}`},
		{"counters", `0 {"error":"b4d gives an answer that means nothing","running":true}`},
		{"recent", `0 {"error":"b4d does not answer","running":true}`},
		{"check", `0 {"text":"` + long + `"}`},
		{"reload", `0 {"error":"b4d does not answer","running":true}`},
	} {
		began := time.Now()
		if got := call(t, path, tt.method, `{}`); !same(got, tt.want) {
			t.Errorf("%s: got %.200s, want %.200s", tt.method, got, tt.want)
		}
		if d := time.Since(began); d > 5*time.Second {
			t.Errorf("%s: %v", tt.method, d)
		}
	}
	if got := call(t, filepath.Join(filepath.Dir(path), "none"), "status", `{}`); !same(got, `0 {"error":"b4d is not running","running":false}`) {
		t.Errorf("without b4d: %s", got)
	}
}

// A stopped b4d takes no more connections once its backlog is full.
func TestStopped(t *testing.T) {
	t.Parallel()
	patient(t)
	path := filepath.Join(t.TempDir(), "s")
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	if err := errors.Join(unix.Bind(fd, &unix.SockaddrUnix{Name: path}), unix.Listen(fd, 0)); err != nil {
		t.Fatal(err)
	}
	const want = `0 {"error":"b4d does not answer","running":true}`
	if got := call(t, path, "status", `{}`); !same(got, want) {
		t.Errorf("stopped: %s", got)
	}
	conn, err := net.Dial("unix", path) // with the one before, all there is room for
	if err == nil {
		defer conn.Close()
	}
	began := time.Now()
	if got := call(t, path, "status", `{}`); !same(got, want) || time.Since(began) > 2*time.Second {
		t.Errorf("full, after %v: %s", time.Since(began), got)
	}
}

// A line that never ends does not keep rpcd.
func TestDripping(t *testing.T) {
	t.Parallel()
	patient(t)
	path := filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		conn, err := l.Accept()
		for ; err == nil; time.Sleep(100 * time.Millisecond) {
			_, err = conn.Write([]byte(" "))
		}
	}()
	began := time.Now()
	if got := call(t, path, "status", `{}`); !same(got, `0 {"error":"b4d does not answer","running":true}`) || time.Since(began) > 5*time.Second {
		t.Errorf("after %v: %s", time.Since(began), got)
	}
}

func TestDefaultSocket(t *testing.T) {
	if line := "const DEFAULT_SOCKET = '" + uci.DefaultSocket + "';"; !strings.Contains(read(t, plugin), line) {
		t.Errorf("%s has no line %s", plugin, line)
	}
}
