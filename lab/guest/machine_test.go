package main

import (
	"slices"
	"strings"
	"testing"
)

func TestMachine(t *testing.T) {
	for arch, want := range map[string]string{
		"mipsel": "-M malta -cpu 24Kf -m 64 -smp 1 -vga none -nic none -nographic -no-reboot -kernel k -initrd i -append console=ttyS0 panic=1 rootfstype=ramfs quiet",
		"arm64":  "-M virt -cpu cortex-a53 -m 64 -smp 1 -vga none -nic none -nographic -no-reboot -kernel k -initrd i -append console=ttyAMA0 panic=1 rootfstype=ramfs quiet",
	} {
		m, err := findMachine(arch)
		if err != nil {
			t.Fatal(err)
		}
		flags := m.flags(64, 1, "k", "i", false)
		if got := strings.Join(flags, " "); got != want {
			t.Errorf("%s: got %s, want %s", arch, got, want)
		}
		loud := m.flags(64, 1, "k", "i", true)
		if slices.Equal(loud, flags) || strings.Contains(loud[len(loud)-1], "quiet") {
			t.Errorf("%s: -v does not make the kernel talk: %s", arch, loud)
		}
	}
	if _, err := findMachine("mips"); err == nil || !strings.Contains(err.Error(), `["mipsel" "arm64"]`) {
		t.Errorf("an unknown machine: got %v, want the known ones", err)
	}
}
