package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// What luci.mk would install: the language's name for LuCI's settings, and the texts.
func TestI18n(t *testing.T) {
	pkgs, err := i18nPackages(tree(t), "1.2.3", testEpoch)
	if err != nil {
		t.Fatal(err)
	}
	zh := &pkgs[3]
	if got := string(zh.Files[0].Data); got != "uci set luci.languages.zh_cn='简体中文 (Simplified Chinese)'; uci commit luci\n" {
		t.Errorf("uci-defaults: %s", got)
	}
	if got := string(zh.Files[1].Data); !strings.HasPrefix(got, "Выкл\x46\xbf\x09\x8c") {
		t.Errorf("catalogue: %q", got)
	}
}

// OpenWrt's build makes the same of luci-app/.
func TestLuciMakefile(t *testing.T) {
	text, err := os.ReadFile("../../luci-app/Makefile")
	if err != nil {
		t.Fatal(err)
	}
	luci := packages(t, "mips_24kc")[1]
	want := "LUCI_DEPENDS:=+" + strings.Join(luci.Depends, " +") + " +USE_APK:" + strings.Join(luci.Recommends, " +USE_APK:")
	for _, line := range []string{want, "LUCI_TITLE:=" + luci.Title, "LUCI_PKGARCH:=" + luci.Arch} {
		if !strings.Contains(string(text), "\n"+line+"\n") {
			t.Errorf("luci-app/Makefile has no line %s", line)
		}
	}
}

func TestI18nRefused(t *testing.T) {
	for text, want := range map[string]string{
		"msgid \"Off\"":                "collect package luci-i18n-b4-ru: ru: line 2: the message before has no msgstr",
		"msgid \"Off\"\nmsgstr \"\"\n": "collect package luci-i18n-b4-ru: ru: nothing is translated",
		"msgid \"" + strings.Repeat("x", 4000) + "\"\n\"" + strings.Repeat("x", 96) + "\"\nmsgstr \"y\"\n": "collect package luci-i18n-b4-ru: ru: line 1: more than 4095 bytes to translate",
	} {
		root := tree(t)
		if err := os.WriteFile(filepath.Join(root, "luci-app/po/ru/b4.po"), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		if _, err := i18nPackages(root, "1.2.3", testEpoch); err == nil || err.Error() != want {
			t.Errorf("%v, want %s", err, want)
		}
	}
}
