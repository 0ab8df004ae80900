package main

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
)

// A file is one regular file of a package. Owner and group are root.
type file struct {
	Path string // absolute, on the router
	Mode int64  // permission bits
	Data []byte
}

// A pkg is a package before it has a format.
type pkg struct {
	Name, Version, Arch string // Arch is OpenWrt's name, or all
	Section, Source     string
	Title               string
	Depends             []string
	Recommends          []string // what not every release with opkg has; those with apk depend on it
	Conffiles           []string // paths kept over upgrades
	Postinst            string   // shell, run after OpenWrt's default_postinst
	Epoch               int64    // seconds since 1970: the date of every file
	Files               []file   // sorted by path
}

const (
	license    = "Apache-2.0"
	maintainer = "The b4 maintainers"
	release    = "r1"

	// allArch is the architecture of packages without machine code.
	allArch = "all"
)

// A source is a file of this project and its place on the router.
type source struct {
	from, to string
	mode     int64
}

// daemonFiles are what package b4 carries besides b4d itself.
var daemonFiles = []source{
	{"procd/b4.init", "/etc/init.d/b4", 0o755},
	{"procd/b4.config", "/etc/config/b4", 0o600},
	{"procd/never.txt", "/etc/b4/never.txt", 0o600},
	{"procd/b4.json", "/etc/capabilities/b4.json", 0o644},
	{"procd/b4.sysctl", "/etc/sysctl.d/12-b4.conf", 0o644},
	{"procd/b4.defaults", "/etc/uci-defaults/80-b4", 0o755},
	{"procd/b4.nft", "/usr/share/nftables.d/chain-pre/forward/30-b4.nft", 0o644},
	{"procd/b4.keep", "/lib/upgrade/keep.d/b4", 0o644},
}

// daemonPath is where b4d lies on the router.
const daemonPath = "/usr/sbin/b4d"

// restartUpgraded makes apk's upgrades run the new b4d. opkg stops the old one
// before it unpacks; apk does not, and procd sees no change in a service whose
// command line is the same.
const restartUpgraded = `[ -n "${IPKG_INSTROOT}" ] || [ "$PKG_UPGRADE" != 1 ] || /etc/init.d/b4 restart
`

// reloadLuci lets rpcd and LuCI see what was installed, as luci.mk does.
const reloadLuci = `[ -n "${IPKG_INSTROOT}" ] || {
	rm -f /tmp/luci-indexcache.*
	rm -rf /tmp/luci-modulecache/
	killall -HUP rpcd 2>/dev/null
	exit 0
}
`

// daemonPackage returns package b4 without its architecture and b4d, with the
// files of the tree at root.
func daemonPackage(root, version string, epoch int64) (pkg, error) {
	p := pkg{
		Name: "b4", Version: version + "-" + release, Epoch: epoch,
		Section: "net", Source: "feeds/b4/openwrt",
		Title:     "Opens sites that the provider blocks by their name",
		Depends:   []string{"kmod-nft-core", "kmod-nft-queue", "kmod-tun"},
		Conffiles: []string{"/etc/config/b4", "/etc/b4/never.txt"},
		Postinst:  restartUpgraded,
	}
	var errs []error
	for _, s := range daemonFiles {
		data, err := os.ReadFile(filepath.Join(root, filepath.FromSlash(s.from)))
		errs = append(errs, err)
		p.Files = append(p.Files, file{Path: s.to, Mode: s.mode, Data: data})
	}
	if err := errors.Join(errs...); err != nil {
		return pkg{}, fmt.Errorf("collect package %s: %w", p.Name, err)
	}
	return p, nil
}

// with returns p for one architecture, with b4d.
func (p pkg) with(arch string, b4d []byte) pkg {
	p.Arch = arch
	p.Files = append(slices.Clone(p.Files), file{Path: daemonPath, Mode: 0o755, Data: b4d})
	sortFiles(p.Files)
	return p
}

// luciRequired are the files without which the LuCI package does nothing.
var luciRequired = []string{
	"/usr/share/luci/menu.d/luci-app-b4.json",
	"/usr/share/rpcd/acl.d/luci-app-b4.json",
	"/usr/share/rpcd/ucode/b4.uc",
	"/www/luci-static/resources/b4/common.js",
	"/www/luci-static/resources/view/b4/overview.js",
}

// luciParts are the places where luci.mk puts what an application has.
var luciParts = []source{{from: "luci-app/root", to: "/"}, {from: "luci-app/htdocs", to: "/www"}}

// luciPackage returns package luci-app-b4, with the files of the tree at root.
func luciPackage(root, version string, epoch int64) (pkg, error) {
	p := pkg{
		Name: "luci-app-b4", Version: version + "-" + release, Arch: allArch, Epoch: epoch,
		Section: "luci", Source: "feeds/b4/luci-app",
		Title:      "LuCI support for b4",
		Depends:    []string{"b4", "luci-base", "rpcd-mod-ucode", "ucode-mod-fs", "ucode-mod-uci"},
		Recommends: []string{"ucode-mod-socket"},
		Postinst:   reloadLuci,
	}
	for _, part := range luciParts {
		files, err := readTree(filepath.Join(root, filepath.FromSlash(part.from)), part.to)
		if err != nil {
			return pkg{}, fmt.Errorf("collect package %s: %w", p.Name, err)
		}
		p.Files = append(p.Files, files...)
	}
	sortFiles(p.Files)
	for _, want := range luciRequired {
		if p.file(want) == nil {
			return pkg{}, fmt.Errorf("collect package %s: %s is missing in luci-app/", p.Name, want)
		}
	}
	return p, nil
}

// readTree returns the regular files below dir, as they come to lie below to.
// Their modes follow from their places, not from the checkout's umask.
func readTree(dir, to string) ([]file, error) {
	var files []file
	err := filepath.WalkDir(dir, func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		if base := d.Name(); base[0] == '.' || strings.HasSuffix(base, "~") {
			return nil
		}
		if !d.Type().IsRegular() {
			return fmt.Errorf("%s is no regular file", name)
		}
		data, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(dir, name)
		if err != nil {
			return err
		}
		f := file{Path: path.Join(to, filepath.ToSlash(rel)), Mode: 0o644, Data: data}
		if executable(f.Path) {
			f.Mode = 0o755
		}
		files = append(files, f)
		return nil
	})
	return files, err
}

// executable says whether the router runs what lies at p.
func executable(p string) bool {
	return slices.ContainsFunc([]string{"/etc/init.d/", "/etc/uci-defaults/", "/usr/libexec/", "/usr/sbin/", "/usr/bin/"},
		func(dir string) bool { return strings.HasPrefix(p, dir) })
}

func sortFiles(files []file) {
	slices.SortFunc(files, func(a, b file) int { return cmp.Compare(a.Path, b.Path) })
}

// file returns the file at an absolute path, nil if there is none.
func (p *pkg) file(at string) *file {
	for i := range p.Files {
		if p.Files[i].Path == at {
			return &p.Files[i]
		}
	}
	return nil
}

// dirs returns the directories of files, sorted, without slashes around them:
// the root is "". All are root's, 0755.
func dirs(files []file) []string {
	seen := map[string]bool{"": true}
	for _, f := range files {
		for d := path.Dir(f.Path); d != "/"; d = path.Dir(d) {
			seen[d[1:]] = true
		}
	}
	all := make([]string, 0, len(seen))
	for d := range seen {
		all = append(all, d)
	}
	slices.Sort(all)
	return all
}
