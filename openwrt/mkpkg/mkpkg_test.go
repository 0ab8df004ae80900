package main

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const testEpoch = 1_700_000_000

// tree writes a project that has what the packages want, and returns its root.
func tree(t testing.TB) string {
	t.Helper()
	root := t.TempDir()
	put := func(name, text string) {
		name = filepath.Join(root, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte(text), 0o640); err != nil {
			t.Fatal(err)
		}
	}
	for _, s := range daemonFiles {
		put(s.from, "# "+s.to+"\n")
	}
	for _, p := range luciRequired {
		if web, ok := strings.CutPrefix(p, "/www/"); ok {
			put("luci-app/htdocs/"+web, "'use strict';\n")
		} else {
			put("luci-app/root"+p, "{}\n")
		}
	}
	for _, l := range languages {
		put("luci-app/po/"+l.dir+"/b4.po", "msgid \"Off\"\nmsgstr \"Выкл\"\n")
	}
	put("luci-app/root/etc/uci-defaults/80-luci-b4", "")
	put("luci-app/root/.gitignore", "*~\n")
	put("luci-app/Makefile", "not shipped\n")
	return root
}

// packages returns all packages of a tree, with some bytes as b4d.
func packages(t testing.TB, arch string) []pkg {
	t.Helper()
	root := tree(t)
	b4, b4Err := daemonPackage(root, "1.2.3", testEpoch)
	luci, luciErr := luciPackage(root, "1.2.3", testEpoch)
	i18n, i18nErr := i18nPackages(root, "1.2.3", testEpoch)
	if err := errors.Join(b4Err, luciErr, i18nErr); err != nil {
		t.Fatal(err)
	}
	return append([]pkg{b4.with(arch, program(t, short(100_000))), luci}, i18n...)
}

// built returns a feed of each format and their packages.
func built(t testing.TB) (made []feed, pkgs []pkg) {
	t.Helper()
	pkgs = packages(t, "mips_24kc")
	ipk, err := ipkFeed("mips_24kc", pkgs...)
	if err != nil {
		t.Fatal(err)
	}
	return []feed{ipk, apkFeed("mips_24kc", pkgs...)}, pkgs
}

// written returns what built does, and where it is written.
func written(t testing.TB) (out string, made []feed, pkgs []pkg) {
	t.Helper()
	out = t.TempDir()
	made, pkgs = built(t)
	for _, f := range made {
		if err := f.write(out); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(out, sumsName), []byte(sums(made)), 0o644); err != nil {
		t.Fatal(err)
	}
	return out, made, pkgs
}

func TestFeedsReadBack(t *testing.T) {
	out, made, pkgs := written(t)
	for _, f := range made {
		if err := checkFeed(out, f.dir, pkgs); err != nil {
			t.Error(err)
		}
	}
	if err := checkSums(out); err != nil {
		t.Error(err)
	}
	var names []string
	for _, f := range made {
		for _, o := range f.files {
			names = append(names, f.dir+"/"+o.name)
		}
	}
	want := []string{
		"ipk/mips_24kc/b4_1.2.3-r1_mips_24kc.ipk", "ipk/mips_24kc/luci-app-b4_1.2.3-r1_all.ipk",
		"ipk/mips_24kc/luci-i18n-b4-fa_1.2.3-r1_all.ipk", "ipk/mips_24kc/luci-i18n-b4-ru_1.2.3-r1_all.ipk",
		"ipk/mips_24kc/luci-i18n-b4-tr_1.2.3-r1_all.ipk", "ipk/mips_24kc/luci-i18n-b4-zh-cn_1.2.3-r1_all.ipk",
		"ipk/mips_24kc/Packages", "ipk/mips_24kc/Packages.gz", "ipk/mips_24kc/Packages.manifest",
		"apk/mips_24kc/b4-1.2.3-r1.apk", "apk/mips_24kc/luci-app-b4-1.2.3-r1.apk",
		"apk/mips_24kc/luci-i18n-b4-fa-1.2.3-r1.apk", "apk/mips_24kc/luci-i18n-b4-ru-1.2.3-r1.apk",
		"apk/mips_24kc/luci-i18n-b4-tr-1.2.3-r1.apk", "apk/mips_24kc/luci-i18n-b4-zh-cn-1.2.3-r1.apk",
		"apk/mips_24kc/packages.adb",
	}
	if !slices.Equal(names, want) {
		t.Errorf("files are %q", names)
	}
}

// From checkouts at different places, of different dates and modes, the same
// bytes come out.
func TestSameBytesTwice(t *testing.T) {
	first, _ := built(t)
	squeezed.Clear()
	second, _ := built(t)
	for i, f := range first {
		for j, o := range f.files {
			if !bytes.Equal(o.data, second[i].files[j].data) {
				t.Errorf("%s is another the second time", o.name)
			}
		}
	}
}

