package lab

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
)

// packed is the .ipk of b4 for this machine: B4_IPK names one, else it is built.
func packed(t *testing.T) string {
	t.Helper()
	if path := os.Getenv("B4_IPK"); path != "" {
		return path
	}
	target := runtime.GOARCH
	switch target {
	case "arm":
		target = "armv7"
	case "386":
		t.Skip("there is no package for this machine")
	}
	dir := t.TempDir()
	tool := func(name string, args ...string) {
		t.Helper()
		cmd := exec.Command(name, args...)
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOARM=7", "GOMIPS=softfloat")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
		}
	}
	mkpkg := filepath.Join(dir, "mkpkg")
	tool("go", "build", "-C", "..", "-buildvcs=false", "-trimpath", "-ldflags=-s -w", "-o", filepath.Join(dir, target, "b4d"), "./cmd/b4d")
	tool("go", "build", "-C", "..", "-buildvcs=false", "-o", mkpkg, "./openwrt/mkpkg")
	tool(mkpkg, "-root", "..", "-only", target, "-bin", dir, "-out", filepath.Join(dir, "packages"), "-epoch", "1")
	found, err := filepath.Glob(filepath.Join(dir, "packages/ipk/*/b4_*.ipk"))
	if err != nil || len(found) == 0 {
		t.Fatalf("mkpkg made no .ipk of b4: %v", err)
	}
	return found[0]
}

// unpack writes the files of an .ipk below root, as opkg does.
func unpack(ipk, root string) error {
	whole, err := os.ReadFile(ipk)
	if err != nil {
		return err
	}
	var data []byte
	err = untar(whole, func(h *tar.Header, body io.Reader) (err error) {
		if h.Name == "./data.tar.gz" {
			data, err = io.ReadAll(body)
		}
		return err
	})
	if err != nil {
		return fmt.Errorf("unpack %s: %w", ipk, err)
	}
	return untar(data, func(h *tar.Header, body io.Reader) error {
		name := filepath.Join(root, h.Name)
		var err error
		switch h.Typeflag {
		case tar.TypeDir:
			err = os.MkdirAll(name, 0o700)
		case tar.TypeReg:
			err = writeNew(name, body)
		default:
			err = fmt.Errorf("%s is no file and no directory", h.Name)
		}
		if err != nil {
			return err
		}
		return errors.Join(os.Lchown(name, h.Uid, h.Gid), os.Chmod(name, h.FileInfo().Mode()))
	})
}

// untar calls f for each entry of a gzipped archive.
func untar(b []byte, f func(*tar.Header, io.Reader) error) error {
	z, err := gzip.NewReader(bytes.NewReader(b))
	if err != nil {
		return err
	}
	for r := tar.NewReader(z); ; {
		h, err := r.Next()
		if err == io.EOF {
			return nil
		}
		if err == nil {
			err = f(h, r)
		}
		if err != nil {
			return err
		}
	}
}

func writeNew(name string, from io.Reader) error {
	return unforked(func() error {
		f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
		if err != nil {
			return err
		}
		_, err = io.Copy(f, from)
		return errors.Join(err, f.Close())
	})
}

// unforked writes a file that is to be executed. No other test forks meanwhile: until
// its child executes something, that would hold the file open for writing, and what is
// held so cannot be run (ETXTBSY).
func unforked(write func() error) error {
	syscall.ForkLock.RLock()
	defer syscall.ForkLock.RUnlock()
	return write()
}

// asShipped compares the unpacked files with what a router should get: all of
// it root's, the configuration for root alone.
func asShipped(t *testing.T, root string) {
	t.Helper()
	want := map[string]fs.FileMode{
		"/usr/sbin/b4d":             0o755,
		"/etc/init.d/b4":            0o755,
		"/etc/config/b4":            0o600,
		"/etc/b4/never.txt":         0o600,
		"/etc/capabilities/b4.json": 0o644,
		"/etc/sysctl.d/12-b4.conf":  0o644,
		"/etc/uci-defaults/80-b4":   0o755,
		"/usr/share/nftables.d/chain-pre/forward/30-b4.nft": 0o644,
		"/lib/upgrade/keep.d/b4":                            0o644,
	}
	must(t, filepath.WalkDir(root, func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		name = strings.TrimPrefix(name, root)
		mode, ok := want[name]
		if d.IsDir() {
			mode, ok = fs.ModeDir|0o755, true
		}
		delete(want, name)
		if s := info.Sys().(*syscall.Stat_t); !ok || info.Mode() != mode || s.Uid != 0 || s.Gid != 0 {
			t.Errorf("unpacked: %s %v of %d:%d", name, info.Mode(), s.Uid, s.Gid)
		}
		return nil
	}))
	if len(want) > 0 {
		t.Errorf("missing in the package: %v", want)
	}
}
