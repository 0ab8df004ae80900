package main

import (
	"bytes"
	"compress/flate"
	"crypto/sha256"
	"debug/elf"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// Each row spoils one thing; the check has to name it.
func TestChecksFind(t *testing.T) {
	pkgs := packages(t, "mips_24kc")
	b4, luci := pkgs[0], pkgs[1]
	for i, c := range []struct {
		name  string
		spoil func(p *pkg) // before it is packed; the check knows nothing of it
		want  string
	}{
		{"mode", func(p *pkg) { p.file("/etc/config/b4").Mode = 0o644 }, "/etc/config/b4 has mode 644, not 600"},
		{"content", func(p *pkg) { p.file(daemonPath).Data = []byte("other") }, daemonPath + " is not wanted"},
		{"missing", func(p *pkg) { p.Files = p.Files[1:] }, "/etc/b4/never.txt is missing"},
		{"more", func(p *pkg) { p.Files = append(p.Files, file{"/etc/x", 0o644, nil}) }, "/etc/x is not wanted"},
		{"conffiles", func(p *pkg) { p.Conffiles = nil }, "conffiles"},
		{"version", func(p *pkg) { p.Version = "1.2.4-r1" }, "version"},
		{"date", func(p *pkg) { p.Epoch++ }, "date"},
		{"dependencies", func(p *pkg) { p.Depends = p.Depends[1:] }, "dependencies"},
		{"architecture", func(p *pkg) { p.Arch = "mipsel_24kc" }, "architecture"},
		{"script", func(p *pkg) { p.Postinst = "reboot\n" }, "script post"},
		{"description", func(p *pkg) { p.Title = "?" }, "description"},
	} {
		t.Run(c.name, func(t *testing.T) {
			spoilt := b4
			spoilt.Files = slices.Clone(b4.Files)
			c.spoil(&spoilt)
			ipk, err := ipkFeed("mips_24kc", spoilt, luci)
			if err != nil {
				t.Fatal(err)
			}
			feeds := []feed{ipk, apkFeed("mips_24kc", spoilt, luci)}
			if testing.Short() { // one format and the other in turn
				feeds = feeds[i%2:][:1]
			}
			for _, f := range feeds {
				out := t.TempDir()
				if err := f.write(out); err != nil {
					t.Fatal(err)
				}
				err := checkFeed(out, f.dir, []pkg{b4, luci})
				if err == nil || !strings.Contains(err.Error(), c.want) {
					t.Errorf("%s: %v, want %q", f.dir, err, c.want)
				}
			}
		})
	}
}

// A file that was changed after it was packed is found by the index, or by the
// hashes within.
func TestChecksFindChangedFiles(t *testing.T) {
	out, made, pkgs := written(t)
	for _, name := range []string{
		"ipk/mips_24kc/Packages", "ipk/mips_24kc/Packages.gz", "ipk/mips_24kc/Packages.manifest",
		"ipk/mips_24kc/luci-app-b4_1.2.3-r1_all.ipk", "ipk/mips_24kc/b4_1.2.3-r1_mips_24kc.ipk",
		"apk/mips_24kc/packages.adb", "apk/mips_24kc/b4-1.2.3-r1.apk",
	} {
		path := filepath.Join(out, name)
		was, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		b := bytes.Clone(was)
		for i := range 16 { // one bit alone may be of those that fill up a deflated block
			b[len(b)/2+i] ^= 0x10
		}
		if err := os.WriteFile(path, b, 0o644); err != nil {
			t.Fatal(err)
		}
		var found error
		for _, f := range made {
			found = errors.Join(found, checkFeed(out, f.dir, pkgs))
		}
		if found == nil && !strings.HasSuffix(name, ".manifest") { // opkg does not read it
			t.Errorf("%s: no check of a feed finds changed bytes", name)
		}
		if checkSums(out) == nil {
			t.Errorf("%s: checkSums finds no changed byte", name)
		}
		if err := os.WriteFile(path, was, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for _, f := range made {
		if err := checkFeed(out, f.dir, pkgs); err != nil {
			t.Errorf("unchanged: %v", err)
		}
	}
}

// The hashes within an .apk hold for every byte of it.
func TestAPKProvesItself(t *testing.T) {
	made, _ := built(t)
	raw, err := inflateADB(made[1].files[1].data) // the small one
	if err != nil {
		t.Fatal(err)
	}
	blocks, err := parseADB(raw, adbPackage)
	if err != nil {
		t.Fatal(err)
	}
	step := 1
	if testing.Short() {
		step = 61
	}
	for i := 0; i < len(raw); i += step {
		spoilt := bytes.Clone(raw)
		spoilt[i] ^= 1
		if _, id, err := unpackAPK(deflatedADB(t, spoilt)); err == nil && id == sha256.Sum256(blocks[0].payload) && !padding(blocks, raw, i) {
			t.Fatalf("byte %d of %d changes nothing", i, len(raw))
		}
	}
}

// padding says whether byte i of a file lies between its blocks.
func padding(blocks []adbBlock, raw []byte, i int) bool {
	at := 8
	for _, b := range blocks {
		end := at + 4 + len(b.payload)
		at = (end + adbAlign - 1) &^ (adbAlign - 1)
		if i >= end && i < at {
			return true
		}
	}
	return false
}

func deflatedADB(t testing.TB, raw []byte) []byte {
	t.Helper()
	var buf bytes.Buffer
	buf.WriteString(apkMagic)
	w, err := flate.NewWriter(&buf, flate.NoCompression)
	if err != nil {
		t.Fatal(err)
	}
	w.Write(raw)
	w.Close()
	return buf.Bytes()
}

func FuzzUnpackAPK(f *testing.F) {
	made, _ := built(f)
	for _, o := range made[1].files {
		raw, err := inflateADB(o.data)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(raw[:min(len(raw), 4096)])
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		b := deflatedADB(t, raw)
		unpackAPK(b)
		unpackIndex(b)
	})
}

func TestADBNumbersAndBlobs(t *testing.T) {
	w := newADB()
	numbers := []uint64{0, 1, 1<<28 - 1, 1 << 28, 1<<32 - 1, 1 << 32, 1<<63 + 5}
	blobs := [][]byte{nil, {1}, make([]byte, 255), make([]byte, 256), make([]byte, 1<<16-1), make([]byte, 1<<16)}
	var vals []adbVal
	for _, n := range numbers {
		vals = append(vals, w.number(n))
	}
	for _, b := range blobs {
		vals = append(vals, w.blob(b))
	}
	r := adbReader(w.finish(w.array(vals...)))
	root, err := r.root()
	if err != nil {
		t.Fatal(err)
	}
	got, err := r.row(root)
	if err != nil || len(got) != len(vals) {
		t.Fatalf("%d values, %v", len(got), err)
	}
	for i, want := range numbers {
		if n, err := r.number(got[i]); n != want || err != nil {
			t.Errorf("%d is %d, %v", want, n, err)
		}
	}
	for i, want := range blobs {
		if b, err := r.blob(got[len(numbers)+i]); !bytes.Equal(b, want) || err != nil {
			t.Errorf("a blob of %d bytes has %d, %v", len(want), len(b), err)
		}
	}
	for _, v := range []adbVal{adbBlob8 | 1<<27, adbBlob32 | adbVal(len(r)-3), adbInt64 | adbVal(len(r)-7), adbArray | adbVal(len(r))} {
		_, errBlob := r.blob(v)
		_, errRow := r.row(v)
		_, errNumber := r.number(v)
		if errBlob == nil || errRow == nil || errNumber == nil {
			t.Errorf("%x is read beyond the end", uint32(v))
		}
	}
}

// The test's own program stands for a wrong build.
func TestTargetRefuses(t *testing.T) {
	name, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	own, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	for _, tg := range targets {
		if err := tg.check(own); err == nil {
			t.Errorf("%s takes a test's program", tg.name)
		}
		if err := tg.check([]byte("#!/bin/sh\n")); err == nil {
			t.Errorf("%s takes a script", tg.name)
		}
	}
	var archs []string
	for _, tg := range targets {
		archs = append(archs, tg.ipk...)
	}
	slices.Sort(archs)
	want := []string{"aarch64_cortex-a53", "aarch64_generic", "arm_cortex-a7_neon-vfpv4", "arm_cortex-a9_vfpv3-d16",
		"mips_24kc", "mipsel_24kc", "mipsel_74kc", "riscv64_riscv64", "x86_64"}
	if !slices.Equal(archs, want) {
		t.Errorf("architectures are %q", archs)
	}
}

// Real builds: floats in hardware are refused, so is a program with symbols.
func TestTargetChecksBuilds(t *testing.T) {
	if testing.Short() {
		t.Skip("builds programs for MIPS")
	}
	dir := t.TempDir()
	main := filepath.Join(dir, "main.go")
	if err := os.WriteFile(main, []byte("package main\n\nfunc main() { println(1) }\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	mips := targets[slices.IndexFunc(targets, func(t target) bool { return t.machine == elf.EM_MIPS })]
	for _, c := range []struct {
		float, ldflags, want string
	}{
		{"softfloat", "-s -w", ""},
		{"hardfloat", "-s -w", "float ABI is not soft"},
		{"softfloat", "", "not stripped"},
	} {
		out := filepath.Join(dir, "b4d")
		build := exec.Command("go", "build", "-trimpath", "-ldflags", c.ldflags, "-o", out, main)
		build.Env = append(os.Environ(), "GOOS=linux", "GOARCH="+mips.settings["GOARCH"], "GOMIPS="+c.float, "CGO_ENABLED=0")
		if log, err := build.CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, log)
		}
		b, err := os.ReadFile(out)
		if err != nil {
			t.Fatal(err)
		}
		err = mips.check(b)
		if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s, ldflags %q: %v, want %q", c.float, c.ldflags, err, c.want)
		}
	}
}

func TestReport(t *testing.T) {
	made, _ := built(t)
	var buf bytes.Buffer
	if err := report(&buf, made); err != nil {
		t.Fatal(err)
	}
	if got := strings.Count(buf.String(), "\n"); got != 12 {
		t.Errorf("%d lines for twelve packages:\n%s", got, buf.String())
	}
	if err := report(failing{}, made); err == nil {
		t.Error("a full disk is not noticed")
	}
}

type failing struct{}

func (failing) Write([]byte) (int, error) { return 0, io.ErrShortWrite }