func TestControl(t *testing.T) {
	pkgs := packages(t, "mips_24kc")
	for _, c := range []struct {
		p    *pkg
		want string
	}{
		{&pkgs[0], `Package: b4
Version: 1.2.3-r1
Depends: kmod-nft-core, kmod-nft-queue, kmod-tun
Source: feeds/b4/openwrt
SourceName: b4
License: Apache-2.0
LicenseFiles: LICENSE
Section: net
SourceDateEpoch: 1700000000
Maintainer: The b4 maintainers
Architecture: mips_24kc
Installed-Size: 4711
Description: Opens sites that the provider blocks by their name
`},
		{&pkgs[1], `Package: luci-app-b4
Version: 1.2.3-r1
Depends: b4, luci-base, rpcd-mod-ucode, ucode-mod-fs, ucode-mod-uci
Recommends: ucode-mod-socket
Source: feeds/b4/luci-app
SourceName: luci-app-b4
License: Apache-2.0
LicenseFiles: LICENSE
Section: luci
SourceDateEpoch: 1700000000
Maintainer: The b4 maintainers
Architecture: all
Installed-Size: 4711
Description: LuCI support for b4
`},
		{&pkgs[5], `Package: luci-i18n-b4-zh-cn
Version: 1.2.3-r1
Depends: luci-app-b4
Source: feeds/b4/luci-app
SourceName: luci-i18n-b4-zh-cn
License: Apache-2.0
LicenseFiles: LICENSE
Section: luci
SourceDateEpoch: 1700000000
Maintainer: The b4 maintainers
Architecture: all
Installed-Size: 4711
Description: Translation for luci-app-b4 - 简体中文 (Simplified Chinese)
`},
	} {
		if got := text(c.p.control(4711)); got != c.want {
			t.Errorf("control is\n%swant\n%s", got, c.want)
		}
	}
}

func TestFiles(t *testing.T) {
	pkgs := packages(t, "mips_24kc")
	b4 := pkgs[0]
	for _, c := range []struct {
		p    *pkg
		want string
	}{
		{&b4, `600 /etc/b4/never.txt
644 /etc/capabilities/b4.json
600 /etc/config/b4
755 /etc/init.d/b4
644 /etc/sysctl.d/12-b4.conf
755 /etc/uci-defaults/80-b4
644 /lib/apk/packages/b4.conffiles
644 /lib/apk/packages/b4.conffiles_static
644 /lib/apk/packages/b4.list
644 /lib/upgrade/keep.d/b4
755 /usr/sbin/b4d
644 /usr/share/nftables.d/chain-pre/forward/30-b4.nft`},
		{&pkgs[1], `755 /etc/uci-defaults/80-luci-b4
644 /lib/apk/packages/luci-app-b4.list
644 /usr/share/luci/menu.d/luci-app-b4.json
644 /usr/share/rpcd/acl.d/luci-app-b4.json
644 /usr/share/rpcd/ucode/b4.uc
644 /www/luci-static/resources/b4/common.js
644 /www/luci-static/resources/view/b4/overview.js`},
		{&pkgs[5], `644 /etc/uci-defaults/luci-i18n-b4-zh-cn
644 /lib/apk/packages/luci-i18n-b4-zh-cn.list
644 /usr/lib/lua/luci/i18n/b4.zh-cn.lmo`},
	} {
		var got []string
		for _, f := range c.p.apkFiles() {
			got = append(got, fmt.Sprintf("%o %s", f.Mode, f.Path))
		}
		if strings.Join(got, "\n") != c.want {
			t.Errorf("%s has\n%s\nwant\n%s", c.p.Name, strings.Join(got, "\n"), c.want)
		}
	}
	own := map[string]string{}
	for _, f := range b4.apkOwnFiles() {
		own[filepath.Ext(f.Path)] = string(f.Data)
	}
	if own[".list"] != `/etc/b4/never.txt
/etc/capabilities/b4.json
/etc/config/b4
/etc/init.d/b4
/etc/sysctl.d/12-b4.conf
/etc/uci-defaults/80-b4
/lib/upgrade/keep.d/b4
/usr/sbin/b4d
/usr/share/nftables.d/chain-pre/forward/30-b4.nft
` || own[".conffiles"] != "/etc/config/b4\n/etc/b4/never.txt\n" ||
		own[".conffiles_static"] != "/etc/config/b4 38588fffda87e95ef1c0ff1e4d425f729340eb9a99e5ba84da5a9a83b1973fdb\n"+
			"/etc/b4/never.txt d77d02509c59104d1115220449039fbd53c898ac9059d97829541352eb41a8ce\n" {
		t.Errorf("apk's own files are %q", own)
	}
}

