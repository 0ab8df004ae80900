package main

import (
	"bufio"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
	"time"
)

// dirs are the directories of the guest, parents first.
var dirs = []string{"bin", "dev", "proc", "sys", "run", "tmp", "etc", "lib", "lib/modules", "root", "var"}

// lastFile ends the archive. The kernel goes on without what does not fit into its
// memory; init does not.
const lastFile = "etc/complete"

// A builder is an archive that knows which directories it has.
type builder struct {
	*cpioWriter
	made map[string]bool
}

// newBuilder begins an archive with dirs.
func newBuilder(w io.Writer) *builder {
	b := &builder{newCPIO(w), map[string]bool{"": true}}
	for _, dir := range dirs {
		b.parents(dir + "/")
	}
	return b
}

// parents adds the directories that name lies in, where they are missing.
func (b *builder) parents(name string) {
	for i, char := range name {
		if char == '/' && !b.made[name[:i]] {
			b.made[name[:i]] = true
			b.Dir(name[:i])
		}
	}
}

// A content is what a guest has beside its kernel, its modules and busybox.
type content struct {
	packages []string // .ipk files
	files    []added
	init     string
}

// writeImage writes a gzipped initramfs to the file name: busybox, the
// kernel's modules in load order, and the content.
func writeImage(name string, deb *debian, with content) (err error) {
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
	b := newBuilder(zip)
	b.CharDevice("dev/console", 0o600, 5, 1) // the kernel opens it before init mounts /dev
	b.File("init", 0o755, []byte(with.init))
	b.Symlink("bin/sh", "busybox")
	b.Symlink("var/run", "/run")
	if err := b.copyFile(deb.busybox, "bin/busybox"); err != nil {
		return err
	}
	if err := b.copyModules(deb.modules); err != nil {
		return err
	}
	for _, ipk := range with.packages {
		if err := b.unpack(ipk); err != nil {
			return err
		}
	}
	for _, a := range with.files {
		if err := b.copyAdded(a); err != nil {
			return err
		}
	}
	b.File(lastFile, 0o644, nil)
	return errors.Join(b.Close(), zip.Close(), buf.Flush())
}

// copyModules puts the modules where insmod's order is the order of names.
func (b *builder) copyModules(dir string) error {
	tree, err := openModules(dir)
	if err != nil {
		return err
	}
	order, err := loadOrder(modules, tree.needs)
	if err != nil {
		return err
	}
	for i, name := range order {
		if err := b.copyFile(tree.files[name], fmt.Sprintf("lib/modules/%02d-%s.ko", i, name)); err != nil {
			return err
		}
	}
	return nil
}

// copyAdded adds a file, or a directory with all that is below.
func (b *builder) copyAdded(a added) error {
	return filepath.WalkDir(a.host, func(host string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		guest := strings.TrimPrefix(path.Join(a.guest, strings.TrimPrefix(host, a.host)), "/")
		b.parents(guest)
		return b.copyFile(host, guest)
	})
}

func (b *builder) copyFile(host, guest string) error {
	data, err := os.ReadFile(host)
	if err != nil {
		return err
	}
	info, err := os.Stat(host)
	if err != nil {
		return err
	}
	b.File(guest, uint32(info.Mode().Perm()), data)
	return nil
}

// initScript returns /init. It runs with nothing mounted and is process 1:
// where it ends, the kernel panics, so every way out powers off.
func initScript(command string, end marker, now time.Time) string {
	return strings.NewReplacer(
		"@UP@", end.up(),
		"@EXIT@", end.exit(),
		"@LAST@", lastFile,
		"@NOW@", fmt.Sprint(now.Unix()),
		"@COMMAND@", quote(command),
	).Replace(`#!/bin/sh
export PATH=/bin:/usr/sbin HOME=/root TERM=dumb
/bin/busybox --install -s /bin
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs dev /dev
mount -t tmpfs tmpfs /tmp
mount -t tmpfs tmpfs /run
mkdir -p /run/netns /dev/pts
date -s @@NOW@ >/dev/null
wrong=
[ -e /@LAST@ ] || wrong="the guest's files do not fit into its memory"
for ko in /lib/modules/*.ko; do
	insmod "$ko" || wrong="cannot load $ko"
	rm "$ko"
done
# The kernel goes by the memory: 2048 connections with 256 MB. A lab leaves more of UDP
# behind in the 30 s that they are remembered, and who comes then is dropped.
echo 65536 >/proc/sys/net/netfilter/nf_conntrack_max || wrong="cannot make room for connections"
echo "@UP@ $(sed -n 's/^MemAvailable: *\([0-9]*\) kB/\1/p' /proc/meminfo)"
if [ -z "$wrong" ]; then
	sh -c @COMMAND@ </dev/null
	code=$?
else
	echo "init: $wrong"
	code=125
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
