package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"b4/openwrt/lmo"
)

// A language is one that the LuCI application may speak: its directory below
// luci-app/po, and what luci.mk calls it (LUCI_LC_ALIAS, LUCI_LANG).
type language struct {
	dir, code, title string
}

var languages = []language{
	{"fa", "fa", "Farsi (Persian)"},
	{"ru", "ru", "Русский (Russian)"},
	{"tr", "tr", "Türkçe (Turkish)"},
	{"zh_Hans", "zh-cn", "简体中文 (Simplified Chinese)"},
}

// i18nPackages returns a package for each language, sorted by name, with the
// catalogues of the tree at root.
func i18nPackages(root, version string, epoch int64) ([]pkg, error) {
	var pkgs []pkg
	for _, l := range languages {
		p, err := l.pkg(root, version, epoch)
		if err != nil {
			return nil, fmt.Errorf("collect package %s: %w", p.Name, err)
		}
		pkgs = append(pkgs, p)
	}
	return pkgs, nil
}

// pkg returns the package that luci.mk makes of a language (LuciTranslation).
func (l language) pkg(root, version string, epoch int64) (pkg, error) {
	p := pkg{
		Name: "luci-i18n-b4-" + l.code, Version: version + "-" + release, Arch: allArch, Epoch: epoch,
		Section: "luci", Source: "feeds/b4/luci-app",
		Title:   "Translation for luci-app-b4 - " + l.title,
		Depends: []string{"luci-app-b4"},
	}
	po, err := os.ReadFile(filepath.Join(root, "luci-app", "po", l.dir, "b4.po"))
	if err != nil {
		return p, err
	}
	all, err := lmo.Parse(po)
	if err != nil {
		return p, fmt.Errorf("%s: %w", l.dir, err)
	}
	catalogue, err := lmo.Encode(all)
	if err != nil {
		return p, fmt.Errorf("%s: %w", l.dir, err)
	}
	if catalogue == nil {
		return p, fmt.Errorf("%s: nothing is translated", l.dir)
	}
	known := fmt.Sprintf("uci set luci.languages.%s='%s'; uci commit luci\n", strings.ReplaceAll(l.code, "-", "_"), l.title)
	p.Files = []file{
		{Path: "/etc/uci-defaults/" + p.Name, Mode: 0o644, Data: []byte(known)},
		{Path: "/usr/lib/lua/luci/i18n/b4." + l.code + ".lmo", Mode: 0o644, Data: catalogue},
	}
	return p, nil
}
