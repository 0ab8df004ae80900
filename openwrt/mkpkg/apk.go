package main

import (
	"bytes"
	"compress/flate"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"io"
	"path"
	"slices"
	"strings"
)

// A package of apk 3 is an ADB of its description, its files' names, modes and
// hashes, and its scripts, followed by a data block for each file that is not
// empty. It is deflated behind the letters ADBd (src/adb_comp.c of apk-tools).

const apkMagic = "ADBd"

// Fields of a package's description, counted from 1 (src/apk_adb.h).
const (
	pkgName = iota
	pkgVersion
	pkgHashes
	pkgDescription
	pkgArch
	pkgLicense
	pkgOrigin
	pkgMaintainer
	_ // an address in the web
	_ // the commit of the repository
	pkgBuildTime
	pkgInstalledSize
	pkgFileSize
	_ // priority as a provider
	pkgDepends
	_ // provides
	_ // replaces
	_ // install if
	_ // recommends
	_ // layer
	pkgTags
	pkgFields
)

// apkScriptFields are the places of scripts by name.
var apkScriptFields = []string{"trigger", "pre-install", "post-install", "pre-deinstall", "post-deinstall", "pre-upgrade", "post-upgrade"}

// uniqueLen is the length of the name that apk gives to a package: the
// beginning of the SHA-256 of its ADB with zeros in that place.
const uniqueLen = 20

// apkArch returns apk's name of p's architecture.
func (p *pkg) apkArch() string {
	if p.Arch == allArch {
		return "noarch"
	}
	return p.Arch
}

// apkDepends returns all that p wants, sorted.
func (p *pkg) apkDepends() []string {
	return slices.Sorted(slices.Values(slices.Concat(p.Depends, p.Recommends)))
}

// An apkFile is a package as .apk, and what an index says of it.
type apkFile struct {
	data []byte
	id   [sha256.Size]byte // of the ADB, which holds the hashes of all else
}

// apk returns p as an .apk file.
func (p *pkg) apk() apkFile {
	files := p.apkFiles()
	w := newADB()
	hole, unique := w.hole(uniqueLen)
	info := p.apkInfo(w, hole, 0)
	paths, data := apkPaths(w, files, p.Epoch)
	scripts := make([]adbVal, len(apkScriptFields))
	for _, s := range p.apkScripts() {
		scripts[slices.Index(apkScriptFields, s.name)] = w.str(s.text)
	}
	adb := w.finish(w.object(info, paths, w.object(scripts...)))
	sum := sha256.Sum256(adb)
	copy(adb[unique:unique+uniqueLen], sum[:])

	raw := appendBlock([]byte("ADB."+adbPackage), adbBlockADB, adb)
	for _, d := range data {
		raw = appendBlock(raw, adbBlockData, d.place, d.data)
	}
	return apkFile{append([]byte(apkMagic), deflated(raw)...), sha256.Sum256(adb)}
}

// apkFiles returns all that an .apk of p installs, sorted by path.
func (p *pkg) apkFiles() []file {
	files := slices.Concat(p.Files, p.apkOwnFiles())
	sortFiles(files)
	return files
}

// apkOwnFiles returns the files by which OpenWrt's scripts know what belongs to
// an installed package, and sysupgrade which files were changed since.
func (p *pkg) apkOwnFiles() []file {
	base := "/lib/apk/packages/" + p.Name
	var paths []string
	for _, f := range p.Files {
		paths = append(paths, f.Path)
	}
	own := []file{{Path: base + ".list", Mode: 0o644, Data: []byte(lines(paths))}}
	if len(p.Conffiles) == 0 {
		return own
	}
	var static strings.Builder
	for _, c := range p.Conffiles {
		if f := p.file(c); f != nil {
			sum := sha256.Sum256(f.Data)
			fmt.Fprintf(&static, "%s %s\n", c, hex.EncodeToString(sum[:]))
		}
	}
	return append(own,
		file{Path: base + ".conffiles", Mode: 0o644, Data: []byte(lines(p.Conffiles))},
		file{Path: base + ".conffiles_static", Mode: 0o644, Data: []byte(static.String())})
}

