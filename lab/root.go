package lab

import (
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// Chroot returns a host that shares the network of h, and whose files are those
// below dir alone: paths of what Do and Start run mean those. It has the
// machine's /proc and /dev besides, in a mount namespace of its own, which ends
// with it. Close it before h.
func (h *Host) Chroot(dir string) (*Host, error) {
	for _, name := range machineDirs {
		if err := os.MkdirAll(filepath.Join(dir, name), 0o755); err != nil {
			return nil, err
		}
	}
	c := &Host{Name: h.Name, jobs: make(chan job)}
	err := c.thread(func() error {
		if err := unix.Setns(int(h.ns.Fd()), unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("enter network namespace %s: %w", h.Name, err)
		}
		return enterRoot(dir)
	})
	if err != nil {
		c.Close()
		return nil, err
	}
	return c, nil
}

// machineDirs are what a root directory shares with the machine.
var machineDirs = []string{"/proc", "/dev"}

// enterRoot is for a locked thread.
func enterRoot(dir string) error {
	if err := unix.Unshare(unix.CLONE_NEWNS); err != nil { // and with it CLONE_FS
		return fmt.Errorf("make mount namespace: %w", err)
	}
	// Else the mounts would be the machine's too.
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("make mounts private: %w", err)
	}
	for _, name := range machineDirs {
		if err := unix.Mount(name, filepath.Join(dir, name), "", unix.MS_BIND|unix.MS_REC, ""); err != nil {
			return fmt.Errorf("mount %s in %s: %w", name, dir, err)
		}
	}
	if err := unix.Chroot(dir); err != nil {
		return fmt.Errorf("enter root %s: %w", dir, err)
	}
	return unix.Chdir("/")
}
