package main

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"
	"time"
)

func TestQuote(t *testing.T) {
	sh, err := exec.LookPath("sh")
	if err != nil {
		t.Skip("no sh here")
	}
	for _, want := range []string{"", "a b", `it's "$HOME" \ here`, "two\nlines"} {
		got, err := exec.Command(sh, "-c", "printf %s "+quote(want)).Output()
		if err != nil || string(got) != want {
			t.Errorf("the shell read %q (%v), want %q", got, err, want)
		}
	}
}

func TestInitScriptParses(t *testing.T) {
	sh, err := exec.LookPath("sh")
	if err != nil {
		t.Skip("no sh here")
	}
	script := initScript("echo 'a' && exit 3", marker{"00ff"}, time.Unix(1, 0))
	if out, err := exec.Command(sh, "-n", "-c", script).CombinedOutput(); err != nil {
		t.Errorf("sh -n: %v: %s\n%s", err, out, script)
	}
}

func TestCopyAdded(t *testing.T) {
	dir := t.TempDir()
	if err := os.MkdirAll(filepath.Join(dir, "in/deep"), 0o755); err != nil {
		t.Fatal(err)
	}
	for name, perm := range map[string]os.FileMode{"b4d": 0o755, "in/one": 0o644, "in/deep/two": 0o600} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(name), perm); err != nil {
			t.Fatal(err)
		}
	}
	var buf bytes.Buffer
	b := newBuilder(&buf)
	for _, a := range []added{{filepath.Join(dir, "b4d"), "/b4d"}, {filepath.Join(dir, "in"), "/usr/share/in"}} {
		if err := b.copyAdded(a); err != nil {
			t.Fatal(err)
		}
	}
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	want := []cpioEntry{
		{"b4d", typeRegular | 0o755, 0, 0, "b4d"},
		{"usr", typeDir | 0o755, 0, 0, ""},
		{"usr/share", typeDir | 0o755, 0, 0, ""},
		{"usr/share/in", typeDir | 0o755, 0, 0, ""},
		{"usr/share/in/deep", typeDir | 0o755, 0, 0, ""},
		{"usr/share/in/deep/two", typeRegular | 0o600, 0, 0, "in/deep/two"},
		{"usr/share/in/one", typeRegular | 0o644, 0, 0, "in/one"},
	}
	if got := readCPIO(t, buf.Bytes())[len(dirs):]; !slices.Equal(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
	if err := b.copyAdded(added{filepath.Join(dir, "gone"), "/gone"}); err == nil {
		t.Error("a missing file is no error")
	}
}

func TestDependsOn(t *testing.T) {
	const out = "linux-image-4kc-malta\n  Depends: linux-base\n  Depends: linux-image-6.1.0-50-4kc-malta\n"
	if got, err := dependsOn(out, "linux-image-"); err != nil || got != "linux-image-6.1.0-50-4kc-malta" {
		t.Errorf("got %q, %v", got, err)
	}
	if got, err := dependsOn("W: Unable to locate package\n", "linux-image-"); err == nil {
		t.Errorf("got %q, want an error", got)
	}
}

func TestFileList(t *testing.T) {
	var l fileList
	for _, bad := range []string{"", "a", "a:", ":/b", "a:b"} {
		if err := l.Set(bad); err == nil {
			t.Errorf("Set(%q) is accepted", bad)
		}
	}
	if err := l.Set("a:/b"); err != nil || len(l) != 1 || l[0] != (added{"a", "/b"}) {
		t.Errorf("Set(a:/b): %v, %v", l, err)
	}
}
