package main

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// What was written is read again from the disk and compared with what was
// meant, by readers that know the formats and not the writers.

// checkFeed says what is wrong with a feed below out; pkgs are its packages.
func checkFeed(out, dir string, pkgs []pkg) error {
	dir = filepath.Join(out, filepath.FromSlash(dir))
	check := checkIPKs
	if filepath.Base(filepath.Dir(dir)) == "apk" {
		check = checkAPKs
	}
	if err := check(dir, pkgs); err != nil {
		return fmt.Errorf("check %s: %w", dir, err)
	}
	return nil
}

// checkIPKs compares Packages with the files it lists, and those with pkgs.
func checkIPKs(dir string, pkgs []pkg) error {
	index, err := os.ReadFile(filepath.Join(dir, "Packages"))
	if err != nil {
		return err
	}
	if err := sameWhenUnzipped(filepath.Join(dir, "Packages.gz"), index); err != nil {
		return err
	}
	stanzas := strings.Split(strings.TrimSuffix(string(index), "\n\n"), "\n\n")
	if len(stanzas) != len(pkgs) {
		return fmt.Errorf("the file Packages lists %d, not %d", len(stanzas), len(pkgs))
	}
	for i, stanza := range stanzas {
		listed := unpacked{fields: parseControl(stanza)}
		name := listed.value("Filename")
		data, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			return err
		}
		u, err := unpackIPK(data)
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		sum := sha256.Sum256(data)
		if err := errors.Join(
			asMeant("size in Packages", listed.value("Size"), strconv.Itoa(len(data))),
			asMeant("hash in Packages", listed.value("SHA256sum"), hex.EncodeToString(sum[:])),
			listed.agree(u, "Filename", "Size", "SHA256sum"),
			asMeant("recommendations", u.value("Recommends"), strings.Join(pkgs[i].Recommends, ", ")),
			u.match(&pkgs[i], pkgs[i].Arch, slices.Sorted(slices.Values(pkgs[i].Depends)), pkgs[i].Files, scriptMap(pkgs[i].ipkScripts()), "0:0"),
		); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	return nil
}

// checkAPKs compares packages.adb with the files beside it, and those with pkgs.
func checkAPKs(dir string, pkgs []pkg) error {
	data, err := os.ReadFile(filepath.Join(dir, "packages.adb"))
	if err != nil {
		return err
	}
	index, err := unpackIndex(data)
	if err != nil {
		return fmt.Errorf("packages.adb: %w", err)
	}
	if len(index) != len(pkgs) {
		return fmt.Errorf("packages.adb lists %d, not %d", len(index), len(pkgs))
	}
	for i, fields := range index {
		listed := unpacked{fields: fields}
		// The name that apk looks for, as no index of ours says another.
		name := listed.value("Package") + "-" + listed.value("Version") + ".apk"
		data, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			return err
		}
		u, id, err := unpackAPK(data)
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		if err := errors.Join(
			asMeant("size in packages.adb", listed.value("Size"), strconv.Itoa(len(data))),
			asMeant("hash in packages.adb", listed.value("Hash"), hex.EncodeToString(id[:])),
			listed.agree(u, "Size", "Hash"),
			u.match(&pkgs[i], pkgs[i].apkArch(), pkgs[i].apkDepends(), pkgs[i].apkFiles(), scriptMap(pkgs[i].apkScripts()), "root:root"),
		); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	return nil
}

// agree compares what an index lists with what the package says of itself, but
// for the fields that only an index has.
func (u *unpacked) agree(p *unpacked, but ...string) error {
	var errs []error
	for _, f := range u.fields {
		if !slices.Contains(but, f.name) {
			errs = append(errs, asMeant(f.name+" in the index", f.value, p.value(f.name)))
		}
	}
	return errors.Join(errs...)
}

