package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"strconv"
)

// unpackAPK reads an .apk, proves the hashes in it, and returns its identity.
func unpackAPK(b []byte) (u *unpacked, id [sha256.Size]byte, err error) {
	raw, err := inflateADB(b)
	if err != nil {
		return nil, id, err
	}
	blocks, err := parseADB(raw, adbPackage)
	if err != nil {
		return nil, id, err
	}
	w := &apkWalk{adbReader: blocks[0].payload, data: blocks[1:]}
	u = w.pkg()
	if w.err == nil && len(w.data) > 0 {
		w.err = fmt.Errorf("adb: %d blocks of data belong to no file", len(w.data))
	}
	return u, sha256.Sum256(blocks[0].payload), w.err
}

// unpackIndex reads packages.adb: the fields of each package.
func unpackIndex(b []byte) ([][]field, error) {
	raw, err := inflateADB(b)
	if err != nil {
		return nil, err
	}
	blocks, err := parseADB(raw, adbIndex)
	if err != nil {
		return nil, err
	}
	w := &apkWalk{adbReader: blocks[0].payload}
	var all [][]field
	for _, v := range w.vals(at(w.vals(w.first()), 1)) {
		all = append(all, w.info(v))
	}
	return all, w.err
}

// An apkWalk reads values one after the other and keeps the first error.
type apkWalk struct {
	adbReader
	data []adbBlock // not read yet
	err  error
}

func (w *apkWalk) note(err error) {
	if w.err == nil {
		w.err = err
	}
}

func (w *apkWalk) first() adbVal {
	v, err := w.root()
	w.note(err)
	return v
}

func (w *apkWalk) vals(v adbVal) []adbVal {
	vals, err := w.row(v)
	w.note(err)
	return vals
}

func (w *apkWalk) bytes(v adbVal) []byte {
	b, err := w.blob(v)
	w.note(err)
	return b
}

func (w *apkWalk) num(v adbVal) int64 {
	n, err := w.number(v)
	w.note(err)
	return int64(n)
}

// at returns the i-th value of a row, null beyond its end.
func at(vals []adbVal, i int) adbVal {
	if i >= len(vals) {
		return 0
	}
	return vals[i]
}

// pkg reads a package.
func (w *apkWalk) pkg() *unpacked {
	vals := w.vals(w.first())
	u := &unpacked{fields: w.info(at(vals, 0)), scripts: map[string]string{}}
	for i, dir := range w.vals(at(vals, 1)) {
		w.dir(u, i+1, w.vals(dir))
	}
	for i, s := range w.vals(at(vals, 2)) {
		if s != 0 && i < len(apkScriptFields) {
			u.scripts[apkScriptFields[i]] = string(w.bytes(s))
		}
	}
	for _, e := range u.entries {
		if e.path == "/lib/apk/packages/"+u.value("Package")+".conffiles" {
			u.keep = string(e.data)
		}
	}
	w.unique(at(w.vals(at(vals, 0)), pkgHashes))
	return u
}

// unique proves the name that a package has from its own content.
func (w *apkWalk) unique(v adbVal) {
	have := bytes.Clone(w.bytes(v))
	if w.err != nil || v&adbType != adbBlob8 {
		w.note(errors.New("adb: no unique name"))
		return
	}
	zeroed := bytes.Clone(w.adbReader)
	clear(zeroed[int(v&^adbType)+1:][:len(have)])
	if sum := sha256.Sum256(zeroed); !bytes.Equal(have, sum[:uniqueLen]) {
		w.note(errors.New("adb: the unique name is not the hash of the rest"))
	}
}

// info reads a description, with the names that a control file has for it.
func (w *apkWalk) info(v adbVal) []field {
	vals := w.vals(v)
	depends := ""
	for i, d := range w.vals(at(vals, pkgDepends)) {
		if i > 0 {
			depends += ", "
		}
		depends += string(w.bytes(at(w.vals(d), 0)))
	}
	tags := ""
	for _, t := range w.vals(at(vals, pkgTags)) {
		tags += string(w.bytes(t))
	}
	str := func(i int) string { return string(w.bytes(at(vals, i))) }
	num := func(i int) string { return strconv.FormatInt(w.num(at(vals, i)), 10) }
	return []field{
		{"Package", str(pkgName)},
		{"Version", str(pkgVersion)},
		{"Depends", depends},
		{"Source", str(pkgOrigin)},
		{"License", str(pkgLicense)},
		{"Maintainer", str(pkgMaintainer)},
		{"Architecture", str(pkgArch)},
		{"SourceDateEpoch", num(pkgBuildTime)},
		{"Installed-Size", num(pkgInstalledSize)},
		{"Size", num(pkgFileSize)},
		{"Tags", tags},
		{"Hash", fmt.Sprintf("%x", w.bytes(at(vals, pkgHashes)))},
		{"Description", str(pkgDescription)},
	}
}

// dir reads the directory of a number, with its files.
func (w *apkWalk) dir(u *unpacked, number int, vals []adbVal) {
	name := "/" + string(w.bytes(at(vals, 0)))
	if name != "/" {
		name += "/"
	}
	e := entry{path: name}
	e.mode, e.owner = w.acl(at(vals, 1))
	u.entries = append(u.entries, e)
	for i, f := range w.vals(at(vals, 2)) {
		vals := w.vals(f)
		e := entry{path: name + string(w.bytes(at(vals, 0))), mtime: w.num(at(vals, 3))}
		e.mode, e.owner = w.acl(at(vals, 1))
		if size := w.num(at(vals, 2)); size > 0 {
			e.data = w.content(number, i+1)
			if int64(len(e.data)) != size {
				w.note(fmt.Errorf("adb: %s has %d bytes, not %d", e.path, len(e.data), size))
			}
		}
		if sum := sha256.Sum256(e.data); !bytes.Equal(sum[:], w.bytes(at(vals, 4))) {
			w.note(fmt.Errorf("adb: %s is not what its hash says", e.path))
		}
		u.entries = append(u.entries, e)
	}
}

// acl reads a mode and an owner.
func (w *apkWalk) acl(v adbVal) (mode int64, owner string) {
	vals := w.vals(v)
	return w.num(at(vals, 0)), string(w.bytes(at(vals, 1))) + ":" + string(w.bytes(at(vals, 2)))
}

// content returns the next block of data, which has to be of that file.
func (w *apkWalk) content(dir, file int) []byte {
	if len(w.data) == 0 {
		w.note(errors.New("adb: the data of a file is missing"))
		return nil
	}
	b := w.data[0]
	w.data = w.data[1:]
	if b.kind != adbBlockData || len(b.payload) < 8 ||
		binary.LittleEndian.Uint32(b.payload) != uint32(dir) ||
		binary.LittleEndian.Uint32(b.payload[4:]) != uint32(file) {
		w.note(errors.New("adb: the data is not of the file it follows"))
		return nil
	}
	return b.payload[8:]
}
