package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"strings"
)

// An unpacked package is what its file says, in either format.
type unpacked struct {
	fields  []field           // of the control file; of an .apk those of its description
	scripts map[string]string // by the format's names
	keep    string            // the conffiles, one a line
	entries []entry
}

// An entry is a file or directory of an unpacked package.
type entry struct {
	path  string // absolute; a directory's ends in a slash
	mode  int64
	owner string // root:root; 0:0 in an .ipk
	mtime int64  // seconds since 1970; 0 for directories of an .apk, which have none
	data  []byte
}

// value returns the value of a field, "" if there is none.
func (u *unpacked) value(name string) string {
	for _, f := range u.fields {
		if f.name == name {
			return f.value
		}
	}
	return ""
}

// untarred is what untar returns: an archive's members, in their order.
type untarred []struct {
	*tar.Header
	data []byte
}

// member returns what the archive holds under a name.
func (u untarred) member(name string) ([]byte, error) {
	for _, m := range u {
		if m.Name == name {
			return m.data, nil
		}
	}
	return nil, fmt.Errorf("%s is missing", name)
}

// untar reads a gzipped archive.
func untar(b []byte) (untarred, error) {
	z, err := gzip.NewReader(bytes.NewReader(b))
	if err != nil {
		return nil, err
	}
	if z.Name != "" || !z.ModTime.IsZero() {
		return nil, errors.New("the gzip header has a name or a date")
	}
	raw, err := io.ReadAll(z)
	if err != nil {
		return nil, err
	}
	var all untarred
	for r := tar.NewReader(bytes.NewReader(raw)); ; {
		h, err := r.Next()
		if err == io.EOF {
			return all, nil
		}
		if err != nil {
			return nil, err
		}
		data, err := io.ReadAll(r)
		if err != nil {
			return nil, err
		}
		all = append(all, struct {
			*tar.Header
			data []byte
		}{h, data})
	}
}

// unpackIPK reads an .ipk.
func unpackIPK(b []byte) (*unpacked, error) {
	outer, err := untar(b)
	if err != nil {
		return nil, fmt.Errorf("ipk: %w", err)
	}
	var parts [2]untarred
	for i, name := range []string{"./control.tar.gz", "./data.tar.gz"} {
		inner, err := outer.member(name)
		if err == nil {
			parts[i], err = untar(inner)
		}
		if err != nil {
			return nil, fmt.Errorf("ipk: %s: %w", name, err)
		}
	}
	u := &unpacked{scripts: map[string]string{}}
	for _, m := range parts[0] {
		switch name := strings.TrimPrefix(m.Name, "./"); name {
		case "":
		case "control":
			u.fields = parseControl(string(m.data))
		case "conffiles":
			u.keep = string(m.data)
		default:
			if m.Mode != 0o755 {
				return nil, fmt.Errorf("ipk: script %s has mode %o", name, m.Mode)
			}
			u.scripts[name] = string(m.data)
		}
	}
	for _, m := range parts[1] {
		u.entries = append(u.entries, entry{
			path: strings.TrimPrefix(m.Name, "."), mode: m.Mode, data: m.data,
			owner: fmt.Sprintf("%d:%d", m.Uid, m.Gid), mtime: m.ModTime.Unix(),
		})
	}
	return u, nil
}

// parseControl reads the lines of a control file.
func parseControl(text string) []field {
	var fields []field
	for _, line := range list(text) {
		name, value, _ := strings.Cut(line, ": ")
		fields = append(fields, field{name, value})
	}
	return fields
}
