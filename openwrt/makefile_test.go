// Package openwrt has no code: it holds the Makefile that OpenWrt's buildroot and
// SDK read. Its tests have make evaluate it, with OpenWrt's own makefiles replaced
// by those of testdata/topdir, and compare it with what mkpkg packs without them.
package openwrt

import (
	"fmt"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// evaluate runs make with a target of testdata/topdir/include/package.mk.
func evaluate(t *testing.T, target string, vars ...string) string {
	t.Helper()
	top, err := filepath.Abs("testdata/topdir")
	if err != nil {
		t.Fatal(err)
	}
	c := exec.Command("make", append([]string{"--no-print-directory", "-s", target, "TOPDIR=" + top}, vars...)...)
	c.Env = []string{"PATH=" + os.Getenv("PATH")} // and no flags of a make that runs this test
	out, err := c.CombinedOutput()
	if err != nil {
		t.Fatalf("make %s: %v\n%s", target, err, out)
	}
	return string(out)
}

// variables are the package's, as make evaluates them.
func variables(t *testing.T) map[string]string {
	t.Helper()
	if _, err := exec.LookPath("make"); err != nil {
		t.Skip("make is missing: apt-get install make")
	}
	if known == nil {
		known = map[string]string{}
		for _, line := range strings.Split(evaluate(t, "dump", "BUILD_DIR=/build"), "\n") {
			if name, value, ok := strings.Cut(line, "="); ok {
				known[name] = value
			}
		}
	}
	return known
}

// known is what variables has read, for all tests.
var known map[string]string

func TestMetadata(t *testing.T) {
	got, packed := variables(t), readPacked(t)
	main, err := os.ReadFile("../cmd/b4d/main.go")
	if err != nil {
		t.Fatal(err)
	}
	version := regexp.MustCompile(`(?m)^var version = "(.+)"$`).FindSubmatch(main)
	if version == nil {
		t.Fatal("cmd/b4d/main.go does not say its version")
	}
	v := string(version[1])
	if !regexp.MustCompile(`^\d+\.\d+\.\d+(_rc\d+)?$`).MatchString(v) {
		t.Errorf("apk does not take the version %s: want X.Y.Z or X.Y.Z_rcN", v)
	}
	for name, want := range map[string]string{
		"PKG_NAME": "b4", "PKG_VERSION": v, "PKG_SOURCE": "b4-" + v + ".tar.gz", "PKG_BUILD_DIR": "/build/b4-" + v,
		"PKG_RELEASE": strings.TrimPrefix(packed.text["release"], "r"), "PKG_MAINTAINER": packed.text["maintainer"],
		"PKG_LICENSE": packed.text["license"], "PKG_LICENSE_FILES": "LICENSE",
		"PKG_BUILD_DEPENDS": "golang/host", "PKG_BUILD_PARALLEL": "1", "PKG_BUILD_FLAGS": "no-mips16",
		"GO_PKG": "b4", "GO_PKG_BUILD_PKG": "b4/cmd/b4d", "GO_PKG_LDFLAGS_X": "main.version=" + v,
		"SECTION": packed.text["Section"], "CATEGORY": "Network", "TITLE": packed.text["Title"],
		"DEPENDS": "@(mips||x86_64) +" + strings.Join(packed.lists["Depends"], " +"),
	} {
		if got[name] != want {
			t.Errorf("%s is %q, want %q", name, got[name], want)
		}
	}
	if flags, ok := got["GO_PKG_LDFLAGS"]; ok {
		t.Errorf("GO_PKG_LDFLAGS is %q: the build strips by itself", flags)
	}
	if _, err := os.Stat("../" + got["PKG_LICENSE_FILES"]); err != nil {
		t.Error(err)
	}
}

func TestScriptlets(t *testing.T) {
	variables(t) // for its skip
	packed, dir := readPacked(t), t.TempDir()
	evaluate(t, "scriptlets", "DESTDIR="+dir, "BUILD_DIR=/build")
	if got := strings.Fields(read(t, dir, "conffiles")); !slices.Equal(got, packed.lists["Conffiles"]) {
		t.Errorf("conffiles are %q, want %q", got, packed.lists["Conffiles"])
	}
	if got, want := read(t, dir, "postinst"), packed.text["restartUpgraded"]; got != want {
		t.Errorf("postinst is\n%swant\n%s", got, want)
	}
}

func read(t *testing.T, dir, name string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(dir, name))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// The recipe is run as it stands, with a b4d of one line in the place where
// golang-package.mk builds it.
func TestInstall(t *testing.T) {
	vars, packed := variables(t), readPacked(t)
	dir := t.TempDir()
	build, root := filepath.Join(dir, filepath.Base(vars["PKG_BUILD_DIR"])), filepath.Join(dir, "root")
	bin := filepath.Join(build, ".go_work/build/bin")
	if err := os.MkdirAll(bin, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(bin, "b4d"), []byte("b4d\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	procd, err := filepath.Abs("../procd")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(procd, filepath.Join(build, "procd")); err != nil {
		t.Fatal(err)
	}
	evaluate(t, "install", "DESTDIR="+root, "BUILD_DIR="+dir)

	want := map[string]string{packed.text["daemonPath"]: "0755 b4d\n"}
	for _, f := range packed.files {
		want[f.to] = fmt.Sprintf("%04o ", f.mode) + read(t, "..", f.from)
	}
	got := map[string]string{}
	err = filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		info, err := d.Info()
		got[strings.TrimPrefix(path, root)] = fmt.Sprintf("%04o ", info.Mode().Perm()) + read(t, "", path)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if !maps.Equal(got, want) {
		t.Errorf("installed: %q\nwant: %q", slices.Sorted(maps.Keys(got)), slices.Sorted(maps.Keys(want)))
		for path, text := range want {
			if got[path] != text {
				t.Errorf("%s is not the same, or has another mode: %.5q, want %.5q", path, got[path], text)
			}
		}
	}
	for _, path := range packed.lists["Conffiles"] {
		if _, ok := got[path]; !ok {
			t.Errorf("conffile %s is not in the package", path)
		}
	}
}

// The shape that OpenWrt's scripts want: they read it by line, not as make does.
func TestShape(t *testing.T) {
	text := read(t, ".", "Makefile")
	for _, block := range []string{"Package/b4/conffiles", "Package/b4/postinst"} {
		_, rest, ok := strings.Cut(text, "define "+block+"\n")
		body, _, _ := strings.Cut(rest, "\nendef")
		if !ok || strings.HasPrefix(body, " ") || strings.Contains(body, "\n ") || strings.Contains(body, "\t") {
			t.Errorf("%s is missing or indented", block)
		}
	}
	for _, line := range []string{"include $(TOPDIR)/rules.mk", "include $(INCLUDE_DIR)/package.mk",
		"$(eval $(call GoBinPackage,b4))", "$(eval $(call BuildPackage,b4))"} {
		if !strings.Contains(text, "\n"+line+"\n") {
			t.Errorf("no line %q", line)
		}
	}
}

// OpenWrt builds with a C compiler and links by it, whether or not there is any C.
func TestBuildsExternally(t *testing.T) {
	if testing.Short() {
		t.Skip("links b4d")
	}
	if _, err := exec.LookPath("gcc"); err != nil {
		t.Skip("gcc is missing: apt-get install gcc")
	}
	vars, b4d := variables(t), filepath.Join(t.TempDir(), "b4d")
	c := exec.Command("go", "build", "-trimpath", "-buildvcs=false", "-o", b4d,
		"-ldflags", "-X "+vars["GO_PKG_LDFLAGS_X"]+"_rc1 -linkmode external", vars["GO_PKG_BUILD_PKG"])
	c.Env = append(os.Environ(), "CGO_ENABLED=1", "GOFLAGS=", "GOOS=", "GOARCH=")
	if out, err := c.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	c = exec.Command(b4d, "--version")
	c.Env = []string{}
	if out, err := c.Output(); err != nil || string(out) != vars["PKG_VERSION"]+"_rc1\n" {
		t.Errorf("b4d --version: %q %v", out, err)
	}
}
