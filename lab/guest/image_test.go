package main

import (
	"os/exec"
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
