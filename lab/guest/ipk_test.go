package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// packed returns a gzipped tar archive.
func packed(t *testing.T, entries ...tar.Header) []byte {
	t.Helper()
	var buf bytes.Buffer
	zip := gzip.NewWriter(&buf)
	w := tar.NewWriter(zip)
	for _, h := range entries {
		data := h.Linkname // of a file: what is in it
		if h.Typeflag == tar.TypeReg {
			h.Linkname, h.Size = "", int64(len(data))
		}
		if err := w.WriteHeader(&h); err != nil {
			t.Fatal(err)
		}
		if h.Typeflag != tar.TypeReg {
			continue
		}
		if _, err := w.Write([]byte(data)); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if err := zip.Close(); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

func file(name string, mode int64, data string) tar.Header {
	return tar.Header{Name: name, Typeflag: tar.TypeReg, Mode: mode, Linkname: data}
}

// unpacked returns what an archive holds beside the guest's own directories
// once a package of these data was unpacked into it.
func unpacked(t *testing.T, ipk []byte) ([]cpioEntry, error) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "b4.ipk")
	if err := os.WriteFile(path, ipk, 0o644); err != nil {
		t.Fatal(err)
	}
	var buf bytes.Buffer
	b := newBuilder(&buf)
	if err := b.unpack(path); err != nil {
		return nil, err
	}
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	return readCPIO(t, buf.Bytes())[len(dirs):], nil
}

func TestUnpack(t *testing.T) {
	data := packed(t,
		tar.Header{Name: "./", Typeflag: tar.TypeDir, Mode: 0o755},
		tar.Header{Name: "./etc/", Typeflag: tar.TypeDir, Mode: 0o755},
		file("./etc/config/b4", 0o600, "config b4"),
		file("./usr/sbin/b4d", 0o755, "\x7fELF"),
		tar.Header{Name: "./www/", Typeflag: tar.TypeDir, Mode: 0o755},
	)
	got, err := unpacked(t, packed(t, file("./debian-binary", 0o644, "2.0\n"), file("./data.tar.gz", 0o644, string(data)), file("./control.tar.gz", 0o644, "")))
	if err != nil {
		t.Fatal(err)
	}
	want := []cpioEntry{
		{"etc/config", typeDir | 0o755, 0, 0, ""},
		{"etc/config/b4", typeRegular | 0o600, 0, 0, "config b4"},
		{"usr", typeDir | 0o755, 0, 0, ""},
		{"usr/sbin", typeDir | 0o755, 0, 0, ""},
		{"usr/sbin/b4d", typeRegular | 0o755, 0, 0, "\x7fELF"},
		{"www", typeDir | 0o755, 0, 0, ""},
	}
	if !slices.Equal(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
}

func TestUnpackRefuses(t *testing.T) {
	with := func(h tar.Header) []byte { return packed(t, file("./data.tar.gz", 0o644, string(packed(t, h)))) }
	whole := with(file("./a", 0o644, strings.Repeat("a", 100)))
	for _, tt := range []struct {
		name, err string
		ipk       []byte
	}{
		{"nothing", "EOF", nil},
		{"no archive", "invalid header", []byte("#!/bin/sh\n# no package")},
		{"cut short", "unexpected EOF", whole[:len(whole)-20]},
		{"no data", "no data.tar.gz", packed(t, file("./control.tar.gz", 0o644, ""))},
		{"data is no archive", "invalid header", packed(t, file("./data.tar.gz", 0o644, "something else"))},
		{"somebody's file", "not root's", with(tar.Header{Name: "./a", Typeflag: tar.TypeReg, Mode: 0o644, Uid: 1000})},
		{"a link", "neither a file nor a directory", with(tar.Header{Name: "./a", Typeflag: tar.TypeSymlink, Linkname: "b"})},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if _, err := unpacked(t, tt.ipk); err == nil || !strings.Contains(err.Error(), tt.err) {
				t.Errorf("got error %v, want %q", err, tt.err)
			}
		})
	}
	if err := newBuilder(&bytes.Buffer{}).unpack(filepath.Join(t.TempDir(), "gone.ipk")); err == nil {
		t.Error("a package that is not there is no error")
	}
}
