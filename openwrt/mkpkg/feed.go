package main

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// A feed is a directory that opkg or apk install from: packages of one
// architecture and those of none, and an index of them.
type feed struct {
	dir   string // relative to the output
	files []output
}

// An output is a file to be written.
type output struct {
	name string
	data []byte
}

// notListed are the fields that OpenWrt's Packages leave out of the control
// files; Packages.manifest has them.
var notListed = []string{"Maintainer", "LicenseFiles", "Source", "SourceName", "SourceDateEpoch"}

// ipkFeed packs pkgs, which are sorted by name, for opkg.
func ipkFeed(arch string, pkgs ...pkg) (feed, error) {
	f := feed{dir: path.Join("ipk", arch)}
	var manifest, packages strings.Builder
	for i := range pkgs {
		p := &pkgs[i]
		data, err := p.ipk()
		if err != nil {
			return feed{}, err
		}
		name := fmt.Sprintf("%s_%s_%s.ipk", p.Name, p.Version, p.Arch)
		f.files = append(f.files, output{name, data})
		fields, err := p.listed(name, data)
		if err != nil {
			return feed{}, err
		}
		manifest.WriteString(text(fields) + "\n")
		fields = slices.DeleteFunc(fields, func(f field) bool { return slices.Contains(notListed, f.name) })
		packages.WriteString(text(fields) + "\n")
	}
	f.files = append(f.files,
		output{"Packages", []byte(packages.String())},
		output{"Packages.gz", gzipped([]byte(packages.String()))},
		output{"Packages.manifest", []byte(manifest.String())})
	return f, nil
}

// listed returns the control fields of an .ipk with those by which opkg finds
// and proves it, ahead of the description.
func (p *pkg) listed(name string, data []byte) ([]field, error) {
	u, err := unpackIPK(data)
	if err != nil {
		return nil, fmt.Errorf("read %s again: %w", name, err)
	}
	sum := sha256.Sum256(data)
	proof := []field{
		{"Filename", name},
		{"Size", strconv.Itoa(len(data))},
		{"SHA256sum", hex.EncodeToString(sum[:])},
	}
	return slices.Insert(u.fields, len(u.fields)-1, proof...), nil
}

// apkFeed packs pkgs, which are sorted by name, for apk.
func apkFeed(arch string, pkgs ...pkg) feed {
	f := feed{dir: path.Join("apk", arch)}
	var entries []apkEntry
	for i := range pkgs {
		p := &pkgs[i]
		e := apkEntry{p, p.apk()}
		entries = append(entries, e)
		f.files = append(f.files, output{fmt.Sprintf("%s-%s.apk", p.Name, p.Version), e.file.data})
	}
	f.files = append(f.files, output{"packages.adb", apkIndex(entries)})
	return f
}

// write writes the feed below out.
func (f *feed) write(out string) error {
	dir := filepath.Join(out, filepath.FromSlash(f.dir))
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	for _, o := range f.files {
		if err := os.WriteFile(filepath.Join(dir, o.name), o.data, 0o644); err != nil {
			return err
		}
	}
	return nil
}

// sums returns the lines of feeds for sha256sums, sorted by path.
func sums(feeds []feed) string {
	var all []string
	for _, f := range feeds {
		for _, o := range f.files {
			sum := sha256.Sum256(o.data)
			all = append(all, path.Join(f.dir, o.name)+"\x00"+hex.EncodeToString(sum[:]))
		}
	}
	slices.Sort(all)
	var b strings.Builder
	for _, line := range all {
		name, sum, _ := strings.Cut(line, "\x00")
		fmt.Fprintf(&b, "%s  %s\n", sum, name)
	}
	return b.String()
}
