package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"strings"
)

// maxData bounds what a package unpacks to, in bytes: more is no router's.
const maxData = 32 << 20

// unpack adds the files of an .ipk, as opkg puts them into a router's root: by
// their names, with their modes. What else a router does when it installs a
// package, its scripts, is not done.
func (b *builder) unpack(ipk string) error {
	whole, err := os.ReadFile(ipk)
	if err != nil {
		return err
	}
	var data []byte
	err = eachMember(whole, func(h *tar.Header, r io.Reader) error {
		if path.Clean(h.Name) != "data.tar.gz" {
			return nil
		}
		data, err = io.ReadAll(io.LimitReader(r, maxData))
		return err
	})
	if err == nil && data == nil {
		err = errors.New("there is no data.tar.gz in it")
	}
	if err == nil {
		err = eachMember(data, b.install)
	}
	if err != nil {
		return fmt.Errorf("unpack %s: %w", ipk, err)
	}
	return nil
}

// install adds one entry of a package's data.
func (b *builder) install(h *tar.Header, r io.Reader) error {
	name := strings.TrimPrefix(path.Clean("/"+h.Name), "/")
	switch {
	case h.Uid != 0 || h.Gid != 0:
		return fmt.Errorf("%s is not root's", h.Name)
	case h.Typeflag == tar.TypeDir:
		b.parents(name + "/")
		return nil
	case h.Typeflag != tar.TypeReg:
		return fmt.Errorf("%s is neither a file nor a directory", h.Name)
	}
	data, err := io.ReadAll(io.LimitReader(r, maxData))
	if err != nil {
		return err
	}
	b.parents(name)
	b.File(name, uint32(h.Mode), data)
	return nil
}

// eachMember calls visit for each entry of a gzipped tar archive.
func eachMember(zipped []byte, visit func(*tar.Header, io.Reader) error) error {
	zip, err := gzip.NewReader(bytes.NewReader(zipped))
	if err != nil {
		return err
	}
	for r := tar.NewReader(zip); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if err := visit(h, r); err != nil {
			return err
		}
	}
}
