package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
)

const (
	// release is the last one of Debian that has mipsel.
	release    = "bookworm"
	busyboxDeb = "busybox-static"
	keyring    = "/usr/share/keyrings/debian-archive-keyring.gpg"
)

// A debian is the unpacked packages a guest is made of.
type debian struct {
	kernel  string // path of vmlinuz
	modules string // path of lib/modules/VERSION
	busybox string // path of the static busybox
}

// prepare brings what a guest is made of: the emulator's path, and packages in
// the directory base. Guests that begin at the same time take turns, as
// installing and fetching are for one at a time.
func (m *machine) prepare(ctx context.Context, base, mirror string) (qemu string, _ *debian, err error) {
	if err := os.MkdirAll(base, 0o755); err != nil {
		return "", nil, err
	}
	all, err := os.Open(filepath.Dir(base))
	if err != nil {
		return "", nil, err
	}
	defer all.Close() // and with it the lock
	if err := syscall.Flock(int(all.Fd()), syscall.LOCK_EX); err != nil {
		return "", nil, fmt.Errorf("lock %s: %w", all.Name(), err)
	}
	if qemu, err = m.findQEMU(ctx); err != nil {
		return "", nil, err
	}
	deb, err := m.fetch(ctx, base, mirror)
	return qemu, deb, err
}

// findQEMU returns the path of the emulator and installs it where it may.
func (m *machine) findQEMU(ctx context.Context) (string, error) {
	if path, err := exec.LookPath(m.qemu); err == nil {
		return path, nil
	}
	if os.Geteuid() != 0 {
		return "", fmt.Errorf("%s is missing: apt-get install %s", m.qemu, m.qemuDeb)
	}
	for _, args := range [][]string{
		{"update"},
		{"install", "--yes", "--no-install-recommends", m.qemuDeb},
	} {
		if err := output(exec.CommandContext(ctx, "apt-get", args...)); err != nil {
			return "", fmt.Errorf("install %s: %w", m.qemuDeb, err)
		}
	}
	return exec.LookPath(m.qemu)
}

// fetch downloads and unpacks the guest's packages below base, once: the
// directory root there appears only when it is whole. What apt fetches it
// checks: lists by the keys of the host's keyring, packages by the lists.
func (m *machine) fetch(ctx context.Context, base, mirror string) (*debian, error) {
	root := filepath.Join(base, "root")
	if _, err := os.Stat(root); errors.Is(err, os.ErrNotExist) {
		if err := m.download(ctx, base, root, mirror); err != nil {
			return nil, err
		}
	}
	deb := &debian{busybox: filepath.Join(root, "bin/busybox")}
	var err error
	if deb.kernel, err = only(filepath.Join(root, "boot/vmlinuz-*")); err != nil {
		return nil, err
	}
	deb.modules, err = only(filepath.Join(root, "lib/modules/*"))
	return deb, err
}

func only(pattern string) (string, error) {
	found, err := filepath.Glob(pattern)
	if err != nil {
		return "", err
	}
	if len(found) != 1 {
		return "", fmt.Errorf("%d files match %s, want 1: remove the directory to fetch anew", len(found), pattern)
	}
	return found[0], nil
}

func (m *machine) download(ctx context.Context, base, root, mirror string) error {
	tmp, err := filepath.Abs(filepath.Join(base, "fetch"))
	if err != nil {
		return err
	}
	if err := os.RemoveAll(tmp); err != nil {
		return err
	}
	defer os.RemoveAll(tmp)
	a, err := newApt(tmp, m.arch, mirror)
	if err != nil {
		return err
	}
	fmt.Printf("guest: fetching Debian's %s kernel and busybox from %s\n", m.arch, mirror)
	if err := output(a.command(ctx, "apt-get", "update")); err != nil {
		return fmt.Errorf("fetch the package list: %w", err)
	}
	kernel, err := a.kernelPackage(ctx, m.kernel)
	if err != nil {
		return err
	}
	if err := output(a.command(ctx, "apt-get", "download", kernel, busyboxDeb)); err != nil {
		return fmt.Errorf("fetch %s: %w", kernel, err)
	}
	debs, err := filepath.Glob(filepath.Join(tmp, "*.deb"))
	if err != nil {
		return err
	}
	whole := filepath.Join(tmp, "root")
	for _, deb := range debs {
		if err := output(exec.CommandContext(ctx, "dpkg-deb", "-x", deb, whole)); err != nil {
			return fmt.Errorf("unpack %s: %w", filepath.Base(deb), err)
		}
	}
	return os.Rename(whole, root)
}

// An apt is the host's apt with its own lists and one foreign architecture.
// It needs no root, and the host's package state is neither read nor changed.
type apt struct{ dir string }

func newApt(dir, arch, mirror string) (*apt, error) {
	for _, sub := range []string{"lists/partial", "cache/archives/partial"} {
		if err := os.MkdirAll(filepath.Join(dir, sub), 0o755); err != nil {
			return nil, err
		}
	}
	source := fmt.Sprintf("deb [arch=%s signed-by=%s] %s %s main\n", arch, keyring, mirror, release)
	conf := fmt.Sprintf(`APT::Architecture "%[2]s";
APT::Architectures { "%[2]s"; };
APT::Sandbox::User "root"; // the directory may be closed to user _apt
Acquire::Languages "none";
Acquire::Retries "3";
Dir::Etc::SourceList "%[1]s/sources.list";
Dir::Etc::SourceParts "-";
Dir::State::Lists "%[1]s/lists";
Dir::State::Status "/dev/null";
Dir::Cache "%[1]s/cache";
`, dir, arch)
	if err := os.WriteFile(filepath.Join(dir, "sources.list"), []byte(source), 0o644); err != nil {
		return nil, err
	}
	return &apt{dir}, os.WriteFile(filepath.Join(dir, "apt.conf"), []byte(conf), 0o644)
}

func (a *apt) command(ctx context.Context, name string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir = a.dir
	cmd.Env = append(os.Environ(), "APT_CONFIG="+filepath.Join(a.dir, "apt.conf"), "LC_ALL=C")
	return cmd
}

// kernelPackage looks up which version the package meta stands for today.
func (a *apt) kernelPackage(ctx context.Context, meta string) (string, error) {
	out, err := a.command(ctx, "apt-cache", "depends", meta).Output()
	if err != nil {
		return "", fmt.Errorf("look up %s: %w", meta, err)
	}
	return dependsOn(string(out), "linux-image-")
}

// dependsOn finds the first dependency that begins with prefix in the output
// of apt-cache depends.
func dependsOn(out, prefix string) (string, error) {
	for _, line := range strings.Split(out, "\n") {
		name, ok := strings.CutPrefix(strings.TrimSpace(line), "Depends: ")
		if ok && strings.HasPrefix(name, prefix) {
			return name, nil
		}
	}
	return "", fmt.Errorf("no dependency %s* in %q", prefix, out)
}

// output runs cmd and makes what it printed part of the error.
func output(cmd *exec.Cmd) error {
	out, err := cmd.CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s: %w\n%s", cmd, err, out)
	}
	return nil
}
