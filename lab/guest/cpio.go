package main

import (
	"fmt"
	"io"
)

// File type bits of a cpio mode, as in stat(2).
const (
	typeDir     = 0o040000
	typeRegular = 0o100000
	typeLink    = 0o120000
	typeChar    = 0o020000
)

// A cpioWriter writes an archive in the "newc" format, the one the kernel
// unpacks as initramfs (Documentation/driver-api/early-userspace/buffer-format.rst).
// The first error sticks and is returned by Close.
type cpioWriter struct {
	w    io.Writer
	ino  uint32
	size int64 // written so far: headers and data are aligned to 4 within the archive
	err  error
}

func newCPIO(w io.Writer) *cpioWriter { return &cpioWriter{w: w} }

// Dir adds a directory. Its parents must have been added before.
func (c *cpioWriter) Dir(name string) { c.entry(name, typeDir|0o755, 0, 0, nil) }

// File adds a regular file with the permission bits of perm.
func (c *cpioWriter) File(name string, perm uint32, data []byte) {
	c.entry(name, typeRegular|perm&0o7777, 0, 0, data)
}

// Symlink adds a symbolic link to target.
func (c *cpioWriter) Symlink(name, target string) {
	c.entry(name, typeLink|0o777, 0, 0, []byte(target))
}

// CharDevice adds a character device node.
func (c *cpioWriter) CharDevice(name string, perm, major, minor uint32) {
	c.entry(name, typeChar|perm&0o7777, major, minor, nil)
}

// Close writes the trailer and returns the first error of the archive. It
// does not close the underlying writer.
func (c *cpioWriter) Close() error {
	c.ino = 0
	c.entry("TRAILER!!!", 0, 0, 0, nil)
	return c.err
}

func (c *cpioWriter) entry(name string, mode, major, minor uint32, data []byte) {
	c.ino++
	links := 1
	if mode&0o170000 == typeDir {
		links = 2
	}
	// magic, ino, mode, uid, gid, nlink, mtime, filesize, devmajor, devminor,
	// rdevmajor, rdevminor, namesize with its NUL, check
	c.write(fmt.Appendf(nil, "070701%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%s\x00",
		c.ino, mode, 0, 0, links, 0, len(data), 0, 0, major, minor, len(name)+1, 0, name))
	c.pad()
	c.write(data)
	c.pad()
}

func (c *cpioWriter) pad() {
	if n := -c.size & 3; n > 0 {
		c.write(make([]byte, n))
	}
}

func (c *cpioWriter) write(b []byte) {
	if c.err != nil {
		return
	}
	n, err := c.w.Write(b)
	c.size += int64(n)
	c.err = err
}