// apkInfo writes the description. Within a package hash is its unique name and
// size 0; within an index they are its identity and the size of the file.
func (p *pkg) apkInfo(w *adbWriter, hash adbVal, size int) adbVal {
	installed := 0
	for _, f := range p.apkFiles() {
		installed += len(f.Data)
	}
	var depends []adbVal
	for _, d := range p.apkDepends() {
		depends = append(depends, w.object(w.str(d)))
	}
	f := make([]adbVal, pkgFields)
	f[pkgName] = w.str(p.Name)
	f[pkgVersion] = w.str(p.Version)
	f[pkgHashes] = hash
	f[pkgDescription] = w.str(p.Title)
	f[pkgArch] = w.str(p.apkArch())
	f[pkgLicense] = w.str(license)
	f[pkgOrigin] = w.str(p.Source)
	f[pkgMaintainer] = w.str(maintainer)
	f[pkgBuildTime] = w.number(uint64(p.Epoch))
	f[pkgInstalledSize] = w.number(uint64(installed))
	if size > 0 {
		f[pkgFileSize] = w.number(uint64(size))
	}
	f[pkgDepends] = w.array(depends...)
	f[pkgTags] = w.array(w.str("openwrt:section=" + p.Section))
	return w.object(f...)
}

// apkData is the content of a file, and the numbers of its directory and of
// the file in it, from 1, little-endian.
type apkData struct {
	place, data []byte
}

// apkPaths writes the directories with their files, both sorted by name.
func apkPaths(w *adbWriter, files []file, epoch int64) (adbVal, []apkData) {
	var (
		rows []adbVal
		data []apkData
	)
	acl := func(mode int64) adbVal {
		return w.object(w.number(uint64(mode)), w.str("root"), w.str("root"))
	}
	for i, dir := range dirs(files) {
		var in []adbVal
		for _, f := range files {
			if path.Dir(f.Path) != "/"+dir {
				continue
			}
			sum := sha256.Sum256(f.Data)
			in = append(in, w.object(w.str(path.Base(f.Path)), acl(f.Mode),
				w.number(uint64(len(f.Data))), w.number(uint64(epoch)), w.blob(sum[:])))
			if len(f.Data) > 0 {
				place := binary.LittleEndian.AppendUint32(nil, uint32(i+1))
				place = binary.LittleEndian.AppendUint32(place, uint32(len(in)))
				data = append(data, apkData{place, f.Data})
			}
		}
		rows = append(rows, w.object(w.str(dir), acl(0o755), w.array(in...)))
	}
	return w.array(rows...), data
}

// An apkEntry is a package with its .apk file, to be listed in an index.
type apkEntry struct {
	pkg  *pkg
	file apkFile
}

// apkIndex returns the index of a directory of packages, which are sorted by
// name (src/app_mkndx.c of apk-tools).
func apkIndex(entries []apkEntry) []byte {
	w := newADB()
	var rows []adbVal
	for _, e := range entries {
		rows = append(rows, e.pkg.apkInfo(w, w.blob(e.file.id[:]), len(e.file.data)))
	}
	adb := w.finish(w.object(w.str("b4"), w.array(rows...)))
	raw := appendBlock([]byte("ADB."+adbIndex), adbBlockADB, adb)
	return append([]byte(apkMagic), deflated(raw)...)
}

// inflateADB returns what is behind apkMagic.
func inflateADB(b []byte) ([]byte, error) {
	rest, ok := bytes.CutPrefix(b, []byte(apkMagic))
	if !ok {
		return nil, fmt.Errorf("no file of apk 3: it does not begin with %s", apkMagic)
	}
	return io.ReadAll(flate.NewReader(bytes.NewReader(rest)))
}
