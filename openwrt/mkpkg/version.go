package main

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
)

var (
	// described is a version in a file, a tag, or what git describe makes of one.
	described = regexp.MustCompile(`^v?(\d+\.\d+\.\d+)(?:[-_.]?rc\.?(\d+))?(?:-(\d+)-g[0-9a-f]+)?(?:-dirty)?$`)

	// declared is the version that b4d has without the linker's help.
	declared = regexp.MustCompile(`(?m)^var version = "([^"]+)"$`)
)

// packageVersion turns what the Makefile knows of the version into one that
// both opkg and apk take: X.Y.Z, X.Y.Z_rcN, and _pN after it for the Nth commit
// since. Without a version it is the one of the source at root.
func packageVersion(root, version string) (string, error) {
	if version == "" {
		src := filepath.Join(root, "cmd", "b4d", "main.go")
		text, err := os.ReadFile(src)
		if err != nil {
			return "", fmt.Errorf("find the version: %w", err)
		}
		m := declared.FindSubmatch(text)
		if m == nil {
			return "", fmt.Errorf("find the version: %s does not say it: give one in the file VERSION", src)
		}
		version = string(m[1])
	}
	m := described.FindStringSubmatch(version)
	if m == nil {
		return "", fmt.Errorf("version %q: want X.Y.Z or X.Y.Z-rcN", version)
	}
	v := m[1]
	if m[2] != "" {
		v += "_rc" + m[2]
	}
	if m[3] != "" {
		v += "_p" + m[3]
	}
	return v, nil
}