// The scripts are run by sh, with a library in place of OpenWrt's.
func TestScripts(t *testing.T) {
	root := t.TempDir()
	if err := os.MkdirAll(filepath.Join(root, "lib"), 0o755); err != nil {
		t.Fatal(err)
	}
	const library = `
add_group_and_user() { echo "users of $pkgname"; }
default_postinst() { echo "default_postinst $#, name $pkgname, upgrade $PKG_UPGRADE"; }
default_prerm() { echo "default_prerm $#, name $pkgname"; }
`
	if err := os.WriteFile(filepath.Join(root, "lib/functions.sh"), []byte(library), 0o644); err != nil {
		t.Fatal(err)
	}
	run := func(s script, env ...string) string {
		t.Helper()
		if !strings.HasPrefix(s.text, shebang) {
			t.Errorf("%s does not begin as a script", s.name)
		}
		name := filepath.Join(t.TempDir(), "b4."+s.name)
		if err := os.WriteFile(name, []byte(s.text), 0o755); err != nil {
			t.Fatal(err)
		}
		c := exec.Command("sh", name, "configure")
		c.Env = append([]string{"PATH=" + os.Getenv("PATH")}, env...)
		out, err := c.CombinedOutput()
		if err != nil {
			t.Errorf("%s: %v\n%s", s.name, err, out)
		}
		return string(out)
	}
	b4 := packages(t, "mips_24kc")[0]
	want := map[string]string{
		"postinst":      "default_postinst 2, name , upgrade \n",
		"prerm":         "default_prerm 2, name \n",
		"post-install":  "users of b4\ndefault_postinst 0, name b4, upgrade \n",
		"pre-deinstall": "default_prerm 0, name b4\n",
		"post-upgrade":  "users of b4\ndefault_postinst 0, name b4, upgrade 1\n",
	}
	for _, s := range slices.Concat(b4.ipkScripts(), b4.apkScripts()) {
		if s.name == "postinst-pkg" {
			continue // not run by itself
		}
		if got := run(s, "IPKG_INSTROOT="+root); got != want[s.name] {
			t.Errorf("%s says %q, want %q", s.name, got, want[s.name])
		}
		if got := run(s, "IPKG_INSTROOT="+t.TempDir()); got != "" {
			t.Errorf("%s without functions.sh says %q", s.name, got)
		}
		if s.name[:2] == "po" {
			if got := run(s, "IPKG_INSTROOT="+root, "IPKG_NO_SCRIPT=1"); got != "" {
				t.Errorf("%s says %q with IPKG_NO_SCRIPT", s.name, got)
			}
		}
	}
}

func TestVersions(t *testing.T) {
	root := t.TempDir()
	if err := os.MkdirAll(filepath.Join(root, "cmd/b4d"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(root, "cmd/b4d/main.go"), []byte("package main\n\nvar version = \"4.5.6\"\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, c := range [][2]string{
		{"", "4.5.6"},
		{"0.1.0", "0.1.0"},
		{"v0.1.0", "0.1.0"},
		{"v0.1.0-dirty", "0.1.0"},
		{"v0.1.0-rc1", "0.1.0_rc1"},
		{"0.1.0_rc12", "0.1.0_rc12"},
		{"v0.1.0-17-g0123abc", "0.1.0_p17"},
		{"v0.1.0-rc.2-17-g0123abc-dirty", "0.1.0_rc2_p17"},
		{"0.1", ""}, {"0.1.0-beta", ""}, {"0123abc", ""}, {"0.1.0 ", ""}, {"0.1.0-r1", ""},
	} {
		got, err := packageVersion(root, c[0])
		if got != c[1] || (err == nil) != (c[1] != "") {
			t.Errorf("%q becomes %q, %v, want %q", c[0], got, err, c[1])
		}
	}
	if _, err := packageVersion(t.TempDir(), ""); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("without a source: %v", err)
	}
}

// All that is missing is named, not just the first.
func TestMissing(t *testing.T) {
	root := tree(t)
	for _, name := range []string{"procd/b4.init", "procd/b4.keep", "luci-app/po/tr/b4.po", "luci-app/root/usr/share/rpcd/acl.d/luci-app-b4.json"} {
		if err := os.Remove(filepath.Join(root, name)); err != nil {
			t.Fatal(err)
		}
	}
	err := run(options{root: root, bin: "bin", out: t.TempDir(), version: "1.2.3", epoch: testEpoch}, nil)
	for _, want := range []string{"b4.init", "b4.keep", "luci-i18n-b4-tr", "/usr/share/rpcd/acl.d/luci-app-b4.json"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("the error does not name %s: %v", want, err)
		}
	}
	err = run(options{root: tree(t), bin: "bin", out: t.TempDir(), version: "1.2.3", epoch: testEpoch}, nil)
	if !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), "b4d for mips") {
		t.Errorf("without builds: %v", err)
	}
}

// One target wants one build, and another name is no target.
func TestOnly(t *testing.T) {
	for name, want := range map[string]string{"amd64": "find b4d for amd64: ", "z80": "-only z80: "} {
		err := run(options{root: tree(t), bin: "bin", out: t.TempDir(), version: "1.2.3", epoch: testEpoch, only: name}, nil)
		if err == nil || !strings.HasPrefix(err.Error(), want) || strings.Contains(err.Error(), "mips") {
			t.Errorf("%s: %v", name, err)
		}
	}
}
