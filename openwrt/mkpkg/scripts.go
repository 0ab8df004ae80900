package main

import "strings"

// The scripts of both formats are those that OpenWrt's build puts into every
// package (include/package-pack.mk): the work is done by default_postinst and
// default_prerm of base-files, which enable, start, disable and stop the init
// scripts in the package's list, and run its uci-defaults.

const (
	shebang      = "#!/bin/sh\n"
	skipScripts  = "[ \"${IPKG_NO_SCRIPT}\" = \"1\" ] && exit 0\n"
	useFunctions = "[ -s ${IPKG_INSTROOT}/lib/functions.sh ] || exit 0\n" +
		". ${IPKG_INSTROOT}/lib/functions.sh\n"
)

// A script is one named script of a package.
type script struct {
	name, text string
}

// ipkScripts returns the files of an ipk's control archive that are run.
// default_postinst runs postinst-pkg.
func (p *pkg) ipkScripts() []script {
	s := []script{
		{"postinst", shebang + skipScripts + useFunctions + "default_postinst $0 $@\n"},
		{"prerm", shebang + useFunctions + "default_prerm $0 $@\n"},
	}
	if p.Postinst != "" {
		s = append(s, script{"postinst-pkg", p.Postinst})
	}
	return s
}

// apkScripts returns an apk's scripts by apk's names for them.
func (p *pkg) apkScripts() []script {
	name := "export root=\"${IPKG_INSTROOT}\"\nexport pkgname=\"" + p.Name + "\"\n"
	post := skipScripts + useFunctions + name + "add_group_and_user\ndefault_postinst\n" + p.Postinst
	return []script{
		{"post-install", shebang + post},
		{"pre-deinstall", shebang + useFunctions + name + "default_prerm\n"},
		{"post-upgrade", shebang + "export PKG_UPGRADE=1\n" + post},
	}
}

// list returns the lines of text, without empty ones.
func list(text string) []string {
	return strings.FieldsFunc(text, func(r rune) bool { return r == '\n' })
}
