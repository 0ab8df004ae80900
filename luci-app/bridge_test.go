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
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"b4/control"
	"b4/uci"

	"golang.org/x/sys/unix"
)

const plugin = "root/usr/share/rpcd/ucode/b4.uc"

// A way is how the plugin reaches b4d: by itself, or, where ucode has no sockets, by
// b4d's command line.
type way struct {
	name    string
	modules string // in place of OpenWrt's, ahead of ucode's own
}

func ways(t *testing.T) []way {
	t.Helper()
	if _, err := exec.LookPath("ucode"); err != nil {
		t.Skip("no ucode on PATH: the rpcd plugin is not run")
	}
	stubs, err := filepath.Abs("testdata")
	if err != nil {
		t.Fatal(err)
	}
	b4d(t)
	return []way{{"socket", stubs + "/*.uc"}, {"b4d call", stubs + "/*.uc:" + stubs + "/plain/*.uc"}}
}

// call calls a method of the plugin as rpcd does, and returns the ubus status
// and the reply.
func (w way) call(t *testing.T, path, method, args string) string {
	t.Helper()
	return w.calls(t, path, b4d(t), method, args)[0]
}

// calls is call for several, each a method and its arguments: one process of rpcd's
// answers them in turn.
func (w way) calls(t *testing.T, path, program string, what ...string) (replies []string) {
	t.Helper()
	cmd := exec.Command("ucode", "-R")
	for _, m := range strings.Split(w.modules, ":") {
		cmd.Args = append(cmd.Args, "-L", m)
	}
	cmd.Args = append(append(cmd.Args, "testdata/rpcd.uc", plugin), what...)
	cmd.Env = append(os.Environ(), "B4_SOCKET="+path, "B4D="+program)
	var msg strings.Builder
	cmd.Stderr = &msg
	out, err := cmd.Output()
	if err != nil || (msg.Len() > 0 && !strings.HasPrefix(msg.String(), "b4d: ")) {
		t.Errorf("%s: %.200q: %v: %.1000s%s", w.name, what, err, out, &msg)
	}
	return strings.Split(strings.TrimSuffix(string(out), "\n"), "\n")
}

var built struct {
	sync.Once
	path string
	err  error
}

func TestMain(m *testing.M) {
	code := m.Run()
	if built.path != "" {
		os.RemoveAll(filepath.Dir(built.path))
	}
	os.Exit(code)
}

// b4d is a b4d of this source.
func b4d(t *testing.T) string {
	t.Helper()
	built.Do(func() {
		dir, err := os.MkdirTemp("", "b4")
		if err != nil {
			built.err = err
			return
		}
		built.path = filepath.Join(dir, "b4d")
		if out, err := exec.Command("go", "build", "-o", built.path, "../cmd/b4d").CombinedOutput(); err != nil {
			built.err = fmt.Errorf("build b4d: %w: %s", err, out)
		}
	})
	if built.err != nil {
		t.Fatal(built.err)
	}
	return built.path
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
	for _, m := range []string{"status", "counters", "recent", "strategies", "check", "reload", "test_host", "preview", "pause", "collect"} {
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
	for _, w := range ways(t) {
		for _, tt := range []struct{ method, want string }{
			{"status", `0 {"error":"pause: want minutes from 0 to 1440","running":true}`},
			{"counters", `0 {"error":"b4d gives an answer that means nothing","running":true}`},
			{"recent", `0 {"error":"b4d does not answer","running":true}`},
			{"check", `0 {"text":"` + long + `"}`},
			{"reload", `0 {"error":"b4d does not answer","running":true}`},
		} {
			began := time.Now()
			if got := w.call(t, path, tt.method, `{}`); !same(got, tt.want) {
				t.Errorf("%s: %s: got %.200s, want %.200s", w.name, tt.method, got, tt.want)
			}
			if d := time.Since(began); d > 5*time.Second {
				t.Errorf("%s: %s: %v", w.name, tt.method, d)
			}
		}
		if got := w.call(t, filepath.Join(filepath.Dir(path), "none"), "status", `{}`); !same(got, `0 {"error":"b4d is not running","running":false}`) {
			t.Errorf("%s: without b4d: %s", w.name, got)
		}
	}
}

// Where the router has not what it takes to ask, the plugin says what.
func TestCannotAsk(t *testing.T) {
	t.Parallel()
	all := ways(t)
	ours := all[0].modules
	stub := func(name string) string { return filepath.Dir(ours) + "/" + name + "/*.uc:" }
	plain := stub("plain")
	for _, tt := range []struct{ name, modules, program, want string }{
		{"no socket", stub("broken") + ours, "", "socket: Too many open files"},
		{"no file", plain + stub("broken") + ours, "", "temporary file: No space left on device"},
		{"no b4d", plain + ours, "/nonexistent", "/usr/sbin/b4d: cannot be executed"},
		{"an exception", stub("throws") + ours, "", "status: out of memory"},
	} {
		want := fmt.Sprintf(`0 {"error":%q,"running":true}`, "cannot ask b4d: "+tt.want)
		if got := (way{tt.name, tt.modules}).calls(t, "none", tt.program, "status", "{}")[0]; !same(got, want) {
			t.Errorf("%s: got %s, want %s", tt.name, got, want)
		}
	}
}

// Calls behind one that b4d has left without an answer do not wait for it each: rpcd
// has others to serve. When b4d answers again, so does the plugin.
func TestSilence(t *testing.T) {
	t.Parallel()
	patient(t)
	for _, w := range ways(t) {
		t.Run(w.name, func(t *testing.T) {
			t.Parallel()
			w.silence(t)
		})
	}
}

func (w way) silence(t *testing.T) {
	var asked atomic.Int64
	path := serve(t, func(s *control.Server) {
		s.Handle("status", func(ctx context.Context, _ json.RawMessage, _ func(any) error) (any, error) {
			if asked.Add(1) == 1 {
				<-ctx.Done()
			}
			return map[string]any{}, nil
		})
	})
	var what, want []string
	for range 20 {
		what, want = append(what, "status", "{}"), append(want, `0 {"error":"b4d does not answer","running":true}`)
	}
	what = append(what, "sleep", "6000", "status", "{}", "status", "{}")
	want = append(want, "0 {}", "0 {}")
	if got := w.calls(t, path, b4d(t), what...); !slices.EqualFunc(got, want, same) || asked.Load() != 3 {
		t.Errorf("b4d was asked %d times, got %q", asked.Load(), got)
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
	itself := ways(t)[0]
	if got := itself.call(t, path, "status", `{}`); !same(got, want) {
		t.Errorf("stopped: %s", got)
	}
	conn, err := net.Dial("unix", path) // with the one before, all there is room for
	if err == nil {
		defer conn.Close()
	}
	began := time.Now()
	if got := itself.call(t, path, "status", `{}`); !strings.Contains(got, "does not answer") || time.Since(began) > 2*time.Second {
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
	itself, began := ways(t)[0], time.Now()
	if got := itself.call(t, path, "status", `{}`); !same(got, `0 {"error":"b4d does not answer","running":true}`) || time.Since(began) > 5*time.Second {
		t.Errorf("after %v: %s", time.Since(began), got)
	}
}

func TestDefaultSocket(t *testing.T) {
	if line := "const DEFAULT_SOCKET = '" + uci.DefaultSocket + "';"; !strings.Contains(read(t, plugin), line) {
		t.Errorf("%s has no line %s", plugin, line)
	}
}
