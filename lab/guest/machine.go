package main

import "fmt"

// A machine is a router that QEMU plays and Debian has a kernel for.
type machine struct {
	arch    string   // Debian's name of it
	qemu    string   // program
	qemuDeb string   // package that has it
	board   []string // QEMU's flags
	console string   // the kernel's name of the serial port
	kernel  string   // package that depends on the newest kernel
}

// Malta has one core; the ARM board has as many as are asked for. Debian's cloud kernel is a
// third of the size of the one for all boards and has all that a router needs.
var machines = []machine{
	{
		arch: "mipsel", qemu: "qemu-system-mipsel", qemuDeb: "qemu-system-mips",
		board: []string{"-M", "malta", "-cpu", "24Kf"}, console: "ttyS0", kernel: "linux-image-4kc-malta",
	},
	{
		arch: "arm64", qemu: "qemu-system-aarch64", qemuDeb: "qemu-system-arm",
		board: []string{"-M", "virt", "-cpu", "cortex-a53"}, console: "ttyAMA0", kernel: "linux-image-cloud-arm64",
	},
}

// findMachine returns the machine of an architecture.
func findMachine(arch string) (*machine, error) {
	var known []string
	for i := range machines {
		if machines[i].arch == arch {
			return &machines[i], nil
		}
		known = append(known, machines[i].arch)
	}
	return nil, fmt.Errorf("-arch %s: there is no such machine, but %q", arch, known)
}

// flags are QEMU's for a guest with so much memory, in MiB, and so many cores.
func (m *machine) flags(memory, cores int, kernel, image string, verbose bool) []string {
	// With -no-reboot a panic ends QEMU at once. A tmpfs would hold half of the memory.
	line := "console=" + m.console + " panic=1 rootfstype=ramfs"
	if !verbose {
		line += " quiet"
	}
	return append(m.board[:len(m.board):len(m.board)],
		"-m", fmt.Sprint(memory), "-smp", fmt.Sprint(cores), "-vga", "none", "-nic", "none", "-nographic", "-no-reboot",
		"-kernel", kernel, "-initrd", image, "-append", line)
}
