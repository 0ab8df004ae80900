package main

import (
	"bytes"
	"errors"
	"io"
	"os/exec"
	"strconv"
	"strings"
	"testing"
)

func sampleArchive(t *testing.T) []byte {
	t.Helper()
	var buf bytes.Buffer
	c := newCPIO(&buf)
	c.Dir("dev")
	c.CharDevice("dev/console", 0o600, 5, 1)
	c.File("init", 0o755, []byte("#!/bin/sh\n"))
	c.File("empty", 0o644, nil)
	c.Symlink("lnk", "init")
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

func TestCPIORoundTrip(t *testing.T) {
	want := []cpioEntry{
		{"dev", typeDir | 0o755, 0, 0, ""},
		{"dev/console", typeChar | 0o600, 5, 1, ""},
		{"init", typeRegular | 0o755, 0, 0, "#!/bin/sh\n"},
		{"empty", typeRegular | 0o644, 0, 0, ""},
		{"lnk", typeLink | 0o777, 0, 0, "init"},
	}
	got := readCPIO(t, sampleArchive(t))
	if len(got) != len(want) {
		t.Fatalf("got %d entries, want %d: %v", len(got), len(want), got)
	}
	for i := range want {
		if got[i] != want[i] {
			t.Errorf("entry %d: got %+v, want %+v", i, got[i], want[i])
		}
	}
}

func TestCPIOReadByCpio(t *testing.T) {
	path, err := exec.LookPath("cpio")
	if err != nil {
		t.Skip("no cpio here")
	}
	cmd := exec.Command(path, "--list", "--quiet")
	cmd.Stdin = bytes.NewReader(sampleArchive(t))
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	if got, want := strings.Fields(string(out)), "dev dev/console init empty lnk"; strings.Join(got, " ") != want {
		t.Errorf("cpio lists %q, want %q", got, want)
	}
}

type shortWriter struct{ left int }

func (w *shortWriter) Write(b []byte) (int, error) {
	if len(b) > w.left {
		return 0, io.ErrShortWrite
	}
	w.left -= len(b)
	return len(b), nil
}

func TestCPIOKeepsFirstError(t *testing.T) {
	c := newCPIO(&shortWriter{left: 200})
	c.File("a", 0o644, make([]byte, 500))
	c.File("b", 0o644, nil)
	if err := c.Close(); !errors.Is(err, io.ErrShortWrite) {
		t.Errorf("Close: got %v, want %v", err, io.ErrShortWrite)
	}
}

type cpioEntry struct {
	name               string
	mode, major, minor uint32
	data               string
}

// readCPIO is written from the format's description, not from the writer.
func readCPIO(t *testing.T, b []byte) []cpioEntry {
	t.Helper()
	var entries []cpioEntry
	for off := 0; ; {
		if len(b) < off+110 || string(b[off:off+6]) != "070701" {
			t.Fatalf("no header at offset %d", off)
		}
		field := func(i int) int {
			n, err := strconv.ParseUint(string(b[off+6+8*i:off+14+8*i]), 16, 32)
			if err != nil {
				t.Fatalf("field %d at offset %d: %v", i, off, err)
			}
			return int(n)
		}
		nameEnd := off + 110 + field(11)
		name := string(b[off+110 : nameEnd-1])
		if b[nameEnd-1] != 0 {
			t.Fatalf("name %q is not ended by NUL", name)
		}
		data := (nameEnd + 3) / 4 * 4
		end := data + field(6)
		if name == "TRAILER!!!" {
			return entries
		}
		entries = append(entries, cpioEntry{name, uint32(field(1)), uint32(field(9)), uint32(field(10)), string(b[data:end])})
		off = (end + 3) / 4 * 4
	}
}
