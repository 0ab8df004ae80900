package main

import (
	"archive/tar"
	"bytes"
	"fmt"
	"path"
	"strconv"
	"strings"
	"time"
)

// An ipk is a gzipped tar archive of ./debian-binary, ./data.tar.gz and
// ./control.tar.gz (OpenWrt's scripts/ipkg-build).

// A member is an entry of a tar archive; a name that ends in a slash is a
// directory's.
type member struct {
	name string
	mode int64
	data []byte
}

// ipk returns p as an .ipk file.
func (p *pkg) ipk() ([]byte, error) {
	data, err := tarball(p.dataMembers(), p.Epoch)
	if err != nil {
		return nil, fmt.Errorf("pack the files of %s: %w", p.Name, err)
	}
	control, err := tarball(p.controlMembers(len(data)), p.Epoch)
	if err != nil {
		return nil, fmt.Errorf("pack the control files of %s: %w", p.Name, err)
	}
	whole, err := tarball([]member{
		{"./debian-binary", 0o644, []byte("2.0\n")},
		{"./data.tar.gz", 0o644, gzipped(data)},
		{"./control.tar.gz", 0o644, gzipped(control)},
	}, p.Epoch)
	if err != nil {
		return nil, fmt.Errorf("pack %s: %w", p.Name, err)
	}
	return gzipped(whole), nil
}

// dataMembers returns the files with the directories they lie in, sorted.
func (p *pkg) dataMembers() []member {
	var ms []member
	for _, dir := range dirs(p.Files) {
		ms = append(ms, member{strings.TrimSuffix("./"+dir, "/") + "/", 0o755, nil})
		for _, f := range p.Files {
			if path.Dir(f.Path) == "/"+dir {
				ms = append(ms, member{"." + f.Path, f.Mode, f.Data})
			}
		}
	}
	return ms
}

// controlMembers returns what opkg keeps of the package in its database.
func (p *pkg) controlMembers(installed int) []member {
	ms := []member{{"./", 0o755, nil}}
	if len(p.Conffiles) > 0 {
		ms = append(ms, member{"./conffiles", 0o644, []byte(lines(p.Conffiles))})
	}
	ms = append(ms, member{"./control", 0o644, []byte(text(p.control(installed)))})
	for _, s := range p.ipkScripts() {
		ms = append(ms, member{"./" + s.name, 0o755, []byte(s.text)})
	}
	return ms
}

// A field is a line of a control file.
type field struct {
	name, value string
}

// control returns the fields of p's control file in the order of OpenWrt's;
// installed is the size of the unpacked archive in bytes.
func (p *pkg) control(installed int) []field {
	fields := []field{
		{"Package", p.Name},
		{"Version", p.Version},
		{"Depends", strings.Join(p.Depends, ", ")},
	}
	if len(p.Recommends) > 0 {
		fields = append(fields, field{"Recommends", strings.Join(p.Recommends, ", ")})
	}
	return append(fields, []field{
		{"Source", p.Source},
		{"SourceName", p.Name},
		{"License", license},
		{"LicenseFiles", "LICENSE"},
		{"Section", p.Section},
		{"SourceDateEpoch", strconv.FormatInt(p.Epoch, 10)},
		{"Maintainer", maintainer},
		{"Architecture", p.Arch},
		{"Installed-Size", strconv.Itoa(installed)},
		{"Description", p.Title},
	}...)
}

// text returns fields as the lines of a control file.
func text(fields []field) string {
	var b strings.Builder
	for _, f := range fields {
		fmt.Fprintf(&b, "%s: %s\n", f.name, f.value)
	}
	return b.String()
}

// lines returns items one a line.
func lines(items []string) string {
	return strings.Join(items, "\n") + "\n"
}

// tarball returns an archive of members, all of root and of one date.
func tarball(ms []member, epoch int64) ([]byte, error) {
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	for _, m := range ms {
		h := &tar.Header{
			Name: m.name, Mode: m.mode, Size: int64(len(m.data)),
			Typeflag: tar.TypeReg, ModTime: time.Unix(epoch, 0), Format: tar.FormatGNU,
		}
		if strings.HasSuffix(m.name, "/") {
			h.Typeflag = tar.TypeDir
		}
		if err := w.WriteHeader(h); err != nil {
			return nil, err
		}
		if _, err := w.Write(m.data); err != nil {
			return nil, err
		}
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	return buf.Bytes(), nil
}