// match compares an unpacked package with p as its format has it; depends is sorted.
func (u *unpacked) match(p *pkg, arch string, depends []string, files []file, scripts map[string]string, owner string) error {
	have := slices.Sorted(slices.Values(strings.Split(u.value("Depends"), ", ")))
	errs := []error{
		asMeant("name", u.value("Package"), p.Name),
		asMeant("version", u.value("Version"), p.Version),
		asMeant("architecture", u.value("Architecture"), arch),
		asMeant("dependencies", strings.Join(have, " "), strings.Join(depends, " ")),
		asMeant("license", u.value("License"), license),
		asMeant("date", u.value("SourceDateEpoch"), strconv.FormatInt(p.Epoch, 10)),
		asMeant("description", u.value("Description"), p.Title),
		asMeant("conffiles", strings.Join(list(u.keep), " "), strings.Join(p.Conffiles, " ")),
		asMeant("number of scripts", strconv.Itoa(len(u.scripts)), strconv.Itoa(len(scripts))),
	}
	for name, text := range scripts {
		errs = append(errs, asMeant("script "+name, u.scripts[name], text))
	}
	errs = append(errs, u.matchFiles(files, owner, p.Epoch))
	return errors.Join(errs...)
}

// matchFiles compares the entries with files, and asks that a directory comes
// before what lies in it and that nothing else is there.
func (u *unpacked) matchFiles(files []file, owner string, epoch int64) error {
	var errs []error
	wanted := map[string]file{}
	for _, f := range files {
		wanted[f.Path] = f
	}
	seen := map[string]bool{}
	for _, e := range u.entries {
		if parent := e.path[:strings.LastIndexByte(strings.TrimSuffix(e.path, "/"), '/')+1]; e.path != "/" && !seen[parent] {
			errs = append(errs, fmt.Errorf("%s comes before %s", e.path, parent))
		}
		seen[e.path] = true
		errs = append(errs, asMeant("owner of "+e.path, e.owner, owner))
		mode := int64(0o755)
		if !strings.HasSuffix(e.path, "/") {
			f, ok := wanted[e.path]
			if !ok || !bytes.Equal(e.data, f.Data) || e.mtime != epoch {
				errs = append(errs, fmt.Errorf("%s is not wanted, of another date, or another file", e.path))
			}
			delete(wanted, e.path)
			mode = f.Mode
		}
		if e.mode != mode {
			errs = append(errs, fmt.Errorf("%s has mode %o, not %o", e.path, e.mode, mode))
		}
	}
	for p := range wanted {
		errs = append(errs, fmt.Errorf("%s is missing", p))
	}
	return errors.Join(errs...)
}

// asMeant says what is not as it should be.
func asMeant(what, have, want string) error {
	if have == want {
		return nil
	}
	return fmt.Errorf("%s: %q, not %q", what, have, want)
}

func scriptMap(scripts []script) map[string]string {
	m := map[string]string{}
	for _, s := range scripts {
		m[s.name] = s.text
	}
	return m
}

// sameWhenUnzipped compares a gzip file with what it should hold.
func sameWhenUnzipped(name string, want []byte) error {
	f, err := os.Open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	have, err := io.ReadAll(z)
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	if !bytes.Equal(have, want) {
		return fmt.Errorf("%s holds something else", name)
	}
	return nil
}

// checkSums compares sha256sums with what lies below out: nothing more, nothing
// less, nothing else.
func checkSums(out string) error {
	text, err := os.ReadFile(filepath.Join(out, sumsName))
	if err != nil {
		return err
	}
	listed := map[string]string{}
	for _, line := range list(string(text)) {
		sum, name, _ := strings.Cut(line, "  ")
		listed[name] = sum
	}
	err = filepath.WalkDir(out, func(name string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() || d.Name() == sumsName {
			return err
		}
		data, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(out, name)
		if err != nil {
			return err
		}
		rel = filepath.ToSlash(rel)
		sum := sha256.Sum256(data)
		err = asMeant("hash of "+rel, listed[rel], hex.EncodeToString(sum[:]))
		delete(listed, rel)
		return err
	})
	if err == nil && len(listed) > 0 {
		err = fmt.Errorf("%d files are missing", len(listed))
	}
	if err != nil {
		return fmt.Errorf("check %s: %w", sumsName, err)
	}
	return nil
}
