package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// run is one command line; it returns the exit code and what was printed.
func run(args ...string) (code int, stdout, stderr string) {
	var o, e strings.Builder
	code = command(args, &o, &e)
	return code, o.String(), e.String()
}

func TestCommandLine(t *testing.T) {
	nobody := "-socket=" + filepath.Join(t.TempDir(), "s")
	conf := filepath.Join(t.TempDir(), "b4")
	if err := os.WriteFile(conf, []byte("config b4 'main'\n\toption enabled 'maybe'\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		args           []string
		code           int
		stdout, stderr string // what must be in them; empty is that nothing may be
	}{
		{[]string{"--version"}, 0, version + "\n", ""},
		{[]string{"version"}, 0, version + "\n", ""},
		{[]string{"help"}, 0, "usage: b4d", ""},
		{nil, 2, "", "usage: b4d"},
		{[]string{"frobnicate"}, 2, "", `unknown command "frobnicate"`},
		{[]string{"check", "-config", conf}, 2, "", "b4d: " + conf + ":2: "},
		{[]string{"check", "-offline", "-config", conf}, 2, "", "b4d: " + conf + ":2: "},
		{[]string{"check", "-offline", "-config", "../../procd/b4.config", "-set", "main.wan=nowhere"}, 0, "rule all: all names", ""},
		{[]string{"check", "-config", "/nowhere"}, 2, "", "/nowhere"},
		{[]string{"check", "-config", "../../procd/b4.config", "-set", "main.colour=red"}, 2, "", "main.colour"},
		{[]string{"check", "extra"}, 2, "", "no arguments"},
		{[]string{"run", "-colour"}, 2, "", "-colour"},
		{[]string{"status", nobody}, 3, "", "b4d is not running (no socket"},
		{[]string{"trace", nobody, "example.org"}, 3, "", "b4d is not running"},
		{[]string{"trace", nobody}, 2, "", "want a host name"},
		{[]string{"pause", nobody, "soon"}, 2, "", `"soon" is not a number of minutes`},
		{[]string{"pause", nobody, "5"}, 3, "", "b4d is not running"},
	}
	for _, tt := range tests {
		code, stdout, stderr := run(tt.args...)
		if code != tt.code || !strings.Contains(stdout, tt.stdout) || !strings.Contains(stderr, tt.stderr) ||
			(tt.stdout == "") != (stdout == "") || (tt.stderr == "") != (stderr == "") {
			t.Errorf("%q: exit %d\nstdout %q\nstderr %q", tt.args, code, stdout, stderr)
		}
	}
}

// Errors are a line each, so that a log shows them whole.
func TestCheckTellsAllAtOnce(t *testing.T) {
	conf := filepath.Join(t.TempDir(), "b4")
	text := "config b4 'main'\n\toption enabled 'maybe'\n\toption queue_num 'x'\nconfig rule 'x'\n\toption action 'fly'\n"
	if err := os.WriteFile(conf, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	_, _, stderr := run("check", "-config", conf)
	lines := strings.Split(strings.TrimSpace(stderr), "\n")
	if len(lines) != 3 {
		t.Errorf("%q", stderr)
	}
	for _, l := range lines {
		if !strings.HasPrefix(l, "b4d: "+conf+":") {
			t.Errorf("no place: %q", l)
		}
	}
}
