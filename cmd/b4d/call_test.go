package main

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"b4/control"
)

// served is the socket of a server whose method echo answers with what it is asked.
func served(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "s")
	s, err := control.Listen(path)
	if err != nil {
		t.Fatal(err)
	}
	s.Handle("echo", func(_ context.Context, p json.RawMessage, _ func(any) error) (any, error) {
		return map[string]any{"params": p}, nil
	})
	s.Handle("fail", func(context.Context, json.RawMessage, func(any) error) (any, error) {
		return nil, errors.New("fail: no \"use\"")
	})
	done := make(chan error, 1)
	go func() { done <- s.Serve() }()
	t.Cleanup(func() {
		if err := errors.Join(s.Close(), <-done); err != nil {
			t.Error(err)
		}
	})
	return path
}

func TestCall(t *testing.T) {
	socket := served(t)
	none := filepath.Join(t.TempDir(), "none")
	for _, tt := range []struct {
		args           []string
		code           int
		stdout, stderr string // in the file it is the same, but for an error
	}{
		{[]string{"echo", "-socket", socket}, 0, `{"params":null}`, ""},
		{[]string{"-socket=" + socket, "echo", `{"host":"<a>"}`}, 0, `{"params":{"host":"\u003ca\u003e"}}`, ""},
		{[]string{"--socket", socket, "--", "echo", "[1]"}, 0, `{"params":[1]}`, ""},
		{[]string{"fail", "-socket", socket}, 1, `{"error":"fail: no \"use\""}`, "b4d: fail: no \"use\"\n"},
		{[]string{"echo", "-socket", none}, 3, `{"error":"b4d is not running (no socket ` + none + `)"}`, "b4d: b4d is not running (no socket " + none + ")\n"},
		{[]string{"echo", "{", "-socket", socket}, 2, "", "b4d call: the parameters are not JSON\n"},
		{[]string{"-socket", socket}, 2, "", "b4d call: want a method, and perhaps its parameters\n"},
		{[]string{"echo", "1", "2"}, 2, "", "b4d call: want a method, and perhaps its parameters\n"},
		{[]string{"echo", "-out"}, 2, "", "b4d call: option -out: want a value\n"},
	} {
		code, stdout, stderr := run(append([]string{"call"}, tt.args...)...)
		want := tt.stdout + "\n"
		if code != 0 {
			want = ""
		}
		if code != tt.code || stdout != want || stderr != tt.stderr {
			t.Errorf("%q: exit %d, %q, %q", tt.args, code, stdout, stderr)
		}
		file := filepath.Join(t.TempDir(), "out")
		code, stdout, stderr = run(append([]string{"call", "-out", file}, tt.args...)...)
		got, err := os.ReadFile(file)
		if tt.stdout == "" {
			if !errors.Is(err, os.ErrNotExist) {
				t.Errorf("%q: a file with %q", tt.args, got)
			}
			continue
		}
		info, _ := os.Stat(file)
		if err != nil || code != tt.code || stdout != "" || stderr != tt.stderr || string(got) != tt.stdout+"\n" || info.Mode() != 0o600 {
			t.Errorf("%q: exit %d, %q, %q; in the file %q, %v", tt.args, code, stdout, stderr, got, err)
		}
	}
}

// What is there already is left alone, and nothing is written where somebody else
// could put another file in its place.
func TestCallOut(t *testing.T) {
	socket, dir := served(t), t.TempDir()
	kept, link := filepath.Join(dir, "kept"), filepath.Join(dir, "link")
	if err := errors.Join(os.WriteFile(kept, []byte("kept"), 0o600), os.Symlink(filepath.Join(dir, "new"), link)); err != nil {
		t.Fatal(err)
	}
	for out, why := range map[string]string{kept: "file exists", descriptors + "/../../.." + kept: "file exists", link: "file exists", filepath.Join(dir, "no", "x"): "no such file"} {
		if code, _, stderr := run("call", "echo", "-socket", socket, "-out", out); code != 1 || !strings.Contains(stderr, why) {
			t.Errorf("%s: exit %d, %s", out, code, stderr)
		}
	}
	if text, err := os.ReadFile(kept); string(text) != "kept" {
		t.Errorf("the file has %q, %v", text, err)
	}
	if _, err := os.Stat(filepath.Join(dir, "new")); err == nil {
		t.Error("the link was followed")
	}
	if os.Geteuid() == 0 {
		theirs := filepath.Join(dir, "theirs")
		if err := errors.Join(os.Mkdir(theirs, 0o755), os.Chown(theirs, 65534, 65534)); err != nil {
			t.Fatal(err)
		}
		if code, _, stderr := run("call", "echo", "-socket", socket, "-out", filepath.Join(theirs, "x")); code != 1 || !strings.Contains(stderr, "belongs to another user") {
			t.Errorf("in another's directory: exit %d, %s", code, stderr)
		}
	}
	// A file without a name, which who asks has open.
	f, err := os.CreateTemp(dir, "")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	os.Remove(f.Name())
	name := descriptors + "/" + strconv.Itoa(int(f.Fd()))
	if code, _, stderr := run("call", "echo", "-socket", socket, "-out", name); code != 0 {
		t.Fatalf("%s: exit %d, %s", name, code, stderr)
	}
	b := make([]byte, 64)
	if n, _ := f.Read(b); string(b[:n]) != "{\"params\":null}\n" {
		t.Errorf("it has %q", b[:n])
	}
}

// Options as people write them.
func TestFlags(t *testing.T) {
	var f flags
	name, some, on, off := f.text("name", "def"), f.list("some"), f.toggle("on"), f.toggle("off")
	args := []string{"-some", "a", "one", "--some=b=c", "-on", "-", "--", "-off"}
	if err := f.parse(args, nil, 3, 3, ""); err != nil || *name != "def" || strings.Join(*some, "|") != "a|b=c" || !*on || *off || strings.Join(f.args, "|") != "one|-|-off" {
		t.Errorf("%v: %q %q %v %v %q", err, *name, *some, *on, *off, f.args)
	}
	for _, bad := range [][]string{{"-on=1"}, {"-name"}, {"-colour"}, {"x", "y"}, {}} {
		var f flags
		f.text("name", "")
		f.toggle("on")
		var wrong usageError
		if err := f.parse(bad, nil, 1, 1, "one"); !errors.As(err, &wrong) {
			t.Errorf("%q: %v", bad, err)
		}
	}
	for _, help := range []string{"-h", "--help"} {
		if code, _, stderr := run("status", help); code != 0 || stderr != usage {
			t.Errorf("%s: exit %d, %s", help, code, stderr)
		}
	}
}
