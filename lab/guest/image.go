package main

import (
	"bufio"
	"compress/gzip"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
	"time"
)

// dirs are the directories of the guest, parents first.
var dirs = []string{"bin", "dev", "proc", "sys", "run", "tmp", "etc", "lib", "lib/modules", "root", "var"}

// writeImage writes a gzipped initramfs to the file name: busybox, the
// kernel's modules in load order, the added files and init.
func writeImage(name string, deb *debian, add []added, init string) (err error) {
	f, err := os.Create(name)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	buf := bufio.NewWriter(f)
	zip, err := gzip.NewWriterLevel(buf, gzip.BestSpeed)
	if err != nil {
		return err
	}
	c := newCPIO(zip)
	for _, dir := range dirs {
		c.Dir(dir)
	}
	c.CharDevice("dev/console", 0o600, 5, 1) // the kernel opens it before init mounts /dev
	c.File("init", 0o755, []byte(init))
	c.Symlink("bin/sh", "busybox")
	c.Symlink("var/run", "/run")
	if err := copyFile(c, deb.busybox, "bin/busybox"); err != nil {
		return err
	}
	if err := copyModules(c, deb.modules); err != nil {
		return err
	}
	if err := copyAdded(c, add); err != nil {
		return err
	}
	return errors.Join(c.Close(), zip.Close(), buf.Flush())
}

// copyModules puts the modules where insmod's order is the order of names.
func copyModules(c *cpioWriter, dir string) error {
	tree, err := openModules(dir)
	if err != nil {
		return err
	}
	order, err := loadOrder(modules, tree.needs)
	if err != nil {
		return err
	}
	for i, name := range order {
		if err := copyFile(c, tree.files[name], fmt.Sprintf("lib/modules/%02d-%s.ko", i, name)); err != nil {
			return err
		}
	}
	return nil
}

// copyAdded adds files, and directories with all that is below.
func copyAdded(c *cpioWriter, add []added) error {
	made := map[string]bool{}
	for _, dir := range dirs {
		made[dir] = true
	}
	for _, a := range add {
		err := filepath.WalkDir(a.host, func(host string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() {
				return err
			}
			guest := strings.TrimPrefix(path.Join(a.guest, strings.TrimPrefix(host, a.host)), "/")
			for i, char := range guest {
				if char == '/' && !made[guest[:i]] {
					made[guest[:i]] = true
					c.Dir(guest[:i])
				}
			}
			return copyFile(c, host, guest)
		})
		if err != nil {
			return err
		}
	}
	return nil
}

func copyFile(c *cpioWriter, host, guest string) error {
	data, err := os.ReadFile(host)
	if err != nil {
		return err
	}
	info, err := os.Stat(host)
	if err != nil {
		return err
	}
	c.File(guest, uint32(info.Mode().Perm()), data)
	return nil
}

// initScript returns /init. It runs with nothing mounted and is process 1:
// where it ends, the kernel panics, so every way out powers off.
func initScript(command string, end marker, now time.Time) string {
	return strings.NewReplacer(
		"@UP@", end.up(),
		"@EXIT@", end.exit(),
		"@NOW@", fmt.Sprint(now.Unix()),
		"@COMMAND@", quote(command),
	).Replace(`#!/bin/sh
export PATH=/bin HOME=/root TERM=dumb
/bin/busybox --install -s /bin
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs dev /dev
mount -t tmpfs tmpfs /tmp
mount -t tmpfs tmpfs /run
mkdir -p /run/netns /dev/pts
date -s @@NOW@ >/dev/null
code=0
for ko in /lib/modules/*.ko; do
	insmod "$ko" || { echo "init: cannot load $ko"; code=125; }
done
echo "@UP@"
if [ "$code" = 0 ]; then
	sh -c @COMMAND@ </dev/null
	code=$?
fi
echo
echo "@EXIT@ $code"
poweroff -f
`)
}

// quote makes s one word of a POSIX shell.
func quote(s string) string {
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}
